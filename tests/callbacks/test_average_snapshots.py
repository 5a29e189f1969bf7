"""`AverageSnapshots` keeps the true averages, evenly over the training, on every backend."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, PowerEMA, averaged_weights, show_average, shown
from nadam_suite.averaging.posthoc import predicted_error, reconstruct
from nadam_suite.averaging.posthoc_files import list_snapshots, read_arrays
from nadam_suite.averaging.power import exponent
from nadam_suite.callbacks import average_snapshots as module
from nadam_suite.callbacks.average_snapshots import AverageSnapshots
from nadam_suite.errors import (
    ArgumentError,
    ArgumentTypeError,
    SettingError,
)
from nadam_suite.precision import DynamicLossScaleOptimizer
from tests.callbacks.snapshotting import BATCH, Recorder, data, fit, model_with, times, vector
from tests.reference.averages import power
from tests.reference.posthoc import power_profiles

has_parts = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has no MultiOptimizer"
)


class StopAt(keras.callbacks.Callback):
    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.batch:
            self.model.stop_training = True


def _once(*cases):
    return [pytest.param(*case, marks=pytest.mark.once) for case in cases]


@pytest.mark.parametrize(
    ("window", "options", "expected"),
    [
        (None, {"count": 5}, [6, 12, 18, 24, 30]),
        (4, {"count": 3}, [3, 5, 7]),
        *_once(
            (None, {"count": 7}, [5, 9, 13, 18, 22, 26, 30]),
            (None, {}, list(range(1, 31))),
            (4, {"count": 2}, [4, 7]),
            (None, {"count": 1}, [30]),
            (None, {"every": 12}, [12, 24, 30]),
            (3, {"every": 4}, [4, 8, 10]),
            (None, {"count": 4, "total": 60}, [15, 30]),
            (None, {"count": 2, "total": 20}, [10, 20, 30]),
        ),
    ],
    ids=str,
)
def test_snapshots_lie_evenly_over_the_updates(tmp_path, window, options, expected):
    """The training is divided into equal parts, in real updates; the last one is its end."""
    model = model_with(gradient_accumulation_steps=window)
    fit(model, AverageSnapshots(tmp_path, **options))
    assert times(tmp_path) == expected


@pytest.mark.parametrize("every", [1, 4])
def test_snapshots_hold_the_true_averages(tmp_path, every):
    """Each average in each snapshot is that of all weights so far, in float64, to 1e-6."""
    recorder = Recorder()
    model = model_with(averaging=PowerEMA((0.05, 0.1), update_every=every))
    fit(model, recorder, AverageSnapshots(tmp_path, count=6))
    assert times(tmp_path) == sorted({5 * i // every * every for i in range(1, 7)})
    for snapshot in list_snapshots(tmp_path):
        assert snapshot.paths == tuple(v.path for v in model.trainable_variables)
        assert snapshot.gammas == (exponent(0.05), exponent(0.1))
        for number, gamma in enumerate(snapshot.gammas):
            true = power(recorder.path, gamma, every)[snapshot.time - 1]
            found = vector(read_arrays(snapshot, number))
            np.testing.assert_allclose(found, true, rtol=1e-6, atol=1e-6)


def test_average_is_chosen_after_the_training(tmp_path):
    """What `reconstruct` puts into the model is the average that a width has over the training."""
    recorder, model = Recorder(), model_with()
    fit(model, recorder, AverageSnapshots(tmp_path, count=30), epochs=6)
    path = np.array(recorder.path)
    for sigma in (0.03, 0.15, 0.2):
        reconstruct(tmp_path, sigma, model=model)
        profile = power_profiles([60], exponent(sigma), 60)
        error = predicted_error(tmp_path, sigma) * np.linalg.norm(profile)
        off = np.abs(vector(model.trainable_variables) - power(path, exponent(sigma))[-1])
        assert np.all(off <= error * np.linalg.norm(path, axis=0) + 2e-6)


def test_model_can_be_looked_at_with_any_average(tmp_path):
    """Inside of `averaged_weights` the average comes and goes; the raw weights are back after."""
    model = model_with()
    fit(model, AverageSnapshots(tmp_path))
    raw = vector(model.trainable_variables)
    with averaged_weights(model):
        found = reconstruct(tmp_path, 0.15, model=model)
        np.testing.assert_array_equal(vector(model.trainable_variables), vector(found.values()))
    np.testing.assert_array_equal(vector(model.trainable_variables), raw)


@has_parts
def test_optimizer_of_several_parts(tmp_path):
    """Each part of a MultiOptimizer keeps its variables; a snapshot has all of them."""
    first, second = (Nadam(0.02, averaging=PowerEMA()) for _ in range(2))
    keras.utils.clear_session()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    parts = keras.optimizers.OptimizerMap(first, {".*dense_1/.*": second})
    model.compile(keras.optimizers.MultiOptimizer(parts), loss="mse")
    fit(model, AverageSnapshots(tmp_path, count=2), epochs=1)
    assert times(tmp_path) == [5, 10]
    assert second.built
    assert list(reconstruct(tmp_path, 0.05)) == [v.path for v in model.trainable_variables]


@has_parts
@pytest.mark.once
def test_parts_with_different_averages_are_refused(tmp_path):
    """A snapshot has the same widths of all variables."""
    parts = keras.optimizers.OptimizerMap(
        Nadam(averaging=PowerEMA(0.1)), {".*dense_1/.*": Nadam(averaging=PowerEMA(0.2))}
    )
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile(keras.optimizers.MultiOptimizer(parts), loss="mse")
    with pytest.raises(SettingError, match=r"each part.*power_0\.2.*power_0\.1.*Compile"):
        fit(model, AverageSnapshots(tmp_path))


def test_several_batches_in_one_execution(tmp_path, backend):
    """Of four batches that run at once, the last one is that with the snapshot."""
    if backend == "torch":
        pytest.skip("Keras runs one batch at a time on PyTorch")
    model = model_with()
    model.compile(model.optimizer, loss="mse", steps_per_execution=4)
    fit(model, AverageSnapshots(tmp_path, count=2), epochs=1)
    assert times(tmp_path) == [8, 10]


def test_early_stop_has_a_last_snapshot(tmp_path):
    """A training that ends early ends with a snapshot, though none was due."""
    fit(model_with(), StopAt(3), AverageSnapshots(tmp_path, count=2))
    assert times(tmp_path) == [4]


def test_skipped_steps_do_not_count(tmp_path):
    """Updates are counted on the device: a step that a loss scale skips is none."""
    model = model_with(DynamicLossScaleOptimizer(Nadam(0.02, averaging=PowerEMA())))
    x, y = data()
    x[2 * BATCH] = np.inf
    x[7 * BATCH] = np.inf
    model.fit(
        x,
        y,
        batch_size=BATCH,
        shuffle=False,
        verbose=0,
        callbacks=[AverageSnapshots(tmp_path, every=3)],
    )
    assert times(tmp_path) == [3, 6, 8]


def test_device_is_read_when_it_must_be(tmp_path, monkeypatch):
    """Between snapshots nothing waits for the device: one read at each end of an epoch."""
    reads, number = [], module._number
    writes, write = [], module.write_snapshot
    monkeypatch.setattr(module, "write_snapshot", lambda *given: writes.append(1) or write(*given))
    monkeypatch.setattr(module, "_number", lambda variable: reads.append(1) or number(variable))
    fit(model_with(), AverageSnapshots(tmp_path, count=3), epochs=2, steps=60)
    # Two an epoch, one more where a snapshot is due within it, and two counts for each; the last
    # ones are described anew at the end, and before the first step.
    assert times(tmp_path) == [40, 80, 120]
    assert len(writes) == 3
    assert len(reads) <= 2 * 2 + 2 + 3 * 2 + 2 * 2


def _stream():
    x, y = data()
    for start in range(0, len(x), BATCH):
        yield x[start : start + BATCH], y[start : start + BATCH]


def _fit_stream(model, snapshots):
    model.fit(_stream(), epochs=1, shuffle=False, verbose=0, callbacks=[snapshots])


@pytest.mark.once
def test_unknown_length_is_refused(tmp_path):
    """Without a length the callback says which arguments would give it one; nothing is trained."""
    model = model_with()
    with pytest.raises(ArgumentError, match=r"length.*'steps': None.*total=.*every=.*steps_per"):
        _fit_stream(model, AverageSnapshots(tmp_path))
    assert int(model.optimizer.iterations) == 0


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # as streams of one epoch do
@pytest.mark.parametrize("options", [{"every": 4}, {"total": 8, "count": 2}], ids=str)
def test_unknown_length_with_an_interval(tmp_path, options):
    """An interval, or a length of one's own, is enough for a stream."""
    model = model_with()
    _fit_stream(model, AverageSnapshots(tmp_path, **options))
    # On TensorFlow Keras takes a step more when a stream has run out.
    assert times(tmp_path) == [4, 8, int(model.optimizer.iterations)]


