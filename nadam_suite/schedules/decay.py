"""Schedules that fall without a warm-up, without an end, or only at their end."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from nadam_suite.errors import ArgumentError
from nadam_suite.schedules.base import LAST_STEP, Schedule, real, warmed
from nadam_suite.schedules.checks import amount, count
from nadam_suite.schedules.shapes import (
    COOLDOWNS,
    LINES,
    blend,
    check_shape,
    polynomial,
    power_of,
)

__all__ = ["Linear", "Noam", "Polynomial", "WarmupInverseSqrt", "WarmupStableDecay"]

# The decay of `WarmupInverseSqrt` without a warm-up, as in Hugging Face's transformers.
_TIMESCALE = 10_000


@keras.saving.register_keras_serializable(package="nadam_suite")
class Linear(Schedule):
    """A straight line from `start` to `end`, up or down, where it stays.

    Args:
        start: Value at step 0, >= 0.
        end: Value from step `total_steps` on, >= 0.
        total_steps: Length of the line, an integer >= 1.

    Raises:
        ArgumentError: A value lies out of its range.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import Linear
    >>> schedule = Linear(0.5, 1.0, total_steps=4)
    >>> [float(schedule(step)) for step in (0, 1, 2, 4, 99)]
    [0.5, 0.625, 0.75, 1.0, 1.0]
    """

    def __init__(self, start: float, end: float, total_steps: int) -> None:
        self.start = amount("start", start)
        self.end = amount("end", end)
        self.total_steps = count("total_steps", total_steps, 1)
        self.last_step = self.total_steps
        self.highest = max(self.start, self.end)

    def _course(self, step: Any) -> Any:
        return blend(step, self.total_steps, self.start, self.end, LINES["linear"])


@keras.saving.register_keras_serializable(package="nadam_suite")
class Polynomial(Schedule):
    """A power of the steps that are left, from `start` to `end`, where it stays.

    With T = total_steps the value at step t <= T is
    `end + (start - end) * (1 - t / T) ** power`.

    Args:
        start: Value at step 0, >= 0.
        end: Value from step `total_steps` on, >= 0.
        total_steps: Length of the way, an integer >= 1.
        power: The power, > 0. Defaults to 1, a straight line.

    Raises:
        ArgumentError: A value lies out of its range.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import Polynomial
    >>> schedule = Polynomial(1.0, 0.0, total_steps=4, power=2.0)
    >>> [float(schedule(step)) for step in (0, 2, 3, 4, 99)]
    [1.0, 0.25, 0.0625, 0.0, 0.0]

    Source of the formula: `optax.schedules.polynomial_schedule`.
    """

    def __init__(self, start: float, end: float, total_steps: int, power: float = 1.0) -> None:
        self.start = amount("start", start)
        self.end = amount("end", end)
        self.total_steps = count("total_steps", total_steps, 1)
        self.power = amount("power", power, positive=True)
        self.last_step = self.total_steps
        self.highest = max(self.start, self.end)

    def _course(self, step: Any) -> Any:
        return blend(step, self.total_steps, self.start, self.end, polynomial(self.power))


@keras.saving.register_keras_serializable(package="nadam_suite")
class WarmupInverseSqrt(Schedule):
    """A linear warm-up to `peak`, then one over the root of the steps, for ever.

    With W = warmup_steps and s = timescale the value at step t is

    * `start + (peak - start) * t / W` for t < W,
    * `peak * sqrt(s / (t - W + s))` for t >= W.

    It has no end that would have to be known before; a `WithCooldown` around it brings one.

    Args:
        peak: Highest value, reached at step `warmup_steps`; >= 0.
        warmup_steps: Length of the warm-up, an integer >= 0. Defaults to none.
        start: Value at step 0, if there is a warm-up. Defaults to 0.
        timescale: Steps after which the peak has fallen by the root of 2, an integer >= 1. None,
            the default, is the warm-up's length, or 10,000 without one.

    Raises:
        ArgumentError: A value lies out of its range.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import WarmupInverseSqrt
    >>> schedule = WarmupInverseSqrt(1.0, warmup_steps=4)
    >>> [float(schedule(step)) for step in (0, 2, 4, 16, 64)]
    [0.0, 0.5, 1.0, 0.5, 0.25]

    Source of the formula: Hugging Face's `get_inverse_sqrt_schedule`; Zhai et al., "Scaling Vision
    Transformers", 2022.
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: int = 0,
        start: float = 0.0,
        timescale: int | None = None,
    ) -> None:
        self.peak = amount("peak", peak)
        self.warmup_steps = count("warmup_steps", warmup_steps, 0)
        self.start = amount("start", start)
        self.timescale = None if timescale is None else count("timescale", timescale, 1)
        self.highest = max(self.peak, self.start if self.warmup_steps else 0.0)

    def _course(self, step: Any) -> Any:
        scale = float(self.timescale or self.warmup_steps or _TIMESCALE)
        done = real(ops.maximum(step - self.warmup_steps, 0))
        falling = self.peak * ops.sqrt(scale / (done + scale))
        return warmed(step, self.start, self.peak, self.warmup_steps, falling)


