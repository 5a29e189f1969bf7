"""What the running averages of an optimizer look back on, as data."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from nadam_suite.averaging import Rule
from nadam_suite.averaging.ema import DEFAULT_MOMENTUM
from nadam_suite.config import AveragingConfig, NadamConfig
from nadam_suite.config.named_averages import averages_of
from nadam_suite.schedules import TrainingPlan

__all__ = ["AverageRow", "average_rows"]

_ENOUGH = 1_000_000  # updates that are looked at one by one


@dataclasses.dataclass(frozen=True)
class AverageRow:
    """A running average, in real updates.

    Args:
        name: Its name.
        kind: Its kind, as in a config.
        start: Updates before it begins.
        every: Updates from one time that the weights are taken in to the next.
        taken: How many weights it has taken in at the end of the training.
        half_life: Updates after which half of an "ema" is gone, past its warm-up; or None.
        sigma_rel: Width of a "power_ema" as a share of the training, or None.
        mean_age: How many updates ago, on average, the weights in it were the weights, at the end
            of the training; None for a very long one.
        copies: Copies of the weights that it takes in memory.
    """

    name: str
    kind: str
    start: int
    every: int
    taken: int
    half_life: float | None
    sigma_rel: float | None
    mean_age: float | None
    copies: int

    def describe(self) -> str:
        """Return its length in words.

        Example:

        >>> from nadam_suite import NadamConfig
        >>> from nadam_suite.experiment.average_rows import average_rows
        >>> from nadam_suite.schedules import TrainingPlan
        >>> config = NadamConfig(averaging={"a": {"momentum": 0.99}, "b": {"kind": "power_ema"}})
        >>> [row.describe() for row in average_rows(config, TrainingPlan(10, epochs=10))]
        ['half-life 69', 'sigma_rel 0.05', 'sigma_rel 0.1']
        """
        if self.sigma_rel is not None:
            return f"sigma_rel {self.sigma_rel:g}"
        if self.kind == "ema":
            return "all alike" if self.half_life is None else f"half-life {self.half_life:.3g}"
        if self.kind == "window":
            return f"the last {self.copies - 1}"
        return "all alike"

    def summary(self) -> str:
        """Return name, length, start and interval in words.

        Example:

        >>> from nadam_suite import NadamConfig
        >>> from nadam_suite.experiment.average_rows import average_rows
        >>> from nadam_suite.schedules import TrainingPlan
        >>> config = NadamConfig(averaging={"kind": "swa", "start": 75, "every": 5})
        >>> average_rows(config, TrainingPlan(10, epochs=10))[0].summary()
        'average swa: all alike, after 75 updates, every 5 updates'
        """
        unit = " updates" if self.half_life is not None else ""
        start = f", after {self.start} updates" if self.start else ""
        every = f", every {self.every} updates" if self.every > 1 else ""
        return f"average {self.name}: {self.describe()}{unit}{start}{every}"


def average_rows(config: NadamConfig, plan: TrainingPlan) -> tuple[AverageRow, ...]:
    """Return a row for each running average of an optimizer.

    Args:
        config: The optimizer's settings, every duration resolved.
        plan: Length of the training.
    """
    averages = averages_of(config.averaging)
    if config.use_ema:
        momentum = config.ema_momentum
        averages = {"ema": AveragingConfig(kind="ema", momentum=momentum, warmup=None)}
    rows = []
    for own, average in averages.items():
        names, rules = average.names(own), average.build().rules()
        for name, (ending, rule) in zip(names, rules.items(), strict=True):
            rows.append(
                AverageRow(
                    name=name,
                    kind=average.kind,
                    start=rule.start,
                    every=rule.update_every,
                    taken=rule.times(plan.total_updates),
                    half_life=_half_life(average),
                    sigma_rel=float(ending) if ending else None,
                    mean_age=_mean_age(rule, plan.total_updates),
                    copies=1 + rule.copies,
                )
            )
    return tuple(rows)


def _half_life(average: AveragingConfig) -> float | None:
    """Return the half-life of an "ema", None where nothing of it is ever lost."""
    if average.kind != "ema":
        return None
    if average.half_life is not None:
        return float(average.half_life)
    momentum = DEFAULT_MOMENTUM if average.momentum is None else average.momentum
    if momentum in (0.0, 1.0):
        return None if momentum else 0.0
    return math.log(2.0) / -math.log(momentum)


def _mean_age(rule: Rule, updates: int) -> float | None:
    """Return how many updates ago the weights in an average were, None if there are too many."""
    if updates > _ENOUGH:
        return None
    profile = rule.profile(updates)
    return float(profile @ np.arange(updates - 1.0, -1.0, -1.0))
