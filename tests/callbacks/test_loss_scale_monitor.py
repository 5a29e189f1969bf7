"""`LossScaleMonitor` logs what the loss scale did, and ends a training that only skips."""

from __future__ import annotations

import csv
import re

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, average_tensors
from nadam_suite.callbacks import LossScaleMonitor, TrainingState
from nadam_suite.errors import NonFiniteError
from nadam_suite.precision import DynamicLossScaleOptimizer, skip_nonfinite
from tests.reference.loss_scale import LossScaleTwin

BATCH = 2
# Which of the 15 batches of three epochs have finite gradients.
FINITE = [
    [True, False, True, True, True],
    [True, False, False, False, True],
    [True, True, True, True, True],
]
SETTINGS = {"initial_scale": 1024.0, "dynamic_growth_steps": 3}
TOLD = ("loss_scale", "skipped_steps", "loss_scale_growths")


def scaled(inner=None, **options):
    return DynamicLossScaleOptimizer(inner or averaged(), **{**SETTINGS, **options})


def averaged():
    return Nadam(0.05, averaging=EMA(0.5, warmup=None))


def model_with(optimizer, **options):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, name="first"), keras.layers.Dense(1, name="last")]
    )
    model.compile(optimizer, loss="mse", **options)
    return model


def batches(finite):
    """Data of one epoch, in which some batches have NaN in place of a target."""
    x = np.random.default_rng(5).normal(size=(BATCH * len(finite), 2)).astype("float32")
    y = x[:, :1] * 2 + 1
    for place, good in enumerate(finite):
        if not good:
            y[place * BATCH] = np.nan
    return x, y


def fit(model, finite, *callbacks, **options):
    """Train one epoch."""
    arguments = {"batch_size": BATCH, "shuffle": False, "verbose": 0, **options}
    return model.fit(*batches(finite), callbacks=list(callbacks), **arguments).history


def stream(epochs=FINITE, first=0):
    """All batches of several epochs, from one of them on."""
    for finite in epochs:
        x, y = batches(finite)
        for place in range(len(finite)):
            if first > 0:
                first -= 1
            else:
                rows = slice(place * BATCH, (place + 1) * BATCH)
                yield x[rows], y[rows]


def fit_stream(model, *callbacks, first=0, **options):
    """Train the three epochs."""
    return model.fit(
        stream(first=first),
        steps_per_epoch=len(FINITE[0]),
        epochs=len(FINITE),
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **options,
    ).history


def expected_logs():
    """What the twin says of each of the three epochs."""
    twin = LossScaleTwin(1024.0, growth_steps=3)
    rows = []
    for finite in FINITE:
        skips, growths = twin.skips, twin.growths
        for good in finite:
            twin.step(good)
        rows.append((float(twin.scale), twin.skips - skips, twin.growths - growths))
    return dict(zip(TOLD, map(list, zip(*rows, strict=True)), strict=True))


def told(history):
    return {name: history[name] for name in TOLD}


def state_of(model):
    """All weights, the inner optimizer's variables and the averages."""
    variables = [*model.weights, *model.optimizer.inner_optimizer.variables]
    variables += [average for _, average in average_tensors(model)]
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


@pytest.mark.parametrize("executions", [1, 5])
def test_each_epoch_tells_its_own_skips_and_growths(executions, backend):
    """The counts are the epoch's, the scale is that of the next step."""
    if executions > 1 and backend == "torch":
        pytest.skip("Keras refuses steps_per_execution on torch")
    model = model_with(scaled(), steps_per_execution=executions)
    assert expected_logs()["skipped_steps"] == [1, 3, 0]
    assert told(fit_stream(model, LossScaleMonitor())) == expected_logs()


def test_what_was_counted_before_does_not_belong_to_an_epoch(tmp_path):
    """Neither in a second `fit()`, nor in one of a saved model, nor with a new monitor."""
    model = model_with(scaled())
    fit(model, FINITE[1], LossScaleMonitor())
    assert fit(model, FINITE[0], LossScaleMonitor())["skipped_steps"] == [1]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert fit(loaded, FINITE[0], LossScaleMonitor())["skipped_steps"] == [1]


