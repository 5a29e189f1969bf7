"""What the cells about searches share: a model, its data, and a search that says nothing."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np

from nadam_suite.doctor.cell import Observation, Subject

__all__ = [
    "ROWS",
    "STEPS",
    "Watch",
    "builder",
    "data_of_search",
    "quiet",
    "random_tuner",
    "run_search",
    "small_model",
]

ROWS = 8
STEPS = 2  # batches of an epoch


def quiet(probe: Callable[[Subject], Observation]) -> Callable[[Subject], Observation]:
    """Return a probe that keeps to itself what keras-tuner prints, tracebacks too."""

    @functools.wraps(probe)
    def silent(subject: Subject) -> Observation:
        nowhere = io.StringIO()
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            return probe(subject)

    return silent


def data_of_search() -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and the targets of a line."""
    x = np.random.default_rng(0).normal(size=(ROWS, 2)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def small_model(optimizer: Any, kind: type[keras.Sequential] = keras.Sequential) -> keras.Model:
    """Return a compiled model of two weights that start at zero."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = kind([keras.Input((2,)), layer])
    model.compile(optimizer, loss="mse", jit_compile=keras.backend.backend() == "jax")
    return model


def builder(subject: Subject, low: float = 1e-3, high: float = 1e-1) -> Callable[[Any], Any]:
    """Return a function of hyperparameters for models whose learning rate is searched for."""

    def build(hp: Any) -> keras.Model:
        rate = hp.Float("learning_rate", low, high, sampling="log", default=2 * low)
        return small_model(subject.optimizer(rate))

    return build


def run_search(tuner: Any, *callbacks: Any, x: Any = None, epochs: int | None = 1) -> None:
    """Search with a small fit for each trial; a Hyperband has epochs of its own."""
    data, targets = data_of_search()
    data = data if x is None else x
    lengths = {} if epochs is None else {"epochs": epochs}
    tuner.search(
        data,
        targets,
        batch_size=ROWS // STEPS,
        validation_data=(data, targets),
        callbacks=list(callbacks),
        verbose=0,
        **lengths,
    )


class Watch(keras.callbacks.Callback):
    """Notes the updates that a fit begins with, by its first epoch; one object for all trials."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[tuple[int, int]] = []
        self._epoch = 0
        self._first = True

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def on_train_begin(self, logs: Any = None) -> None:
        """Expect a first epoch."""
        self._first = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note the first epoch."""
        if self._first:
            self.begun.append((epoch, int(self.model.optimizer.iterations)))
        self._first = False


def random_tuner(subject: Subject, folder: Path, **arguments: Any) -> Any:
    """Return a tuner that draws at random, of one trial unless another number is given."""
    arguments = {
        "hypermodel": builder(subject),
        "objective": "val_loss",
        "max_trials": 1,
        "seed": 1,
        **arguments,
    }
    return subject.search().random(directory=str(folder), project_name="search", **arguments)
