"""Callbacks, averages and settings reach Nadam through a loss scale, whoever put it there.

All models here are of mixed_float16; `compile()` wraps what the user did not wrap.
"""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from nadam_suite import Nadam, ParameterRule
from nadam_suite.averaging import (
    EMA,
    PowerEMA,
    average_names,
    average_tensors,
    averaged_weights,
)
from nadam_suite.averaging.posthoc_files import list_snapshots
from nadam_suite.callbacks import (
    AverageCheckpoint,
    AverageSnapshots,
    EMAFinalization,
    EvaluateAverage,
    HyperparameterLogger,
    LossScaleMonitor,
    PlateauScale,
    TrainingState,
)
from nadam_suite.precision import DynamicLossScaleOptimizer
from nadam_suite.schedules import WarmupLinear
from tests.cli.running import SMALL, run
from tests.reference.averages import ema

STEPS, EPOCHS, BATCH = 4, 3, 4
WRAPPERS = {
    "ours": lambda inner: DynamicLossScaleOptimizer(inner, initial_scale=256.0),
    "compile": lambda inner: inner,
}


@pytest.fixture(params=WRAPPERS)
def compiled(request):
    """A function from arguments of Nadam to a compiled model in mixed_float16."""

    def make(rate=0.02, **options):
        keras.utils.clear_session(free_memory=False)  # which forgets the policy
        keras.config.set_dtype_policy("mixed_float16")
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(4, name="first"),
                keras.layers.Dense(1, name="last"),
            ]
        )
        model.compile(WRAPPERS[request.param](Nadam(rate, **options)), loss="mse")
        ours = isinstance(model.optimizer, DynamicLossScaleOptimizer)
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        assert ours is (request.param == "ours")
        return model

    return make


def data():
    """Small enough that no step is skipped, though the stock scale begins at 32768."""
    x = np.random.default_rng(0).normal(size=(BATCH * STEPS, 3)).astype("float32") / 8
    return x, (x[:, :1] * 0.5 + 0.1).astype("float32")


def fit(model, *callbacks, epochs=EPOCHS, **options):
    arguments = {"batch_size": BATCH, "shuffle": False, "verbose": 0, "epochs": epochs, **options}
    return model.fit(*data(), callbacks=list(callbacks), validation_data=data(), **arguments)


def numbers(variables):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def averages_of(model):
    return numbers(average for _, average in average_tensors(model))


def assert_equal(found, expected):
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, other)


class Weights(keras.callbacks.Callback):
    """Keeps the weights after each step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(numbers(self.model.trainable_variables))


def test_the_logger_sees_what_nadam_used(compiled):
    """Rate and decay of the last step; the norm is that of the unscaled gradients."""
    rate = WarmupLinear(0.05, total_steps=STEPS * EPOCHS)
    history = fit(compiled(rate, weight_decay=0.1), HyperparameterLogger()).history
    last = [float(keras.ops.convert_to_numpy(rate(STEPS * e - 1))) for e in (1, 2, 3)]
    np.testing.assert_allclose(history["learning_rate"], last, rtol=1e-6)
    np.testing.assert_allclose(history["weight_decay"], [0.1] * 3, rtol=1e-6)
    assert 0.0 < max(history["gradient_norm"]) < 20.0


@pytest.mark.parametrize("varies", [False, True])
def test_a_plateau_lowers_the_rate(compiled, varies):
    """A number is assigned, a schedule is multiplied."""
    rate = WarmupLinear(0.0, total_steps=100, end=0.0) if varies else 0.02
    model = compiled(rate)
    plateau = PlateauScale("loss", factor=0.5, patience=1, min_delta=1e9)
    fit(model, plateau)
    assert plateau.scale == 0.25
    inner = model.optimizer.inner_optimizer
    if varies:
        assert float(keras.ops.convert_to_numpy(inner.learning_rate_scale)) == 0.25
    else:
        np.testing.assert_allclose(numbers([inner.learning_rate])[0], 0.005, rtol=1e-6)


def test_the_rate_is_read_and_assigned_through_the_wrapper(compiled):
    """It is the inner optimizer's; of a schedule the current value."""
    model = compiled()
    fit(model, epochs=1)
    model.optimizer.learning_rate = 0.25
    assert float(keras.ops.convert_to_numpy(model.optimizer.inner_optimizer.learning_rate)) == 0.25
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == 0.25
    model = compiled(WarmupLinear(0.05, total_steps=10))
    fit(model, epochs=1)
    rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    np.testing.assert_allclose(rate, 0.03, rtol=1e-6)


def test_averages_are_those_of_the_float32_weights(compiled):
    """The variables are float32 under this policy; the averages follow them step by step."""
    model, weights = compiled(averaging=EMA(0.5, warmup=None)), Weights()
    fit(model, weights)
    assert average_names(model) == ("ema",)
    for place, average in enumerate(averages_of(model)):
        course = [step[place] for step in weights.seen]
        np.testing.assert_allclose(average, ema(course, 0.5)[-1], rtol=1e-6, atol=1e-7)


