"""What a search has tried, as plain data: ranges, trials, and which of them is the best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "CONFIGURED",
    "FAILURE",
    "OWN",
    "POINT",
    "STATE",
    "TRIAL",
    "Dimension",
    "SearchRecord",
    "TrialRecord",
]

STATE, TRIAL = "oracle.json", "trial.json"
OWN = "nadam_suite"  # our part of oracle.json, which stock keras-tuner passes over
FAILURE = "failure.txt"  # in a trial's folder: why it failed, as the worker saw it
CONFIGURED = "as configured"  # the point that is the search's config itself, whatever its space
POINT = "tuner/point"  # among a trial's values: that it is this point


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One hyperparameter and its range.

    A name that is declared under several conditions is a dimension for each of them.

    Args:
        name: Name in the trials' values.
        kind: "float", "int", "choice", "boolean" or "fixed".
        label: What to show; the name, with its conditions where the name alone is not enough.
        conditions: Names of other hyperparameters, each with the values of which it must have one
            for this hyperparameter to be there.
        low: Lower end, of a float or an int.
        high: Upper end, included.
        step: Distance of its values, on a log scale their ratio; None if it has any value between.
        sampling: "linear", "log" or "reverse_log".
        values: All values of a choice, a Boolean or a fixed one.
        ordered: Whether these are numbers in an order.

    Example:

    >>> from nadam_suite.tuner.search_record import Dimension
    >>> rate = Dimension("rate", "float", "rate", low=1e-4, high=1e-2, sampling="log")
    >>> rate.position(1e-3)
    0.5
    """

    name: str
    kind: Literal["float", "int", "choice", "boolean", "fixed"]
    label: str
    conditions: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None
    sampling: str = "linear"
    values: tuple[Any, ...] = ()
    ordered: bool = False

    @property
    def numeric(self) -> bool:
        """Whether it has a lower and an upper end."""
        return self.low is not None and self.high is not None

    @property
    def varied(self) -> bool:
        """Whether the search chooses among several values."""
        if self.low is not None and self.high is not None:
            return self.high > self.low
        return self.kind != "fixed" and len(self.values) > 1

    @property
    def count(self) -> int | None:
        """How many values it can have, or None for any number between two ends."""
        if self.low is None or self.high is None:
            return len(self.values)
        if self.step is None:
            return None if self.kind == "float" else int(self.high - self.low) + 1
        if self.sampling == "linear":
            return int((self.high - self.low) / self.step + 1e-8) + 1
        return int(math.log(self.high / self.low, self.step) + 1e-8) + 1

    def active(self, values: Mapping[str, Any]) -> bool:
        """Return whether this hyperparameter is there in a trial with these values."""
        return all(name in values and values[name] in of for name, of in self.conditions)

    def position(self, value: Any) -> float:
        """Return where a value lies in the range, in its own scale: 0 at one end, 1 at the other.

        Args:
            value: A value; one beyond an end, or that no choice has, counts as the nearest.
        """
        if self.low is None or self.high is None:
            return self._place(value)
        if self.high <= self.low:
            return 0.5
        value = min(max(float(value), self.low), self.high)
        if self.sampling == "log":
            return math.log(value / self.low) / math.log(self.high / self.low)
        if self.sampling == "reverse_log":
            mirrored = (self.high + self.low - value) / self.low
            return 1.0 - math.log(mirrored) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def _place(self, value: Any) -> float:
        """Return the position of one of several values, evenly spread."""
        if len(self.values) < 2:
            return 0.5
        if value in self.values:
            return self.values.index(value) / (len(self.values) - 1)
        if not self.ordered or not isinstance(value, (int, float)):
            return 0.5
        nearest = min(range(len(self.values)), key=lambda i: abs(self.values[i] - value))
        return nearest / (len(self.values) - 1)

    def level(self, values: Mapping[str, Any]) -> float | None:
        """Return the position of a trial's value, or None where this is not there."""
        if self.name not in values or not self.active(values):
            return None
        return self.position(values[self.name])


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """One trial of a search.

    Args:
        id: Its id.
        folder: Its folder.
        values: Values of the hyperparameters that are there, by name.
        status: "COMPLETED", "FAILED", "INVALID", "RUNNING" or another of keras-tuner's words.
        score: The objective, or None if it has none yet.
        best_step: Epoch of that score, counted from 0.
        reason: Why it failed, in one line.
        details: The same with all that was written, such as a traceback.
        origin: Name of the point that it is, if it is one of those that are tried first.
        changed: Names of that point's values that had to be changed to fit the ranges.
        epochs: Epochs after which it was to end, where the search gives a number to each trial.
        rung: Its round in a bracket of Hyperband.
        bracket: That bracket.
        past: Id of the trial that it goes on with.
        metrics: Best values of all metrics.
    """

    id: str
    folder: Path
    values: Mapping[str, Any]
    status: str
    score: float | None = None
    best_step: int | None = None
    reason: str | None = None
    details: str | None = None
    origin: str | None = None
    changed: tuple[str, ...] = ()
    epochs: int | None = None
    rung: int | None = None
    bracket: int | None = None
    past: str | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def ended_well(self) -> bool:
        """Whether it has a score that can be compared."""
        return self.status == "COMPLETED" and self.score is not None and math.isfinite(self.score)

    @property
    def failed(self) -> bool:
        """Whether it ended without such a score."""
        return not self.ended_well and self.status in {"COMPLETED", "FAILED", "INVALID"}

    @property
    def diverged(self) -> bool:
        """Whether it failed because its loss or its objective was no finite number."""
        return self.failed and (self.reason or "").startswith("Diverged:")


