"""What all schedules share: integer steps, configs made of their arguments, and a few curves.

The step stays an integer until differences have been taken, so that a counter past 2^24, which
float32 cannot hold, loses nothing; what comes out is float32, or float64 under that floatx.
"""

from __future__ import annotations

import inspect
import numbers
from typing import Any, Self

import keras
import numpy as np
from keras import ops

__all__ = ["LAST_STEP", "Schedule", "clamped", "floats", "ratio", "real", "table", "warmed"]

LAST_STEP = 2**31 - 1


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A value that follows the step; the classes of this package say how.

    A subclass keeps each argument of its constructor in an attribute of that name, sets
    `last_step` and `highest`, and computes its value for steps within [0, last_step].
    """

    last_step: int = LAST_STEP  # where the value has come to rest
    highest: float | None = None  # the highest value, None where a foreign schedule hides it

    def __call__(self, step: Any) -> Any:
        """Return the value at `step`, an integer scalar or array."""
        return self._course(clamped(step, self.last_step))

    def _course(self, step: Any) -> Any:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {name: _plain(getattr(self, name)) for name in self._arguments()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the schedule with these arguments, which are left as they are."""
        return cls(**{name: _object(value) for name, value in config.items()})

    @classmethod
    def _arguments(cls) -> list[str]:
        return list(inspect.signature(cls).parameters)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._arguments())
        return f"{type(self).__name__}({arguments})"


def clamped(step: Any, last: int) -> Any:
    """Return the step as an int32 tensor in [0, last], before a narrower type can lose anything."""
    if isinstance(step, numbers.Integral):  # a Python int may be larger than any tensor's
        return ops.convert_to_tensor(min(max(int(step), 0), last), dtype="int32")
    if isinstance(step, np.ndarray) and step.dtype.kind in "iu":
        return ops.convert_to_tensor(np.clip(step, 0, last).astype("int32"))
    step = ops.convert_to_tensor(step)
    dtype = keras.backend.standardize_dtype(step.dtype)
    if "float" in dtype:
        last = min(last, 2**31 - 128)  # the largest float32 that int32 can hold
    elif dtype in ("bool", "int8", "int16", "uint8", "uint16", "int32"):
        step = ops.cast(step, "int32")
    step = ops.maximum(ops.minimum(step, last), 0)
    return ops.cast(step, "int32")


def floats() -> str:
    """Return the type of a schedule's values."""
    return "float64" if keras.config.floatx() == "float64" else "float32"


def real(integers: Any) -> Any:
    """Return integers, or what a foreign schedule has returned, in the type of the values."""
    return ops.cast(integers, floats())


def table(values: Any, entries: Any, dtype: str | None = None) -> Any:
    """Return the entries of a constant table at the positions `entries`."""
    return ops.take(ops.convert_to_tensor(np.asarray(values), dtype=dtype or floats()), entries)


def warmed(step: Any, start: float, peak: float, length: int, after: Any = None) -> Any:
    """Return a straight line from `start` to `peak` before step `length`, then `after`.

    Args:
        step: The step, from `clamped`.
        start: Value at step 0.
        peak: Value that the line reaches at step `length`.
        length: Length of the warm-up in steps, >= 0.
        after: Values from there on, the peak by default.
    """
    rest = ops.full_like(real(step), peak) if after is None else after
    if length == 0:
        return rest
    # From the lower value up: neither cancels, and rounding keeps the order of the values.
    low, high = sorted((start, peak))
    towards_high = step if start <= peak else length - step
    line = low + (high - low) * ratio(towards_high, length)
    line = ops.where(step == 0, start, ops.clip(line, low, high))
    return ops.where(step < length, line, rest)


def ratio(part: Any, whole: int) -> Any:
    """Return part / whole of integers; both keep all their digits until they are divided."""
    return real(part) / float(whole)


def _plain(value: Any) -> Any:
    """Return an argument as data that JSON can hold."""
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return keras.saving.serialize_keras_object(value)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _object(value: Any) -> Any:
    """Return an argument from the data of a config."""
    if isinstance(value, dict):
        return keras.saving.deserialize_keras_object(value)
    return [_object(item) for item in value] if isinstance(value, (list, tuple)) else value
