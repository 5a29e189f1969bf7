"""Cells about loss scaling: how far the scale goes, which steps it skips, and what it tells."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.averaged import (
    MOMENTUM,
    RATE,
    ROWS,
    Scope,
    closed_form,
    fit,
    kernel_is,
    plain,
    step,
)
from nadam_suite.doctor.probes.harness import (
    BAD,
    TINY,
    compare,
    half_model,
    line_model,
    nadam,
    refusal,
    same,
    state_of,
    train,
    value,
)

__all__ = ["CELLS", "REPLICATED"]

_FACTOR = {"loss_scale_factor": 8.0}


def _scaled(subject: Subject, scope: Scope, **arguments: Any) -> keras.Model:
    """Return a line model whose training goes on whatever is skipped."""
    with scope():
        return line_model(subject.precision.unending(subject.optimizer(RATE), **arguments))


def _follows(model: keras.Model, rows: Sequence[Any]) -> Observation:
    """Compare a kernel with Nadam's after some gradients, and tell the scale."""
    scale = float(value(model.optimizer.dynamic_scale))
    path = nadam(np.ones(2), rows, RATE)
    return kernel_is(model, path[-1], f"scale {scale:.3g}, weights of {len(rows)} steps")


def _floor(subject: Subject, scope: Scope = plain) -> Observation:
    model = _scaled(subject, scope)
    fit(model, 1, rows=[BAD] * 170 + [*ROWS])
    return _follows(model, ROWS)


def _ceiling(subject: Subject, scope: Scope = plain) -> Observation:
    # The gradients are so small that stock reaches infinity from one step to the next.
    rows = list(itertools.islice(itertools.cycle(ROWS), 120))
    model = _scaled(subject, scope, dynamic_growth_steps=1)
    fit(model, 1, rows=rows)
    return _follows(model, rows)


def _history(subject: Subject, scope: Scope = plain) -> Observation:
    model = _scaled(subject, scope, initial_scale=1024.0)
    rows = [ROWS[0], BAD, ROWS[1], BAD]
    history = fit(model, 2, *subject.precision.watchers(), rows=rows)
    told = {name: history.get(name) for name in ("loss_scale", "skipped_steps")}
    expected = {"loss_scale": [256.0, 64.0], "skipped_steps": [2, 2]}
    return Observation(told == expected, f"the history has {', '.join(history)}; {told}")


def _abort(subject: Subject) -> Observation:
    model = line_model(subject.loss_scaling(subject.optimizer(RATE)))
    try:
        fit(model, 1, *subject.precision.watchers(), rows=[*ROWS, *[BAD] * 60])
    except ArithmeticError as error:
        seen = kernel_is(model, closed_form(1)[0][-1], str(error).partition(". ")[2])
        return Observation(seen.holds and "line/kernel" in str(error), seen.detail)
    return Observation(False, "60 skipped steps in a row end without a word")


def _factor_wrapped(subject: Subject) -> Observation:
    for optimizer in (keras.optimizers.SGD, subject.optimizer):
        inner = optimizer(RATE, **_FACTOR)
        seen = refusal("loss_scale_factor", functools.partial(subject.loss_scaling, inner))
        if not seen.holds:
            break
    return seen


def _factor_compiled(subject: Subject, scope: Scope = plain) -> Observation:
    def compiled() -> None:
        keras.config.set_dtype_policy("mixed_float16")
        with scope():
            line_model(subject.optimizer(RATE, **_FACTOR))

    return refusal("loss_scale_factor", compiled)


def _tiny(policy: str, dtype: str, tolerance: float) -> Callable[[Subject], Observation]:
    """Return a probe of half-precision layers whose gradients only a scaled loss can tell."""

    def probe(subject: Subject) -> Observation:
        keras.config.set_dtype_policy(policy)
        model = half_model(subject, subject.optimizer(1.0), loss_weights=TINY, dtype=dtype)
        train(model, ROWS)
        path = nadam(np.ones(2), [TINY * np.asarray(row) for row in ROWS], 1.0)
        return compare(value(model.layers[0].kernel).ravel(), path[-1], tolerance, "weights")

    return probe


