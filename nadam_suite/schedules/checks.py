"""Checks of the arguments of schedules; every refusal names argument, value and remedy."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any

import numpy as np

from nadam_suite.errors import ArgumentError, ArgumentTypeError

__all__ = ["amount", "choice", "count", "exact_float"]


def amount(name: str, value: Any, *, positive: bool = False, most: float = math.inf) -> float:
    """Return a finite number >= 0 as a float, with the digits that were typed.

    Args:
        name: Argument name, for the message.
        value: An int, a float or a NumPy scalar. `np.float32(0.001)` gives 0.001.
        positive: Whether 0 is refused.
        most: Highest value.

    Raises:
        ArgumentTypeError: `value` is no number.
        ArgumentError: `value` is negative, infinite, not a number, or too large.
    """
    needed = f"number {'>' if positive else '>='} 0"
    if most < math.inf:
        needed += f" and <= {most:g}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise ArgumentTypeError(
            f"Argument `{name}` must be a {needed}. Received: {name}={value!r} "
            f"(of type {type(value).__name__}). Pass a float."
        )
    number = exact_float(value)
    low = number <= 0.0 if positive else number < 0.0
    if not math.isfinite(number) or low or number > most:
        raise ArgumentError(
            f"Argument `{name}` must be a finite {needed}. Received: {name}={value!r}. "
            "Pass the value itself, not its logarithm or its negative."
        )
    return number + 0.0  # turns -0.0 into 0.0


def exact_float(value: Any) -> float:
    """Return a Python float with the digits that were typed: np.float32(0.001) gives 0.001."""
    scalar = value[()] if isinstance(value, np.ndarray) else value
    if isinstance(scalar, np.floating) and scalar.dtype.itemsize < 8:
        return float(str(scalar))
    return float(scalar)


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


def choice(name: str, value: Any, known: Collection[str]) -> str:
    """Return a word that is one of those known.

    Raises:
        ArgumentTypeError: `value` is no string.
        ArgumentError: It is another one.
    """
    needed = ", ".join(map(repr, known))
    if not isinstance(value, str):
        raise ArgumentTypeError(
            f"Argument `{name}` must be one of {needed}. Received: {name}={value!r} "
            f"(of type {type(value).__name__}). Pass one of them."
        )
    if value not in known:
        raise ArgumentError(
            f"Argument `{name}` must be one of {needed}. Received: {name}={value!r}. Correct it."
        )
    return value
