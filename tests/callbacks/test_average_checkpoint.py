"""`AverageCheckpoint`: one file goes on exactly, the other evaluates to what was logged."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite.callbacks import AverageCheckpoint, EMAFinalization, EvaluateAverage, TrainingState
from nadam_suite.errors import ArgumentError, SettingError
from tests.callbacks.averaged import (
    WRAPPINGS,
    Recorder,
    Script,
    X,
    array,
    assert_same,
    differ,
    evaluate,
    everything,
    fit,
    load,
    model_with,
    slow,
    weights_of,
)


def test_the_two_files_hold_what_they_are_for(tmp_path):
    """Raw weights and everything of the optimizer in one; in the other averages, nothing else."""
    recorder, model = Recorder(), model_with(normalize=True)
    history = fit(model, EvaluateAverage(), AverageCheckpoint(tmp_path / "{epoch}.keras"), recorder)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{epoch}{kind}.keras" for epoch in (1, 2, 3) for kind in (".ema", "")]
    for epoch in range(3):
        raw = load(tmp_path / f"{epoch + 1}.keras")
        assert_same([array(weight) for weight in raw.weights], recorder.all_weights[epoch])
        average = load(tmp_path / f"{epoch + 1}.ema.keras")
        assert_same([array(v) for v in average.trainable_variables], recorder.averages[epoch])
        logs = evaluate(tmp_path / f"{epoch + 1}.ema.keras")
        for metric in ("loss", "mae"):
            expected = history[f"val_{metric}"][epoch]
            np.testing.assert_allclose(logs[metric], expected, rtol=1e-6)
        assert not np.isclose(logs["loss"], history["val_raw_loss"][epoch], rtol=1e-4)
    assert_same(
        [array(v) for v in load(tmp_path / "3.keras").optimizer.variables],
        [array(v) for v in model.optimizer.variables],
    )


@pytest.mark.slow
def test_the_training_is_as_without(tmp_path):
    """Nothing of the model is other than in a plain fit, its optimizer and methods included."""
    plain, watched = model_with(normalize=True), model_with(normalize=True)
    optimizer = watched.optimizer
    fit(plain)
    fit(watched, AverageCheckpoint(tmp_path / "a.keras"))
    assert_same(everything(watched), everything(plain))
    assert watched.optimizer is optimizer
    assert not {"get_compile_config", "evaluate"} & set(vars(watched))


@pytest.mark.parametrize("wrapping", ["dynamic", *slow(*list(WRAPPINGS)[1:])])
def test_training_goes_on_from_the_raw_file(tmp_path, wrapping):
    """Two epochs and one from the file are three epochs, averages and seeds included."""

    def finalization():  # `fit()` would overwrite the weights by itself with `use_ema`
        return [EMAFinalization(batch_norm="keep")] if wrapping == "use_ema" else []

    whole = model_with(WRAPPINGS[wrapping](), normalize=True)
    fit(whole, *finalization())
    first = model_with(WRAPPINGS[wrapping](), normalize=True)
    fit(first, AverageCheckpoint(tmp_path / "a.keras"), *finalization(), epochs=2)
    second = load(tmp_path / "a.keras")
    again = AverageCheckpoint(tmp_path / "b.keras")
    fit(second, again, *finalization(), epochs=3, initial_epoch=2)
    assert_same(everything(second), everything(whole))


def test_only_the_best_averages_are_kept(tmp_path):
    """K14: both files are of the epoch with the best metric of the averages."""
    recorder = Recorder()
    checkpoint = AverageCheckpoint(tmp_path / "a.keras", monitor="told_loss", save_best_only=True)
    fit(model_with(), Script(1.0, 0.5, 0.7), checkpoint, recorder)
    assert checkpoint.best == 0.5
    assert_same(weights_of(tmp_path / "a.keras"), recorder.weights[1])
    assert_same(weights_of(tmp_path / "a.ema.keras"), recorder.averages[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "told", "epoch"),
    [
        ("min", (2.0, 1.0, 1.0), 2),
        ("max", (2.0, 1.0, 3.0), 3),
        ("min", (np.nan, 2.0, np.nan), 2),
        ("auto", (3.0, 3.0, 4.0), 1),
    ],
)
def test_what_counts_as_the_best(tmp_path, mode, told, epoch):
    """By mode; the same again and NaN are no improvements; a name tells its mode."""
    path = tmp_path / "best-{epoch}.keras"
    fit(
        model_with(),
        Script(*told),
        AverageCheckpoint(path, monitor="told_loss", mode=mode, save_best_only=True),
    )
    assert max(file.name for file in tmp_path.iterdir()) == f"best-{epoch}.keras"


@pytest.mark.slow
def test_the_best_of_the_validation_evaluates_to_it(tmp_path):
    """With `EvaluateAverage` and recalibration by the same data, shuffled anew each time."""

    class Shuffled(keras.utils.PyDataset):
        generator = np.random.default_rng(5)

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return X[self.generator.permutation(len(X))[:4]]

    options = {"batch_norm": "recalibrate", "data": Shuffled()}
    history = fit(
        model_with(normalize=True),
        EvaluateAverage(**options),
        AverageCheckpoint(tmp_path / "a.keras", save_best_only=True, **options),
    )
    expected = min(history["val_loss"])
    np.testing.assert_allclose(evaluate(tmp_path / "a.ema.keras")["loss"], expected, rtol=1e-6)


@pytest.mark.slow
def test_recalibrated_statistics_are_saved_and_undone(tmp_path):
    """Without `EvaluateAverage` the callback recalibrates by itself, for its second file only."""
    plain, model = model_with(normalize=True), model_with(normalize=True)
    fit(plain)
    fit(model, AverageCheckpoint(tmp_path / "a.keras", batch_norm="recalibrate", data=X))
    assert_same(everything(model), everything(plain))
    saved = [array(v) for v in load(tmp_path / "a.ema.keras").layers[1].non_trainable_variables]
    raw = [array(v) for v in load(tmp_path / "a.keras").layers[1].non_trainable_variables]
    assert_same(raw, [array(v) for v in model.layers[1].non_trainable_variables])
    assert differ(saved, raw)


@pytest.mark.slow
def test_epochs_without_validation_are_not_chosen(tmp_path):
    """With `validation_freq` an epoch without val_loss is neither the best nor an error."""
    checkpoint = AverageCheckpoint(tmp_path / "{epoch}.keras", save_best_only=True)
    fit(model_with(), EvaluateAverage(), checkpoint, epochs=4, validation_freq=2)
    assert {path.name for path in tmp_path.iterdir()} <= {
        f"{epoch}{kind}.keras" for epoch in (2, 4) for kind in ("", ".ema")
    }
    assert (tmp_path / "2.keras").exists()


@pytest.mark.slow
def test_a_resumed_training_remembers_the_best(tmp_path):
    """`TrainingState` keeps the best value: a worse epoch does not replace the file."""

    def train(epochs):
        model, state = model_with(), TrainingState(tmp_path / "state")
        start = state.restore(model)
        checkpoint = AverageCheckpoint(
            tmp_path / "a.keras", monitor="told_loss", save_best_only=True
        )
        told = Script(0.5, 0.7, 0.6)
        fit(model, *state.around(told, checkpoint), epochs=epochs, initial_epoch=start)
        return checkpoint.best

    assert train(1) == 0.5
    before = (tmp_path / "a.keras").read_bytes()
    assert train(3) == 0.5
    assert (tmp_path / "a.keras").read_bytes() == before


@pytest.mark.slow
def test_choosing_by_the_metric_of_the_raw_weights_is_refused(tmp_path):
    """K14: without `EvaluateAverage` val_loss is that of other weights than those saved."""
    checkpoint = AverageCheckpoint(tmp_path / "a.keras", save_best_only=True)
    with pytest.raises(ArgumentError, match=r"together with `EvaluateAverage`.*'val_loss'.*'ema'"):
        fit(model_with(), checkpoint)
    evaluation = EvaluateAverage(batch_norm="recalibrate", data=X)
    with pytest.raises(ArgumentError, match=r"`batch_norm`.*'ema', 'keep'.*'ema', 'recalibrate'"):
        fit(model_with(normalize=True), evaluation, checkpoint)
    assert not list(tmp_path.iterdir())
    raw = AverageCheckpoint(tmp_path / "a.keras", monitor="val_raw_loss", save_best_only=True)
    fit(model_with(normalize=True), evaluation, raw, epochs=1)
    assert (tmp_path / "a.keras").exists()


@pytest.mark.slow
def test_a_metric_or_field_that_is_not_there_is_named(tmp_path):
    """A misspelt one ends the first epoch with a list of what there is."""
    wrong = AverageCheckpoint(tmp_path / "a.keras", monitor="mse", save_best_only=True)
    with pytest.raises(ArgumentError, match=r"'mse'.*'loss'"):
        fit(model_with(), wrong)
    with pytest.raises(ArgumentError, match=r"`path`.*val_los.*'val_loss'"):
        fit(model_with(), AverageCheckpoint(tmp_path / "{val_los}.keras"))


def test_fields_of_both_paths(tmp_path):
    """Epochs from 1 and metrics, in new folders; the second path may have its own."""
    history = fit(
        model_with(),
        AverageCheckpoint(
            tmp_path / "a" / "{epoch:02d}.keras", tmp_path / "b-{val_loss:.3f}.keras"
        ),
        epochs=1,
    )
    assert (tmp_path / "a" / "01.keras").exists()
    assert (tmp_path / f"b-{history['val_loss'][0]:.3f}.keras").exists()


BAD = [
    ({"path": "a.h5"}, ValueError, r"`path`.*\.keras.*'a\.h5'"),
    ({"path": 3}, TypeError, "path=3"),
    ({"average_path": "a"}, ValueError, "average_path='a'"),
    ({"average_path": "a.keras"}, ValueError, "different"),
    ({"save_best_only": 1}, TypeError, "save_best_only=1"),
    ({"save_best_only": True, "monitor": "val_fun"}, ValueError, "val_fun"),
    ({"save_best_only": True, "monitor": ""}, TypeError, "monitor=''"),
    ({"save_best_only": True, "mode": "up"}, ValueError, "mode='up'"),
    ({"batch_norm": "new"}, ValueError, "batch_norm='new'"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD, ids=str)
def test_bad_arguments_are_refused_by_name(options, error, message):
    """The message names argument and value."""
    with pytest.raises(error, match=message):
        AverageCheckpoint(**{"path": "a.keras", **options})


def test_a_model_without_averages_is_refused_before_the_first_step(tmp_path):
    """There is nothing to save."""
    model = model_with("sgd")
    with pytest.raises(SettingError, match="averag"):
        fit(model, AverageCheckpoint(tmp_path / "a.keras"))
    assert int(model.optimizer.iterations) == 0
