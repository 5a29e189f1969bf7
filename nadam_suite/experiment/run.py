"""Run one training from one config, record it, and go on exactly with one that was cut."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from nadam_suite.averaging import shown
from nadam_suite.backends import get_backend
from nadam_suite.callbacks import NormLogger, TrainingState
from nadam_suite.config import LoggingConfig, TrainConfig, fingerprint
from nadam_suite.distribution import TrainingScope
from nadam_suite.errors import ArgumentError, NadamSuiteWarning, RunFolderError
from nadam_suite.experiment.assemble import (
    EVALUATION_BATCH,
    Feed,
    compiled,
    open_scope,
    seeded,
)
from nadam_suite.experiment.checkpoints import Checkpoints
from nadam_suite.experiment.environment import describe
from nadam_suite.experiment.extension import extend_run
from nadam_suite.experiment.finite_loss import FiniteLoss, watches_loss
from nadam_suite.experiment.folder import RunFolder
from nadam_suite.experiment.lengths import kept_after
from nadam_suite.experiment.norm_record import NormRecord
from nadam_suite.experiment.own_callbacks import own_callbacks
from nadam_suite.experiment.parts import find_part
from nadam_suite.experiment.place import run_path
from nadam_suite.experiment.plot import plot_curves
from nadam_suite.experiment.preview import Preview
from nadam_suite.experiment.record import Recorder
from nadam_suite.experiment.sessions import EpochTimes, Session

__all__ = ["RunResult", "Training", "run_training"]

Tell = Callable[[str], object]


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run ended with.

    Args:
        folder: The run's folder.
        metrics: The final model's metrics by split: "validation" and "test".
        history: One row per epoch.
        epochs: Epochs trained, fewer than asked for if a callback stopped the training.
        resumed_from: Epoch at which this process went on, or None if it began the run.
        average: Name of the average that the final model has for its weights, or None for raw
            ones. Its raw weights are beside, in the file too: `nadam_suite.averaging.show_raw`.
        already_finished: Whether there was nothing left to do.
        seconds: Time that this process took for data, training and evaluation.

    Example: see `run_training`.
    """

    folder: Path
    metrics: Mapping[str, Mapping[str, float]]
    history: Sequence[Mapping[str, float]]
    epochs: int
    resumed_from: int | None = None
    average: str | None = None
    already_finished: bool = False
    seconds: float = 0.0


