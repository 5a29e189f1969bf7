"""What all kinds of averages share: when they take the weights in, and durations in any unit.

An average is described by plain data (`Average`) and computed by rules (`Rule`), one for each
running average that it stands for. A rule is a pure function of how many weights it has taken in:
the optimizer keeps that number, and the average itself.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from nadam_suite.errors import ArgumentError
from nadam_suite.schedules.checks import amount, count
from nadam_suite.schedules.plan import TrainingPlan, format_duration, parse_duration

__all__ = ["Average", "Rule", "share_of_updates", "updates"]


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one running average takes in the weights.

    Real updates are numbered t = 1, 2, .... The weights are taken in where t > `start` and
    t - `start` is a multiple of `update_every`; k numbers these times, from 1. The first time the
    average becomes the weights.

    Args:
        start: Number of updates before the first that can count.
        update_every: Number of updates from one time to the next.

    Example:

    >>> from nadam_suite.averaging import EMA
    >>> rule = EMA(start=100, update_every=10).rules()[""]
    >>> rule.times(100), rule.times(110), rule.times(1000)
    (0, 1, 90)
    """

    start: int = 0
    update_every: int = 1

    copies: int = dataclasses.field(default=0, init=False)  # weights that are kept besides

    def share(self, k: Any, xp: Any) -> Any:
        """Return the share of the k-th weights in the average that they enter, in (0, 1].

        Args:
            k: Which time it is, >= 1; a scalar of a float type or an array of them.
            xp: `keras.ops` or `numpy`, or what has the same functions.
        """
        raise NotImplementedError

    @property
    def always(self) -> bool:
        """Whether every update counts."""
        return self.start == 0 and self.update_every == 1

    def times(self, updates: int) -> int:
        """Return how many weights have been taken in after so many updates."""
        return max(updates - self.start, 0) // self.update_every

    def profile(self, updates: int) -> np.ndarray:
        """Return the share of the weights after each update in the average after all of them.

        Args:
            updates: Number of real updates.

        Returns:
            float64 array of that length. It sums to one, or is all zero where the average has not
            begun.

        Example:

        >>> from nadam_suite.averaging import SWA
        >>> SWA(start=1, every=2).rules()[""].profile(6).tolist()
        [0.0, 0.0, 0.5, 0.0, 0.5, 0.0]
        """
        shares = np.zeros(updates)
        count = self.times(updates)
        if count:
            new = np.asarray(self.share(np.arange(1.0, count + 1.0), np), dtype="float64")
            new = np.broadcast_to(new, (count,)).copy()
            new[0] = 1.0
            kept = np.append(np.cumprod((1.0 - new)[:0:-1])[::-1], 1.0)
            shares[self.start + self.update_every - 1 :: self.update_every] = new * kept
        return shares


class Average:
    """Base of the kinds of averages: `EMA`, `PowerEMA`, `SWA` and `Window`.

    A subclass keeps each argument of its constructor in an attribute of that name, in its normal
    form, and names in `durations` those that may be written as durations.

    Example:

    >>> from nadam_suite.averaging import EMA, SWA, Average
    >>> [isinstance(average, Average) for average in (EMA(0.9), SWA())]
    [True, True]
    >>> SWA().is_resolved, EMA(0.9).is_resolved  # "75%" and "1ep" need a plan
    (False, True)
    """

    durations: tuple[str, ...] = ()
    default_name = "average"

    def rules(self) -> Mapping[str, Rule]:
        """Return a rule for each running average, by the ending of its name.

        Raises:
            ArgumentError: A duration is not resolved yet.
        """
        raise NotImplementedError

    @property
    def is_resolved(self) -> bool:
        """Whether every duration is a number of updates."""
        return not any(isinstance(getattr(self, name), str) for name in self.durations)

    def resolved(self, plan: TrainingPlan) -> Self:
        """Return the same average with every duration as a number of real updates.

        Args:
            plan: The length of the training, which knows about gradient accumulation.

        Example:

        >>> from nadam_suite.averaging import EMA
        >>> from nadam_suite.schedules import TrainingPlan
        >>> plan = TrainingPlan.from_data(1000, batch_size=50, epochs=10, accumulation=4)
        >>> EMA(half_life="2ep").resolved(plan)
        EMA(momentum=None, half_life=10, warmup='inverse', start=0, update_every=1)
        """
        config = self.get_config()
        for name in self.durations:
            if isinstance(config[name], str):
                config[name] = plan.resolve(config[name], of="updates", name=name)
        return type(self)(**config)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data."""
        names = inspect.signature(type(self)).parameters
        values = {name: getattr(self, name) for name in names}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the average with these arguments, which are left as they are."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.get_config() == self.get_config()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"

    def _refuse_durations(self) -> None:
        """Raise because an average has to be computed whose durations are not numbers."""
        if self.is_resolved:
            return
        held = {name: getattr(self, name) for name in self.durations}
        given = ", ".join(f"{n}={v!r}" for n, v in held.items() if isinstance(v, str))
        raise ArgumentError(
            f"The durations of {type(self).__name__} must be numbers of updates before a training. "
            f"Received: {given}. Call `.resolved(TrainingPlan.from_data(examples, batch_size, "
            "epochs))` on it, or write numbers."
        )


def updates(name: str, value: Any, minimum: int = 0, *, whole: bool = True) -> Any:
    """Return a duration in its normal form: a number of updates, or text such as "2ep".

    Args:
        name: Argument name, for messages.
        value: An integer, or a duration.
        minimum: The least number of updates.
        whole: Whether a number must be an integer.

    Raises:
        ArgumentError: It is malformed, or too small.
    """
    if isinstance(value, str):
        number, _ = parse_duration(value, name)
        if minimum and number <= 0:
            _refuse_small(name, value, minimum)
        return format_duration(value)
    if not whole:
        held = amount(name, value, positive=True)
        return int(held) if held == int(held) else held
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and value < minimum:
        _refuse_small(name, value, minimum)
    if isinstance(value, float) and not isinstance(value, np.floating):
        parse_duration(value, name)  # its message has the right duration for a fraction
    return count(name, value, minimum)


def share_of_updates(name: str, value: Any) -> Any:
    """Return a duration of `updates`; a float in (0, 1) is that part of the training."""
    if isinstance(value, float) and 0.0 < value < 1.0 and math.isfinite(value):
        return format_duration(f"{value * 100:.10g}%")
    return updates(name, value)


def _refuse_small(name: str, value: Any, minimum: int) -> None:
    raise ArgumentError(
        f"Argument `{name}` must be at least {minimum} update. Received: {name}={value!r}. Pass 1 "
        'for every update, or a duration such as "1ep".'
    )