def test_counts_of_a_state_that_waits_for_the_first_step_are_not_the_epochs():
    """An optimizer that is loaded before it is built knows its counts already."""
    first = model_with(scaled())
    fit(first, FINITE[1])
    state = {}
    first.optimizer.save_own_variables(state)
    second = model_with(scaled())
    second.optimizer.load_own_variables(state)
    assert not second.optimizer.built
    assert fit(second, FINITE[0], LossScaleMonitor())["skipped_steps"] == [1]


def test_csv_file_and_events_have_the_values(tmp_path):
    """Callbacks that come later see them."""
    path = tmp_path / "log.csv"
    fit_stream(model_with(scaled()), LossScaleMonitor(), keras.callbacks.CSVLogger(path))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for name, values in expected_logs().items():
        assert [float(row[name]) for row in rows] == values


@pytest.mark.slow
def test_tensorboards_callback_writes_the_values(tmp_path):
    """TensorBoard's own reader finds a curve of each in what Keras' callback writes."""
    pytest.importorskip("tensorflow")  # by which Keras writes, whatever the backend
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    fit_stream(model_with(scaled()), LossScaleMonitor(), keras.callbacks.TensorBoard(tmp_path))
    events = EventAccumulator(str(tmp_path / "train")).Reload()
    for name, values in expected_logs().items():
        curve = events.Tensors(f"epoch_{name}")
        assert [float(make_ndarray(point.tensor_proto)) for point in curve] == values


@pytest.mark.parametrize(("every", "looks"), [(None, 1), (1, 6), (2, 3), (4, 2), (100, 1)], ids=str)
def test_variables_are_read_every_so_many_batches_only(every, looks, monkeypatch):
    """Five batches: the looks within the epoch, and the one at its end."""
    seen = []
    monkeypatch.setattr(
        "nadam_suite.callbacks.loss_scale_monitor.raise_if_stuck", lambda *_: seen.append(1)
    )
    asked = []

    class Watched(LossScaleMonitor):
        @property
        def model(self):
            asked.append(1)
            return super().model

    fit(model_with(scaled()), [True] * 5, Watched(check_every=every))
    assert len(seen) == looks
    # Once more for each look, at the beginning, and twice at the end: never between.
    assert len(asked) <= looks + 3


@pytest.mark.parametrize(
    ("monitor", "limit"),
    [
        (LossScaleMonitor(check_every=1), 3),
        (LossScaleMonitor(check_every=None), 3),
        (LossScaleMonitor(check_every=2, max_consecutive_skips=3), 50),
        (LossScaleMonitor(check_every=2, max_consecutive_skips=3), None),
    ],
    ids=["each batch", "epoch's end", "own limit", "own limit alone"],
)
def test_a_stuck_training_ends_with_all_as_it_was_and_goes_on_with_good_data(monitor, limit):
    """The error names variables and scales; weights, slots and averages are from before the skips.

    Then good data train on as if the bad ones had never been: scales are powers of two.
    """
    model = model_with(scaled(max_consecutive_skips=limit))
    undisturbed = model_with(scaled())
    for each in (model, undisturbed):
        fit(each, [True] * 4)
    before = state_of(model)
    with pytest.raises(NonFiniteError) as caught:
        fit(model, [False] * 5, monitor)
    message = str(caught.value)
    assert re.match(r"\d steps in a row were skipped", message)
    assert "max_consecutive_skips=3" in message
    assert "first/kernel (1 of 4 entries)" in message
    for array, expected in zip(state_of(model), before, strict=True):
        np.testing.assert_array_equal(array, expected)
    for each in (model, undisturbed):
        fit(each, [True] * 5, LossScaleMonitor(check_every=1))
    for array, expected in zip(state_of(model), state_of(undisturbed), strict=True):
        np.testing.assert_array_equal(array, expected)
    predicted, expected = (
        each.predict(batches([True])[0], verbose=0) for each in (model, undisturbed)
    )
    np.testing.assert_array_equal(predicted, expected)