def test_the_model_shows_averages_and_raw_weights(compiled):
    """In a block, and at the end for good; the optimizer keeps the raw ones."""
    model = compiled(averaging=EMA(0.9))
    fit(model)
    raw, averages = numbers(model.trainable_variables), averages_of(model)
    with averaged_weights(model):
        assert_equal(numbers(model.trainable_variables), averages)
    assert_equal(numbers(model.trainable_variables), raw)
    finalized = compiled(averaging=EMA(0.9))
    fit(finalized, EMAFinalization())
    assert_equal(numbers(finalized.trainable_variables), averages)


def test_validation_and_files_are_those_of_the_averages(compiled, tmp_path):
    """The best averages are saved by the metric that was validated with them."""
    model = compiled(averaging=EMA(0.9))
    path = tmp_path / "best.keras"
    checkpoint = AverageCheckpoint(path, monitor="val_loss", save_best_only=True)
    history = fit(model, EvaluateAverage(), checkpoint).history
    assert history["val_loss"] != history["val_raw_loss"]
    with averaged_weights(model):
        expected = model.evaluate(*data(), batch_size=32, verbose=0)
    np.testing.assert_allclose(history["val_loss"][-1], expected, rtol=1e-3)
    files = [p for p in tmp_path.iterdir() if p.suffix == ".keras"]
    assert files
    for file in files:
        loaded = keras.models.load_model(file)
        assert loaded.layers[0].compute_dtype == "float16"
        fit(loaded, epochs=1)


def test_snapshots_are_taken(compiled, tmp_path):
    """Of a power average, while it grows."""
    fit(compiled(averaging=PowerEMA()), AverageSnapshots(tmp_path, every=4))
    assert [row.time for row in list_snapshots(tmp_path)] == [4, 8, 12]


def test_rules_hold_and_are_explained(compiled):
    """A rule that freezes does so inside of a loss scale."""
    model = compiled(parameter_rules=[ParameterRule("bias", learning_rate=0.0)])
    before = numbers(model.trainable_variables)
    fit(model)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        still = np.array_equal(keras.ops.convert_to_numpy(variable), old)
        assert still == variable.path.endswith("bias")
    optimizer = model.optimizer
    if not isinstance(optimizer, DynamicLossScaleOptimizer):
        optimizer = optimizer.inner_optimizer  # the stock class hands on the rate alone
    rows = optimizer.explain(model.trainable_variables)
    assert [row.learning_rate for row in rows] == [1.0, 0.0] * 2


def test_a_model_that_is_saved_and_loaded_goes_on_exactly(compiled, tmp_path):
    """Settings, moments, averages and the scale come back from a `.keras` file."""
    options = {"averaging": EMA(0.9), "weight_decay": 0.1, "gradient_accumulation_steps": 2}
    model = compiled(WarmupLinear(0.05, total_steps=40), **options)
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(model.optimizer)
    settings = [m.optimizer.get_config()["inner_optimizer"]["config"] for m in (loaded, model)]
    assert json.dumps(settings[0], default=str) == json.dumps(settings[1], default=str)
    for each in (model, loaded):
        fit(each)
    assert_equal(numbers(loaded.variables), numbers(model.variables))
    assert_equal(numbers(loaded.optimizer.variables), numbers(model.optimizer.variables))


class Cut(keras.callbacks.Callback):
    """Interrupts a training after so many batches."""

    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_training_that_is_cut_goes_on_exactly(compiled, tmp_path):
    """`TrainingState` keeps the scale with all else, whoever counts it."""

    def train(folder, *after):
        model = compiled(averaging=EMA(0.9), gradient_accumulation_steps=3)
        state = TrainingState(folder)
        others = [HyperparameterLogger(), LossScaleMonitor(), PlateauScale("loss", patience=1)]
        start = state.restore(model)
        fit(model, *state.around(*others), *after, initial_epoch=start)
        return model, state.history

    whole, history = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", Cut(STEPS + 2))
    resumed, found = train(tmp_path / "cut")
    assert found == history
    assert "loss_scale" in history[0]
    assert_equal(numbers(resumed.variables), numbers(whole.variables))
    assert_equal(numbers(resumed.optimizer.variables), numbers(whole.optimizer.variables))


@pytest.mark.once
def test_the_command_explains_a_training_in_half_precision(capsys):
    """The same variables and rules as in float32."""
    explained = []
    for precision in ("float32", "mixed_float16"):
        found = run(capsys, "explain", "digits", *SMALL, f"precision={precision}", "--json")
        assert found.status == 0, found.errors
        explained.append(json.loads(found.output))
    assert explained[0] == explained[1]
