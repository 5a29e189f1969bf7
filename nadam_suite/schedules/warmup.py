"""Schedules that start with a linear warm-up to a peak, and fall from there to an end."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules.base import Schedule, warmed
from nadam_suite.schedules.checks import amount, count
from nadam_suite.schedules.shapes import LINES, Curve, blend, polynomial, power_of

__all__ = [
    "Constant",
    "WarmupCosine",
    "WarmupExponential",
    "WarmupLinear",
    "WarmupPolynomial",
]


@keras.saving.register_keras_serializable(package="nadam_suite")
class Constant(Schedule):
    """One value for ever, after an optional linear warm-up.

    Args:
        value: The value, >= 0.
        warmup_steps: Length of the warm-up, an integer >= 0. Defaults to none.
        start: Value at step 0, if there is a warm-up. Defaults to 0, with which the first update
            changes the optimizer's state alone.

    Raises:
        ArgumentError: A value lies out of its range.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import Constant
    >>> schedule = Constant(0.5, warmup_steps=4)
    >>> [float(schedule(step)) for step in (0, 1, 4, 1_000_000)]
    [0.0, 0.125, 0.5, 0.5]
    """

    def __init__(self, value: float, warmup_steps: int = 0, start: float = 0.0) -> None:
        self.value = amount("value", value)
        self.warmup_steps = count("warmup_steps", warmup_steps, 0)
        self.start = amount("start", start)
        self.last_step = self.warmup_steps
        self.highest = max(self.value, self.start) if self.warmup_steps else self.value

    def _course(self, step: Any) -> Any:
        return warmed(step, self.start, self.value, self.warmup_steps)


@keras.saving.register_keras_serializable(package="nadam_suite")
class WarmupCosine(Schedule):
    """A linear warm-up to `peak`, then half a cosine down to `end`, where it stays.

    With W = warmup_steps and T = total_steps the value at step t is

    * `start + (peak - start) * t / W` for t < W,
    * `end + (peak - end) * (1 + cos(pi * (t - W) / (T - W))) / 2` for W <= t <= T,
    * `end` for t > T.

    Args:
        peak: Highest value, reached at step `warmup_steps`; >= 0.
        total_steps: Length of the whole schedule, the warm-up included; an integer >= 1.
        warmup_steps: Length of the warm-up, an integer >= 0 and less than `total_steps`. Defaults
            to none.
        end: Value from step `total_steps` on. Defaults to 0.
        start: Value at step 0, if there is a warm-up. Defaults to 0, with which the first update
            changes the optimizer's state alone.

    Raises:
        ArgumentError: A value lies out of its range, or the warm-up fills the schedule.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import WarmupCosine
    >>> schedule = WarmupCosine(peak=1.0, total_steps=12, warmup_steps=4)
    >>> [round(float(schedule(step)), 6) for step in (0, 2, 4, 8, 12, 99)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]

    Reference: Loshchilov and Hutter, "SGDR", 2017, without restarts; the total includes the
    warm-up as in optax, Hugging Face and AlgoPerf, unlike in `keras.optimizers.schedules`.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        warmup_steps: int = 0,
        end: float = 0.0,
        start: float = 0.0,
    ) -> None:
        _keep(self, peak, total_steps, warmup_steps, end, start)

    def _course(self, step: Any) -> Any:
        return _followed(self, step, LINES["cosine"])


