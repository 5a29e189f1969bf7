"""How much of the scores' spread each hyperparameter of a search is responsible for."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from nadam_suite.tuner.search_record import CONFIGURED, Dimension, SearchRecord, TrialRecord

__all__ = ["ENOUGH", "Importance", "Importances", "importances"]

ENOUGH = 8  # trials below which a forest says nothing
_LEAST_EXPLAINED = 0.1  # share of the spread below which it says nothing either
_RESAMPLES, _TREES, _DONORS = 32, 24, 8


@dataclasses.dataclass(frozen=True)
class Importance:
    """What a hyperparameter is responsible for.

    Args:
        name: The hyperparameter, by its label.
        mean: Estimated share of the variance of the scores that it causes, alone and together with
            others, so that the shares may add up to more than 1; 0 is none, and less than 0 is
            noise about 0.
        std: Standard deviation of that estimate.
    """

    name: str
    mean: float
    std: float

    @property
    def clear(self) -> bool:
        """Whether it stands out from no importance at all: by two standard deviations."""
        return self.mean > 2.0 * self.std and self.mean > 0.0

    @property
    def verdict(self) -> str:
        """What to say beside the figures: nothing where they are clear."""
        return "" if self.clear else "unclear"


@dataclasses.dataclass(frozen=True)
class Importances:
    """The importance of all hyperparameters, the greatest first, or why there is none.

    Args:
        rows: Importances; empty where nothing can be said.
        explained: Share of the scores' variance that the forest predicts of trials that it has not
            seen, or None where it was not trained.
        trials: Trials that were looked at.
        note: Why nothing can be said, or None.
    """

    rows: tuple[Importance, ...]
    explained: float | None
    trials: int
    note: str | None = None


def importances(record: SearchRecord, *, seed: int = 0) -> Importances:
    """Return the importance of each hyperparameter of a search, with its uncertainty.

    Random forests learn the score from the values, each on a bootstrap resample of the trials.
    Trials out of the resample are then predicted with one value after the other taken from another
    trial: half of the mean squared error that this adds is the hyperparameter's part of the
    variance. Values count in their own scale (logarithms of what is searched on a log scale). A
    hyperparameter that is not always there is exchanged only among trials that have it, and what
    its presence does is put down to the one that it depends on. Scores that are far worse than the
    others are taken as no worse than three halves of the interquartile range beyond them, as a
    single bad trial would outweigh all else. Of trials of different lengths (Hyperband) only
    those of the same length are compared. The trial of a search's config as it is does not count:
    it has settings that the hyperparameters do not tell.

    Args:
        record: The search.
        seed: Of the resamples and forests; the same one gives the same figures.

    Example:

    >>> from pathlib import Path
    >>> from nadam_suite.tuner.importance import importances
    >>> from nadam_suite.tuner.search_record import Dimension, SearchRecord, TrialRecord
    >>> rate = Dimension("rate", "float", "rate", low=0.0, high=1.0)
    >>> trial = TrialRecord("0", Path("trial_0"), {"rate": 0.5}, "COMPLETED", 1.0)
    >>> importances(SearchRecord(Path("."), "val_loss", "min", (rate,), (trial,))).note
    'Importance needs at least 8 trials that ended well; this search has 1.'

    Reference:
        Gregorutti, Michel, Saint-Pierre, "Correlation and variable importance in random forests"
        (Statistics and Computing, 2017), for the half.
    """
    dimensions = record.varied
    trials, scores = _comparable(record)
    if not dimensions:
        return Importances((), None, len(trials), "The search varies no hyperparameter.")
    if len(trials) < ENOUGH:
        return Importances((), None, len(trials), _too_few(record, len(trials)))
    if np.ptp(scores) == 0.0:
        note = "All trials have the same score, so no hyperparameter matters."
        return Importances((), None, len(trials), note)
    parts, explained = _measured(_table(trials, dimensions), scores, seed)
    rows = [
        Importance(dimension.label, float(np.mean(part)), float(np.std(part, ddof=1)))
        for dimension, part in zip(dimensions, parts.T, strict=True)
    ]
    rows.sort(key=lambda row: -row.mean)
    if explained < _LEAST_EXPLAINED or not any(row.clear for row in rows):
        note = (
            f"The scores of these {len(trials)} trials cannot be told from the hyperparameters: "
            "either none matters within its range, or more trials are needed to see it."
        )
        return Importances((), explained, len(trials), note)
    return Importances(tuple(rows), explained, len(trials))


def _too_few(record: SearchRecord, comparable: int) -> str:
    """Return why there are no importances."""
    well = sum(trial.origin != CONFIGURED for trial in record.ranked)
    besides = " besides that of the config" if well < len(record.ranked) else ""
    if well < ENOUGH:
        what, number = "that ended well", well
    else:
        what, number = "of the same lengths", comparable
    return f"Importance needs at least {ENOUGH} trials {what}; this search has {number}{besides}."


def _comparable(record: SearchRecord) -> tuple[list[TrialRecord], np.ndarray]:
    """Return the trials to look at, and their scores: less is better, lengths are made equal."""
    groups: dict[int | None, list[TrialRecord]] = collections.defaultdict(list)
    for trial in record.trials:
        if trial.ended_well and trial.origin != CONFIGURED:
            groups[trial.epochs].append(trial)
    if len(groups) > 1:  # a trial without others of its length tells nothing
        groups = {length: group for length, group in groups.items() if len(group) > 2}
    sign = -1.0 if record.direction == "max" else 1.0
    trials: list[TrialRecord] = []
    scores: list[np.ndarray] = [np.zeros(0)]
    for group in groups.values():
        raw = _bounded(sign * np.array([trial.score for trial in group], float))
        scores.append(raw - (np.mean(raw) if len(groups) > 1 else 0.0))
        trials += group
    return trials, np.concatenate(scores)


def _bounded(scores: np.ndarray) -> np.ndarray:
    """Return the scores with those that are far worse (greater) brought nearer."""
    lower, upper = np.quantile(scores, (0.25, 0.75))
    return scores if upper == lower else np.minimum(scores, upper + 1.5 * (upper - lower))


def _table(trials: Sequence[TrialRecord], dimensions: Sequence[Dimension]) -> np.ndarray:
    """Return positions by trial and dimension, NaN where a hyperparameter is not there."""
    levels = [[dimension.level(trial.values) for dimension in dimensions] for trial in trials]
    return np.array(levels, float)


def _measured(table: np.ndarray, scores: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Return each resample's importance of each column, and the share of variance explained."""
    from sklearn.ensemble import RandomForestRegressor

    random = np.random.default_rng(seed)
    # An absent value must not tell that it is absent: that is the part of what it depends on.
    filled = np.where(np.isnan(table), 0.5, table)
    parts: list[np.ndarray] = []
    count, missed, spread = len(scores), 0.0, 0.0
    while len(parts) < _RESAMPLES:
        inside = random.integers(count, size=count)
        outside = np.setdiff1d(np.arange(count), inside)
        if not len(outside):
            continue
        forest = RandomForestRegressor(_TREES, random_state=int(random.integers(2**31)))
        forest.fit(filled[inside], scores[inside])
        rows, columns, exchanged = _exchanged(table, filled, outside, random)
        predicted = forest.predict(np.concatenate([filled[outside], exchanged]))
        own, others = np.split(predicted, [len(outside)])
        errors = (own - scores[outside]) ** 2
        missed += errors.sum()
        spread += ((scores[outside] - scores[inside].mean()) ** 2).sum()
        added, times = np.zeros((2, len(outside), table.shape[1]))
        np.add.at(added, (rows, columns), (others - scores[outside[rows]]) ** 2 - errors[rows])
        np.add.at(times, (rows, columns), 1.0)
        parts.append((added / np.maximum(times, 1.0)).mean(0) / (2.0 * np.var(scores)))
    return np.array(parts), float(1.0 - missed / spread)


def _exchanged(
    table: np.ndarray, filled: np.ndarray, outside: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return trials with one value each from another trial.

    Args:
        table: Positions, NaN where a hyperparameter is not there.
        filled: The same without NaN.
        outside: Rows of the trials that are looked at.
        random: Chooses the others, of which `_DONORS` at most are taken.

    Returns:
        Places in `outside`, columns that were exchanged, and the trials.
    """
    places, columns, made = [], [], [np.zeros((0, table.shape[1]))]
    for column in range(table.shape[1]):
        present = np.flatnonzero(~np.isnan(table[:, column]))
        for place, row in enumerate(outside):
            donors = present[present != row]
            if np.isnan(table[row, column]) or not len(donors):
                continue
            donors = random.permutation(donors)[:_DONORS]
            trials = np.repeat(filled[row][None], len(donors), 0)
            trials[:, column] = table[donors, column]
            places += [place] * len(donors)
            columns += [column] * len(donors)
            made.append(trials)
    return np.array(places, int), np.array(columns, int), np.concatenate(made)
