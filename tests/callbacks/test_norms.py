"""`NormLogger` measures the epoch's last update, layer by layer, and leaves the training alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.callbacks import HyperparameterLogger, NormLogger
from nadam_suite.callbacks.layer_norms import LayerNorms, Norms
from nadam_suite.errors import NadamSuiteWarning
from nadam_suite.precision import DynamicLossScaleOptimizer
from tests.optimizers.driver import to_float64

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype("float32")
Y = (X @ [[1.0], [-2.0], [0.5]] + 3.0).astype("float32")
STEPS = 5  # batches of 4


class Spy(keras.callbacks.Callback):
    """Copies the weights around every step."""

    def on_train_begin(self, logs=None):
        self.before, self.after = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.before.append([to_float64(v) for v in self.model.trainable_variables])

    def on_train_batch_end(self, batch, logs=None):
        self.after.append([to_float64(v) for v in self.model.trainable_variables])


def linear(optimizer, **options):
    """One layer, whose gradients a few lines of NumPy give."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="out")], name="net")
    model.compile(optimizer, loss="mse", **options)
    return model


def fit(model, *callbacks, x=X, epochs=2):
    return model.fit(
        x, Y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks)
    ).history


def gradient(weights, step):
    """Of the mean squared error of a batch, in float64."""
    batch = slice(4 * (step % STEPS), 4 * (step % STEPS) + 4)
    x, y = X[batch].astype("float64"), Y[batch].astype("float64")
    error = x @ weights[0] + weights[1] - y
    return [2.0 * x.T @ error / len(x), 2.0 * error.mean(axis=0)]


def norm(arrays):
    return float(np.sqrt(sum(np.sum(np.square(a)) for a in arrays)))


@pytest.mark.parametrize("clip", [None, 0.7])
@pytest.mark.parametrize("window", [None, 2, 3])
def test_the_last_update_of_each_epoch_is_measured(window, clip):
    """Update, weights and gradient against NumPy in float64, also in a window over two epochs."""
    beta = keras.optimizers.schedules.PolynomialDecay(0.9, 10, 0.5)
    optimizer = Nadam(
        0.1,
        beta_1=beta,
        weight_decay=0.1,
        global_clipnorm=clip,
        gradient_accumulation_steps=window,
    )
    spy, logger = Spy(), NormLogger()
    history = fit(linear(optimizer), logger, spy)
    size = window or 1
    for epoch, found in enumerate(logger.norms):
        last = max(s for s in range((epoch + 1) * STEPS) if (s + 1) % size == 0)
        assert (found.epoch, found.step) == (epoch, last + 1)
        before, after = spy.before[last], spy.after[last]
        steps = range(last + 1 - size, last + 1)
        each = [gradient(spy.before[step], step) for step in steps]
        mean = norm([np.mean(parts, axis=0) for parts in zip(*each, strict=True)])
        row = found.layers["out"]
        assert row.weight == pytest.approx(norm(before), rel=1e-6)
        changes = [a - b for a, b in zip(after, before, strict=True)]
        assert row.update == pytest.approx(norm(changes), rel=1e-6)
        assert row.gradient == pytest.approx(min(mean, clip or mean), rel=1e-4)
        assert history["update_norm"][epoch] == row.update > 0.0
        assert history["update_ratio"][epoch] == pytest.approx(row.update / row.weight)
    assert len(logger.norms) == 2


def test_layers_and_variables_are_told_apart():
    """By layer, by variable, and all together as the root of the squares."""
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, name="h"), keras.layers.Dense(1, name="out")]
    )
    model.compile(Nadam(0.1), loss="mse")
    by_layer, by_variable = NormLogger(), NormLogger(per="variable")
    fit(model, by_layer, by_variable, epochs=1)
    layers, variables = by_layer.norms[0].layers, by_variable.norms[0].layers
    assert list(layers) == ["h", "out"]
    assert list(variables) == ["h/kernel", "h/bias", "out/kernel", "out/bias"]
    for name in ("weight", "update", "gradient"):
        parts = [getattr(variables[f"h/{v}"], name) for v in ("kernel", "bias")]
        assert getattr(layers["h"], name) == pytest.approx(np.hypot(*parts))
        total = getattr(by_layer.norms[0].total, name)
        assert total == pytest.approx(np.hypot(*(getattr(row, name) for row in layers.values())))


def test_a_skipped_step_has_no_update():
    """The loss scale skips the last batch of every epoch: 0, and no gradient."""
    x = X.copy()
    x[-1] = np.nan
    logger = NormLogger()
    history = fit(linear(DynamicLossScaleOptimizer(Nadam(0.1))), logger, x=x)
    assert history["update_norm"] == [0.0, 0.0]
    assert history["update_ratio"] == [0.0, 0.0]
    assert all(norms.total.gradient is None for norms in logger.norms)
    assert logger.norms[0].total.weight > 0.0


def test_skips_move_the_window_and_the_look_with_it():
    """Of windows of two, the first step is skipped: the last update is that of the last step."""
    x = X.copy()
    x[0] = np.nan
    optimizer = Nadam(0.1, gradient_accumulation_steps=2)
    spy, logger = Spy(), NormLogger()
    fit(linear(DynamicLossScaleOptimizer(optimizer)), logger, spy, x=x, epochs=1)
    changes = [a - b for a, b in zip(spy.after[4], spy.before[4], strict=True)]
    assert logger.norms[0].total.update == pytest.approx(norm(changes), rel=1e-6)
    assert logger.norms[0].total.update > 0.0


