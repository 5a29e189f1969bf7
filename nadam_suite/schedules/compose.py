"""Schedules made of points or of other schedules: piecewise, joined, scaled, with a cooldown."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules.base import Schedule, real
from nadam_suite.schedules.checks import amount, choice, count
from nadam_suite.schedules.shapes import COOLDOWNS, LINES, check_shape, fractions, interpolated

__all__ = ["Joined", "Piecewise", "Scaled", "WithCooldown", "sample"]

_Foreign = keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable(package="nadam_suite")
class Piecewise(Schedule):
    """A way through given points, and the last point's value after it.

    Args:
        points: Pairs of a step and a value: steps are integers that begin with 0 and increase,
            values are >= 0.
        interpolation: "linear" (the default), "cosine" (half a cosine from point to point), or
            "constant", which holds a point's value until the next one's step.

    Raises:
        ArgumentError: There is no point, the first is not at step 0, steps do not increase, or a
            value lies out of its range.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import Piecewise
    >>> schedule = Piecewise([(0, 0.0), (4, 1.0), (8, 0.5)])
    >>> [float(schedule(step)) for step in (0, 1, 4, 6, 8, 99)]
    [0.0, 0.25, 1.0, 0.75, 0.5, 0.5]

    `keras.optimizers.schedules.PiecewiseConstantDecay([b], [v, w])` is
    `Piecewise([(0, v), (b + 1, w)], "constant")`: there a boundary belongs to the value before it.
    """

    def __init__(self, points: Sequence[tuple[int, float]], interpolation: str = "linear") -> None:
        self.points = _points(points)
        self.interpolation = choice("interpolation", interpolation, (*LINES, "constant"))
        self.last_step = self.points[-1][0]
        self.highest = max(value for _, value in self.points)

    def _course(self, step: Any) -> Any:
        return interpolated(step, self.points, self.interpolation)


@keras.saving.register_keras_serializable(package="nadam_suite")
class Joined(Schedule):
    """Several schedules, one after the other, each of which begins at its own step 0.

    Args:
        schedules: The schedules, this package's or Keras', at least one.
        boundaries: Steps at which the second and each later schedule begins, integers >= 1 that
            increase.

    Raises:
        ArgumentError: Their numbers do not fit, or boundaries do not increase.
        ArgumentTypeError: An item is no schedule, or no integer.

    Example:
    >>> from nadam_suite.schedules import Constant, Joined, Linear
    >>> schedule = Joined([Constant(1.0), Linear(1.0, 0.0, total_steps=4)], boundaries=[10])
    >>> [float(schedule(step)) for step in (0, 9, 10, 12, 14)]
    [1.0, 1.0, 1.0, 0.5, 0.0]

    Source of the convention: `optax.schedules.join_schedules`.
    """

    def __init__(self, schedules: Sequence[Any], boundaries: Sequence[int]) -> None:
        self.schedules = [
            _schedule(f"schedules[{index}]", item)
            for index, item in enumerate(_items("schedules", schedules))
        ]
        self.boundaries = [
            count(f"boundaries[{index}]", item, 1)
            for index, item in enumerate(_items("boundaries", boundaries))
        ]
        if len(self.boundaries) != len(self.schedules) - 1:
            raise ArgumentError(
                "Argument `boundaries` must have one step for each schedule but the first. "
                f"Received: {len(self.boundaries)} boundaries, {len(self.schedules)} schedules. "
                "Add or remove some."
            )
        _check_increasing("boundaries", self.boundaries)
        highest = [getattr(schedule, "highest", None) for schedule in self.schedules]
        self.highest = None if None in highest else max(h for h in highest if h is not None)

    def _course(self, step: Any) -> Any:
        value = _at(self.schedules[0], step)
        for schedule, boundary in zip(self.schedules[1:], self.boundaries, strict=True):
            later = _at(schedule, ops.maximum(step - boundary, 0))
            value = ops.where(step >= boundary, later, value)
        return value


@keras.saving.register_keras_serializable(package="nadam_suite")
class Scaled(Schedule):
    """Another schedule, multiplied.

    Args:
        schedule: The schedule, this package's or Keras'.
        factor: The factor, >= 0.

    Raises:
        ArgumentError: The factor lies out of its range.
        ArgumentTypeError: `schedule` is no schedule, or the factor no number.

    Example:
    >>> from nadam_suite.schedules import Linear, Scaled
    >>> float(Scaled(Linear(1.0, 0.0, total_steps=4), factor=0.5)(2))
    0.25
    """

    def __init__(self, schedule: Any, factor: float) -> None:
        self.schedule = _schedule("schedule", schedule)
        self.factor = amount("factor", factor)
        highest = getattr(schedule, "highest", None)
        self.highest = None if highest is None else highest * self.factor

    def _course(self, step: Any) -> Any:
        return _at(self.schedule, step) * self.factor


@keras.saving.register_keras_serializable(package="nadam_suite")
class WithCooldown(Schedule):
    """Another schedule whose last steps are a cooldown from wherever it is then.

    With T = total_steps, C = cooldown_steps, v the schedule's value at step T - C and
    x = (t - (T - C)) / C the value at step t is

    * the schedule's for t <= T - C,
    * `end + (v - end) * f(x)` for T - C <= t <= T, f as in `WarmupStableDecay`; or
      `v * (end / v) ** x` ("exponential"),
    * `end` for t > T.

    Args:
        schedule: The schedule, this package's or Keras'.
        total_steps: Length of the whole, an integer >= 1.
        cooldown_steps: Length of the cooldown, an integer >= 1 and at most `total_steps`.
        end: Value from step `total_steps` on. Defaults to 0; "exponential" needs one > 0.
        shape: Curve of the cooldown, "1-sqrt" (the default), "linear", "cosine" or "exponential".

    Raises:
        ArgumentError: A value lies out of its range.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import WarmupInverseSqrt, WithCooldown
    >>> schedule = WithCooldown(WarmupInverseSqrt(1.0, 4), total_steps=24, cooldown_steps=8)
    >>> [float(schedule(step)) for step in (0, 4, 16, 18, 24)]
    [0.0, 1.0, 0.5, 0.25, 0.0]
    """

    def __init__(
        self,
        schedule: Any,
        total_steps: int,
        cooldown_steps: int,
        end: float = 0.0,
        shape: str = "1-sqrt",
    ) -> None:
        self.schedule = _schedule("schedule", schedule)
        self.total_steps = count("total_steps", total_steps, 1)
        self.cooldown_steps = count("cooldown_steps", cooldown_steps, 1)
        self.end = amount("end", end)
        self.shape = check_shape(shape, self.end)
        if self.cooldown_steps > self.total_steps:
            raise ArgumentError(
                f"Argument `cooldown_steps` must be at most total_steps={self.total_steps}, of "
                f"which it is a part. Received: cooldown_steps={self.cooldown_steps}. Shorten it."
            )
        self.last_step = self.total_steps
        highest = getattr(schedule, "highest", None)
        self.highest = None if highest is None else max(highest, self.end)

    def _course(self, step: Any) -> Any:
        length = self.cooldown_steps
        first = self.total_steps - length
        before = _at(self.schedule, ops.minimum(step, first))
        done = ops.maximum(step - first, 0)
        parts = fractions(done, length)
        if self.shape == "exponential":
            value = before * ops.power(self.end / before, parts[0])
        else:
            curve = COOLDOWNS[self.shape]
            # The two parts add up to one: a mixture of positive terms, which do not cancel.
            value = before * curve.left(*parts) + self.end * curve.done(*parts)
        return ops.where(step <= first, before, ops.where(done >= length, self.end, value))


def sample(schedule: Any, steps: Any) -> np.ndarray:
    """Return the values of a schedule at many steps, for a look at it or a plot.

    Args:
        schedule: A schedule, this package's or Keras', or a number, which is one for all steps.
        steps: An integer n >= 0 for the steps 0, 1, ..., n - 1, or an array of integer steps.

    Returns:
        The values as a float64 array, of the shape of `steps`.

    Raises:
        ArgumentError: The number of steps, or the number in place of a schedule, is negative.
        ArgumentTypeError: One of them is no number.

    Example:
    >>> from nadam_suite.schedules import Linear, sample
    >>> sample(Linear(1.0, 0.0, total_steps=4), 5).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    steps = np.arange(count("steps", steps, 0)) if np.ndim(steps) == 0 else np.asarray(steps)
    if not isinstance(schedule, _Foreign):
        return np.full(steps.shape, amount("schedule", schedule))
    if isinstance(schedule, Schedule):
        return np.asarray(keras.ops.convert_to_numpy(schedule(steps)), "float64")
    # A foreign schedule may take scalars alone.
    values = [float(keras.ops.convert_to_numpy(schedule(int(step)))) for step in steps.ravel()]
    return np.asarray(values, "float64").reshape(steps.shape)