def test_an_epoch_with_bad_batches_that_recovers_goes_on():
    """It is the skips in a row that count, at the time of the look."""
    model = model_with(scaled(max_consecutive_skips=4))
    history = fit(model, [False, False, False, True] * 3, LossScaleMonitor(check_every=1))
    assert history["skipped_steps"] == [9]


def test_no_limit_never_ends():
    """`max_consecutive_skips=None` of the optimizer is the monitor's too."""
    model = model_with(scaled(max_consecutive_skips=None))
    assert fit(model, [False] * 6, LossScaleMonitor(check_every=1))["skipped_steps"] == [6]


def test_a_stock_loss_scale_tells_its_scale():
    """It counts nothing else."""
    model = model_with(keras.optimizers.LossScaleOptimizer(Nadam(0.05), initial_scale=1024.0))
    history = fit(model, FINITE[0], LossScaleMonitor(check_every=1))
    assert history["loss_scale"] == [512.0]
    assert set(history) == {"loss", "loss_scale"}


def test_a_guard_that_does_not_scale_tells_its_skips():
    """A scale that is always one is no news; a stuck training ends all the same."""
    model = model_with(skip_nonfinite(averaged(), max_consecutive_skips=5))
    history = fit(model, FINITE[1], LossScaleMonitor())
    assert history["skipped_steps"] == [3]
    assert set(history) == {"loss", "skipped_steps"}
    with pytest.raises(NonFiniteError, match="5 steps in a row"):
        fit(model, [False] * 5, LossScaleMonitor(check_every=1))


def test_without_a_loss_scale_there_is_nothing_to_tell():
    """One script serves every precision."""
    assert set(fit(model_with(averaged()), FINITE[2], LossScaleMonitor(check_every=1))) == {"loss"}


def test_another_optimizer_inside_is_told_of_too():
    """Any Keras optimizer may do the updates."""
    model = model_with(scaled(keras.optimizers.SGD(0.01)))
    assert told(fit_stream(model, LossScaleMonitor())) == expected_logs()


@pytest.mark.parametrize("cut", [2, 7])
def test_a_training_that_is_resumed_within_an_epoch_tells_the_whole_epoch(tmp_path, cut):
    """`TrainingState` keeps what an epoch began with, beside the counters and the scale."""

    class Cut(keras.callbacks.Callback):
        seen = 0

        def on_train_batch_end(self, batch, logs=None):
            Cut.seen += 1
            if Cut.seen == cut:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resumable(tmp_path, Cut())
    history = resumable(tmp_path)
    rows = {name: [row[name] for row in history] for name in TOLD}
    assert rows == expected_logs()


def resumable(folder, *after):
    """Begin the training of three epochs, or go on with it; its history."""
    model = model_with(scaled())
    state = TrainingState(folder, save_every_batches=1)
    start = state.restore(model)
    fit_stream(
        model,
        *state.around(LossScaleMonitor()),
        *after,
        first=start * len(FINITE[0]) + state.skip_batches,
        initial_epoch=start,
    )
    return state.history


@pytest.mark.parametrize("name", ["check_every", "max_consecutive_skips"])
def test_wrong_numbers_are_refused(name):
    """The message names the argument."""
    with pytest.raises(ValueError, match=f"{name}=0"):
        LossScaleMonitor(**{name: 0})
    with pytest.raises(TypeError, match=f"{name}=1.5"):
        LossScaleMonitor(**{name: 1.5})


def test_an_error_of_the_first_step_is_not_hidden(backend):
    """JAX ends `fit()` also where the first step fails, when the counters have no values."""
    if backend != "jax":
        pytest.skip("only JAX takes the variables' values away for a step")
    calls = []

    def broken(y_true, y_pred):
        calls.append(1)
        if len(calls) > 1:  # the first call builds the model
            raise RuntimeError("of the user")
        return keras.ops.mean(y_pred)

    model = model_with(scaled())
    model.compile(scaled(), loss=broken)
    with pytest.raises(RuntimeError, match="of the user"):
        fit(model, [True], LossScaleMonitor())
