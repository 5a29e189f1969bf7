"""Cells about what a step computes, counted in operations rather than in seconds."""

from __future__ import annotations

import keras
import numpy as np

from nadam_suite.backends import get_backend
from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.harness import variable

__all__ = ["CELLS"]


def _idle_micro_batches(subject: Subject) -> Observation:
    optimizer = subject.optimizer(0.1, gradient_accumulation_steps=4)
    weight = variable(np.ones(3))
    optimizer.build([weight])
    state = [v.value for v in optimizer.variables]
    gradients = [keras.ops.ones((3,))]
    names = get_backend().operations(optimizer.stateless_apply, state, gradients, [weight.value])
    roots = sum(name in ("sqrt", "rsqrt") for name in names)
    return Observation(roots == 0, f"{len(names)} operations a micro-batch, {roots} of them roots")


def _one_call_for_many(subject: Subject) -> Observation:
    class Derived(subject.optimizer):  # type: ignore[name-defined]
        """What a user writes to change one method."""

    counts = []
    for number in (4, 20):
        weights = [variable(np.ones((2, 2)), name=f"weight_{i}") for i in range(number)]
        gradients = [keras.ops.ones((2, 2)) for _ in weights]
        optimizer = Derived(0.1)
        optimizer.apply(gradients, weights)
        counts.append(len(get_backend().operations(optimizer.apply, gradients, weights)))
    growth = (counts[1] - counts[0]) / 16
    return Observation(growth <= 2.0, f"{growth:.3g} more kernels for each variable more")


CELLS = (
    Cell(
        "K38/idle",
        "A micro-batch that only accumulates does not compute an update.",
        "gradient_accumulation_steps=4, operations outside of any branch",
        _idle_micro_batches,
        backends=("jax",),
    ),
    Cell(
        "K32/subclass",
        "A subclass updates many variables in one call, as the class itself does.",
        "a plain subclass, kernels a step with 4 and with 20 variables",
        _one_call_for_many,
        backends=("torch",),
    ),
)