@pytest.mark.once
@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.Nadam,
        Nadam,
        lambda: Nadam(use_ema=True),
        lambda: Nadam(averaging=EMA()),
    ],
    ids=["stock", "none", "use_ema", "ema"],
)
def test_optimizer_without_power_averages_is_refused(tmp_path, optimizer):
    """Other averages cannot be put together to new ones; the message says which can."""
    for built in (True, False):
        model = model_with(optimizer(), built=built)
        with pytest.raises(SettingError, match=r"must keep power function.*Received.*PowerEMA"):
            fit(model, AverageSnapshots(tmp_path))
        assert int(model.optimizer.iterations) == 0


def test_other_averages_are_left_out(tmp_path):
    """Next to an EMA the power function averages alone are kept."""
    model = model_with(averaging={"ema": EMA(0.9), "a": PowerEMA(0.1), "b": PowerEMA(0.2, 5)})
    fit(model, AverageSnapshots(tmp_path, count=4), epochs=1)
    assert [snapshot.times for snapshot in list_snapshots(tmp_path)] == [(5, 5), (8, 5), (10, 10)]


def test_training_starts_from_the_raw_weights(tmp_path):
    """An average that a model was left with is taken out, as all callbacks of averages do."""
    model = model_with()
    fit(model, epochs=1)
    show_average(model, "power_0.1")
    fit(model, AverageSnapshots(tmp_path), epochs=1)
    assert shown(model) is None


@pytest.mark.once
@pytest.mark.parametrize("name", ["count", "total", "every"])
@pytest.mark.parametrize("value", [0, -1])
def test_number_out_of_range_is_refused(tmp_path, name, value):
    """Numbers of snapshots and updates begin at one."""
    with pytest.raises(ArgumentError, match=rf"`{name}` must be an integer >= 1.*Received"):
        AverageSnapshots(tmp_path, **{name: value})


@pytest.mark.once
@pytest.mark.parametrize("name", ["count", "total", "every"])
@pytest.mark.parametrize("value", [1.5, "3", True])
def test_no_integer_is_refused(tmp_path, name, value):
    """Numbers of snapshots and updates are integers."""
    with pytest.raises(ArgumentTypeError, match=rf"`{name}` must be an integer.*Received"):
        AverageSnapshots(tmp_path, **{name: value})


@pytest.mark.once
def test_interval_and_length_exclude_each_other(tmp_path):
    """One says how far apart the snapshots are, the other makes `count` say it."""
    with pytest.raises(ArgumentError, match=r"Only one of `total` and `every`.*Received"):
        AverageSnapshots(tmp_path, total=10, every=2)