def _at(schedule: Any, step: Any) -> Any:
    """Return a schedule's value as a tensor of the type of our own."""
    return real(ops.convert_to_tensor(schedule(step)))


def _schedule(name: str, value: Any) -> Any:
    if not isinstance(value, _Foreign):
        raise ArgumentTypeError(
            f"Argument `{name}` must be a LearningRateSchedule. Received: {name}={value!r} (of "
            f"type {type(value).__name__}). Pass `Constant(value)` for a number."
        )
    return value


def _items(name: str, values: Any) -> list[Any]:
    if not isinstance(values, (list, tuple)):
        raise ArgumentTypeError(
            f"Argument `{name}` must be a list. Received: {name}={values!r} (of type "
            f"{type(values).__name__}). Pass a list."
        )
    return list(values)


def _points(points: Any) -> list[tuple[int, float]]:
    """Return the points of a way, checked."""
    pairs = []
    for index, point in enumerate(_items("points", points)):
        if not isinstance(point, (list, tuple)) or len(point) != 2:
            raise ArgumentTypeError(
                f"Argument `points[{index}]` must be a pair of a step and a value. Received: "
                f"points[{index}]={point!r}. Pass for instance (100, 0.5)."
            )
        step, value = point
        pairs.append((count(f"points[{index}][0]", step, 0), amount(f"points[{index}][1]", value)))
    if not pairs or pairs[0][0] != 0:
        raise ArgumentError(
            "Argument `points` must begin with the value at step 0. Received: "
            f"points={points!r}. Add (0, value) in front."
        )
    _check_increasing("points", [step for step, _ in pairs])
    return pairs


def _check_increasing(name: str, steps: list[int]) -> None:
    for before, after in itertools.pairwise(steps):
        if after <= before:
            raise ArgumentError(
                f"Argument `{name}` must have steps that increase. Received: {after} after "
                f"{before}. Put them in order."
            )
