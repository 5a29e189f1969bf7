"""Schedules that start with a linear warm-up: constant, cosine and linear after it.

The step stays an integer until differences have been taken, so that a counter past 2^24, which
float32 cannot hold, loses nothing; what comes out is float32, or float64 under that floatx.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from nadam_suite.errors import ArgumentError
from nadam_suite.schedules.checks import amount, count

__all__ = ["Constant", "WarmupCosine", "WarmupLinear"]

_NARROW = ("bool", "int8", "int16", "uint8", "uint16")


@keras.saving.register_keras_serializable(package="nadam_suite")
class Constant(keras.optimizers.schedules.LearningRateSchedule):
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

    def __call__(self, step: Any) -> Any:
        """Return the value at `step`, an integer scalar or array."""
        step = _integer(step, self.warmup_steps)
        return _warm(step, self.start, self.value, self.warmup_steps, None)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"value": self.value, "warmup_steps": self.warmup_steps, "start": self.start}

    def __repr__(self) -> str:
        return _repr(self)


@keras.saving.register_keras_serializable(package="nadam_suite")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up to `peak`, then half a cosine down to `end`, where it stays.

    With W = warmup_steps and T = total_steps the value at step t is

    * `start + (peak - start) * t / W` for t < W,
    * `end + (peak - end) * (1 + cos(pi * (t - W) / (T - W))) / 2` for W <= t <= T,
    * `end` for t > T.

    The cosine is computed as squares of sines of the steps that are left and done, which keep
    their digits near both ends, where `1 + cos` and `1 - cos` cancel.

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
        self.peak = amount("peak", peak)
        self.total_steps, self.warmup_steps = _lengths(total_steps, warmup_steps)
        self.end = amount("end", end)
        self.start = amount("start", start)

    def __call__(self, step: Any) -> Any:
        """Return the value at `step`, an integer scalar or array."""
        return _warm_and_decay(self, step, lambda part: ops.square(ops.sin(part * (math.pi / 2))))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return _config(self)

    def __repr__(self) -> str:
        return _repr(self)


@keras.saving.register_keras_serializable(package="nadam_suite")
class WarmupLinear(keras.optimizers.schedules.LearningRateSchedule):
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
        self.peak = amount("peak", peak)
        self.total_steps, self.warmup_steps = _lengths(total_steps, warmup_steps)
        self.end = amount("end", end)
        self.start = amount("start", start)

    def __call__(self, step: Any) -> Any:
        """Return the value at `step`, an integer scalar or array."""
        return _warm_and_decay(self, step, lambda part: part)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return _config(self)

    def __repr__(self) -> str:
        return _repr(self)


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


def _integer(step: Any, last: int) -> Any:
    """Return the step as a tensor, at most `last`, before a narrower type can lose anything."""
    if isinstance(step, numbers.Integral):  # a Python int may be larger than any tensor's
        return ops.convert_to_tensor(min(max(int(step), 0), last), dtype="int32")
    if isinstance(step, np.ndarray):
        step = np.clip(step, 0, last)
    step = ops.convert_to_tensor(step)
    dtype = keras.backend.standardize_dtype(step.dtype)
    if dtype in _NARROW:
        dtype = "int32"
        step = ops.cast(step, dtype)
    if "int" in dtype:
        last = min(last, int(np.iinfo(dtype).max))
    return ops.minimum(step, last)


def _real(integers: Any) -> Any:
    """Return integers in the type of a schedule's values."""
    return ops.cast(integers, "float64" if keras.config.floatx() == "float64" else "float32")


def _warm(step: Any, start: float, peak: float, length: int, after: Any) -> Any:
    """Return the warm-up before step `length`, and `after`, or else `peak`, from there on."""
    rest = ops.full_like(_real(step), peak) if after is None else after
    if length == 0:
        return rest
    rising = start + (peak - start) * (_real(step) / float(length))
    # The sum may round to just beyond the peak; a warm-up never does.
    rising = ops.clip(rising, min(start, peak), max(start, peak))
    return ops.where(step < length, rising, rest)


def _warm_and_decay(schedule: Any, step: Any, shape: Callable[[Any], Any]) -> Any:
    """Return the value of a schedule whose decay is peak and end, mixed by a shape.

    Args:
        schedule: The schedule.
        step: The step.
        shape: The peak's part in the mixture for the part of the decay that is left, in [0, 1];
            the end's part is the same function of the part that is done, so neither cancels.
    """
    step = _integer(step, schedule.total_steps)
    length = schedule.total_steps - schedule.warmup_steps
    # During the warm-up more than the whole decay is left; what comes out then is not used.
    left = ops.minimum(schedule.total_steps - step, length)
    of_peak, of_end = (shape(_real(part) / float(length)) for part in (left, length - left))
    low, high = sorted((schedule.peak, schedule.end))
    # The two parts may add up to just over one; a decay never leaves its range.
    decay = ops.clip(schedule.peak * of_peak + schedule.end * of_end, low, high)
    return _warm(step, schedule.start, schedule.peak, schedule.warmup_steps, decay)


def _config(schedule: Any) -> dict[str, Any]:
    names = ("peak", "total_steps", "warmup_steps", "end", "start")
    return {name: getattr(schedule, name) for name in names}


def _repr(schedule: Any) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in schedule.get_config().items())
    return f"{type(schedule).__name__}({arguments})"
