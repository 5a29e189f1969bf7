"""Cells about schedules: what they are at a step, and what callbacks see and change of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.harness import compare, line_model, nadam, value

__all__ = ["CELLS"]

_STEPS, _PEAK, _WARMUP = 40, 1, 10


def _cosine(step: int, peak: float = _PEAK) -> float:
    if step < _WARMUP:
        return peak * step / _WARMUP
    return peak * 0.5 * (1.0 + np.cos(np.pi * min((step - _WARMUP) / (_STEPS - _WARMUP), 1.0)))


def _values(schedule: Any, steps: list[int]) -> list[float]:
    return [float(value(keras.ops.convert_to_tensor(schedule(step)))) for step in steps]


def _int_cosine(subject: Subject) -> Observation:
    schedule = subject.warmup_cosine(_PEAK, _WARMUP, _STEPS)
    steps = [0, 5, _WARMUP, 25, _STEPS, 2 * _STEPS]
    return compare(_values(schedule, steps), [_cosine(s) for s in steps], 1e-6, "values")


def _int_exponential(subject: Subject) -> Observation:
    schedule = subject.exponential(1, 100, 0.5)
    return compare(_values(schedule, [0, 50, 100]), [1.0, 0.5**0.5, 0.5], 1e-6, "values")


def _int_training(subject: Subject) -> Observation:
    model = line_model(subject.optimizer(subject.warmup_cosine(_PEAK, _WARMUP, _STEPS)))
    gradients = [np.array([0.5, -1.0])] * 15
    _fit(model, gradients)
    path = nadam([1.0, 1.0], gradients, [_cosine(step) for step in range(15)])
    return compare(value(model.layers[0].kernel).ravel(), path[-1], 1e-4, "weights after 15 steps")


def _never_rises(subject: Subject) -> Observation:
    values = _values(subject.polynomial(1e-5, 100), [0, 50, 100])
    falls = values[0] >= values[1] >= values[2]
    return Observation(falls, f"from {values[0]:.3g} to {values[2]:.3g}")


def _fit(
    model: keras.Model, inputs: list[Any], *callbacks: Any, epochs: int = 1
) -> dict[str, list[float]]:
    """Train an epoch or more of batches of one."""
    x = np.asarray(inputs, "float32")
    history = model.fit(
        x,
        np.full((len(x), 1), -1e3, "float32"),
        batch_size=1,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    return history.history


class _Flat(keras.callbacks.Callback):
    """Puts a metric that never improves into the logs."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add it."""
        if logs is not None:
            logs["flat_loss"] = 1.0


def _plateau(rate: Callable[[Subject], Any], course: list[float]) -> Callable[..., Observation]:
    """Return a probe of 4 epochs of 2 steps, of which the last halves the rate it had."""

    def probe(subject: Subject) -> Observation:
        model = line_model(subject.optimizer(rate(subject)))
        gradients = [np.array([0.5, -1.0])] * 2
        _fit(model, gradients, _Flat(), subject.plateau("flat_loss", 0.5, 2), epochs=4)
        factors = [1.0] * 6 + [0.5] * 2
        path = nadam([1.0, 1.0], gradients * 4, np.multiply(course, factors))
        return compare(value(model.layers[0].kernel).ravel(), path[-1], 1e-4, "weights")

    return probe


def _logged(window: int | None) -> Callable[[Subject], Observation]:
    def probe(subject: Subject) -> Observation:
        schedule = subject.warmup_cosine(1.0, _WARMUP, _STEPS)
        optimizer = subject.optimizer(schedule, gradient_accumulation_steps=window)
        history = _fit(line_model(optimizer), [[0.5, -1.0]] * 10, *subject.watchers(), epochs=3)
        if "learning_rate" not in history:
            return Observation(False, f"the history has {', '.join(history)}")
        last = [9, 19, 29] if window is None else [7, 19, 27]
        expected = [_cosine(step) for step in last]
        return compare(history["learning_rate"], expected, 1e-6, "rates of 3 epochs")

    return probe


CELLS = (
    Cell(
        "K28/cosine",
        "Whole numbers typed as ints give the schedule that floats give.",
        "warm-up from 0 to 1 in 10 steps, cosine to 0 in 40",
        _int_cosine,
    ),
    Cell(
        "K28/exponential",
        "The same holds of an exponential decay.",
        "from 1 by 0.5 in 100 steps, at step 50",
        _int_exponential,
    ),
    Cell(
        "K28/training",
        "A model trains with a schedule of ints as with one of floats.",
        "warm-up from 0 to 1 in 10 steps, 15 compiled steps",
        _int_training,
    ),
    Cell(
        "K29/end",
        "A decay whose end is left to the default never rises.",
        "a straight line from 1e-5 in 100 steps",
        _never_rises,
    ),
    Cell(
        "K35/schedule",
        "The rate of a schedule can be lowered on a plateau.",
        "4 epochs of 2 steps, halved after the third",
        _plateau(
            lambda subject: subject.warmup_cosine(1.0, _WARMUP, _STEPS),
            [_cosine(step) for step in range(8)],
        ),
    ),
    Cell(
        "K35/callable",
        "The rate of a callable can be lowered on a plateau.",
        "4 epochs of 2 steps with lambda: 0.1, halved after the third",
        _plateau(lambda _: lambda: 0.1, [0.1] * 8),
    ),
    Cell(
        "K36/history",
        "With a schedule, History has the rate of each epoch's last step.",
        "warm-up and cosine, 3 epochs of 10 steps",
        _logged(None),
    ),
    Cell(
        "K36/accumulation",
        "Under accumulation it is the rate of the last real update.",
        "gradient_accumulation_steps=4, 3 epochs of 10 batches",
        _logged(4),
    ),
)