def _skipped(dtype: str, tolerance: float) -> Callable[[Subject], Observation]:
    """Return a probe of one batch of NaN in the middle of an accumulation window."""

    def probe(subject: Subject) -> Observation:
        optimizer = subject.averages.optimizer(RATE, MOMENTUM, gradient_accumulation_steps=2)
        model = line_model(subject.precision.skipping(optimizer), dtype=dtype)
        step(model, ROWS[:3])
        before = state_of(model)
        step(model, [(np.nan, 1.0)])
        if not same(before, state_of(model)):
            kernel = value(model.layers[0].kernel).ravel()
            return Observation(False, f"state changed, weights {kernel[0]:.4g}, {kernel[1]:.4g}")
        step(model, ROWS[3:])
        path = nadam(np.ones(2), np.reshape(ROWS, (2, 2, 2)).mean(axis=1), RATE)
        kernel = value(model.layers[0].kernel).ravel()
        return compare(kernel, path[-1], tolerance, "nothing changed; weights of 2 updates")

    return probe


def _terminated(subject: Subject) -> Observation:
    optimizer = subject.loss_scaling(subject.averages.optimizer(RATE, MOMENTUM))
    model, stop = line_model(optimizer), keras.callbacks.TerminateOnNaN()
    rows = [*ROWS, (np.nan, np.nan), *ROWS]
    with contextlib.redirect_stdout(io.StringIO()):  # the callback tells which batch it was
        fit(model, 1, stop, *subject.averages.finishing(), rows=rows)
    return kernel_is(model, closed_form(1)[1][-1], "averages from before the NaN")


CELLS = (
    Cell(
        "K8/floor",
        "However many steps are skipped, the loss scale stays above zero and the weights finite.",
        "loss scaling, 170 batches that overflow, then 4 that do not",
        _floor,
    ),
    Cell(
        "K8/ceiling",
        "However long the loss scale grows, it stays finite and steps are taken.",
        "loss scaling with dynamic_growth_steps=1, 120 batches of small gradients",
        _ceiling,
    ),
    Cell(
        "K9/history",
        "The history tells the loss scale and how many steps were skipped.",
        "loss scaling, 2 epochs of 4 batches, 2 of which overflow",
        _history,
    ),
    Cell(
        "K9/abort",
        "A training that only skips steps is ended by an error that names the variables.",
        "loss scaling, 4 batches, then 60 that overflow",
        _abort,
    ),
    Cell(
        "K10/wrapped",
        "A loss_scale_factor of an optimizer that is wrapped for loss scaling is refused.",
        "SGD and Nadam(loss_scale_factor=8) in a loss scale",
        _factor_wrapped,
    ),
    Cell(
        "K10/compiled",
        "It is refused too where compile() does the wrapping.",
        "Nadam(loss_scale_factor=8), compile() under mixed_float16",
        _factor_compiled,
    ),
    Cell(
        "D57/layer",
        "A single layer of mixed_float16 trains on gradients too small for float16.",
        "Dense(dtype='mixed_float16') under policy float32, gradients of 1e-8",
        _tiny("float32", "mixed_float16", 2e-3),
    ),
    Cell(
        "D57/policy",
        "A model of policy float16 trains on gradients too small for float16.",
        "policy float16, gradients of 1e-8",
        _tiny("float16", "float16", 2e-3),
    ),
    Cell(
        "D65/loss-scale",
        "A batch of NaN leaves the averages as they were, also under loss scaling.",
        "loss scaling, TerminateOnNaN, NaN in batch 5 of 9",
        _terminated,
        stock_holds_on=("tensorflow", "torch"),
    ),
    *(
        Cell(
            f"D65/skip-{dtype}",
            "If asked for, a batch of NaN changes no weight, moment, average, sum or counter.",
            f"{dtype}, average, gradient_accumulation_steps=2, NaN in the second window",
            _skipped(dtype, tolerance),
        )
        for dtype, tolerance in (("float32", 1e-5), ("bfloat16", 2.0**-8))
    ),
)

REPLICATED = {
    "K8": _floor,
    "K9": _history,
    "K10": _factor_compiled,
}
