"""Cells about what the constructor accepts, refuses, and lets be changed later."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.harness import (
    apply_all,
    compare,
    line_model,
    nadam,
    refusal,
    train,
    value,
    variable,
)

__all__ = ["CELLS"]

_GRADIENTS = [[0.5, -1.0], [1.0, 0.25], [-0.5, 0.5], [0.25, 1.0]]


def _trained(optimizer: Any, **expected: Any) -> Observation:
    """Train four compiled steps and compare with Nadam in float64."""
    model = line_model(optimizer)
    train(model, _GRADIENTS)
    path = nadam([1.0, 1.0], _GRADIENTS, **({"learning_rate": 0.1} | expected))
    return compare(value(model.layers[0].kernel).ravel(), path[-1], 1e-5, "weights after 4 steps")


def _callable_betas(subject: Subject) -> Observation:
    optimizer = subject.optimizer(0.1, beta_1=lambda: 0.8, beta_2=lambda: 0.99)
    return _trained(optimizer, beta_1=0.8, beta_2=0.99)


def _scheduled_decay(subject: Subject) -> Observation:
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.1])
    return _trained(
        subject.optimizer(0.1, weight_decay=schedule), weight_decay=[0.5, 0.5, 0.1, 0.1]
    )


def _callable_decay(subject: Subject) -> Observation:
    decay = [0.5]
    model = line_model(subject.optimizer(0.1, weight_decay=lambda: decay[0]))
    train(model, _GRADIENTS[:2])
    decay[0] = 0.1
    train(model, _GRADIENTS[2:])
    path = nadam([1.0, 1.0], _GRADIENTS, 0.1, weight_decay=[0.5, 0.5, 0.1, 0.1])
    return compare(value(model.layers[0].kernel).ravel(), path[-1], 1e-5, "weights after 4 steps")


def _schedule_by_update(subject: Subject) -> Observation:
    rates = [0.1, 0.05, 0.01]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0, 1], rates)
    optimizer = subject.optimizer(schedule, gradient_accumulation_steps=4, schedule_step="update")
    model = line_model(optimizer, width=1)
    train(model, [[1.0]] * 12)
    expected = nadam([1.0], [np.ones(1)] * 3, rates)[-1]
    return compare(value(model.layers[0].kernel).ravel(), expected, 1e-5, "weight of 3 updates")


def _accepted(*rates: Any) -> Callable[[Subject], Observation]:
    def probe(subject: Subject) -> Observation:
        for rate in rates:
            weight = variable([1.0])
            apply_all(subject.optimizer(rate), [weight], [np.ones(1)])
            seen = compare(value(weight), nadam([1.0], [np.ones(1)], float(rate))[-1], 1e-5, "step")
            if not seen.holds:
                return seen
        return Observation(True, f"{len(rates)} kinds train")

    return probe


def _refused(*cases: dict[str, Any]) -> Callable[[Subject], Observation]:
    def probe(subject: Subject) -> Observation:
        accepted = []
        for case in cases:
            (name, bad), *_ = case.items()
            if not refusal(name, functools.partial(subject.optimizer, **case)).holds:
                accepted.append(f"{name}={bad}")
        detail = f"accepted: {', '.join(accepted)}" if accepted else f"{len(cases)} values refused"
        return Observation(not accepted, detail)

    return probe


def _live_rate(subject: Subject) -> Observation:
    rate = [0.1]
    model = line_model(subject.optimizer(lambda: rate[0]))
    train(model, _GRADIENTS[:2])
    rate[0] = 0.01
    train(model, _GRADIENTS[2:])
    path = nadam([1.0, 1.0], _GRADIENTS, [0.1, 0.1, 0.01, 0.01])
    return compare(value(model.layers[0].kernel).ravel(), path[-1], 1e-5, "weights after 4 steps")


def _assigned_before(subject: Subject) -> Observation:
    optimizer = subject.optimizer(lambda: 0.5)
    optimizer.learning_rate = 0.1
    return _trained(optimizer)


def _assigned_after(subject: Subject) -> Observation:
    model = line_model(subject.optimizer(lambda: 0.1))
    train(model, _GRADIENTS[:1])

    def assign() -> None:
        model.optimizer.learning_rate = 0.5

    return refusal("learning_rate", assign)


def _setting_assigned(name: str, first: float, later: float) -> Callable[[Subject], Observation]:
    def probe(subject: Subject) -> Observation:
        model = line_model(subject.optimizer(0.1, **{name: first}))
        train(model, [[0.0, 0.0]])
        try:
            setattr(model.optimizer, name, later)
        except AttributeError as error:
            named = name in str(error)
            return Observation(named, f"refused: {str(error).partition('. ')[0]}")
        train(model, [[0.0, 0.0]])
        expected = nadam(np.ones(2), [np.zeros(2)] * 2, 0.1, weight_decay=[first, later])[-1]
        return compare(value(model.layers[0].kernel).ravel(), expected, 1e-5, "weights")

    return probe


CELLS = (
    Cell(
        "K21/callable",
        "beta_1 and beta_2 may be callables, as documented.",
        "beta_1=lambda: 0.8, beta_2=lambda: 0.99, 4 compiled steps",
        _callable_betas,
    ),
    Cell(
        "K25/schedule",
        "weight_decay may be a schedule.",
        "PiecewiseConstantDecay as weight_decay, 4 compiled steps",
        _scheduled_decay,
    ),
    Cell(
        "K25/callable",
        "weight_decay may be a callable, read again at every step.",
        "a closure as weight_decay, changed after 2 of 4 compiled steps",
        _callable_decay,
    ),
    Cell(
        "K26/update",
        "With accumulation one can choose that schedules count real updates.",
        "gradient_accumulation_steps=4, schedule_step='update', 12 batches",
        _schedule_by_update,
    ),
    Cell(
        "K27/int",
        "learning_rate may be an integer.",
        "learning_rate=1",
        _accepted(1),
    ),
    Cell(
        "K27/numpy",
        "learning_rate may be a NumPy number.",
        "np.float32(0.1), np.float64(0.1), np.int64(1)",
        _accepted(np.float32(0.1), np.float64(0.1), np.int64(1)),
    ),
    Cell(
        "K27/range",
        "Values that make no sense are refused by name.",
        "learning_rate=-1, beta_1=2, weight_decay=-1",
        _refused({"learning_rate": -1.0}, {"beta_1": 2.0}, {"weight_decay": -1.0}),
    ),
    Cell(
        "D62/betas",
        "beta_1 and beta_2 outside [0, 1) are refused by name.",
        "-0.1, 1.0 and nan",
        _refused(
            {"beta_1": -0.1},
            {"beta_1": 1.0},
            {"beta_2": -0.1},
            {"beta_2": 1.0},
            {"beta_2": float("nan")},
        ),
    ),
    Cell(
        "D62/epsilon",
        "epsilon must be positive.",
        "epsilon=-1e-7 and nan",
        _refused({"epsilon": -1e-7}, {"epsilon": float("nan")}),
    ),
    Cell(
        "D62/clips",
        "Clipping thresholds must be positive; 0 does not mean off.",
        "clipnorm, clipvalue, global_clipnorm of 0 and -1",
        _refused(
            *(
                {name: bad}
                for name in ("clipnorm", "clipvalue", "global_clipnorm")
                for bad in (0.0, -1.0)
            )
        ),
    ),
    Cell(
        "D62/loss-scale",
        "loss_scale_factor must be positive.",
        "loss_scale_factor=0 and -1",
        _refused({"loss_scale_factor": 0.0}, {"loss_scale_factor": -1.0}),
    ),
    Cell(
        "D58/live",
        "A callable learning rate is read again at every step, compiled or not.",
        "a closure as learning_rate, changed after 2 of 4 compiled steps",
        _live_rate,
        stock_holds_on=("torch",),
    ),
    Cell(
        "D41/before",
        "A number can be assigned over a callable learning rate before training.",
        "learning_rate=lambda: 0.5, then 0.1",
        _assigned_before,
    ),
    Cell(
        "D41/after",
        "Assigned during training it is refused with a reason and a remedy.",
        "learning_rate=lambda: 0.1, then 0.5 after a step",
        _assigned_after,
    ),
    Cell(
        "D59/weight-decay",
        "A setting assigned after the first step counts, or is refused.",
        "weight_decay from 0.5 to 0.0 after a compiled step",
        _setting_assigned("weight_decay", 0.5, 0.0),
        stock_holds_on=("torch",),
    ),
)
