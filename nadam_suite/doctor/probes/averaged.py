"""What the cells about averages share: a model that falls steadily, its averages, and a Ctrl-C.

The weights of `averaged_model` fall from 1 with every batch, their averages behind them. So a
validation target between both after the second epoch, nearer to the averages, makes that epoch the
best one, whichever of the two is validated, and tells them apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Observation, Subject
from nadam_suite.doctor.probes.harness import FAR, averages, compare, line_model, nadam, value

__all__ = [
    "BEST",
    "MOMENTUM",
    "RATE",
    "ROWS",
    "TARGET",
    "VALIDATION",
    "Interrupt",
    "Scope",
    "averaged_model",
    "bits",
    "closed_form",
    "fit",
    "kernel_is",
    "plain",
    "step",
]

Scope = Callable[[], contextlib.AbstractContextManager[Any]]
plain: Scope = contextlib.nullcontext  # on one device a model is made in no scope

ROWS = ((0.5, 1.0), (1.0, 0.25), (0.5, 0.5), (0.25, 1.0))  # gradients of the batches of an epoch
RATE, MOMENTUM, BEST = 0.1, 0.5, 2


def closed_form(epochs: int, rows: Sequence[Any] = ROWS) -> tuple[list[Any], list[Any]]:
    """Return weights and averages after each of the batches, in float64."""
    path = nadam(np.ones(2), [*rows] * epochs, RATE)
    return path, averages(path, MOMENTUM)


def _target() -> float:
    raw, averaged = (series[-1].sum() for series in closed_form(BEST))
    return float(averaged + 0.25 * (raw - averaged))


TARGET = _target()
VALIDATION = (np.ones((2, 2), "float32"), np.full((2, 1), TARGET, "float32"))


def averaged_model(subject: Subject, scope: Scope = plain, **arguments: Any) -> keras.Model:
    """Return a line model whose optimizer keeps an average, see `line_model`."""
    with scope():
        return line_model(subject.averages.optimizer(RATE, MOMENTUM, **arguments))


def fit(
    model: keras.Model,
    epochs: int,
    *callbacks: Any,
    rows: Sequence[Any] = ROWS,
    initial_epoch: int = 0,
    validate: bool = False,
) -> dict[str, list[float]]:
    """Train batches of two equal examples, one for each replica, and return the history."""
    x = np.repeat(np.asarray(rows, "float32"), 2, axis=0)
    history = model.fit(
        x,
        np.full((len(x), 1), FAR, "float32"),
        batch_size=2,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        validation_data=VALIDATION if validate else None,
        callbacks=list(callbacks),
    )
    return history.history


def step(model: keras.Model, rows: Sequence[Any] = ROWS) -> None:
    """Train the same batches without `fit()`, which would end on the averages."""
    for row in rows:
        # With weights, since Keras 3.12.0 cannot share out a batch without any over JAX's devices.
        batch = np.asarray([row] * 2, "float32"), np.full((2, 1), FAR, "float32")
        model.train_on_batch(*batch, sample_weight=np.ones(2, "float32"))


def kernel_is(model: keras.Model, expected: Any, what: str) -> Observation:
    """Compare the kernel of a line model with what it should be."""
    return compare(value(model.layers[0].kernel).ravel(), expected, 1e-5, what)


def bits(model: keras.Model) -> list[bytes]:
    """Return the weights of a model as they are in memory."""
    return [array.tobytes() for array in model.get_weights()]


class Interrupt(keras.callbacks.Callback):
    """Somebody presses Ctrl-C.

    Args:
        train: After so many batches of training; 0 is before the first. None, the default, never.
        test: Whether in an evaluation, after a batch of it.
    """

    def __init__(self, train: int | None = None, *, test: bool = False) -> None:
        super().__init__()
        self.left, self.test = train, test

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Interrupt before the first batch."""
        if self.left == 0:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count down, and interrupt."""
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Interrupt an evaluation."""
        if self.test:
            raise KeyboardInterrupt
