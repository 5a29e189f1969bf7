"""Cells about half-precision variables and about types that are mixed."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.harness import (
    apply_all,
    averages,
    compare,
    line_model,
    nadam,
    scratch,
    train,
    value,
    variable,
)

__all__ = ["CELLS"]

_START = np.array([1.0, -0.5, 0.25])
_BFLOAT16, _FLOAT16 = 2.0**-8, 2.0**-10  # half a unit in the last place, doubled


def _gradients(steps: int) -> list[np.ndarray]:
    """Return gradients that every half-precision type holds exactly."""
    pattern = np.array([0.5, -0.25, 1.0])
    return [pattern * (1.0 if step % 3 else -0.5) for step in range(steps)]


def _half(dtype: str, tolerance: float) -> Callable[[Subject], Observation]:
    def probe(subject: Subject) -> Observation:
        weight, gradients = variable(_START, dtype), _gradients(40)
        apply_all(subject.optimizer(1e-3), [weight], gradients)
        expected = nadam(_START, gradients)[-1]
        error = np.abs(value(weight) - expected) / np.abs(expected)
        return compare(error, np.zeros(3), tolerance, f"{dtype} weights, relative")

    return probe


def _small_float16_gradients(subject: Subject) -> Observation:
    weight = variable([1.0], "float16")
    gradients = [np.array([1e-3])] * 3
    apply_all(subject.optimizer(1e-2), [weight], gradients)
    return compare(value(weight), nadam([1.0], gradients, 1e-2)[-1], _FLOAT16, "weight")


def _float16_policy_in_fit(subject: Subject) -> Observation:
    model = line_model(subject.optimizer(1e-2), dtype="float16")
    gradients = [[1e-3, 2e-3]] * 6
    train(model, gradients)
    expected = nadam([1.0, 1.0], gradients, 1e-2)[-1]
    return compare(value(model.layers[0].kernel).ravel(), expected, 2 * _FLOAT16, "weights")


def _average_moves(subject: Subject) -> Observation:
    # A beta_2 that bfloat16 holds exactly keeps the other defect of that type out of the picture.
    arguments = {"learning_rate": 0.02, "beta_2": 0.5, "use_ema": True, "ema_momentum": 0.999}
    optimizer, weight = subject.optimizer(**arguments), variable([1.0], "bfloat16")
    gradients = [np.array([0.5])] * 80
    apply_all(optimizer, [weight], gradients)
    optimizer.finalize_variable_values([weight])
    expected = averages(nadam([1.0], gradients, 0.02, beta_2=0.5), 0.999)[-1]
    return compare(value(weight), expected, _BFLOAT16, f"average (exact {expected.item():.4f})")


def _types_mixed(subject: Subject) -> Observation:
    weights = [variable(_START, "float16", "half"), variable(_START, "float32", "full")]
    gradients = _gradients(20)
    apply_all(subject.optimizer(1.0), weights, gradients)
    expected = nadam(_START, gradients, 1.0)[-1]
    return compare(value(weights[1]), expected, 1e-5, "the float32 weights")


def _loss_scale(subject: Subject) -> Observation:
    gradients = [[0.5, -1.0], [1.0, 0.25]] * 5
    model = line_model(keras.optimizers.LossScaleOptimizer(subject.optimizer(1e-2)))
    train(model, gradients)
    expected = nadam([1.0, 1.0], gradients, 1e-2)[-1]
    return compare(value(model.layers[0].kernel).ravel(), expected, 1e-5, "weights after 10 steps")


def _loss_scale_resumed(subject: Subject) -> Observation:
    gradients = [[0.5, -1.0], [1.0, 0.25]] * 4
    with scratch() as folder:
        model = line_model(keras.optimizers.LossScaleOptimizer(subject.optimizer(1e-2)))
        train(model, gradients[:6])
        model.save(folder / "model.keras")
        resumed = keras.models.load_model(folder / "model.keras")
    train(resumed, gradients[6:])
    expected = nadam([1.0, 1.0], gradients, 1e-2)[-1]
    return compare(value(resumed.layers[0].kernel).ravel(), expected, 1e-5, "weights")


CELLS = (
    Cell(
        "K6/bfloat16",
        "bfloat16 weights follow the exact trajectory to bfloat16 rounding.",
        "bfloat16 variables, 40 steps",
        _half("bfloat16", _BFLOAT16),
    ),
    Cell(
        "K6/float16",
        "float16 weights follow the exact trajectory to float16 rounding.",
        "float16 variables, 40 steps",
        _half("float16", _FLOAT16),
    ),
    Cell(
        "K7/bfloat16",
        "The average of bfloat16 weights moves, however slowly it is asked to.",
        "bfloat16, ema_momentum=0.999, 80 steps",
        _average_moves,
    ),
    Cell(
        "D01/steps",
        "A loss scale around the optimizer does not change the size of its steps.",
        "LossScaleOptimizer, 10 compiled steps",
        _loss_scale,
        stock_holds_on=("tensorflow", "torch"),
    ),
    Cell(
        "D02/resumed",
        "Training under a loss scale goes on exactly after save and load.",
        "LossScaleOptimizer, .keras file after 6 of 8 steps",
        _loss_scale_resumed,
    ),
    Cell(
        "D09/apply",
        "Small gradients train float16 variables as they train float32 ones.",
        "float16 variable, gradient 1e-3, 3 steps",
        _small_float16_gradients,
    ),
    Cell(
        "D09/fit",
        "A layer of policy float16 trains without NaN.",
        "Dense(dtype='float16'), 6 batches with gradients of 1e-3",
        _float16_policy_in_fit,
    ),
    Cell(
        "D11/mixed",
        "A float32 variable trains the same whatever the types beside it.",
        "a float16 and a float32 variable, 20 steps",
        _types_mixed,
    ),
)
