"""What a trial of a search is told, and what comes of it."""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from nadam_suite.callbacks.files import replace_text
from nadam_suite.callbacks.snapshot import read_header
from nadam_suite.errors import SearchError

__all__ = [
    "TrialContext",
    "TrialResult",
    "averaged",
    "best_epoch",
    "diverged",
    "history_of",
    "objective_names",
    "result_of",
]


@dataclasses.dataclass(frozen=True)
class TrialContext:
    """One execution of a trial: what to train, and where.

    Args:
        trial_id: The trial's name within the search, such as "07".
        hyperparameters: Its values, as a `keras_tuner.HyperParameters`.
        folder: Where everything of this execution lies; it exists.
        objective: What is to fall, or to rise.
        seed: Seed of this execution.
        execution: Which of the executions of the trial, from 0.
        epochs: Epochs to have trained at the end, those of the past trial included; None where the
            search leaves them to the trial.
        past_folder: Folder of the same execution of the trial that this one goes on with, at a
            rung of Hyperband; None at a beginning.
        callbacks: Callbacks of this execution alone, in their order.
    """

    trial_id: str
    hyperparameters: keras_tuner.HyperParameters
    folder: Path
    objective: keras_tuner.Objective
    seed: int
    execution: int = 0
    epochs: int | None = None
    past_folder: Path | None = None
    callbacks: tuple[keras.callbacks.Callback, ...] = ()


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """What one execution of a trial has reached: the metrics of its best epoch.

    Args:
        metrics: All metrics of that epoch.
        best_step: The epoch, from 0.
    """

    metrics: Mapping[str, float]
    best_step: int = 0

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        replace_text(path, json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls, path: Path) -> TrialResult:
        """Return what `write` has written."""
        return cls(**json.loads(path.read_text("utf-8")))


def objective_names(objective: keras_tuner.Objective) -> tuple[str, ...]:
    """Return the names of the metrics that an objective is made of."""
    # A multi-objective, which keras-tuner does not export, has a direction for each.
    return tuple(getattr(objective, "name_to_direction", (objective.name,)))


def diverged(
    row: Mapping[str, Any], objective: keras_tuner.Objective, epoch: int | None = None
) -> str | None:
    """Return why a training is lost, or None.

    Args:
        row: Metrics of an epoch.
        objective: The search's objective.
        epoch: The epoch, from 0; None without any.

    Example:

    >>> import keras_tuner
    >>> from nadam_suite.tuner.trials import diverged
    >>> objective = keras_tuner.Objective("val_loss", "min")
    >>> diverged({"loss": 2.0, "val_loss": float("nan")}, objective, 2)
    'Diverged: val_loss is nan at epoch 3 (loss 2).'
    """
    for name in (*objective_names(objective), "loss"):
        if name in row and not math.isfinite(row[name]):
            at = "" if epoch is None else f" at epoch {epoch + 1}"
            loss = f" (loss {row['loss']:.6g})" if "loss" in row else ""
            return f"Diverged: {name} is {row[name]}{at}{loss}."
    return None


def best_epoch(
    history: Iterable[Mapping[str, Any]], objective: keras_tuner.Objective
) -> TrialResult:
    """Return the best of all epochs; of equals the first.

    Args:
        history: One row per epoch, with an entry "epoch" and the metrics. Epochs without the
            objective, as with `validation_freq`, and those where it is NaN, are passed over.
        objective: What is to fall, or to rise.

    Raises:
        SearchError: No epoch has a value.

    Example:

    >>> import keras_tuner
    >>> from nadam_suite.tuner.trials import best_epoch
    >>> rows = [{"epoch": 0, "val_loss": 2.0}, {"epoch": 1, "val_loss": 1.0}]
    >>> best_epoch(rows, keras_tuner.Objective("val_loss", "min"))
    TrialResult(metrics={'val_loss': 1.0}, best_step=1)
    """
    best: tuple[float, Mapping[str, Any]] | None = None
    for row in history:
        if objective.has_value(row):
            value = float(objective.get_value(row))
            better = best is None or objective.better_than(value, best[0])
            if better and not math.isnan(value):
                best = (value, row)
    if best is None:
        raise SearchError(
            f"The objective must have a value at one epoch at least. Received: {objective.name!r}, "
            "which no epoch has. Train for one epoch or more, and pass validation data for a "
            "metric that begins with val_."
        )
    metrics = {name: float(value) for name, value in best[1].items() if name != "epoch"}
    return TrialResult({**metrics, objective.name: best[0]}, int(best[1]["epoch"]))


def result_of(returned: Any, objective: keras_tuner.Objective) -> TrialResult:
    """Return the result of what `HyperModel.fit` or a trial of one's own has returned.

    Args:
        returned: A `TrialResult`, a History, a dict with the objective, the objective's value, or a
            list of these, which are averaged.
        objective: The search's objective.

    Raises:
        SearchError: It is none of these.
    """
    if isinstance(returned, TrialResult):
        return returned
    if isinstance(returned, keras.callbacks.History):
        return best_epoch(_rows(returned), objective)
    if isinstance(returned, dict) and objective.has_value(returned):
        value = {objective.name: objective.get_value(returned)}
        return TrialResult({name: float(v) for name, v in (returned | value).items()})
    if isinstance(returned, list) and returned:
        return averaged([result_of(each, objective) for each in returned])
    if isinstance(returned, bool) or not isinstance(returned, numbers.Real):
        raise SearchError(
            "A trial must return a History, the value of the objective, or a dict with it. "
            f"Received: {returned!r} for the objective {objective.name!r}. Return what "
            "`model.fit()` returns."
        )
    return TrialResult({objective.name: float(returned)})


def averaged(results: Sequence[TrialResult]) -> TrialResult:
    """Return the mean of the executions of a trial, of the metrics that all of them have.

    Example:

    >>> from nadam_suite.tuner.trials import TrialResult, averaged
    >>> averaged([TrialResult({"loss": 1.0}, 3), TrialResult({"loss": 2.0}, 6)])
    TrialResult(metrics={'loss': 1.5}, best_step=4)
    """
    number = len(results)
    names = [name for name in results[0].metrics if all(name in r.metrics for r in results)]
    means = {name: math.fsum(r.metrics[name] for r in results) / number for name in names}
    return TrialResult(means, sum(result.best_step for result in results) // number)


def history_of(state: Path) -> list[dict[str, float]]:
    """Return the rows of the epochs that a state file has, none without a file."""
    return list(read_header(state)["history"]) if state.is_file() else []


def _rows(history: keras.callbacks.History) -> list[dict[str, Any]]:
    """Return a History by epochs."""
    rows: list[dict[str, Any]] = [{"epoch": epoch} for epoch in history.epoch]
    for name, values in history.history.items():
        for row, value in zip(rows, values, strict=False):
            row[name] = value
    return rows
