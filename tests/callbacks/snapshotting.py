"""Small trainings that keep power function averages, and what they leave behind."""

from __future__ import annotations

import keras
import numpy as np

from nadam_suite import Nadam
from nadam_suite.averaging import PowerEMA
from nadam_suite.averaging.posthoc_files import list_snapshots

STEPS, BATCH = 10, 2


def data(steps=STEPS):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(steps * BATCH, 3)).astype("float32")
    return x, x[:, :1] - 0.5 * x[:, 1:2]


def model_with(optimizer=None, units=1, built=True, **options):
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(units)]
    model = keras.Sequential([keras.Input((3,)), *layers] if built else layers)
    defaults = {"learning_rate": 0.02, "averaging": PowerEMA((0.05, 0.1))}
    optimizer = optimizer or Nadam(**{**defaults, **options})
    model.compile(optimizer, loss="mse")
    return model


def fit(model, *callbacks, epochs=3, steps=STEPS, **options):
    return model.fit(
        *data(steps),
        batch_size=BATCH,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **options,
    )


def times(folder):
    return [snapshot.time for snapshot in list_snapshots(folder)]


def vector(variables):
    return np.concatenate([np.ravel(keras.ops.convert_to_numpy(v)) for v in variables])


class Recorder(keras.callbacks.Callback):
    """Keeps the weights after each batch."""

    def __init__(self):
        super().__init__()
        self.path = []

    def on_train_batch_end(self, batch, logs=None):
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        self.path.append(vector(self.model.trainable_variables).astype("float64"))
