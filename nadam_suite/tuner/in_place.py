"""One execution of a trial, trained in this process, which can be cut at any moment.

Its folder has the state of its last epoch, from which the same call goes on exactly, and at the end
its result. At a rung of Hyperband it begins with the state of the last epoch of the trial that it
goes on with: weights, optimizer, averages, counters, and the history so far.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from nadam_suite.callbacks import TrainingState
from nadam_suite.callbacks.files import replace_file, replace_text
from nadam_suite.callbacks.monitored import not_validated
from nadam_suite.errors import SearchFolderError
from nadam_suite.experiment.record import history_csv
from nadam_suite.tuner.best_weights import BUILD, WEIGHTS, BestWeights
from nadam_suite.tuner.trials import (
    TrialContext,
    TrialResult,
    best_epoch,
    diverged,
    objective_names,
    result_of,
)

__all__ = ["Fit", "build_from", "train_in_place"]

Fit = Callable[[keras.Model, dict[str, Any]], Any]
"""Trains a model: called with it, and with what to add to the arguments of `fit()`."""

_RESULT, _STATE = "result.json", "state"


def train_in_place(
    context: TrialContext,
    build: Callable[[], keras.Model],
    fit: Fit,
    *,
    check: Callable[[Sequence[str]], object] | None = None,
) -> TrialResult:
    """Train one execution of a trial, or go on with it, and return what it has reached.

    Args:
        context: What to train; its folder lies in the trial's own.
        build: Makes the compiled model, always the same.
        fit: Trains it.
        check: Called with the names of the first epoch's metrics; None where the objective comes
            from what `fit` returns.

    Raises:
        keras_tuner.errors.FailedTrialError: The training has diverged.
        SearchFolderError: The state of the trial that this one goes on with is missing.
    """
    folder = context.folder
    if (folder / _RESULT).is_file():
        return TrialResult.read(folder / _RESULT)
    state = TrainingState(folder / _STATE)
    if not state.exists() and context.past_folder is not None:
        _carry_over(context.past_folder, folder, state.path)
    model = build()
    start = _restored(state, model, folder.parent)
    best = None if check is None else _best_so_far(context, state.history)
    watch = [_Watch(context.objective, check), BestWeights(folder.parent, context.objective, best)]
    callbacks = [*state.around(*context.callbacks, *watch), _History(state, folder)]
    added: dict[str, Any] = {"callbacks": callbacks}
    if start:
        added["initial_epoch"] = start
    epochs = start if state.stopped else context.epochs
    if epochs is not None:
        added["epochs"] = epochs
    returned = fit(model, added)
    if isinstance(returned, keras.callbacks.History) and state.history:
        result = best_epoch(state.history, context.objective)
    else:
        result = result_of(returned, context.objective)
        if reason := diverged(result.metrics, context.objective):
            raise keras_tuner.errors.FailedTrialError(reason)
    result.write(folder / _RESULT)
    return result


def build_from(model: keras.Model, trial: Path) -> None:
    """Build a model that knows its inputs' shapes only once it is trained, as the trial's was."""
    if not model.built:
        model.build_from_config(json.loads((trial / BUILD).read_text("utf-8")))


def _restored(state: TrainingState, model: keras.Model, trial: Path) -> int:
    """Give the model its state, if there is one, and return the epoch at which to go on."""
    if not state.exists():
        return 0
    build_from(model, trial)
    return state.restore(model)


def _carry_over(past: Path, folder: Path, state: Path) -> None:
    """Copy the best weights so far, and the state of a past trial's last epoch.

    The state comes last: where it is, all is.
    """
    source = past / _STATE / state.name
    if not source.is_file():
        raise SearchFolderError(
            f"The trial's folder {str(past)!r} must have the state of its last epoch, with which "
            f"this trial goes on. Received: no file {str(source)!r}. Begin the search anew in "
            "another folder."
        )
    for name in (BUILD, WEIGHTS):
        if not (folder.parent / name).exists():
            _copy(past.parent / name, folder.parent / name)
    state.parent.mkdir(parents=True, exist_ok=True)
    _copy(source, state)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as opened:
        replace_file(target, lambda file: shutil.copyfileobj(opened, file))


def _best_so_far(context: TrialContext, history: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the best value of which the trial's folder has the weights.

    It is among the epochs so far, those of earlier executions, and those of the past trial.
    """
    objective = context.objective
    folders = [context.folder, *([context.past_folder] if context.past_folder else [])]
    results = [path for f in folders for path in f.parent.glob(f"execution_*/{_RESULT}")]
    rows: list[Mapping[str, Any]] = [TrialResult.read(path).metrics for path in results]
    rows += [row for row in history if objective.has_value(row)]
    values = [float(objective.get_value(row)) for row in rows]
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return None
    return max(values) if objective.direction == "max" else min(values)


class _Watch(keras.callbacks.Callback):
    """Ends a training that has diverged, and one whose objective is no metric of its."""

    def __init__(
        self,
        objective: keras_tuner.Objective,
        check: Callable[[Sequence[str]], object] | None,
    ) -> None:
        super().__init__()
        self._objective = objective
        self._check = check

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        if reason := diverged(logs, self._objective, epoch):
            raise keras_tuner.errors.FailedTrialError(reason)
        names = objective_names(self._objective)
        if self._check is not None and not any(not_validated(name, logs) for name in names):
            self._check(sorted(logs))
            self._check = None


class _History(keras.callbacks.Callback):
    """Keeps the history beside the state, as a table; it comes after the state."""

    def __init__(self, state: TrainingState, folder: Path) -> None:
        super().__init__()
        self._state = state
        self._table = folder / "history.csv"

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        replace_text(self._table, history_csv(self._state.history))