@keras.saving.register_keras_serializable(package="nadam_suite")
class WarmupLinear(Schedule):
    """A linear warm-up to `peak`, then a straight line down to `end`, where it stays.

    With W = warmup_steps and T = total_steps the value at step t is

    * `start + (peak - start) * t / W` for t < W,
    * `end + (peak - end) * (T - t) / (T - W)` for W <= t <= T,
    * `end` for t > T.

    Args:
        peak: Highest value, reached at step `warmup_steps`; >= 0.
        total_steps: Length of the whole schedule, the warm-up included; an integer >= 1.
        warmup_steps: Length of the warm-up, an integer >= 0 and less than `total_steps`. Defaults
            to none.
        end: Value from step `total_steps` on. Defaults to 0.
        start: Value at step 0, if there is a warm-up. Defaults to 0, with which the first update
            changes the optimizer's state alone.

    Raises:
        ArgumentError: A value lies out of its range, or the warm-up fills the schedule.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import WarmupLinear
    >>> schedule = WarmupLinear(peak=1.0, total_steps=12, warmup_steps=4, end=0.5)
    >>> [float(schedule(step)) for step in (0, 2, 4, 8, 12, 99)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.5]

    Reference: Devlin et al., "BERT", 2019, appendix A.2.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        warmup_steps: int = 0,
        end: float = 0.0,
        start: float = 0.0,
    ) -> None:
        _keep(self, peak, total_steps, warmup_steps, end, start)

    def _course(self, step: Any) -> Any:
        return _followed(self, step, LINES["linear"])


@keras.saving.register_keras_serializable(package="nadam_suite")
class WarmupPolynomial(Schedule):
    """A linear warm-up to `peak`, then a power of the steps that are left, down to `end`.

    With W = warmup_steps and T = total_steps the value at step t is

    * `start + (peak - start) * t / W` for t < W,
    * `end + (peak - end) * ((T - t) / (T - W)) ** power` for W <= t <= T,
    * `end` for t > T.

    The end defaults to 0, not to Keras' 1e-4, towards which a smaller peak would rise.

    Args:
        peak: Highest value, reached at step `warmup_steps`; >= 0.
        total_steps: Length of the whole schedule, the warm-up included; an integer >= 1.
        warmup_steps: Length of the warm-up, an integer >= 0 and less than `total_steps`. Defaults
            to none.
        end: Value from step `total_steps` on. Defaults to 0.
        start: Value at step 0, if there is a warm-up. Defaults to 0.
        power: The power, > 0: above 1 it falls fast at first, below 1 at last. Defaults to 1.

    Raises:
        ArgumentError: A value lies out of its range, or the warm-up fills the schedule.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import WarmupPolynomial
    >>> schedule = WarmupPolynomial(peak=1.0, total_steps=6, warmup_steps=2, power=2.0)
    >>> [float(schedule(step)) for step in (0, 1, 2, 4, 6, 99)]
    [0.0, 0.5, 1.0, 0.25, 0.0, 0.0]

    Source of the formula: `keras.optimizers.schedules.PolynomialDecay`, `optax`'s
    `polynomial_schedule`.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        warmup_steps: int = 0,
        end: float = 0.0,
        start: float = 0.0,
        power: float = 1.0,
    ) -> None:
        _keep(self, peak, total_steps, warmup_steps, end, start)
        self.power = amount("power", power, positive=True)

    def _course(self, step: Any) -> Any:
        return _followed(self, step, polynomial(self.power))


