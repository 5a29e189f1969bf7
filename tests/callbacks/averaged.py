"""A small training with averages, which the tests of the callbacks for averages share."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, average_tensors
from nadam_suite.experiment.assemble import build_ahead
from nadam_suite.precision import DynamicLossScaleOptimizer

BATCH, EPOCHS = 4, 3


def data(rows=8):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 3)).astype("float32")
    return x, (x[:, :1] * 2 + 1).astype("float32")


X, Y = data()
VALIDATION = data(6)[0] + 0.5, data(6)[1]


def optimizer(**options):
    return Nadam(0.1, averaging=EMA(0.7, warmup=None), **options)


def multi():
    """An optimizer of two parts."""
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("this Keras has no MultiOptimizer")
    parts = keras.optimizers.OptimizerMap(optimizer(), {".*bias": optimizer()})
    return keras.optimizers.MultiOptimizer(parts)


# Optimizers with averages inside; `use_ema` is the stock shorthand.
WRAPPINGS = {
    "dynamic": lambda: DynamicLossScaleOptimizer(optimizer(), initial_scale=4.0),
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(optimizer(), initial_scale=4.0),
    "multi": multi,
    "accumulation": lambda: optimizer(gradient_accumulation_steps=3),
    "use_ema": lambda: Nadam(0.1, use_ema=True, ema_momentum=0.7),
}


def slow(*cases):
    return [pytest.param(case, marks=pytest.mark.slow) for case in cases]


def model_with(chosen=None, normalize=False, **compile_options):
    """A compiled model, equal every time; with batch normalization behind dropout if asked for."""
    keras.utils.set_random_seed(1)
    between = [keras.layers.Dropout(0.25, seed=3), keras.layers.BatchNormalization(momentum=0.5)]
    model = keras.Sequential(
        [keras.Input((3,)), *(between if normalize else ()), keras.layers.Dense(1)]
    )
    model.compile(chosen or optimizer(), loss="mse", metrics=["mae"], **compile_options)
    build_ahead(model, X[:1], Y[:1])
    return model


def fit(model, *callbacks, epochs=EPOCHS, **options):
    arguments = {
        "batch_size": BATCH,
        "epochs": epochs,
        "shuffle": False,
        "verbose": 0,
        "validation_data": VALIDATION,
        "callbacks": list(callbacks),
        **options,
    }
    return model.fit(X, Y, **arguments).history


def array(tensor):
    return np.array(keras.ops.convert_to_numpy(tensor))


def values(model):
    """Everything that a model is: its weights and other state."""
    return [array(variable) for variable in model.variables]


def statistics(model):
    """Moving means and variances."""
    return [array(variable) for variable in model.variables if "moving" in variable.path]


def averages(model, name=None):
    return [array(tensor) for _, tensor in average_tensors(model, name)]


def weights(model):
    """Values of the averaged variables, in the order of `averages`."""
    return [array(variable) for variable, _ in average_tensors(model)]


def everything(model):
    return [*values(model), *(array(variable) for variable in model.optimizer.variables)]


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def differ(first, second):
    return any((a != b).any() for a, b in zip(first, second, strict=True))


def load(path):
    return keras.saving.load_model(path)


def evaluate(path):
    return load(path).evaluate(*VALIDATION, verbose=0, return_dict=True)


def weights_of(path):
    return [array(variable) for variable in load(path).trainable_variables]


class Recorder(keras.callbacks.Callback):
    """Keeps what the model holds at the end of each epoch, or while it is evaluated."""

    def __init__(self):
        super().__init__()
        self.weights, self.averages, self.seen, self.state = [], [], [], []
        self.all_weights = []  # those that a file has: all but the seeds
        self.statistics = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(weights(self.model))
        self.averages.append(averages(self.model))
        self.state.append(values(self.model))
        self.all_weights.append(self.model.get_weights())
        self.statistics.append(statistics(self.model))

    def on_test_begin(self, logs=None):
        self.seen.append(weights(self.model))

    def on_predict_begin(self, logs=None):
        self.seen.append(weights(self.model))


class Script(keras.callbacks.Callback):
    """Puts a metric that was written beforehand into the logs."""

    def __init__(self, *told):
        super().__init__()
        self.told = told

    def on_epoch_end(self, epoch, logs=None):
        logs["told_loss"] = self.told[epoch]


class Interrupt(keras.callbacks.Callback):
    """Raises KeyboardInterrupt at a moment of the second epoch."""

    def __init__(self, moment):
        super().__init__()
        self.moment, self.epoch, self.tests = moment, 0, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self._at("epoch_begin")

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 1:
            self._at("batch_begin")

    def on_train_batch_end(self, batch, logs=None):
        self._at("batch_end")

    def on_test_begin(self, logs=None):
        self._at("test_begin")

    def on_test_batch_begin(self, batch, logs=None):
        self._at(f"test_batch_{batch}")

    def on_test_batch_end(self, batch, logs=None):
        self._at(f"test_batch_{batch}_end")

    def on_test_end(self, logs=None):
        self._at("test_end")

    def on_epoch_end(self, epoch, logs=None):
        self._at("epoch_end")

    def _at(self, moment):
        if moment == self.moment and self.epoch == 1:
            raise KeyboardInterrupt


def expected_logs(x, y, arrays):
    """Mean squared and absolute error of the dense layer with given weights, in float64."""
    kernel, bias = (array.astype("float64") for array in arrays)
    error = x.astype("float64") @ kernel + bias - y
    return {"loss": np.mean(error**2), "mae": np.mean(np.abs(error))}
