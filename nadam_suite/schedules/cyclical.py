"""Schedules that rise and fall: one cycle, its twin for the momentum, many cycles, restarts."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from nadam_suite.errors import ArgumentError
from nadam_suite.schedules.base import LAST_STEP, Schedule, ratio, real, table
from nadam_suite.schedules.checks import amount, choice, count
from nadam_suite.schedules.shapes import LINES, interpolated, lookup, power_of, sine_squared

__all__ = ["CosineRestarts", "Cyclical", "OneCycle", "OneCycleMomentum"]

_MODES = ("triangular", "triangular2", "exp_range")


@keras.saving.register_keras_serializable(package="nadam_suite")
class OneCycle(Schedule):
    """Up to `peak`, down again, and far below where it began: one cycle over a whole training.

    With W = warmup_steps, T = total_steps, C = cooldown_steps and i = peak / div_factor the value
    goes from i at step 0 to `peak` at step W, to i at step T - C if there is a cooldown, and to
    i / final_div_factor at step T, where it stays; each way is half a cosine, or a straight line.

    Args:
        peak: Highest value, >= 0.
        total_steps: Length of the cycle, an integer >= 1.
        warmup_steps: Steps of the rise, an integer >= 0 and less than `total_steps`. None, the
            default, is 30 % of the total, rounded down.
        div_factor: The peak divided by the value at step 0, >= 1. Defaults to 25.
        final_div_factor: The value at step 0 divided by the last one, > 0. Defaults to 1e4.
        anneal: "cosine" (the default) or "linear".
        cooldown_steps: Length of a third phase, an integer >= 0. Defaults to none.

    Raises:
        ArgumentError: A value lies out of its range, or the phases do not fit.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import OneCycle
    >>> schedule = OneCycle(1.0, total_steps=10, div_factor=4.0, anneal="linear")
    >>> [round(float(schedule(step)), 6) for step in (0, 3, 10, 99)]
    [0.25, 1.0, 2.5e-05, 2.5e-05]

    Source of the formula: Smith and Topin, "Super-Convergence", 2018; phases and defaults of
    `optax.schedules.cosine_onecycle_schedule`. PyTorch's `OneCycleLR(total_steps=T + 1,
    pct_start=(W + 1) / (T + 1))` is the same, with `three_phase` for C = T - 2 W.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        warmup_steps: int | None = None,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        anneal: str = "cosine",
        cooldown_steps: int = 0,
    ) -> None:
        self.peak = amount("peak", peak)
        self.div_factor = amount("div_factor", div_factor, positive=True)
        if self.div_factor < 1.0:
            raise ArgumentError(
                "Argument `div_factor` must be >= 1, so that the cycle begins below its peak. "
                f"Received: div_factor={div_factor!r}. Pass its inverse."
            )
        self.final_div_factor = amount("final_div_factor", final_div_factor, positive=True)
        self.total_steps, self.warmup_steps, self.cooldown_steps = _phases(
            total_steps, warmup_steps, cooldown_steps
        )
        self.anneal = choice("anneal", anneal, LINES)
        self.last_step = self.total_steps
        self.highest = max(self.peak, self.peak / self.div_factor / self.final_div_factor)

    def _course(self, step: Any) -> Any:
        initial = self.peak / self.div_factor
        points = _cycle(self, initial, self.peak, initial / self.final_div_factor)
        return interpolated(step, points, self.anneal)


@keras.saving.register_keras_serializable(package="nadam_suite")
class OneCycleMomentum(Schedule):
    """The twin of `OneCycle` for `beta_1`: low while the learning rate is high.

    The value goes from `max_momentum` at step 0 to `base_momentum` at step W = warmup_steps, and
    back to `max_momentum` at step T - C, where it stays; T = total_steps, C = cooldown_steps.

    Args:
        total_steps: Length of the cycle, an integer >= 1.
        warmup_steps: Steps of the fall, an integer >= 0 and less than `total_steps`. None, the
            default, is 30 % of the total, rounded down.
        base_momentum: Lowest value, in [0, 1). Defaults to 0.85.
        max_momentum: Highest value, in [0, 1), at least `base_momentum`. Defaults to 0.95.
        anneal: "cosine" (the default) or "linear".
        cooldown_steps: Length of the learning rate's third phase, an integer >= 0. Defaults to
            none.

    Raises:
        ArgumentError: A value lies out of its range, or the phases do not fit.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.schedules import OneCycle, OneCycleMomentum
    >>> optimizer = Nadam(OneCycle(1e-2, total_steps=100), beta_1=OneCycleMomentum(100))
    >>> [round(float(optimizer.beta_1(step)), 6) for step in (0, 30, 65, 100)]
    [0.95, 0.85, 0.9, 0.95]

    Source of the formula: Smith and Topin, "Super-Convergence", 2018; PyTorch's `OneCycleLR` with
    `cycle_momentum`.
    """

    def __init__(
        self,
        total_steps: int,
        warmup_steps: int | None = None,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        anneal: str = "cosine",
        cooldown_steps: int = 0,
    ) -> None:
        self.total_steps, self.warmup_steps, self.cooldown_steps = _phases(
            total_steps, warmup_steps, cooldown_steps
        )
        self.base_momentum = amount("base_momentum", base_momentum)
        self.max_momentum = amount("max_momentum", max_momentum)
        if not self.base_momentum <= self.max_momentum < 1.0:
            raise ArgumentError(
                "Arguments `base_momentum` and `max_momentum` must be in [0, 1), in this order. "
                f"Received: base_momentum={base_momentum!r}, max_momentum={max_momentum!r}. Pass "
                "for instance 0.85 and 0.95."
            )
        self.anneal = choice("anneal", anneal, LINES)
        self.last_step = self.total_steps
        self.highest = self.max_momentum

    def _course(self, step: Any) -> Any:
        points = _cycle(self, self.max_momentum, self.base_momentum, self.max_momentum)
        return interpolated(step, points, self.anneal)


@keras.saving.register_keras_serializable(package="nadam_suite")
class Cyclical(Schedule):
    """Up from `base` to `peak` and down again on straight lines, for ever.

    In cycle c = 0, 1, ... the value is `base + (peak - base) * h * s`. The height h goes from 0 to
    1 in `step_size` steps and back to 0 in `step_size_down`; s is 1 ("triangular"), 2 ** -c
    ("triangular2") or gamma ** t at step t ("exp_range").

    Args:
        base: Value at the ends of a cycle, >= 0.
        peak: Value in its middle, >= 0. Below the base it makes the twin for the momentum.
        step_size: Steps from the base to the peak, an integer >= 1.
        step_size_down: Steps from the peak to the base, likewise. Defaults to `step_size`.
        mode: "triangular" (the default), "triangular2" or "exp_range".
        gamma: Factor of "exp_range" in each step, in (0, 1]. Defaults to 1.

    Raises:
        ArgumentError: A value lies out of its range.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import Cyclical
    >>> schedule = Cyclical(0.0, 1.0, step_size=4, mode="triangular2")
    >>> [float(schedule(step)) for step in (0, 2, 4, 8, 12, 20)]
    [0.0, 0.5, 1.0, 0.0, 0.5, 0.25]

    Source of the formula: Smith, "Cyclical Learning Rates for Training Neural Networks", 2017;
    PyTorch's `CyclicLR`.
    """

    def __init__(
        self,
        base: float,
        peak: float,
        step_size: int,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
    ) -> None:
        self.base = amount("base", base)
        self.peak = amount("peak", peak)
        self.step_size = count("step_size", step_size, 1)
        self.step_size_down = (
            None if step_size_down is None else count("step_size_down", step_size_down, 1)
        )
        self.mode = choice("mode", mode, _MODES)
        self.gamma = amount("gamma", gamma, positive=True, most=1.0)
        if self.gamma != 1.0 and self.mode != "exp_range":
            raise ArgumentError(
                'Argument `gamma` must be left out unless mode is "exp_range", which alone uses '
                f'it. Received: gamma={gamma!r}, mode={mode!r}. Pass mode="exp_range".'
            )
        self.highest = max(self.base, self._top())

    def _top(self) -> float:
        """Return the highest value of the first cycle; a falling gamma has it before the peak."""
        if self.gamma == 1.0:
            return self.peak
        # h * gamma ** t with h = t / step_size is highest at t = -1 / log(gamma).
        best = min(-1.0 / math.log(self.gamma), float(self.step_size))
        rise = max(t / self.step_size * self.gamma**t for t in (math.floor(best), math.ceil(best)))
        return self.base + (self.peak - self.base) * rise

    def _course(self, step: Any) -> Any:
        up, down = self.step_size, self.step_size_down or self.step_size
        if up + down > LAST_STEP:  # more than an int32 holds: no step is in the second cycle
            cycle, position = ops.zeros_like(step), step
        else:
            cycle = ops.floor_divide(step, up + down)
            position = step - cycle * (up + down)
        rises = position <= up
        height = ops.where(rises, ratio(position, up), ratio(down - (position - up), down))
        scale = self._scale(step, cycle)
        if self.peak >= self.base:
            return self.base + (self.peak - self.base) * (height * scale)
        # From the lower value up, so that nothing cancels where that is zero.
        depth = ops.where(rises, ratio(up - position, up), ratio(position - up, down))
        missing = depth + height * (1.0 - scale)
        return self.peak + (self.base - self.peak) * missing

    def _scale(self, step: Any, cycle: Any) -> Any:
        if self.mode == "triangular2":
            return power_of(0.5, cycle)
        return power_of(self.gamma, step)


@keras.saving.register_keras_serializable(package="nadam_suite")
class CosineRestarts(Schedule):
    """Half a cosine from `peak` down to `end`, again and again, each time longer or lower.

    Period i = 0, 1, ... has `first_period * t_mul ** i` steps, rounded to the nearest whole
    number, halves up. At d of its n steps the value is
    `end + (peak - end) * m_mul ** i * (1 + cos(pi * d / n)) / 2`.

    Where a period ends is computed with integers: no restart comes a step early or late.

    Args:
        peak: Value at step 0, >= `end`.
        first_period: Length of the first period, an integer >= 1.
        t_mul: Each period's length divided by the one before, 1 or at least 1.01. Defaults to 2.
        m_mul: Each period's height divided by the one before, in (0, 1]. Defaults to 1.
        end: Value that the periods fall to, >= 0. Defaults to 0.
        cycles: Number of periods after which the value stays at `end`, an integer >= 1. None, the
            default, restarts for ever.

    Raises:
        ArgumentError: A value lies out of its range.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite.schedules import CosineRestarts
    >>> schedule = CosineRestarts(1.0, first_period=4, m_mul=0.5)
    >>> [round(float(schedule(step)), 6) for step in (0, 2, 4, 8, 12)]
    [1.0, 0.5, 0.5, 0.25, 0.25]

    Source of the formula: Loshchilov and Hutter, "SGDR", 2017; defaults of
    `keras.optimizers.schedules.CosineDecayRestarts`.
    """

    def __init__(
        self,
        peak: float,
        first_period: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        end: float = 0.0,
        cycles: int | None = None,
    ) -> None:
        self.peak = amount("peak", peak)
        self.first_period = count("first_period", first_period, 1)
        self.t_mul = amount("t_mul", t_mul, positive=True)
        self.m_mul = amount("m_mul", m_mul, positive=True, most=1.0)
        self.end = amount("end", end)
        self.cycles = None if cycles is None else count("cycles", cycles, 1)
        if self.t_mul != 1.0 and self.t_mul < 1.01:
            raise ArgumentError(
                "Argument `t_mul` must be 1 or at least 1.01: periods do not become shorter. "
                f"Received: t_mul={t_mul!r}. Pass 1 for periods of equal length."
            )
        if self.peak < self.end:
            raise ArgumentError(
                f"Argument `peak` must be at least end={self.end!r}. Received: peak={peak!r}. "
                "Exchange the two."
            )
        self._starts = self._restarts()
        if self.cycles is not None:
            self.last_step = min(self._ends_at(), LAST_STEP)
        self.highest = self.peak

    def _restarts(self) -> list[int]:
        """Return where periods of growing length begin, and where the last one ends."""
        starts, length, limit = [0], float(self.first_period), self.cycles or LAST_STEP
        while self.t_mul > 1.0 and starts[-1] < LAST_STEP and len(starts) <= limit:
            starts.append(min(starts[-1] + int(length + 0.5), LAST_STEP))
            length = min(length * self.t_mul, float(LAST_STEP))
        return starts

    def _ends_at(self) -> int:
        if self.t_mul == 1.0:
            return self.first_period * (self.cycles or 0)
        return self._starts[-1] if len(self._starts) > (self.cycles or 0) else LAST_STEP

    def _course(self, step: Any) -> Any:
        if self.t_mul == 1.0:
            index = ops.floor_divide(step, self.first_period)
            left = self.first_period - (step - index * self.first_period)
            height = sine_squared(ratio(left, self.first_period)) * power_of(self.m_mul, index)
        else:
            starts = self._starts
            index, done = lookup(starts, step)
            lengths = [b - a for a, b in zip(starts, [*starts[1:], starts[-1] + 1], strict=True)]
            length = table(lengths, index, "int32")
            powers = [self.m_mul**i for i in range(len(starts))]
            height = sine_squared(real(length - done) / real(length)) * table(powers, index)
        value = self.end + (self.peak - self.end) * height
        if self.cycles is not None:
            value = ops.where(step >= self._ends_at(), self.end, value)
        return ops.where(step == 0, self.peak, value)


def _cycle(schedule: Any, first: float, middle: float, last: float) -> list[tuple[int, float]]:
    """Return the corners of one cycle; phases of no length leave theirs out."""
    warm, total, cooldown = schedule.warmup_steps, schedule.total_steps, schedule.cooldown_steps
    points = [(0, first)] if warm else []
    points.append((warm, middle))
    if cooldown:
        points.append((total - cooldown, first))
    return [*points, (total, last)]


def _phases(total_steps: Any, warmup_steps: Any, cooldown_steps: Any) -> tuple[int, int, int]:
    """Return the lengths of a cycle, of its rise and of its third phase."""
    total = count("total_steps", total_steps, 1)
    warm = total * 3 // 10 if warmup_steps is None else count("warmup_steps", warmup_steps, 0)
    cooldown = count("cooldown_steps", cooldown_steps, 0)
    if warm + cooldown >= total:
        raise ArgumentError(
            "Argument `warmup_steps` must leave steps for the way down: with cooldown_steps="
            f"{cooldown} it is less than {total - cooldown}. Received: warmup_steps={warm}, "
            f"total_steps={total}. Shorten one of them."
        )
    return total, warm, cooldown
