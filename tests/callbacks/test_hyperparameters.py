"""`HyperparameterLogger` puts into History what the last update of an epoch used."""

from __future__ import annotations

import csv

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.callbacks import HyperparameterLogger
from nadam_suite.precision import DynamicLossScaleOptimizer
from nadam_suite.schedules import WarmupCosine, WarmupLinear
from tests.optimizers.driver import to_float64

STEPS = 8


def model_with(optimizer, **options):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="d")])
    model.compile(optimizer, loss="mse", **options)
    return model


def fit(model, *callbacks, epochs=3, steps=STEPS):
    x = np.random.default_rng(0).normal(size=(steps * 2, 2)).astype("float32")
    history = model.fit(
        x,
        x[:, :1],
        batch_size=2,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks) or [HyperparameterLogger()],
    )
    return history.history


def values(schedule, steps):
    return [float(to_float64(schedule(int(step)))) for step in steps]


@pytest.mark.parametrize("schedule_step", ["batch", "update"])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("executions", [1, 8])
def test_history_has_the_rate_of_the_last_update(window, executions, schedule_step, backend):
    """K36: with schedules, accumulation and several steps per execution."""
    if executions > 1 and backend == "torch":
        pytest.skip("Keras refuses steps_per_execution on torch")
    rate, beta = WarmupCosine(0.1, 24, 3), WarmupLinear(0.9, 24, end=0.5)
    decay = WarmupLinear(0.2, 24, end=0.1)
    optimizer = Nadam(
        rate,
        beta_1=beta,
        weight_decay=decay,
        gradient_accumulation_steps=window,
        schedule_step=schedule_step,
    )
    history = fit(model_with(optimizer, steps_per_execution=executions))
    updates = [STEPS * epoch // (window or 1) for epoch in (1, 2, 3)]
    batches = schedule_step == "batch"
    counters = [u * (window or 1) - 1 if batches else u - 1 for u in updates]
    for name, schedule in (("learning_rate", rate), ("beta_1", beta), ("weight_decay", decay)):
        np.testing.assert_allclose(history[name], values(schedule, counters), rtol=1e-6)
    factors = [1 - 0.5 * 0.96**t for t in updates]
    expected = np.multiply(values(beta, counters), factors)
    np.testing.assert_allclose(history["momentum"], expected, rtol=1e-6)
    assert np.all(np.isfinite(history["gradient_norm"]))
    assert np.all(np.asarray(history["gradient_norm"]) > 0)


def test_the_gradient_norm_is_the_mean_over_the_epoch():
    """Two steps an epoch, whose gradients are known: the norms' mean, before clipping."""
    model = model_with(Nadam(1e-9, global_clipnorm=0.1))
    model.layers[0].kernel.assign(np.zeros((2, 1), "float32"))
    norms = []
    # loss (w x + b - y)^2 at w = b = 0: gradient -2 y (3, 4, 1)
    for targets in ([1.0, 2.0], [4.0, 4.0]):
        history = model.fit(
            np.array([[3.0, 4.0]] * 2, "float32"),
            np.array(targets, "float32")[:, None],
            batch_size=1,
            shuffle=False,
            verbose=0,
            callbacks=[HyperparameterLogger()],
        )
        norms += history.history["gradient_norm"]
    np.testing.assert_allclose(norms, np.array([3.0, 8.0]) * np.sqrt(26), rtol=1e-5)


def test_the_norm_can_be_left_out():
    """Without it nothing reads the gradients, and the logs do not have it."""
    history = fit(model_with(Nadam(0.1)), HyperparameterLogger(gradient_norm=False))
    assert "gradient_norm" not in history
    np.testing.assert_allclose(history["learning_rate"], [0.1] * 3, rtol=1e-6)


def test_a_training_that_was_compiled_before_is_logged_too():
    """The logger comes with the second fit: that one is logged in full."""
    model = model_with(Nadam(WarmupLinear(0.1, 100)))
    fit(model, keras.callbacks.Callback(), epochs=1)
    history = fit(model, epochs=1)
    np.testing.assert_allclose(history["learning_rate"], [0.1 * (1 - 15 / 100)], rtol=1e-6)
    assert history["gradient_norm"][0] > 0


def test_what_a_callable_returned_at_the_last_step_is_logged():
    """A callable that gives another number later is not asked again."""
    calls = iter(np.linspace(0.1, 0.2, 1000))
    rate = [0.1]

    class Change(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rate[0] = float(next(calls))

        def on_train_batch_end(self, batch, logs=None):
            rate[0], self.used = 0.0, rate[0]

        def on_epoch_end(self, epoch, logs=None):
            rows.append(self.used)

    rows = []
    history = fit(model_with(Nadam(lambda: rate[0])), Change(), HyperparameterLogger())
    np.testing.assert_allclose(history["learning_rate"], rows, rtol=1e-6)


def test_an_epoch_without_an_update_adds_nothing():
    """A window longer than an epoch ends in the second: the first has no entry."""
    seen = []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(set(logs)))
    fit(
        model_with(Nadam(0.1, gradient_accumulation_steps=3)), HyperparameterLogger(), look, steps=2
    )
    assert ["learning_rate" in names for names in seen] == [False, True, True]


def test_other_callbacks_see_the_values(tmp_path):
    """CSV files have them, and the model's own metrics stay."""
    path = tmp_path / "log.csv"
    fit(
        model_with(Nadam(WarmupLinear(0.1, 24)), metrics=["mae"]),
        HyperparameterLogger(),
        keras.callbacks.CSVLogger(path),
    )
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert {"loss", "mae", "learning_rate", "beta_1", "momentum", "gradient_norm"} <= set(rows[0])
    assert float(rows[1]["learning_rate"]) == pytest.approx(0.1 * (1 - 15 / 24), rel=1e-6)


def test_under_loss_scaling_the_inner_optimizer_is_logged():
    """The wrapper is looked through, and the norm is that of unscaled gradients."""
    inner = Nadam(WarmupLinear(0.1, 24))
    history = fit(model_with(DynamicLossScaleOptimizer(inner, initial_scale=1024.0)))
    plain = fit(model_with(Nadam(WarmupLinear(0.1, 24))))
    assert history["learning_rate"] == plain["learning_rate"]
    assert max(history["gradient_norm"]) < 100


@pytest.mark.parametrize("kind", ["schedule", "number", "callable"])
def test_of_another_optimizer_the_rate_is_logged(kind):
    """Stock optimizers give the rate of the last step for schedules, else the current one."""
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 24)
    rate = {"schedule": schedule, "number": 0.1, "callable": lambda: 0.1}[kind]
    history = fit(model_with(keras.optimizers.Nadam(rate)))
    expected = values(schedule, [7, 15, 23]) if kind == "schedule" else [0.1] * 3
    np.testing.assert_allclose(history["learning_rate"], expected, rtol=1e-6)


def test_a_wrong_argument_is_refused():
    """The message names it."""
    with pytest.raises(TypeError, match="gradient_norm='yes'"):
        HyperparameterLogger("yes")
