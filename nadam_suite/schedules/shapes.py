"""How a value goes from one level to another: straight, along a cosine, a root, a power of itself.

A curve is computed from the steps that are done and the steps that are left, whichever keeps its
digits: `1 + cos` and `1 - sqrt` cancel near an end, squares of sines and products of roots do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from nadam_suite.errors import ArgumentError
from nadam_suite.schedules.base import LAST_STEP, ratio, real, table
from nadam_suite.schedules.checks import choice

__all__ = [
    "COOLDOWNS",
    "LINES",
    "blend",
    "check_shape",
    "interpolated",
    "lookup",
    "polynomial",
    "power_of",
    "sine_squared",
]

# Beyond e ** -750 even float64 has nothing but zero.
_LARGEST_EXPONENT = 750.0


class Curve(NamedTuple):
    """A way from one to zero.

    Args:
        left: What is left of the way, from the fractions of steps that are done and that are left.
        done: What is done of it, from the same two. Both have all their digits near zero and near
            one, and add up to one.
    """

    left: Callable[[Any, Any], Any]
    done: Callable[[Any, Any], Any]


def sine_squared(fraction: Any) -> Any:
    """Return (1 - cos(pi * fraction)) / 2, half a cosine from 0 to 1."""
    return ops.square(ops.sin(fraction * (math.pi / 2)))


LINES = {
    "linear": Curve(lambda _, left: left, lambda done, _: done),
    "cosine": Curve(lambda _, left: sine_squared(left), lambda done, _: sine_squared(done)),
}
COOLDOWNS = {
    "1-sqrt": Curve(
        lambda done, left: left / (1.0 + ops.sqrt(done)), lambda done, _: ops.sqrt(done)
    ),
    **LINES,
}


def polynomial(power: float) -> Curve:
    """Return the curve left ** power."""
    if power == 1.0:
        return LINES["linear"]

    def done_part(done: Any, left: Any) -> Any:
        little = -ops.expm1(power * ops.log1p(-ops.clip(done, 0.0, 0.5)))
        return ops.where(done < 0.5, little, 1.0 - ops.power(left, power))

    return Curve(lambda _, left: ops.power(left, power), done_part)


def blend(done: Any, length: int, start: float, end: float, curve: Curve) -> Any:
    """Return a value on its way from `start` to `end`, both of which it takes exactly.

    Args:
        done: Steps done, an int32 tensor in [0, length].
        length: Steps in all, >= 1.
        start: Value at `done` = 0.
        end: Value at `done` = `length`.
        curve: The way.
    """
    low, high = sorted((start, end))
    part = (curve.left if start >= end else curve.done)(*fractions(done, length))
    value = ops.clip(low + (high - low) * part, low, high)
    return ops.where(done <= 0, start, ops.where(done >= length, end, value))


def fractions(done: Any, length: int) -> tuple[Any, Any]:
    """Return the fractions of steps that are done and that are left."""
    return ratio(done, length), ratio(length - done, length)


def power_of(base: float, count: Any, per: float = 1.0, last: int = LAST_STEP) -> Any:
    """Return base ** (count / per) without the error that one large exponent would have.

    The exponent is split: a table has the powers of whole blocks, rounded once, and what is left
    of the exponent is at most about one.

    Args:
        base: In (0, 1].
        count: Integers >= 0.
        per: Steps in which the power falls by `base`.
        last: Highest count.
    """
    slope = math.log(base) / per
    if slope == 0.0:
        return ops.ones_like(real(count))
    last = min(last, math.ceil(_LARGEST_EXPONENT / -slope) + 1)
    size = max(1, math.ceil(last / max(1, math.ceil(-slope * last))))
    powers = [math.exp(slope * size * block) for block in range(last // size + 1)]
    count = ops.minimum(count, last)
    block = ops.floor_divide(count, size)
    return table(powers, block) * ops.exp(slope * real(count - block * size))


def check_shape(shape: Any, end: float) -> str:
    """Return the name of a cooldown's curve, which must be able to reach `end`.

    Raises:
        ArgumentError: There is none of this name, or it cannot.
        ArgumentTypeError: It is no string.
    """
    shape = choice("shape", shape, (*COOLDOWNS, "exponential"))
    if shape == "exponential" and end <= 0.0:
        raise ArgumentError(
            'Argument `end` must be > 0 with shape="exponential", which never reaches 0. Received: '
            f"end={end!r}. Pass a small value, or another shape."
        )
    return shape


def lookup(points: Any, step: Any) -> tuple[Any, Any]:
    """Return which of the points (integers, the first of them 0) a step has reached, and how far.

    Returns:
        The number of the last point at or before the step, and the steps since then.
    """
    starts = np.asarray(points, "int32")
    reached = ops.cast(ops.expand_dims(step, -1) >= ops.convert_to_tensor(starts), "int32")
    index = ops.sum(reached, axis=-1) - 1
    return index, step - table(starts, index, "int32")


def interpolated(step: Any, points: Any, shape: str) -> Any:
    """Return the value at a step on the way through points, and the last point's value after it.

    Args:
        step: The step, from `clamped`.
        points: Pairs of a step and a value, the first at step 0.
        shape: A name of `LINES`, or "constant", which stays at a point's value until the next.
    """
    steps, values = zip(*points, strict=True)
    index, done = lookup(steps, step)
    following = [*values[1:], values[-1]]
    here = table(values, index)
    if shape == "constant":
        return here
    lengths = [*np.diff(steps), 1]
    low, high = np.minimum(values, following), np.maximum(values, following)
    length = table(lengths, index, "int32")
    rises = np.less(values, following)
    part = ops.where(table(rises, index, "bool"), done, length - done)
    fraction = real(part) / real(length)
    weight = fraction if shape == "linear" else sine_squared(fraction)
    lowest, highest = table(low, index), table(high, index)
    value = ops.clip(lowest + table(high - low, index) * weight, lowest, highest)
    return ops.where(done == 0, here, value)
