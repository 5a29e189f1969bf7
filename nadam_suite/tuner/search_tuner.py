"""What all tuners of this package have in common: keras-tuner's `Tuner`, that loses nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.engine.tuner import maybe_distribute

from nadam_suite.callbacks.files import replace_text
from nadam_suite.config.files import save_config
from nadam_suite.errors import ArgumentError, NonFiniteError
from nadam_suite.tuner.best_weights import WEIGHTS
from nadam_suite.tuner.check import check_objective, check_space, declared_space
from nadam_suite.tuner.failures import FAILURE
from nadam_suite.tuner.hparams import hparams_session
from nadam_suite.tuner.hypermodel import NadamHyperModel
from nadam_suite.tuner.in_place import build_from, train_in_place
from nadam_suite.tuner.metric_names import adds_no_names, metric_names
from nadam_suite.tuner.oracles import COMMON
from nadam_suite.tuner.ordered import fit_arguments, ordered
from nadam_suite.tuner.protocols import KnowsConfig, KnowsMetrics, RunsTrials
from nadam_suite.tuner.search_record import STATE
from nadam_suite.tuner.start import starting_points
from nadam_suite.tuner.trial_callbacks import FatalArgumentError, Hooks, copies, own_log_folders
from nadam_suite.tuner.trials import (
    TrialContext,
    TrialResult,
    objective_names,
    result_of,
)

__all__ = ["SearchTuner"]

_CHIEF = "KERASTUNER_ORACLE_IP"  # set where a chief hands out the trials
_SLOW = 0.2  # seconds between two questions for a trial, where there is none yet


class SearchTuner(keras_tuner.Tuner):
    """A tuner whose trials can be cut at any moment, and that goes on with them exactly.

    Trials train with the seed of the search, the further executions of one with the next ones.
    Each keeps in its folder the state of its last epoch and the weights of its best one: those
    that its metric was measured with, so averages where `EvaluateAverage` has measured. Its score
    is that of its best epoch. One whose loss or objective leaves the finite numbers is ended there.

    For a trial to go on exactly, its data must be the same in each epoch of the same number. Arrays
    are, in an order drawn from seed and epoch, unless the hypermodel has a `fit` of its own.

    Args:
        oracle: Makes the oracle out of `options` and the points.
        hypermodel: A `keras_tuner.HyperModel`, or a function that builds a model.
        points: What to try first, see `nadam_suite.tuner.start.starting_points`.
        options: Arguments of the oracle, besides those that all oracles have.
        directory: Folder of searches. Defaults to ".".
        project_name: Folder of this one in it. Defaults to "untitled_project".
        overwrite: Delete the search that is there, instead of going on with it.
        **kwargs: Those that all oracles have, and those of `keras_tuner.Tuner`.

    Raises:
        ArgumentError: There is no hypermodel, `points` are no points, or a search shared by
            workers would be overwritten.
        SearchFolderError: The folder belongs to another search, or the space has changed.
    """

    def __init__(
        self,
        oracle: Callable[..., keras_tuner.Oracle],
        hypermodel: Any,
        points: Any,
        options: Mapping[str, Any],
        *,
        directory: str | os.PathLike[str] | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        **kwargs: Any,
    ) -> None:
        self._check(hypermodel, overwrite)
        folder = Path(directory or ".", project_name or "untitled_project")
        common = {name: kwargs.pop(name) for name in COMMON if name in kwargs}
        given = common.get("hyperparameters") or keras_tuner.HyperParameters()
        self._space = given if hypermodel is None else declared_space(hypermodel, given)
        searched = self._space if common.get("tune_new_entries", True) else given
        own = folder / f"{_tuner_id()}.json"
        goes_on = not _serves_a_chief() and not overwrite and (folder / STATE).is_file()
        if goes_on:
            check_space(folder, searched)
            # Stock goes on only where it finds this file, which it writes after the first trial.
            replace_text(own, "{}")
        self._asked = False
        self._objective_known = False
        self._building_seed = 0
        reloads = not overwrite and own.is_file()  # which stock says aloud
        quiet = contextlib.redirect_stdout(io.StringIO()) if reloads else contextlib.nullcontext()
        with quiet:
            super().__init__(
                oracle=oracle(
                    **options, **common, points=starting_points(points, hypermodel, searched)
                ),
                hypermodel=hypermodel,
                directory=directory,
                project_name=project_name,
                overwrite=overwrite,
                **kwargs,
            )

    def _check(self, hypermodel: Any, overwrite: bool) -> None:
        if hypermodel is None and type(self).run_trial is SearchTuner.run_trial:
            raise ArgumentError(
                "Argument `hypermodel` must be a hypermodel, or a function that builds a model. "
                "Received: hypermodel=None. A subclass with a `run_trial` of its own needs none."
            )
        if overwrite and _CHIEF in os.environ:
            raise ArgumentError(
                "Argument `overwrite` must be False where workers share a search: one that starts "
                f"late would delete what the others have written. Received: overwrite={overwrite}, "
                f"and {_CHIEF} is set. Delete the folder before you start them."
            )

    # What keras-tuner calls

    def _populate_initial_space(self) -> None:
        self.oracle.update_space(self._space)

    def save(self) -> None:
        """Write the state of the tuner and its oracle, each whole or not at all."""
        if not _serves_a_chief():
            self.oracle.save()
        path = Path(self.project_dir, f"{self.tuner_id}.json")
        replace_text(path, json.dumps(self.get_state()))

    def pre_create_trial(self) -> None:
        """Wait a moment where the oracle had no trial to give: stock asks without a pause."""
        if self._asked:
            time.sleep(_SLOW)
        self._asked = True

    def on_trial_begin(self, trial: Trial) -> None:
        """Note that there was one."""
        self._asked = False
        super().on_trial_begin(trial)

    def on_trial_end(self, trial: Trial) -> None:
        """Keep why a trial failed, in its folder too: messages of workers are lost on the way."""
        if trial.status != TrialStatus.COMPLETED:
            folder = Path(self.get_trial_dir(trial.trial_id))
            replace_text(folder / FAILURE, trial.message or "")
        super().on_trial_end(trial)

    def _try_run_and_update_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> None:
        objective = self.oracle.objective
        try:
            result = result_of(self.run_trial(trial, *args, **kwargs), objective)
            self.oracle.update_trial(trial.trial_id, dict(result.metrics), step=result.best_step)
            trial.status = TrialStatus.COMPLETED
        except keras_tuner.errors.FatalError:
            raise
        except keras_tuner.errors.FailedTrialError as error:
            trial.status, trial.message = TrialStatus.FAILED, str(error)
        except Exception as error:  # noqa: BLE001 - the search goes on without this trial
            where = "".join(traceback.format_exception(error))
            reason = f"{type(error).__name__}: {error}\n\n{where}"
            trial.status, trial.message = TrialStatus.INVALID, reason.rstrip()

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        """Train a trial, or go on with it.

        Args:
            trial: The trial.
            *args: Arguments of `fit()`, as `search()` got them.
            **kwargs: Likewise; callbacks are copied for each execution.

        Returns:
            The result of each execution.
        """
        callbacks = kwargs.pop("callbacks", None) or ()
        self._check_objective(trial, callbacks, args, kwargs)
        return [
            self._execute(trial, execution, callbacks, args, kwargs)
            for execution in range(self.executions_per_trial)
        ]

    def load_model(self, trial: Trial) -> keras.Model:
        """Return a trial's model with the weights of its best epoch, and its optimizer's state.

        Raises:
            ArgumentError: The hypermodel keeps the models of its trials by itself.
        """
        folder = Path(self.get_trial_dir(trial.trial_id))
        if isinstance(self.hypermodel, RunsTrials):
            raise ArgumentError(
                "Argument `trial` must be one that the tuner has trained. Received: trial "
                f"{trial.trial_id!r} of a hypermodel that trains by itself. Load the model that it "
                f"has left in {str(folder)!r}."
            )
        model = self._try_build(trial.hyperparameters)
        build_from(model, folder)
        with maybe_distribute(self.distribution_strategy):
            if model.optimizer is not None:  # else its state would be passed over, with a warning
                model.optimizer.build(model.trainable_variables)
            model.load_weights(folder / WEIGHTS)
        return model

    def _build_hypermodel(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        keras.utils.set_random_seed(self._building_seed)
        return super()._build_hypermodel(hp)

    # One execution of a trial

    def _execute(
        self,
        trial: Trial,
        execution: int,
        callbacks: Sequence[Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> TrialResult:
        copied = copies(callbacks)
        logs = own_log_folders(copied, Path(trial.trial_id, f"execution{execution}"))
        context = self._context(trial, execution, (*copied, Hooks(self, trial)))
        names = objective_names(context.objective)
        with contextlib.ExitStack() as stack:
            for folder in logs:
                session = hparams_session(folder, trial.trial_id, trial.hyperparameters, names)
                stack.enter_context(session)
            try:
                if isinstance(self.hypermodel, RunsTrials):
                    returned = self.hypermodel.run_trial(context)
                    return result_of(returned, context.objective)
                return self._train(context, args, kwargs)
            except NonFiniteError as error:
                raise keras_tuner.errors.FailedTrialError(f"Diverged: {error}") from error

    def _context(self, trial: Trial, execution: int, callbacks: tuple[Any, ...]) -> TrialContext:
        values = trial.hyperparameters.values
        past = values.get("tuner/trial_id")
        folder = self._folder(trial.trial_id, execution)
        folder.mkdir(exist_ok=True)
        return TrialContext(
            trial_id=trial.trial_id,
            hyperparameters=trial.hyperparameters,
            folder=folder,
            objective=self.oracle.objective,
            seed=self._seed() + execution,
            execution=execution,
            epochs=values.get("tuner/epochs"),
            past_folder=None if past is None else self._folder(past, execution),
            callbacks=callbacks,
        )

    def _folder(self, trial_id: str, execution: int) -> Path:
        """Return the folder of an execution; a run's is the trial's own, where it has but one."""
        folder = Path(self.get_trial_dir(trial_id))
        if execution == 0 and isinstance(self.hypermodel, RunsTrials):
            return folder
        return folder / f"execution_{execution}"

    def _seed(self) -> int:
        """Return the search's seed; what its chief has drawn a worker reads in the folder."""
        if _serves_a_chief():
            return int(json.loads(Path(self.project_dir, STATE).read_text())["seed"])
        return int(self.oracle.seed)

    def _train(
        self, context: TrialContext, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TrialResult:
        hp, hypermodel = context.hyperparameters, self.hypermodel

        def build() -> keras.Model:
            self._building_seed = context.seed
            return self._try_build(hp)

        def fit(model: keras.Model, added: dict[str, Any]) -> Any:
            options = {**kwargs, **added}
            if isinstance(hypermodel, NadamHyperModel):
                return hypermodel.fit(hp, model, *args, seed=context.seed, **options)
            if self._fits_itself():
                return hypermodel.fit(hp, model, *args, **options)
            arguments = fit_arguments(args, options)
            start = arguments.get("initial_epoch", 0)
            together = model.steps_per_execution
            options = ordered(arguments, context.seed, start, together)
            return hypermodel.fit(hp, model, **options)

        if isinstance(hypermodel, KnowsConfig):
            path = context.folder.parent / "optimizer.toml"
            save_config(hypermodel.config(hp), path, overwrite=True)
        check = None if self._fits_itself() else self._refuse_others
        return train_in_place(context, build, fit, check=check)

    # The objective's name

    def _fits_itself(self) -> bool:
        """Whether the hypermodel's `fit` may return an objective that no epoch has."""
        fit = type(self.hypermodel).fit
        return fit not in {keras_tuner.HyperModel.fit, NadamHyperModel.fit}

    def _refuse_others(self, names: Sequence[str]) -> None:
        try:
            check_objective(self.oracle.objective, names)
        except ArgumentError as error:
            raise FatalArgumentError(str(error)) from None

    def _check_objective(
        self, trial: Trial, callbacks: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        """See before the first step that the objective is a metric, and that no data is in vain."""
        known, self._objective_known = self._objective_known, True
        if isinstance(self.hypermodel, RunsTrials):
            if args or set(kwargs) - {"verbose"}:
                raise FatalArgumentError(
                    "Method `search` must get no data here: the hypermodel has its own. Received: "
                    f"{len(args)} positional arguments and {sorted(kwargs)}. Leave them out."
                )
            if isinstance(self.hypermodel, KnowsMetrics) and not known:
                self._refuse_others(self.hypermodel.objective_names())
        elif not known and not self._fits_itself() and adds_no_names(callbacks):
            model = self._try_build(trial.hyperparameters)
            names = metric_names(model, self._fit_arguments(model, args, kwargs))
            if names is not None:
                self._refuse_others(names)

    def _fit_arguments(
        self, model: keras.Model, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        if not isinstance(self.hypermodel, NadamHyperModel):
            return fit_arguments(args, kwargs)
        try:
            return self.hypermodel.arguments(model, *args, **kwargs)
        except ArgumentError as error:
            raise FatalArgumentError(str(error)) from None


def _serves_a_chief() -> bool:
    return _CHIEF in os.environ and "chief" not in _tuner_id()


def _tuner_id() -> str:
    return os.environ.get("KERASTUNER_TUNER_ID", "tuner0")
