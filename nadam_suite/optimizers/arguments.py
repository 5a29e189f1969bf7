"""Checks of single arguments; every refusal names the argument, the value and the remedy."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules.checks import exact_float

__all__ = ["Interval", "check_choice", "check_flag", "check_integer", "check_number"]


class Interval:
    """A range of numbers, written as mathematicians do: `Interval("[0, 1)")`."""

    def __init__(self, text: str) -> None:
        low, high = text[1:-1].split(",")
        self.low, self.high = float(low), float(high)
        self.closed_low, self.closed_high = text[0] == "[", text[-1] == "]"

    def __contains__(self, value: float) -> bool:
        """Return whether a finite number lies in the range."""
        if not math.isfinite(value):
            return False
        above = value >= self.low if self.closed_low else value > self.low
        below = value <= self.high if self.closed_high else value < self.high
        return above and below

    def __str__(self) -> str:
        """Return the range in words."""
        if math.isinf(self.high):
            return f"a finite number {'>=' if self.closed_low else '>'} {self.low:g}"
        brackets = "[" if self.closed_low else "(", "]" if self.closed_high else ")"
        return f"in {brackets[0]}{self.low:g}, {self.high:g}{brackets[1]}"


def check_number(name: str, value: Any, interval: str, *, optional: bool = False) -> float | None:
    """Return `value` as a float if it is a number in `interval`."""
    if value is None and optional:
        return None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        or_none = " or None" if optional else ""
        raise ArgumentTypeError(
            f"Argument `{name}` must be a number{or_none}. "
            f"Received: {name}={value!r} (of type {type(value).__name__}). Pass a float."
        )
    return check_range(name, exact_float(value), interval, optional=optional)


def check_range(name: str, value: float, interval: str, *, optional: bool = False) -> float:
    """Return `value` if it lies in `interval`."""
    allowed = Interval(interval)
    if value not in allowed:
        or_none = ", or None" if optional else ""
        raise ArgumentError(
            f"Argument `{name}` must be {allowed}{or_none}. Received: {name}={value!r}. "
            f"Pass a value in that range{', or None to switch it off' if optional else ''}."
        )
    return value


def check_integer(name: str, value: Any, minimum: int) -> int | None:
    """Return `value` as an int if it is None or an integer of at least `minimum`."""
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise ArgumentTypeError(
            f"Argument `{name}` must be an integer >= {minimum} or None. "
            f"Received: {name}={value!r} (of type {type(value).__name__}). Pass an int."
        )
    if value < minimum:
        raise ArgumentError(
            f"Argument `{name}` must be an integer >= {minimum} or None. "
            f"Received: {name}={value!r}. Pass None to switch it off."
        )
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool if it is one."""
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(
            f"Argument `{name}` must be True or False. "
            f"Received: {name}={value!r} (of type {type(value).__name__}). Pass a bool."
        )
    return bool(value)


def check_choice(name: str, value: Any, choices: Sequence[str | None]) -> str | None:
    """Return `value` if it is one of `choices`."""
    if not isinstance(value, (str, type(None))) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ArgumentError(
            f"Argument `{name}` must be one of {listed}. Received: {name}={value!r}."
        )
    return value
