"""Small searches that the tests of the tuners share."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import warnings
from pathlib import Path

import keras
import numpy as np

from nadam_suite import Nadam
from nadam_suite.averaging import EMA
from nadam_suite.schedules import WarmupCosine

EXAMPLES, BATCH, EPOCHS = 24, 8, 3
STEPS = EXAMPLES // BATCH
RATES = (1e-3, 1.0)
# TensorFlow takes seconds to trace each of these models, and milliseconds for a step of them. What
# is compiled is tried in test_runs.py, test_hypermodel_fit.py and the contract cells.
COMPILE = {"loss": "mse", "run_eagerly": keras.backend.backend() == "tensorflow"}


def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(EXAMPLES, 3)).astype("float32")
    return x, (x[:, :1] ** 2).astype("float32")


def build(hp):
    """A model with all that a restart could lose: averages, dropout, moving statistics."""
    rate = hp.Float("rate", *RATES, sampling="log", default=0.05)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, activation="tanh"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    model.compile(Nadam(rate, averaging=EMA(0.8)), metrics=["mae"], **COMPILE)
    return model


def build_planned(hp):
    """A model whose rate has a warm-up and a decay over all epochs, the first of which warms up."""
    rate = hp.Float("rate", *RATES, sampling="log", default=0.05)
    schedule = WarmupCosine(rate, EPOCHS * STEPS, warmup_steps=STEPS)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(Nadam(schedule, averaging=EMA(0.8)), **COMPILE)
    return model


def build_stock(hp):
    """The same with what Keras has."""
    rate = hp.Float("rate", *RATES, sampling="log", default=0.05)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, (EPOCHS - 1) * STEPS, warmup_target=rate, warmup_steps=STEPS
    )
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Nadam(schedule), **COMPILE)
    return model


@functools.cache
def _spare_collections():
    """keras-tuner collects garbage before each trial, half a second with all of TensorFlow."""
    gc.freeze()


def search(tuner, epochs=EPOCHS, **options):
    """Search on the data; with `epochs=None` the tuner says how many."""
    _spare_collections()
    x, y = data()
    options.setdefault("validation_data", (x, y))
    if epochs is not None:
        options["epochs"] = epochs
    tuner.search(x, y, batch_size=BATCH, verbose=0, **options)
    return tuner


def make(kind, folder, model=build, trials=2, objective="val_loss", **options):
    """A tuner, ours or stock."""
    options = {"seed": 0, **options}
    return kind(model, objective, max_trials=trials, directory=folder, project_name="s", **options)


@contextlib.contextmanager
def quietly():
    """What stock keras-tuner warns of is not what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def scores(tuner):
    """Values, score and best step of each trial, by name."""
    return {
        trial.trial_id: (trial.hyperparameters.values, trial.score, trial.best_step)
        for trial in tuner.oracle.trials.values()
    }


def stored(folder, pattern="trial_*/execution_*/state/training_state.npz"):
    """The arrays of all files of trials, by path and name."""
    found = {}
    for path in sorted(Path(folder).glob(pattern)):
        with np.load(path) as members:
            name = path.relative_to(folder).as_posix()
            found |= {f"{name}:{key}": members[key] for key in members}
    return found


def history(folder, trial, execution=0):
    path = Path(folder, f"trial_{trial}", f"execution_{execution}", "history.csv")
    return path.read_text().splitlines()


def state_of(folder):
    return json.loads(Path(folder, "oracle.json").read_text())


class Once(keras.callbacks.Callback):
    """One object for all trials, though tuners copy callbacks for each."""

    def __deepcopy__(self, memo):
        return self

    def __copy__(self):
        return self


class Seen(Once):
    """Remembers the optimizer's iterations, and the rate, at the start of each training."""

    def __init__(self):
        super().__init__()
        self.iterations, self.rates = [], []

    def on_train_begin(self, logs=None):
        self.iterations.append(int(keras.ops.convert_to_numpy(self.model.optimizer.iterations)))

    def on_train_batch_begin(self, batch, logs=None):
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        self.rates.append(float(rate))


class Cut(Once):
    """Raises as Ctrl-C does, at the end of a batch or of an epoch, counted over all trials."""

    def __init__(self, batch=None, epoch=None):
        super().__init__()
        self.batch, self.epoch = batch, epoch
        self.batches = self.epochs = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == self.batch:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        if self.epochs == self.epoch:
            raise KeyboardInterrupt
