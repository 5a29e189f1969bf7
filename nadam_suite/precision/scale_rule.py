"""When a loss scale grows and when it falls, as pure functions of a few numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.optimizers.arguments import check_flag, check_integer, check_number

__all__ = ["COUNTERS", "ScaleNumbers", "ScaleRule"]

COUNTERS = ("hysteresis_left", "consecutive_skips", "skips", "growths")
_LARGEST = 2**31 - 1  # counters stay there instead of turning negative
_FINITE_FLOAT32 = "(0, 3.4e38)"


@dataclasses.dataclass(frozen=True)
class ScaleNumbers:
    """What loss scaling remembers from one step to the next; tensors.

    Args:
        scale: float32, the scale of the next step.
        step_counter: int32, finite steps since the scale last changed or a step was skipped.
        counters: int32, one for each of `COUNTERS`.
    """

    scale: Any
    step_counter: Any
    counters: Any


@dataclasses.dataclass(frozen=True)
class ScaleRule:
    """The settings of a loss scale, and what they make of a step.

    `growth_steps` finite steps in a row multiply the scale by `growth_factor`, up to `max_scale`.
    A step that is not finite multiplies it by `backoff_factor`, down to `min_scale`, once
    `hysteresis` such steps have come since the last growth; Megatron-LM counts so.

    Args:
        initial_scale: Scale of the first step, from `min_scale` to `max_scale`.
        growth_steps: >= 1.
        growth_factor: >= 1.
        backoff_factor: In (0, 1].
        hysteresis: >= 1.
        min_scale: > 0.
        max_scale: A finite float32.
        dynamic: Whether the scale changes at all.

    Raises:
        ArgumentError: A value lies out of its range.
        ArgumentTypeError: A value has the wrong type.
    """

    initial_scale: float = 2.0**15
    growth_steps: int = 2000
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    hysteresis: int = 1
    min_scale: float = 2.0**-14
    max_scale: float = 2.0**24
    dynamic: bool = True

    def __post_init__(self) -> None:
        for name in ("initial_scale", "min_scale", "max_scale"):
            check_number(name, getattr(self, name), _FINITE_FLOAT32)
        check_number("growth_factor", self.growth_factor, "[1, inf)")
        check_number("backoff_factor", self.backoff_factor, "(0, 1]")
        check_flag("dynamic", self.dynamic)
        _check_count("dynamic_growth_steps", self.growth_steps)
        _check_count("hysteresis", self.hysteresis)
        if self.dynamic and not self.min_scale <= self.initial_scale <= self.max_scale:
            raise ArgumentError(
                "Argument `initial_scale` must lie between `min_scale` and `max_scale`. Received: "
                f"initial_scale={self.initial_scale!r}, min_scale={self.min_scale!r}, "
                f"max_scale={self.max_scale!r}. Widen the range, or set dynamic=False for a scale "
                "that never changes."
            )

    @property
    def scales(self) -> bool:
        """Whether the loss is ever multiplied by anything but one."""
        return self.dynamic or self.initial_scale != 1.0

    def start(self) -> list[int]:
        """Return the first values of the counters."""
        return [self.hysteresis, 0, 0, 0]

    def after_finite(self, held: ScaleNumbers) -> ScaleNumbers:
        """Return what is remembered after a step that was taken."""
        ops = keras.ops
        left, _, skips, growths = ops.unstack(held.counters, len(COUNTERS))
        # "At least", since a state may come from a training with a longer interval.
        full = ops.greater_equal(held.step_counter, self.growth_steps - 1)
        step_counter = ops.where(full, 0, held.step_counter + 1)
        scale = held.scale
        if self.dynamic:
            grown = ops.minimum(scale * self.growth_factor, self.max_scale)
            scale = ops.where(full, grown, scale)
            left = ops.where(full, self.hysteresis, left)
            growths = _plus_one(growths, ops.greater(scale, held.scale))
        counters = ops.stack([left, ops.zeros_like(left), skips, growths])
        return ScaleNumbers(scale, step_counter, counters)

    def after_skip(self, held: ScaleNumbers) -> ScaleNumbers:
        """Return what is remembered after a step whose gradients were not finite."""
        ops = keras.ops
        left, consecutive, skips, growths = ops.unstack(held.counters, len(COUNTERS))
        scale = held.scale
        if self.dynamic:
            left = ops.maximum(left - 1, 0)
            fallen = ops.maximum(scale * self.backoff_factor, self.min_scale)
            scale = ops.where(ops.equal(left, 0), fallen, scale)
        counters = ops.stack([left, _plus_one(consecutive), _plus_one(skips), growths])
        return ScaleNumbers(scale, ops.zeros_like(held.step_counter), counters)

    def within_range(self, scale: float) -> float:
        """Return a scale of a saved state, or the nearest one that this rule can reach."""
        if not self.dynamic or math.isnan(scale):
            return self.initial_scale
        return min(max(scale, self.min_scale), self.max_scale)


def _check_count(name: str, value: Any) -> None:
    count = check_integer(name, value, 1)
    if count is None:
        raise ArgumentTypeError(
            f"Argument `{name}` must be an integer >= 1. Received: {name}=None. Pass an int."
        )
    if count > _LARGEST:
        raise ArgumentError(
            f"Argument `{name}` must be an integer <= {_LARGEST}. Received: {name}={value!r}. Set "
            "dynamic=False for a scale that never changes."
        )


def _plus_one(counter: Any, where: Any = True) -> Any:
    """Count one more, if that is so; a counter that is full stays full."""
    fits = keras.ops.logical_and(keras.ops.less(counter, _LARGEST), where)
    return counter + keras.ops.cast(fits, counter.dtype)
