"""A search whose trials are runs: folders as `run_training` writes them, which go on like them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import keras_tuner
import numpy as np

from nadam_suite.callbacks import TrainingState
from nadam_suite.config import NadamConfig, TrainConfig, TunerConfig
from nadam_suite.errors import NadamSuiteError, NonFiniteError
from nadam_suite.experiment.assemble import compiled, seeded
from nadam_suite.experiment.checkpoints import copy_files
from nadam_suite.experiment.folder import CONFIG
from nadam_suite.experiment.parts import find_part
from nadam_suite.experiment.run import run_training
from nadam_suite.experiment.splits import Pair, Splits
from nadam_suite.tuner.configured import configured_point
from nadam_suite.tuner.hparams import hparams_session
from nadam_suite.tuner.metric_names import logged
from nadam_suite.tuner.points import Enqueued
from nadam_suite.tuner.search_record import CONFIGURED, POINT
from nadam_suite.tuner.spaces import nadam_space, points_of_space
from nadam_suite.tuner.trials import (
    TrialContext,
    TrialResult,
    best_epoch,
    diverged,
    history_of,
    objective_names,
)

__all__ = ["GROUPS", "RUN", "RunHyperModel", "merged_optimizer"]

RUN = "run"
# What every space decides. The decay's mode is one of it: published decays are multiplied by the
# learning rate.
_DECIDED = (
    "beta_1",
    "beta_2",
    "epsilon",
    "learning_rate",
    "max_learning_rate",
    "momentum_decay",
    "weight_decay",
    "weight_decay_mode",
)
# What a space decides where it tunes it, by the name of the hyperparameter; keys of one group
# exclude each other.
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "accumulation": ("gradient_accumulation_steps",),
        "averaging": ("averaging", "use_ema", "ema_momentum", "ema_overwrite_frequency"),
        "clipping": ("clipnorm", "clipvalue", "global_clipnorm"),
    }
)


class RunHyperModel(keras_tuner.HyperModel):
    """What a config trains, with the optimizer's settings out of the space of its `tuner` table.

    A trial is a run of its own in the folder `run` of its trial: `run_training` resumes it to the
    bit, and its `config.toml` trains it again. A trial that a rung of Hyperband cuts short stays an
    unfinished run, with its schedules planned for the whole length. The trial that goes on with it
    begins with a copy of it. One that is marked "as configured" trains the config as it is.

    In all others the config's schedule is replaced by the space's, as are learning rate, betas,
    epsilon and weight decay. Clipping, averaging and accumulation stay those of the config unless
    the space tunes them, and everything else of the optimizer stays too. Where `use_ema` leaves the
    final model with an average, the trials keep the same one as `averaging`, to be scored by it.

    Args:
        config: The config; its `epochs` are the full budget of each trial.
        callbacks: Called for each trial; returns callbacks that watch it.
        name: Name of the hypermodel, or None.

    Example:

    >>> import keras_tuner
    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.tuner.runs import RunHyperModel
    >>> config = TrainConfig(model="digits", data="digits", tuner={"tune": ["learning_rate"]})
    >>> hp = keras_tuner.HyperParameters()
    >>> RunHyperModel(config).trial_config(hp).tuner is None, list(hp.values)
    (True, ['learning_rate'])
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        callbacks: Callable[[], Sequence[keras.callbacks.Callback]] = tuple,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self._base = _evaluating_averages(config)
        self._settings = config.tuner or TunerConfig()
        self._callbacks = callbacks

    @property
    def config(self) -> TrainConfig:
        """The config, with the average that its trials are scored by."""
        return self._base

    def declare(self, hp: keras_tuner.HyperParameters) -> None:
        """Declare the space in `hp`, without building a model."""
        self.trial_config(hp)

    def trial_config(self, hp: keras_tuner.HyperParameters) -> TrainConfig:
        """Return the config of the run with the values that `hp` has.

        Raises:
            ArgumentError: The `tuner` table names what no space has.
            ConfigError: The values do not go together with the rest of the config.
        """
        alone: dict[str, Any] = {"tuner": None, "output": None}
        if hp.values.get(POINT) == CONFIGURED:
            return self._base.replace(**alone)
        settings = self._settings
        found = nadam_space(
            hp,
            settings.preset,
            settings.budget,
            tune=settings.tune,
            schedule=settings.schedules,
        )
        table = self._base.to_dict()
        names = {parameter.name for parameter in hp.space}
        table["optimizer"] = merged_optimizer(self._base.optimizer, found, names)
        return TrainConfig.from_dict({**table, "schedule": None, **alone})

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the compiled model of the run with the values that `hp` has."""
        config = self.trial_config(hp)
        make_model = find_part("model", config.model, config.model_options)
        with seeded(config):
            plan = config.plan(self._sample.examples)
            return compiled(make_model, config, plan, self._sample.train[0])

    def points(self, hyperparameters: keras_tuner.HyperParameters) -> list[Enqueued]:
        """Return the points that are tried first.

        Args:
            hyperparameters: The whole space, its conditional scopes declared.
        """
        settings = self._settings
        if settings.points == "none":
            return []
        known = points_of_space(hyperparameters, settings.preset, settings.schedules)
        if settings.points == "published":
            return known
        return [configured_point(self._base, hyperparameters), *known]

    def objective_names(self) -> tuple[str, ...]:
        """Return the names that a run's history has, by evaluating a model on one example.

        Raises:
            keras_tuner.errors.FatalError: The config has no such model or data.
        """
        with _fatal():
            return self._names

    @functools.cached_property
    def _names(self) -> tuple[str, ...]:
        model, sample = self.build(keras_tuner.HyperParameters()), self._sample
        names = model.evaluate(*sample.train, verbose=0, return_dict=True)
        averaged = any(c.kind == "evaluate_average" for c in self._base.full_callbacks())
        return logged(names, validated=sample.validated, averaged=averaged)

    def run_trial(self, context: TrialContext) -> TrialResult:
        """Train a trial's run, or go on with it.

        Args:
            context: What the trial is told.

        Returns:
            The best epoch, of those of the trial that it goes on with too.

        Raises:
            keras_tuner.errors.FailedTrialError: The loss or the objective is no finite number.
            keras_tuner.errors.FatalError: The config cannot be trained, whatever the values are.
        """
        with _fatal():
            return best_epoch(self._history(context), context.objective)

    def _history(self, context: TrialContext) -> Sequence[Mapping[str, float]]:
        config = self.trial_config(context.hyperparameters).replace(seed=context.seed)
        folder = context.folder / RUN
        if context.past_folder is not None and not folder.exists():
            _copy_run(context.past_folder / RUN, folder)
        until = context.epochs if context.epochs and context.epochs < config.epochs else None
        with contextlib.ExitStack() as stack:
            tell = hparams_session(
                folder / "tensorboard",
                context.trial_id,
                context.hyperparameters,
                objective_names(context.objective),
            )
            watch = _Watch(context.objective, until, lambda: stack.enter_context(tell))
            known = _saved_history(folder)
            for row in known:
                watch.refuse(row)
            if until is not None and len(known) >= until:
                return known[:until]
            keras.utils.clear_session()
            watching = [*self._callbacks(), *context.callbacks, watch]
            try:
                result = run_training(config, output=folder, resume=True, callbacks=watching)
            except _RungReached:
                return _saved_history(folder)
            return result.history

    @functools.cached_property
    def _sample(self) -> _Sample:
        config = self._base
        splits = find_part("data", config.data, config.data_options)()
        return _Sample(splits.examples, _first(splits), splits.validation is not None)


def _evaluating_averages(config: TrainConfig) -> TrainConfig:
    """Return a config that validates the average which its final model has for weights."""
    optimizer = config.optimizer
    overwrites = optimizer.ema_overwrite_frequency is not None
    if not optimizer.use_ema or overwrites or not config.use_averages:
        return config
    own = {"kind": "ema", "momentum": optimizer.ema_momentum, "warmup": None}
    return config.replace(optimizer={"use_ema": False, "averaging": own})


def merged_optimizer(base: NadamConfig, space: NadamConfig, names: set[str]) -> dict[str, Any]:
    """Return the settings of an optimizer with those of a space.

    Args:
        base: The settings.
        space: Those that the space returned.
        names: Names of the hyperparameters that it has declared.

    Example:

    >>> from nadam_suite.config import NadamConfig
    >>> from nadam_suite.tuner.runs import merged_optimizer
    >>> base = NadamConfig(beta_2=0.99, clipnorm=1.0, slot_dtype="bfloat16")
    >>> found = merged_optimizer(base, NadamConfig(learning_rate=0.01), {"learning_rate"})
    >>> [found[key] for key in ("learning_rate", "beta_2", "clipnorm", "slot_dtype")]
    [0.01, 0.999, 1.0, 'bfloat16']
    """
    table, found, default = base.to_dict(), space.to_dict(), NadamConfig().to_dict()
    decided = set(_DECIDED) | {key for key in found if found[key] != default[key]}
    for name, keys in GROUPS.items():
        if name in names or decided & set(keys):
            decided |= set(keys)
    return {**table, **{key: found[key] for key in decided}}


@dataclasses.dataclass(frozen=True)
class _Sample:
    """What is known of the data: the number of examples, one of them, and if it is validated."""

    examples: int
    train: tuple[np.ndarray, np.ndarray]
    validated: bool


@contextlib.contextmanager
def _fatal() -> Iterator[None]:
    """Let this package's errors end the search, as no other trial would fare better."""
    try:
        yield
    except NonFiniteError as error:
        raise keras_tuner.errors.FailedTrialError(f"Diverged: {error}") from error
    except NadamSuiteError as error:
        raise keras_tuner.errors.FatalError(str(error)) from error


