"""`PlateauScale` lowers any kind of rate at the right epoch, in a resumed training too."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.callbacks import HyperparameterLogger, PlateauScale, TrainingState
from nadam_suite.errors import ArgumentError, SettingError
from nadam_suite.precision import DynamicLossScaleOptimizer
from nadam_suite.schedules import Constant, WarmupLinear

SCRIPT = [1.0, 0.9, 0.9, 0.9, 0.95, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]


class Script(keras.callbacks.Callback):
    """Puts a metric that was written beforehand into the logs."""

    def __init__(self, values=SCRIPT):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["told_loss"] = self.values[epoch]


def model_with(optimizer):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse")
    return model


def fit(model, *callbacks, epochs=12, initial_epoch=0):
    x = np.ones((4, 2), "float32")
    history = model.fit(
        x,
        x[:, :1],
        batch_size=4,
        epochs=epochs,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[Script(), *callbacks],
    )
    return history.history


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"patience": 2, "cooldown": 2},
        {"patience": 0},
        {"patience": 1, "min_delta": 0.2},
    ],
    ids=str,
)
def test_a_number_is_lowered_as_by_the_stock_callback(options):
    """Epoch by epoch the same rate as `keras.callbacks.ReduceLROnPlateau` with these arguments."""
    common = {"monitor": "told_loss", "factor": 0.5, "mode": "min", **options}
    ours = fit(model_with(Nadam(0.1)), PlateauScale(**common), HyperparameterLogger())
    stock = keras.callbacks.ReduceLROnPlateau(**common)
    theirs = fit(model_with(Nadam(0.1)), stock, HyperparameterLogger())
    np.testing.assert_allclose(ours["learning_rate"], theirs["learning_rate"], rtol=1e-6)
    assert min(ours["learning_rate"]) < 0.06


@pytest.mark.parametrize("kind", ["schedule", "callable"])
def test_a_schedule_goes_on_times_the_scale(kind):
    """K35: the course is that of the schedule, times what a number would have been scaled by."""
    schedule = WarmupLinear(0.1, 20, 2)
    rate = schedule if kind == "schedule" else (lambda: 0.1)
    optimizer = Nadam(rate)
    plateau = PlateauScale("told_loss", factor=0.5, patience=2)
    history = fit(model_with(optimizer), plateau, HyperparameterLogger())
    number = fit(
        model_with(Nadam(1.0)),
        PlateauScale("told_loss", factor=0.5, patience=2),
        HyperparameterLogger(),
    )
    plain = [float(schedule(step)) if kind == "schedule" else 0.1 for step in range(len(SCRIPT))]
    np.testing.assert_allclose(
        history["learning_rate"], np.multiply(plain, number["learning_rate"]), rtol=1e-6
    )
    assert plateau.scale == 0.5**4 == float(optimizer.learning_rate_scale.numpy())


def test_the_scale_stays_above_its_least_value():
    """min_scale bounds the product, for schedules and numbers alike."""
    for rate in (Constant(0.1), 0.1):
        plateau = PlateauScale("told_loss", factor=0.1, patience=0, min_scale=0.3)
        history = fit(model_with(Nadam(rate)), plateau, HyperparameterLogger())
        assert plateau.scale == 0.3
        np.testing.assert_allclose(history["learning_rate"][-1], 0.03, rtol=1e-6)


def test_a_rising_metric_is_known_by_its_name_or_mode():
    """Names tell the direction; a name that does not must come with a mode."""
    assert PlateauScale("val_accuracy").rises
    assert PlateauScale("sparse_categorical_accuracy").rises
    assert PlateauScale("auc").rises
    assert not PlateauScale("val_loss").rises
    assert not PlateauScale("mean_squared_error").rises
    assert not PlateauScale("val_accuracy", mode="min").rises
    with pytest.raises(ArgumentError, match="monitor='bleu'"):
        PlateauScale("bleu")
    plateau = PlateauScale("told_loss", mode="max", patience=1, factor=0.5)
    fit(model_with(Nadam(0.1)), plateau, epochs=4)
    assert plateau.scale == 0.5**3


def test_under_loss_scaling_the_inner_rate_is_scaled():
    """The wrapper is looked through."""
    inner = Nadam(Constant(0.1))
    fit(model_with(DynamicLossScaleOptimizer(inner)), PlateauScale("told_loss", patience=0))
    assert float(inner.learning_rate_scale.numpy()) < 0.2


@pytest.mark.parametrize("rate", [0.1, "schedule"], ids=["number", "schedule"])
def test_a_resumed_training_is_scaled_at_the_same_epochs(rate, tmp_path):
    """Cut before a reduction, right after it and later, all is as in the whole training."""

    def run(folder, stops):
        learning_rate = WarmupLinear(0.1, 20) if rate == "schedule" else rate
        for stop in stops:
            model = model_with(Nadam(learning_rate))
            state = TrainingState(folder)
            plateau = PlateauScale("told_loss", factor=0.5, patience=2, cooldown=2)
            start = state.restore(model)
            own = state.around(plateau, HyperparameterLogger())
            fit(model, *own, epochs=stop, initial_epoch=start)
        return [row["learning_rate"] for row in state.history], plateau.scale

    whole = run(tmp_path / "whole", [12])
    assert run(tmp_path / "cut", [3, 4, 9, 12]) == whole
    assert whole[1] < 1.0


def test_a_saved_model_keeps_the_scale(tmp_path):
    """`model.save` and `load_model` bring it back; a later fit goes on from it."""
    model = model_with(Nadam(Constant(0.1)))
    fit(model, PlateauScale("told_loss", factor=0.5, patience=2))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    scale = float(model.optimizer.learning_rate_scale.numpy())
    assert scale < 1.0
    assert float(loaded.optimizer.learning_rate_scale.numpy()) == scale
    plateau = PlateauScale("told_loss", factor=0.5, patience=100)
    history = fit(loaded, plateau, HyperparameterLogger(), epochs=1)
    np.testing.assert_allclose(history["learning_rate"], [0.1 * scale], rtol=1e-6)
    assert plateau.scale == scale


def test_a_rate_that_cannot_be_scaled_is_refused_before_the_first_step():
    """Another optimizer with a schedule: refused at once; with a number it works."""
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 24)
    model = model_with(keras.optimizers.Nadam(schedule))
    with pytest.raises(SettingError, match="PlateauScale"):
        fit(model, PlateauScale("told_loss"))
    assert int(model.optimizer.iterations) == 0
    fit(model_with(keras.optimizers.Nadam(0.1)), PlateauScale("told_loss", patience=0), epochs=2)


def test_a_metric_that_is_not_there_is_named():
    """A misspelt metric ends the first epoch with a list of what there is."""
    with pytest.raises(ArgumentError, match=r"val_loss.*told_loss"):
        fit(model_with(Nadam(0.1)), PlateauScale("val_loss"))


BAD = [
    ({"monitor": ""}, TypeError),
    ({"factor": 1.0}, ValueError),
    ({"factor": 0.0}, ValueError),
    ({"factor": "0.5"}, TypeError),
    ({"patience": -1}, ValueError),
    ({"patience": None}, TypeError),
    ({"patience": 1.5}, TypeError),
    ({"mode": "up"}, ValueError),
    ({"min_delta": -1.0}, ValueError),
    ({"cooldown": -1}, ValueError),
    ({"min_scale": 1.5}, ValueError),
]


@pytest.mark.parametrize(("arguments", "error"), BAD, ids=str)
def test_bad_arguments_are_refused_by_name(arguments, error):
    """The message names argument and value."""
    ((name, value),) = arguments.items()
    with pytest.raises(error, match=name) as caught:
        PlateauScale(**arguments)
    assert repr(value) in str(caught.value)
