"""An oracle whose folder is whole at any moment, and that goes on from it as if nothing had been.

The order of writing makes it so. Whatever a client asks for, the files of trials are written first
and `oracle.json` last, each of them whole or not at all. So a trial that `oracle.json` does not
know was never handed out, and is proposed again alike, because proposals depend on what is in that
file only; one that it takes to be running though its own file has its end has ended.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from nadam_suite.callbacks.files import replace_text, sync_folder
from nadam_suite.errors import SearchError
from nadam_suite.tuner.failures import (
    FAILURE,
    failures_in_a_row,
    has_diverged,
    message_of,
    no_result,
    verdict,
)
from nadam_suite.tuner.identity import (
    OWN,
    STATE,
    TRIAL,
    check_fresh,
    check_identity,
    check_seed,
    drawn_seed,
    read_json,
    read_trial,
    undamaged,
)
from nadam_suite.tuner.points import Enqueued
from nadam_suite.tuner.proposals import completed, coordinates, sampler_of, values_at

__all__ = ["Durable"]

_COLLISIONS = 1000  # as many proposals that were there before make a space exhausted


class Durable(keras_tuner.Oracle):
    """A mix-in that comes before an oracle of keras-tuner in the list of bases.

    A search killed at any moment and started again has the same trials with the same values and
    ends with the same best one; a trial that was running runs again. Trials that were to be
    repeated begin without the metrics of their last attempt.

    Args:
        points: What to try before the oracle's own proposals.
        sampler: Where the oracle's own random values come from: "halton", "sobol" or "random".
        seed: 0 or more; 0 is one as any other. None draws one, which the folder then keeps.
        **options: Those of `keras_tuner.Oracle` and of the oracle.

    Raises:
        ArgumentError: A seed below 0, or an unknown sampler.

    Attributes:
        origins: By trial: the name of the point that it tries, and which of the point's published
            settings the space changed or lacks. For trials of `points` only.

    Example:

    >>> import tempfile
    >>> import keras_tuner
    >>> from keras_tuner.engine.base_tuner import BaseTuner
    >>> from nadam_suite.tuner.oracles import RandomSearchOracle
    >>> hp = keras_tuner.HyperParameters()
    >>> _ = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
    >>> folder, values = tempfile.mkdtemp(), []
    >>> for tuner in ("before", "after"):
    ...     oracle = RandomSearchOracle("val_loss", 9, seed=0, hyperparameters=hp)
    ...     oracle.verbose = 0
    ...     _ = BaseTuner(oracle, directory=folder, project_name="search")
    ...     if tuner == "after":
    ...         oracle.reload()
    ...     values.append(oracle.create_trial(tuner).hyperparameters.values)
    >>> values[0] == values[1]
    True
    """

    hyperparameters: keras_tuner.HyperParameters
    ongoing_trials: dict[str, Trial]
    verbose: int

    def __init__(
        self,
        *args: Any,
        points: Sequence[Enqueued] = (),
        sampler: str = "random",
        seed: int | None = None,
        **options: Any,
    ) -> None:
        check_seed(seed)
        seed = None if seed is None else int(seed)
        super().__init__(*args, seed=seed, **options)
        self._given_seed = seed
        # Stock draws another seed in place of 0, and from a generator that users seed themselves.
        self.seed = drawn_seed() if seed is None else seed
        # Stock adds what trials declare to the object that it was given, and so to the next search.
        self.hyperparameters = self.hyperparameters.copy()
        self._sampler_name = sampler
        sampler_of(sampler, self.seed)
        self.origins: dict[str, dict[str, Any]] = {}
        self._points = tuple(points)
        self._next_point = self._next_index = 0
        self._declared: int | None = None
        self._origin: Enqueued | None = None
        self._stopped: str | None = None  # why; a search that is started again may go on
        self._inside = False
        self._unsaved: set[str] = set()
        self._unsaved_state = False

    # What clients call. An exception that passes stock's lock leaves it locked for ever, and stock
    # writes files before all that they should hold is there; `_alone` mends both.

    def create_trial(self, tuner_id: str) -> Trial:
        """Return the trial that a tuner is to run, or an empty one that says to wait or to stop.

        Raises:
            SearchError: All trials have ended and none of them well, or the search was stopped
                because of failures in a row.
        """
        return self._call(self._create, tuner_id)

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Trial:
        """Record what a running trial measured."""
        with warnings.catch_warnings():  # what NaN means is said when the trial has ended
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            return self._call(super().update_trial, trial_id, metrics, step)

    def end_trial(self, trial: Trial) -> None:
        """Record how a trial ended; all is in its files before an error stops the search.

        Raises:
            SearchError: As many trials in a row failed as `max_consecutive_failed_trials` says.
                Those that diverged do not count: finding them out is what a search is for.
        """
        self._call(self._end, trial)
        self._refuse_to_go_on()

    def reload(self) -> None:
        """Go on with the search in the project's folder.

        Raises:
            SearchFolderError: A file is damaged or missing, or the folder is another search's.
        """
        self._call(self._reload)

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        result, error = self._alone(function, args)
        if error is not None:
            raise error
        return result

    @keras_tuner.synchronized
    def _alone(
        self, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> tuple[Any, BaseException | None]:
        self._inside = True
        try:
            result = function(*args)
            self._flush()
        except BaseException as error:  # noqa: BLE001 - raised again when the lock is free
            return None, error
        finally:
            self._inside = False
        return result, None

    def _create(self, tuner_id: str) -> Trial:
        self._refuse_to_go_on()
        if self._declared is None:
            check_fresh(Path(self._project_dir))
            self._declared = len(self.hyperparameters.space)
        running, known = tuner_id in self.ongoing_trials, set(self.trials)
        self._origin = None
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED:
            self._refuse_to_end_without_result()
        elif trial.status == TrialStatus.RUNNING and not running:
            if trial.trial_id in known:
                self._forget_last_attempt(trial)
            elif self._origin is not None:
                changed = list(self._origin.changed)
                self.origins[trial.trial_id] = {"name": self._origin.name, "changed": changed}
        return trial

    def _forget_last_attempt(self, trial: Trial) -> None:
        trial.metrics = type(trial.metrics)()
        trial.score, trial.best_step, trial.message = None, 0, None
        (self._folder_of(trial.trial_id) / FAILURE).unlink(missing_ok=True)
        self._save_trial(trial)  # stock leaves it as it was, so that its end would be counted again

    def _end(self, trial: Trial) -> None:
        own = self.trials[trial.trial_id]
        trial.message = message_of(trial, self._folder_of(trial.trial_id))
        if trial.status == TrialStatus.COMPLETED:
            trial.status, trial.message = verdict(own, self.objective.name)
        # A worker's have been through a protocol that sorts the space by type.
        trial.hyperparameters = _extended(own.hyperparameters, trial.hyperparameters)
        super().end_trial(trial)
        if own.status == TrialStatus.FAILED and not has_diverged(own.message):
            ended = [self.trials[trial_id] for trial_id in self.end_order]
            self._stopped = failures_in_a_row(ended, self.max_consecutive_failed_trials)

    def _check_consecutive_failures(self) -> None:
        """Do nothing: stock would raise before anything of the trial's end is in its files."""

    def _refuse_to_go_on(self) -> None:
        if self._stopped is not None:
            raise SearchError(self._stopped)

    def _refuse_to_end_without_result(self) -> None:
        ended = [self.trials[trial_id] for trial_id in self.end_order]
        message = None if self.ongoing_trials else no_result(ended)
        if message is not None:
            raise SearchError(message)

    # Proposals

    def _random_values(self) -> dict[str, Any] | None:
        """Return the values of a new trial, or None if there are no new ones: stock asks here."""
        values = self._next_of_points()
        if values is not None:
            return values
        space, start = self.hyperparameters.space, self._next_index
        sampler, dimensions = sampler_of(self._sampler_name, self.seed), len(coordinates(space))
        for index in range(start, start + _COLLISIONS):
            values = values_at(space, sampler.point(index, dimensions))
            if not self._duplicate(values):
                self._next_index = index + 1
                return values
        return None

    def _next_of_points(self) -> dict[str, Any] | None:
        """Return the first of `points` that is left and new, or None."""
        while self.points_left:
            point = self._points[self._next_point]
            self._next_point += 1
            space = self.hyperparameters.space
            values = completed(space, point.values, within=not point.extra) | dict(point.extra)
            if not self._duplicate(values):
                self._origin = point
                return values
        return None

    @property
    def points_left(self) -> int:
        """How many of `points` are still to be tried."""
        return len(self._points) - self._next_point

    # Files

    def save(self) -> None:
        """Write `oracle.json`; within a client's call at its end."""
        self._unsaved_state = True
        if not self._inside:
            self._flush()

    def _save_trial(self, trial: Trial) -> None:
        self._unsaved.add(trial.trial_id)

    def _flush(self) -> None:
        for trial_id in sorted(self._unsaved):
            folder = self._folder_of(trial_id)
            if not folder.exists():
                folder.mkdir()
                sync_folder(folder.parent)
            replace_text(folder / TRIAL, json.dumps(self.trials[trial_id].get_state()))
        self._unsaved.clear()
        if self._unsaved_state:
            replace_text(Path(self._project_dir) / STATE, json.dumps(self.get_state()))
            self._unsaved_state = False

    def _folder_of(self, trial_id: str) -> Path:
        return Path(self._project_dir) / f"trial_{trial_id}"

    def get_state(self) -> dict[str, Any]:
        """Return what `oracle.json` has: stock's, and ours under a key of its own."""
        state = super().get_state()
        state["tried_so_far"] = sorted(state["tried_so_far"])
        state[OWN] = {
            "identity": self._identity(self.seed),
            "declared": self._declared,
            "next_point": self._next_point,
            "next_index": self._next_index,
            "origins": self.origins,
        }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_state` returned; `trials` must be there."""
        super().set_state(state)
        own = state[OWN]
        self._declared, self.origins = own["declared"], own["origins"]
        self._next_point, self._next_index = own["next_point"], own["next_index"]

    def _settings(self) -> dict[str, Any]:
        """Return the oracle's own arguments that make it another search."""
        return {}

    def _identity(self, seed: int | None) -> dict[str, Any]:
        objectives = getattr(self.objective, "objectives", [self.objective])
        return {
            "oracle": type(self).__name__,
            "objective": [[one.name, one.direction] for one in objectives],
            "seed": seed,
            "sampler": self._sampler_name,
            "points": [{"name": point.name, "values": point.values} for point in self._points],
            **self._settings(),
        }

    def _reload(self) -> None:
        folder = Path(self._project_dir)
        state = read_json(folder / STATE)
        with undamaged(folder / STATE):
            known, identity = state["start_order"], state.get(OWN, {}).get("identity")
        check_identity(folder, identity, self._identity(self._given_seed))
        self.trials = {trial_id: read_trial(self._folder_of(trial_id)) for trial_id in known}
        with undamaged(folder / STATE):
            self.set_state(state)
        verbose, self.verbose = self.verbose, 0
        for trial in list(self.ongoing_trials.values()):
            if trial.status != TrialStatus.RUNNING:  # killed before `oracle.json` knew
                super().end_trial(trial)
        self.verbose = verbose
        # Stock's queue is last in, first out.
        cut = {trial.trial_id for trial in self.ongoing_trials.values()}
        self._retry_queue += [trial_id for trial_id in reversed(known) if trial_id in cut]
        self.ongoing_trials = {}


def _extended(
    own: keras_tuner.HyperParameters, other: keras_tuner.HyperParameters
) -> keras_tuner.HyperParameters:
    """Return `own` with what `other` has beyond it, in the order in which that was declared."""
    result = own.copy()
    result.merge(other, overwrite=False)
    for name, value in other.values.items():
        if name not in own.values:
            result.values[name] = value
    return result