@keras.saving.register_keras_serializable(package="nadam_suite")
class Noam(Schedule):
    """The Transformer paper's rate: a linear warm-up, then one over the root of the steps.

    The value at step t, whose number in the paper is t + 1, is
    `scale * d_model ** -0.5 * min((t + 1) ** -0.5, (t + 1) * warmup_steps ** -1.5)`.

    Args:
        d_model: Width of the model, an integer >= 1.
        warmup_steps: Length of the warm-up, an integer >= 1. The paper has 4,000.
        scale: Factor of the whole, >= 0. Defaults to 1.

    Raises:
        ArgumentError: A value lies out of its range.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import Noam
    >>> schedule = Noam(d_model=64, warmup_steps=4)
    >>> [float(schedule(step)) for step in (0, 3, 15)]
    [0.015625, 0.0625, 0.03125]

    Source of the formula: Vaswani et al., "Attention Is All You Need", 2017, section 5.3.
    """

    def __init__(self, d_model: int, warmup_steps: int, scale: float = 1.0) -> None:
        self.d_model = count("d_model", d_model, 1)
        self.warmup_steps = count("warmup_steps", warmup_steps, 1)
        self.scale = amount("scale", scale)
        self.last_step = LAST_STEP - 1  # the number of the step is one more
        self.highest = self.scale * self.d_model**-0.5 * self.warmup_steps**-0.5

    def _course(self, step: Any) -> Any:
        number = real(step + 1)
        factor = self.scale * self.d_model**-0.5
        rising = number * (factor * self.warmup_steps**-1.5)
        return ops.where(step < self.warmup_steps, rising, factor / ops.sqrt(number))


@keras.saving.register_keras_serializable(package="nadam_suite")
class WarmupStableDecay(Schedule):
    """A linear warm-up to `peak`, a long stable phase, and a short cooldown to `end`.

    With W = warmup_steps, T = total_steps, C = cooldown_steps and x = (t - (T - C)) / C the value
    at step t is

    * `start + (peak - start) * t / W` for t < W,
    * `peak` for W <= t <= T - C,
    * `end + (peak - end) * f(x)` for T - C <= t <= T, with f(x) = 1 - sqrt(x) ("1-sqrt"), 1 - x
      ("linear"), (1 + cos(pi * x)) / 2 ("cosine"); or `peak * (end / peak) ** x` ("exponential"),
    * `end` for t > T.

    Until the cooldown nothing depends on the total, so that a training can be made longer, or be
    cooled down, from any of its stable steps.

    Args:
        peak: Highest value, >= 0.
        total_steps: Length of the whole schedule, an integer >= 1.
        cooldown_steps: Length of the cooldown, an integer >= 1.
        shape: Curve of the cooldown, "1-sqrt" (the default), "linear", "cosine" or "exponential".
        warmup_steps: Length of the warm-up, an integer >= 0. Warm-up and cooldown together are at
            most `total_steps`. Defaults to none.
        end: Value from step `total_steps` on. Defaults to 0; "exponential" needs one > 0.
        start: Value at step 0, if there is a warm-up. Defaults to 0.

    Raises:
        ArgumentError: A value lies out of its range, or the phases do not fit.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import WarmupStableDecay
    >>> schedule = WarmupStableDecay(1.0, total_steps=20, cooldown_steps=4, warmup_steps=2)
    >>> [float(schedule(step)) for step in (0, 1, 2, 16, 17, 20, 99)]
    [0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0]

    Source of the phases: Hu et al., "MiniCPM", 2024; of the root: Hägele et al., "Scaling Laws and
    Compute-Optimal Training Beyond Fixed Training Durations", 2024.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        cooldown_steps: int,
        shape: str = "1-sqrt",
        warmup_steps: int = 0,
        end: float = 0.0,
        start: float = 0.0,
    ) -> None:
        self.peak = amount("peak", peak)
        self.total_steps = count("total_steps", total_steps, 1)
        self.cooldown_steps = count("cooldown_steps", cooldown_steps, 1)
        self.end = amount("end", end)
        self.shape = check_shape(shape, self.end)
        self.warmup_steps = count("warmup_steps", warmup_steps, 0)
        self.start = amount("start", start)
        if self.warmup_steps + self.cooldown_steps > self.total_steps:
            raise ArgumentError(
                "Argument `cooldown_steps` must leave room for the warm-up: together they are at "
                f"most total_steps={self.total_steps}. Received: "
                f"cooldown_steps={self.cooldown_steps}, warmup_steps={self.warmup_steps}. Shorten "
                "one of them."
            )
        if self.shape == "exponential" and self.peak < self.end:
            raise ArgumentError(
                'Argument `peak` must be at least `end` with shape="exponential". Received: '
                f"peak={self.peak!r}, end={self.end!r}. Choose another shape."
            )
        self.last_step = self.total_steps
        self.highest = max(self.peak, self.end, self.start if self.warmup_steps else 0.0)

    def _course(self, step: Any) -> Any:
        length = self.cooldown_steps
        done = ops.maximum(step - (self.total_steps - length), 0)
        if self.shape == "exponential":
            decay = self.peak * power_of(self.end / self.peak, done, length, length)
            decay = ops.clip(decay, self.end, self.peak)
            decay = ops.where(done >= length, self.end, decay)
        else:
            decay = blend(done, length, self.peak, self.end, COOLDOWNS[self.shape])
        return warmed(step, self.start, self.peak, self.warmup_steps, decay)