def run_training(
    config: TrainConfig,
    *,
    output: str | os.PathLike[str] | None = None,
    resume: bool = False,
    extend: int | str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tell: Tell | None = None,
) -> RunResult:
    """Train what a config says, and leave a folder with all that came of it.

    The order of the data depends on seed and epoch alone, and the whole state is saved after each
    epoch. A run that was interrupted, or killed, at any point and is resumed ends with the weights
    that it would have ended with, bit for bit, on the same machine with the same versions.

    A run can be made longer, also when it has finished, if its schedules so far do not depend on
    its length: a "wsd" goes back to the end of its stable phase, which is kept. It then ends with
    the weights of a run that was planned that long. What the shorter one left stays in a folder
    `before-extension-1` of the run. The same call again, after an interruption, goes on with the
    extension that it began.

    An optimizer with `averaging` is evaluated with its averages after each epoch, and the final
    model has them for weights; see `TrainConfig.use_averages`. All states that a run goes on from
    have raw weights, and the averages beside them. Averages keep their lengths in a longer run.

    Where the config or the environment asks for several devices or workers, they share each batch,
    and the numbers agree with those of one device to rounding. All workers call this function, each
    in its process; the chief alone writes the folder, which all must see to resume a run.

    Args:
        config: The settings; of an extended run still those that it was started with.
        output: The run's folder. Defaults to the config's `output`, or `runs/<name>`.
        resume: Go on with the run in the folder; if there is none, begin it.
        extend: How much longer the run is to be than it was planned, in whole epochs: "10ep",
            "50%" of its length, "20000ex", or a number of batches. Needs `resume`.
        callbacks: Callbacks that watch, such as a progress bar; the state does not keep theirs.
        tell: Called with lines that say on which devices the training runs, and what is extended.

    Raises:
        ArgumentError: There are no such devices, or the batch size does not divide by them, or
            `extend` makes no whole epochs.
        ConfigError: The config names parts that do not exist or do not fit, or has schedules that
            cannot be extended.
        RunFolderError: The folder exists already, belongs to another run, or cannot be written.
        DataFileError: The saved state is damaged.
        NonFiniteError: The loss of an epoch is not finite, and nothing skips such steps; or too
            many steps in a row were skipped.

    Example:

    >>> import tempfile
    >>> from nadam_suite.config import load_config
    >>> from nadam_suite.experiment import recipe_path, run_training
    >>> changes = ["epochs=1", "data_options.train_examples=64", "model_options.width=4"]
    >>> config = load_config(recipe_path("digits"), [*changes, "schedule.warmup=0"])
    >>> result = run_training(config, output=tempfile.mkdtemp() + "/run")
    >>> result.epochs, sorted(result.metrics)
    (1, ['test', 'validation'])
    """
    started = time.monotonic()
    if extend is not None and not resume:
        raise ArgumentError(
            "Argument `--extend` must come with --resume, because it goes on with a run. "
            f"Received: --extend={extend!r} alone. Add --resume."
        )
    path = run_path(config, output)
    folder = RunFolder(path, chief=get_backend().process()[0] == 0)
    goes_on = folder.check(resume=resume)
    if extend is not None and folder.chief and not goes_on:
        raise RunFolderError(
            "Argument `--extend` must name a run that exists. Received: "
            f"--extend={extend!r}, and output={str(path)!r}, where there is none. Start it with as "
            "many epochs as it is to have, or pass its folder with --output."
        )
    if resume and not goes_on and tell is not None:
        tell(f"{path} has no run yet: starting anew.")
    with open_scope(config) as scope:
        training = Training(config, folder, scope, started, tell)
        if extend is not None:
            if folder.chief:
                with warnings.catch_warnings():  # what is told below
                    warnings.simplefilter("ignore", NadamSuiteWarning)
                    own = folder.check_same(training.config, training.environment)
                extend_run(folder, own, own.plan(training.feed.examples), extend, tell)
            training.wait()
        return training.train(callbacks, goes_on=goes_on or extend is not None)