def test_every_so_many_updates():
    """Counted over the whole training, in updates; the logs have the last look of the epoch."""
    spy, logger = Spy(), NormLogger(every=2)
    history = fit(linear(Nadam(0.1, gradient_accumulation_steps=2)), logger, spy)
    assert [norms.step for norms in logger.norms] == [4, 8]
    for norms in logger.norms:
        step = norms.step - 1
        changes = [a - b for a, b in zip(spy.after[step], spy.before[step], strict=True)]
        assert norms.total.update == pytest.approx(norm(changes), rel=1e-6)
    assert history["update_norm"] == [norms.total.update for norms in logger.norms]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_an_epoch_without_an_update_or_of_unknown_length_adds_nothing():
    """A window longer than the first epoch; a generator, until its first epoch has ended."""
    logger = NormLogger()
    fit(linear(Nadam(0.1, gradient_accumulation_steps=7)), logger)
    assert [norms.epoch for norms in logger.norms] == [1]

    def generated():
        for _ in range(2 * STEPS):
            yield X[:4], Y[:4]

    logger = NormLogger()
    model = linear(Nadam(0.1))
    model.fit(
        generated(), steps_per_epoch=STEPS, epochs=2, shuffle=False, verbose=0, callbacks=[logger]
    )
    assert [norms.epoch for norms in logger.norms] == [0, 1]
    model.fit(generated(), epochs=1, shuffle=False, verbose=0, callbacks=[logger])
    assert logger.norms == []


def test_the_training_stays_as_it_is():
    """Weights are those of a training without it, bit for bit."""
    plain, watched = linear(Nadam(0.1)), linear(Nadam(0.1))
    fit(plain, HyperparameterLogger())
    logs = fit(watched, NormLogger(every=1), HyperparameterLogger())
    for ours, theirs in zip(watched.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(to_float64(ours), to_float64(theirs))
    assert set(logs) >= {"gradient_norm", "update_norm", "update_ratio"}


def test_the_gradient_norm_is_there_without_another_logger():
    """It is the one of `HyperparameterLogger`: the mean over the epoch, before clipping."""
    alone = fit(linear(Nadam(0.1, global_clipnorm=0.1)), NormLogger())
    both = fit(linear(Nadam(0.1, global_clipnorm=0.1)), HyperparameterLogger(), NormLogger())
    assert alone["gradient_norm"] == both["gradient_norm"]
    assert min(alone["gradient_norm"]) > 0.2


def test_another_optimizer_has_updates_alone():
    """Its moments are its own affair; half-precision moments would not tell either."""
    logger, narrow = NormLogger(), NormLogger()
    fit(linear(keras.optimizers.Adam(0.1)), logger)
    fit(linear(Nadam(0.1, slot_dtype="bfloat16")), narrow)
    for found in (logger.norms[0].total, narrow.norms[0].total):
        assert found.update > 0.0
        assert found.gradient is None


def test_of_half_precision_weights_the_full_copy_is_measured():
    """An update that bfloat16 would round away is seen."""
    keras.config.set_dtype_policy("bfloat16")
    model = linear(Nadam(1e-6))
    logger = NormLogger(per="variable")
    fit(model, logger, epochs=1)
    assert 1e-7 < logger.norms[0].layers["out/kernel"].update < 1e-5


def test_tensorboard_gets_them_by_layer(tmp_path):
    """One curve a layer, over epochs."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = NormLogger(log_dir=tmp_path / "logs")
    fit(linear(Nadam(0.1)), logger)
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    for name in ("gradient", "update", "ratio"):
        tag = f"{'update_ratio' if name == 'ratio' else name + '_norm'}/out"
        curve = events.Scalars(tag)
        assert [point.step for point in curve] == [0, 1]
        expected = [getattr(norms.layers["out"], name) for norms in logger.norms]
        np.testing.assert_allclose([point.value for point in curve], expected, rtol=1e-6)


def test_several_steps_in_one_execution_are_refused_aloud(backend):
    """It warns, and logs nothing."""
    if backend == "torch":
        pytest.skip("Keras refuses steps_per_execution on torch")
    model = linear(Nadam(0.1), steps_per_execution=5)
    with pytest.warns(NadamSuiteWarning, match="steps_per_execution=5"):
        history = fit(model, NormLogger(), epochs=1)
    assert "update_norm" not in history


def test_a_ratio_needs_weights():
    """Of weights that are zero there is none, unless they stay zero."""
    assert LayerNorms(0.0, 1.0).ratio is None
    assert LayerNorms(0.0, 0.0).ratio == 0.0
    assert Norms(0, 1, {"a": LayerNorms(0.0, 3.0), "b": LayerNorms(2.0, 4.0)}).total.ratio == 2.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every=0"),
        ({"every": 1.5}, "every=1.5"),
        ({"per": "block"}, "per='block'"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    """The message names the argument and the value."""
    with pytest.raises((ValueError, TypeError), match=message):
        NormLogger(**options)