@dataclasses.dataclass(frozen=True)
class SearchRecord:
    """A search: what it may choose, and what it has tried.

    Args:
        folder: The search's folder.
        objective: Name of the metric that the trials are ranked by.
        direction: "min" or "max".
        dimensions: Hyperparameters, in the order of their declaration.
        trials: Trials, in the order of their start.
        notes: What could not be read, and what was inferred, a sentence each.

    Example:

    >>> from pathlib import Path
    >>> from nadam_suite.tuner.search_record import SearchRecord, TrialRecord
    >>> trials = [TrialRecord(i, Path(i), {}, "COMPLETED", s) for i, s in (("0", 2.0), ("1", 1.0))]
    >>> SearchRecord(Path("."), "val_loss", "min", (), tuple(trials)).best.id
    '1'
    """

    folder: Path
    objective: str
    direction: Literal["min", "max"]
    dimensions: tuple[Dimension, ...]
    trials: tuple[TrialRecord, ...]
    notes: tuple[str, ...] = ()

    @property
    def ranked(self) -> tuple[TrialRecord, ...]:
        """Trials that ended well, the best one first.

        Of equals the one that trained for longer comes first, then the one that started earlier.
        """
        sign = -1.0 if self.direction == "max" else 1.0
        well = (trial for trial in self.trials if trial.ended_well)
        return tuple(
            sorted(well, key=lambda trial: (sign * (trial.score or 0.0), -(trial.epochs or 0)))
        )

    @property
    def configurations(self) -> tuple[TrialRecord, ...]:
        """The ranked trials, without those that another one goes on with and does not fall behind.

        Hyperband trains the same values again and again, each time for longer.
        """
        ranked = self.ranked
        place = {trial.id: number for number, trial in enumerate(ranked)}
        surpassed = {
            trial.past for trial in ranked if place[trial.id] < place.get(trial.past or "", -1)
        }
        return tuple(trial for trial in ranked if trial.id not in surpassed)

    @property
    def best(self) -> TrialRecord | None:
        """The best trial, or None if none has ended well."""
        return next(iter(self.ranked), None)

    @property
    def configured(self) -> TrialRecord | None:
        """The trial of the search's config as it is, the best one of it; None if there is none."""
        found = (trial for trial in (*self.ranked, *self.trials) if trial.origin == CONFIGURED)
        return next(found, None)

    @property
    def failed(self) -> tuple[TrialRecord, ...]:
        """Trials that ended without a score."""
        return tuple(trial for trial in self.trials if trial.failed)

    @property
    def unfinished(self) -> tuple[TrialRecord, ...]:
        """Trials that run, or were interrupted."""
        return tuple(trial for trial in self.trials if not trial.ended_well and not trial.failed)

    @property
    def varied(self) -> tuple[Dimension, ...]:
        """Hyperparameters that have several values to choose from."""
        return tuple(dimension for dimension in self.dimensions if dimension.varied)