class Training:
    """One training under a scope that is open: its parts and how they are shared out.

    Args:
        config: The settings, as typed.
        folder: The run's folder.
        scope: The scope.
        started: When all began, in seconds of `time.monotonic`.
        tell: Called with lines that say on which devices the training runs, and how long.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        scope: TrainingScope,
        started: float,
        tell: Tell | None,
    ) -> None:
        self._started = started
        self._scope = scope
        self._folder = folder
        self._make_model = find_part("model", config.model, config.model_options)
        splits = find_part("data", config.data, config.data_options)()
        self.feed = Feed(splits, config.batch_size, config.seed, scope)
        self.use(config.scaled(scope.learning_rate_factor))
        self.environment = describe(self.config, splits, scope.describe())
        if tell is not None:
            tell(scope.describe())
            seen = Preview(config, self.config, self.plan)
            for line in (seen.describe(), *seen.early_ends()):
                tell(line)

    def use(self, config: TrainConfig) -> None:
        """Train by this config."""
        self.plan = config.plan(self.feed.examples)
        self.config = config.resolve(self.plan)

    def wait(self) -> None:
        """Wait until all processes of the training are here, such as for what the chief writes."""
        get_backend().same_on_all(0)

    def train(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        goes_on: bool,
        fill: Callable[[keras.Model, RunFolder], object] | None = None,
    ) -> RunResult:
        """Train, unless that was done before.

        Args:
            callbacks: Callbacks that watch.
            goes_on: Whether the run is in its folder already.
            fill: Otherwise, called with the model and the new folder, to write the state that the
                run begins with.
        """
        folder = self._folder
        if goes_on:
            self.use(folder.check_same(self.config, self.environment))
            folder.note_config()
            if (result := folder.result()) is not None:
                return _finished(folder, result)
        with seeded(self.config):
            example, _ = self.feed.splits.first
            model = compiled(self._make_model, self.config, self.plan, example)
            self.feed.build_ahead(model)
            if not goes_on:
                known = {**self.environment, "config_fingerprint": fingerprint(self.config)}
                begin = None if fill is None else functools.partial(fill, model)
                folder.create(self.config, known, begin)
                if begin is not None:
                    self.wait()
            state = TrainingState(folder.state)
            start = state.restore(model)
            if not get_backend().same_on_all(start):
                raise RunFolderError(
                    "All workers must restore the same state. Received: "
                    f"output={str(folder.path)!r}, where this worker finds epoch {start} and "
                    "another one a different epoch. Give them a folder that all of them see."
                )
            with Session(folder) as session:
                self._fit(model, state, start, session, callbacks)
                return self._conclude(model, state, start if goes_on or fill else None)

    def _fit(
        self,
        model: keras.Model,
        state: TrainingState,
        start: int,
        session: Session,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        """Train the epochs that are left."""
        config, steps = self.config, self.plan.steps_per_epoch
        path, data = self._folder.path, self.feed.epoch()
        known = state.restored_callbacks
        own = own_callbacks(config, self.plan, data, path, model.optimizer, known)
        recorder: list[keras.callbacks.Callback] = []
        norms = _norm_callbacks(config, self._folder, start)
        watch = [] if watches_loss(callbacks) else [FiniteLoss(path)]
        if self._scope.is_chief:
            kept = kept_after(config, self.plan)
            record = norms[-1] if norms else None
            recorder = [
                Recorder(self._folder, state, config, record),
                Checkpoints(self._folder, kept, start, steps),
                EpochTimes(session),
            ]
        model.fit(
            self.feed.batches(start),
            steps_per_epoch=steps,
            epochs=start if state.stopped else config.epochs,
            initial_epoch=start,
            validation_data=self.feed.evaluation(self.feed.splits.validation),
            validation_batch_size=EVALUATION_BATCH,
            shuffle=False,
            verbose=0,
            callbacks=[*norms, *watch, *state.around(*own), *recorder, *callbacks],
        )

    def _conclude(
        self, model: keras.Model, state: TrainingState, resumed_from: int | None
    ) -> RunResult:
        """Evaluate the final model, write what is left to write, and end the run."""
        folder = self._folder
        metrics = self.feed.evaluate(model)
        folder.save_model(model)
        if self._scope.is_chief:
            plot_curves(state.history, folder.path / "curves.png", self.config.name)
        result = RunResult(
            folder.path,
            metrics,
            state.history,
            len(state.history),
            resumed_from,
            shown(model),
            seconds=round(time.monotonic() - self._started, 3),
        )
        table = {
            "average": result.average,
            "epochs": result.epochs,
            "stopped_early": state.stopped,
            "seconds": result.seconds,
            "history": state.history,
            "metrics": metrics,
        }
        folder.finish(table)
        return result


def _norm_callbacks(config: TrainConfig, folder: RunFolder, start: int) -> list[Any]:
    """Return what logs norms: all processes look, and the last callback is what the chief writes.

    They remember nothing that the state must keep, so that older states restore.
    """
    settings = config.logging or LoggingConfig()
    if not settings.norms:
        return []
    logger = NormLogger(**settings.options())
    return [logger, NormRecord(folder, logger, start)]


def _finished(folder: RunFolder, result: Mapping[str, Any]) -> RunResult:
    return RunResult(
        folder.path,
        result["metrics"],
        result["history"],
        result["epochs"],
        resumed_from=result["epochs"],
        average=result.get("average"),
        already_finished=True,
    )