@keras.saving.register_keras_serializable(package="nadam_suite")
class WarmupExponential(Schedule):
    """A linear warm-up to `peak`, then the same factor again and again, but not to below `end`.

    With W = warmup_steps, T = total_steps and D = decay_steps the value at step t is

    * `start + (peak - start) * t / W` for t < W,
    * `max(end, peak * decay_rate ** ((t - W) / D))` for W <= t <= T, the exponent rounded down if
      `staircase`,
    * the value at T for t > T.

    Args:
        peak: Highest value, reached at step `warmup_steps`; >= 0.
        total_steps: Length of the whole schedule, the warm-up included; an integer >= 1.
        warmup_steps: Length of the warm-up, an integer >= 0 and less than `total_steps`. Defaults
            to none.
        end: Lowest value of the decay, at most the peak. Defaults to 0.
        start: Value at step 0, if there is a warm-up. Defaults to 0.
        decay_rate: The factor, in (0, 1]. Defaults to 0.1.
        decay_steps: Steps in which the value is multiplied by it, an integer >= 1, or None, the
            default, for the whole decay.
        staircase: Whether it is multiplied at once every `decay_steps`. Defaults to False.

    Raises:
        ArgumentError: A value lies out of its range, or the warm-up fills the schedule.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import WarmupExponential
    >>> schedule = WarmupExponential(1.0, total_steps=6, warmup_steps=2, decay_rate=0.25)
    >>> [float(schedule(step)) for step in (0, 1, 2, 4, 6, 99)]
    [0.0, 0.5, 1.0, 0.5, 0.25, 0.25]

    Source of the formula: `keras.optimizers.schedules.ExponentialDecay`, `optax`'s
    `exponential_decay`; `decay_steps=1` is PyTorch's `ExponentialLR`, with a staircase `StepLR`.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        warmup_steps: int = 0,
        end: float = 0.0,
        start: float = 0.0,
        decay_rate: float = 0.1,
        decay_steps: int | None = None,
        staircase: bool = False,
    ) -> None:
        _keep(self, peak, total_steps, warmup_steps, end, start)
        self.decay_rate = amount("decay_rate", decay_rate, positive=True, most=1.0)
        self.decay_steps = None if decay_steps is None else count("decay_steps", decay_steps, 1)
        if not isinstance(staircase, bool):
            raise ArgumentTypeError(
                "Argument `staircase` must be True or False. Received: "
                f"staircase={staircase!r} (of type {type(staircase).__name__}). Pass a bool."
            )
        self.staircase = staircase
        if self.end > self.peak:
            raise ArgumentError(
                f"Argument `end` must be at most peak={self.peak!r}, below which the value falls. "
                f"Received: end={self.end!r}. Lower it."
            )

    def _course(self, step: Any) -> Any:
        length = self.total_steps - self.warmup_steps
        per = length if self.decay_steps is None else self.decay_steps
        done = ops.maximum(step - self.warmup_steps, 0)
        if self.staircase:
            done, length, per = ops.floor_divide(done, per), length // per, 1
        decay = self.peak * power_of(self.decay_rate, done, per, length)
        return warmed(
            step,
            self.start,
            self.peak,
            self.warmup_steps,
            ops.clip(decay, self.end, self.peak),
        )


def _lengths(total_steps: Any, warmup_steps: Any) -> tuple[int, int]:
    """Return both lengths, checked one by one and against each other."""
    total, warm = count("total_steps", total_steps, 1), count("warmup_steps", warmup_steps, 0)
    if warm >= total:
        raise ArgumentError(
            f"Argument `warmup_steps` must be less than total_steps={total}, which includes it. "
            f"Received: warmup_steps={warm}. Shorten the warm-up, or use "
            "`Constant(value, warmup_steps)` for a warm-up without a decay."
        )
    return total, warm


def _keep(
    schedule: Any, peak: Any, total_steps: Any, warmup_steps: Any, end: Any, start: Any
) -> None:
    """Check the arguments that all decays have, and keep them in their attributes."""
    schedule.peak = amount("peak", peak)
    schedule.total_steps, schedule.warmup_steps = _lengths(total_steps, warmup_steps)
    schedule.end = amount("end", end)
    schedule.start = amount("start", start)
    schedule.last_step = schedule.total_steps
    schedule.highest = max(schedule.peak, schedule.end)
    if schedule.warmup_steps:
        schedule.highest = max(schedule.highest, schedule.start)


def _followed(schedule: Any, step: Any, curve: Curve) -> Any:
    """Return the warm-up, and then the curve from the peak to the end."""
    length = schedule.total_steps - schedule.warmup_steps
    # Before the decay nothing of it is done; what comes out then is not used.
    done = ops.maximum(step - schedule.warmup_steps, 0)
    decay = blend(done, length, schedule.peak, schedule.end, curve)
    return warmed(step, schedule.start, schedule.peak, schedule.warmup_steps, decay)