class _RungReached(Exception):  # noqa: N818 - no error: it ends a training that is to go on later
    """The epochs of a rung are trained, and the state is saved."""

    run_status = "paused"  # for the notes of the run's sessions


class _Watch(keras.callbacks.Callback):
    """Ends a training that has diverged, and one whose rung is reached.

    It comes after the callback that saves the state.

    Args:
        objective: The search's objective.
        until: Epochs of the rung, or None for no rung.
        begun: Called when the training begins, after its own logs have begun.
    """

    watches_loss = True  # a run leaves it to this callback

    def __init__(
        self,
        objective: keras_tuner.Objective,
        until: int | None,
        begun: Callable[[], object],
    ) -> None:
        super().__init__()
        self._objective = objective
        self._until = until
        self._begun = begun

    def on_train_begin(self, logs: Any = None) -> None:
        """Tell that it begins."""
        self._begun()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look at the epoch."""
        self.refuse({"epoch": epoch, **(logs or {})})
        if self._until is not None and epoch + 1 >= self._until:
            raise _RungReached

    def refuse(self, row: Mapping[str, Any]) -> None:
        """Raise if loss or objective of an epoch is not finite."""
        if (reason := diverged(row, self._objective, int(row["epoch"]))) is not None:
            raise keras_tuner.errors.FailedTrialError(reason)


def _first(splits: Splits) -> Pair:
    """Return the first training example, which does not hold all the others."""
    return keras.tree.map_structure(np.copy, splits.first)


def _saved_history(folder: Path) -> list[dict[str, float]]:
    """Return the epochs in the state of a run, of which there may be none yet."""
    return history_of(TrainingState(folder / "state").path)


def _copy_run(source: Path, target: Path) -> None:
    """Copy an unfinished run, which appears as a whole."""
    if (source / CONFIG).is_file():
        names = sorted(path.name for path in source.iterdir() if not path.name.startswith("."))
        copy_files(source, target, names)
