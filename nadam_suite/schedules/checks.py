"""Checks of the arguments of schedules; every refusal names argument, value and remedy."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from nadam_suite.errors import ArgumentError, ArgumentTypeError

__all__ = ["amount", "count"]


def amount(name: str, value: Any) -> float:
    """Return a finite number >= 0 as a float, with the digits that were typed.

    Args:
        name: Argument name, for the message.
        value: An int, a float or a NumPy scalar. `np.float32(0.001)` gives 0.001.

    Raises:
        ArgumentTypeError: `value` is no number.
        ArgumentError: `value` is negative, infinite or not a number.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise ArgumentTypeError(
            f"Argument `{name}` must be a number >= 0. Received: {name}={value!r} "
            f"(of type {type(value).__name__}). Pass a float."
        )
    narrow = isinstance(value, np.floating) and value.dtype.itemsize < 8
    number = float(str(value)) if narrow else float(value)
    if not math.isfinite(number) or number < 0.0:
        raise ArgumentError(
            f"Argument `{name}` must be a finite number >= 0. Received: {name}={value!r}. "
            "Pass the value itself, not its logarithm or its negative."
        )
    return number + 0.0  # turns -0.0 into 0.0


def count(name: str, value: Any, minimum: int) -> int:
    """Return an integer >= `minimum` as an int.

    Raises:
        ArgumentTypeError: `value` is no integer.
        ArgumentError: `value` is below the minimum, or larger than a step counter can be.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise ArgumentTypeError(
            f"Argument `{name}` must be an integer >= {minimum}. Received: {name}={value!r} "
            f"(of type {type(value).__name__}). Pass a number of steps as an int; "
            'TrainingPlan.resolve() turns "5%" or "3ep" into one.'
        )
    number = int(value)
    if number < minimum:
        raise ArgumentError(
            f"Argument `{name}` must be an integer >= {minimum}. Received: {name}={value!r}. "
            f"Pass at least {minimum}."
        )
    if number >= 2**31:
        raise ArgumentError(
            f"Argument `{name}` must be less than 2**31, where step counters end. "
            f"Received: {name}={value!r}. Pass a smaller number."
        )
    return number
