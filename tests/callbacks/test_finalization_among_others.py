"""`EMAFinalization` in a list with other callbacks: each does its part, and averages win."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite.averaging import show_raw, shown
from nadam_suite.callbacks import EMAFinalization, EvaluateAverage, TrainingState
from nadam_suite.errors import ArgumentError, NadamSuiteWarning
from tests.callbacks.averaged import (
    BATCH,
    Interrupt,
    Recorder,
    Script,
    X,
    Y,
    assert_same,
    averages,
    everything,
    fit,
    model_with,
    weights,
)


def test_after_early_stopping_with_its_best_weights():
    """K12, D19: the final model has averages; the raw weights beside are early stopping's."""
    stopping = keras.callbacks.EarlyStopping(
        "told_loss", patience=1, mode="min", restore_best_weights=True
    )
    recorder, model = Recorder(), model_with()
    callback = EMAFinalization(restore_best=True, monitor="told_loss")
    told = Script(2.0, 1.0, 3.0, 4.0)
    history = fit(model, told, stopping, callback, recorder, epochs=4)
    assert len(history["loss"]) == 3
    assert_same(weights(model), recorder.averages[1])
    show_raw(model)
    assert_same(weights(model), recorder.weights[1])


def test_before_early_stopping_it_is_refused():
    """The other order would end on raw weights; the first validation says so."""
    stopping = keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True)
    with pytest.raises(ArgumentError, match="must come after"):
        fit(model_with(), EMAFinalization(), stopping)
    harmless = keras.callbacks.EarlyStopping("val_loss", patience=9)
    fit(model_with(), EMAFinalization(), harmless, epochs=1)


@pytest.mark.slow
def test_averages_stay_finite_where_the_training_does_not():
    """D65: `TerminateOnNaN` stops a training whose averages are still good."""
    model, recorder = model_with(), Recorder()

    def broken():
        for batch in range(8):
            yield X[:BATCH] * (np.nan if batch == 5 else 1.0), Y[:BATCH]

    fit_with = {"x": broken(), "steps_per_epoch": 2, "epochs": 4, "verbose": 0, "shuffle": False}
    callbacks = [keras.callbacks.TerminateOnNaN(), recorder, EMAFinalization()]
    model.fit(**fit_with, callbacks=callbacks)
    assert len(recorder.weights) == 3
    assert not np.isfinite(recorder.weights[-1][0]).all()
    assert all(np.isfinite(array).all() for array in weights(model))
    assert_same(weights(model), averages(model))


@pytest.mark.slow
def test_with_backup_and_restore(tmp_path):
    """D20: a backup holds the raw training: cut and resumed it ends as the uncut one."""

    def train(model, *others):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        fit(model, backup, EvaluateAverage(), EMAFinalization(), *others)

    whole = model_with()
    fit(whole, EMAFinalization())
    with pytest.raises(KeyboardInterrupt):
        train(model_with(), Interrupt("batch_end"))
    model = model_with()
    train(model)
    assert_same(everything(model), everything(whole))
    assert show_raw(model)
    assert show_raw(whole)
    assert_same(weights(model), weights(whole))


@pytest.mark.slow
def test_a_model_checkpoint_holds_the_raw_training(tmp_path):
    """`keras.callbacks.ModelCheckpoint` beside it: its file goes on exactly."""
    model, whole = model_with(), model_with()
    path = str(tmp_path / "{epoch}.keras")
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    fit(model, checkpoint, EvaluateAverage(), EMAFinalization())
    fit(whole, EMAFinalization())
    loaded = keras.saving.load_model(path.format(epoch=2))
    fit(loaded, EMAFinalization(), epochs=3, initial_epoch=2)
    for each in (model, loaded):
        assert_same(everything(each), everything(whole))


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", ["keep", "recalibrate"])
def test_a_resumed_training_ends_on_the_same_averages(tmp_path, batch_norm):
    """`TrainingState` keeps the best averages: those of an epoch before the cut come back."""

    def train(model, folder, *others):
        state = TrainingState(tmp_path / folder)
        start = state.restore(model)
        callback = EMAFinalization(
            restore_best=True, monitor="told_loss", batch_norm=batch_norm, data=X
        )
        told = Script(1.0, 3.0, 2.0)
        fit(model, *others, *state.around(told, callback), initial_epoch=start)
        return callback

    whole, model = model_with(normalize=True), model_with(normalize=True)
    train(whole, "whole")
    with pytest.raises(KeyboardInterrupt):
        train(model_with(normalize=True), "cut", Interrupt("batch_end"))
    callback = train(model, "cut")
    assert (callback.best, callback.best_epoch) == (1.0, 0)
    assert_same(everything(model), everything(whole))
    state = TrainingState(tmp_path / "whole")
    assert state.restore(whole) == 3  # into a model that shows averages: it holds raw weights then
    assert shown(whole) is None
    show_raw(model)
    assert_same(everything(model), everything(whole))


@pytest.mark.slow
def test_epochs_without_validation_are_not_chosen():
    """With `validation_freq` the best is one of those that were validated."""
    callback = EMAFinalization(restore_best=True)
    model, recorder = model_with(), Recorder()
    fit(model, EvaluateAverage(), callback, recorder, epochs=4, validation_freq=2)
    assert callback.best_epoch in {1, 3}
    assert_same(weights(model), recorder.averages[callback.best_epoch])


@pytest.mark.slow
def test_without_any_validation_the_last_averages_are_taken_with_a_warning():
    """A monitored metric that never came is said at the end, where the averages are not lost."""
    model = model_with()
    with pytest.warns(NadamSuiteWarning, match="'val_loss' was never there"):
        fit(model, EMAFinalization(restore_best=True), validation_data=None)
    assert_same(weights(model), averages(model))


@pytest.mark.slow
def test_a_second_fit_goes_on_from_a_saved_file(tmp_path):
    """The file of a finalized model has the averages, and the raw weights beside them."""
    whole = model_with()
    fit(whole, epochs=4)
    model = model_with()
    fit(model, EMAFinalization(), epochs=2)
    model.save(tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    assert_same(weights(loaded), weights(model))
    fit(loaded, EvaluateAverage(), epochs=4, initial_epoch=2)
    assert_same(everything(loaded), everything(whole))
