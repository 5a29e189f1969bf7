"""Functions that a user's config names.

PAUSE, in seconds, makes each batch take its time; SPOILT is the share of the batches that have a
number which is none.
"""

from __future__ import annotations

import os
import time

import keras
import numpy as np

from nadam_suite.experiment import Splits, Task


def line() -> Task:
    return Task(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), "mse")


def network() -> Task:
    """Dropout draws from a generator that a resumed run must find as it was."""
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    return Task(keras.Sequential([keras.Input((1,)), *layers]), "mse", ("mae",))


class Layered(keras.Model):
    """A subclass that does not say how it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(8, "relu")
        self.dropout = keras.layers.Dropout(0.5)
        self.out = keras.layers.Dense(1)

    def call(self, inputs, training=None):
        return self.out(self.dropout(self.hidden(inputs), training=training))


def layered(half_built: bool = False) -> Task:
    model = Layered()
    if half_built:  # as `build((None, 1))` leaves it, with a warning
        model.built = True
    return Task(model, "mse", ("mae",))


def unshaped() -> Task:
    return Task(keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(1)]), "mse")


def broken_call() -> Task:
    class Broken(keras.Model):
        def call(self, inputs):
            raise RuntimeError("my own bug")

    return Task(Broken(), "mse")


class Bounded(keras.losses.Loss):
    """A loss that is finite for predictions that are not."""

    def call(self, y_true, y_pred):
        finite = keras.ops.where(keras.ops.isfinite(y_pred), y_pred, 0.0 * y_pred)
        return keras.ops.nan_to_num(keras.ops.square(finite - y_true))


def hiding() -> Task:
    return Task(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), Bounded())


def partly_half() -> Task:
    """One layer computes in float16, whatever the others do."""
    layers = [keras.layers.Dense(8, "relu", dtype="mixed_float16"), keras.layers.Dense(1)]
    return Task(keras.Sequential([keras.Input((1,)), *layers]), "mse")


def normalized() -> Task:
    layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    return Task(keras.Sequential([keras.Input((1,)), *layers]), "mse", ("mae",))


def points(validate: bool = True) -> Splits:
    x = np.linspace(0.0, 1.0, 32, dtype="float32")[:, None]

    def paused(batch: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return batch

    validation = (x[::5], x[::5] ** 2) if validate else None
    return Splits(train=(x, x**2), validation=validation, augment=paused)


def spoilt_points() -> Splits:
    splits = points()

    def spoil(batch: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        spoilt = generator.random() < float(os.environ.get("SPOILT", "0"))
        return np.full_like(batch, np.nan) if spoilt else batch

    return Splits(train=splits.train, validation=splits.validation, augment=spoil)


def points_with_test() -> Splits:
    splits = points()
    return Splits(train=splits.train, validation=splits.validation, test=splits.validation)


def two_inputs() -> Task:
    """A model that calls its inputs by their names, with dropout as in `network`."""
    inputs = {name: keras.Input((1,), name=name) for name in ("first", "second")}
    hidden = keras.layers.Concatenate()([inputs["first"], inputs["second"]])
    hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(8, "relu")(hidden))
    return Task(keras.Model(inputs, keras.layers.Dense(1)(hidden)), "mse", ("mae",))


def two_by_position() -> Task:
    """The same, for a tuple of inputs."""
    inputs = [keras.Input((1,)), keras.Input((1,))]
    hidden = keras.layers.Dropout(0.5)(keras.layers.Concatenate()(inputs))
    return Task(keras.Model(inputs, keras.layers.Dense(1)(hidden)), "mse")


def pairs_of_points(by_name: bool = True) -> Splits:
    """Two inputs of one column each."""
    x = np.linspace(0.0, 1.0, 32, dtype="float32")[:, None]
    inputs = {"first": x, "second": 1.0 - x} if by_name else (x, 1.0 - x)
    return Splits(train=(inputs, x**2), validation=(inputs, x**2), test=(inputs, x**2))


def six_columns() -> Splits:
    """Examples that none of the models here takes."""
    return Splits(train=(np.zeros((8, 6)), np.zeros(8)))


def broken() -> Splits:
    raise KeyError("gone")
