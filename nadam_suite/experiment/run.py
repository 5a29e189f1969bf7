"""Run one training from one config, record it, and go on exactly with one that was cut."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from nadam_suite.callbacks import TrainingState
from nadam_suite.config import TrainConfig
from nadam_suite.experiment.environment import describe
from nadam_suite.experiment.folder import RunFolder
from nadam_suite.experiment.parts import Part, Splits, Task, find_part
from nadam_suite.experiment.plot import plot_curves
from nadam_suite.experiment.record import LearningRateLog, Recorder
from nadam_suite.experiment.stream import batches
from nadam_suite.schedules import TrainingPlan

__all__ = ["RunResult", "run_training"]

_CALLBACKS = {
    "early_stopping": keras.callbacks.EarlyStopping,
    "reduce_lr_on_plateau": keras.callbacks.ReduceLROnPlateau,
    "terminate_on_nan": keras.callbacks.TerminateOnNaN,
}
_EVALUATION_BATCH = 256


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run ended with.

    Args:
        folder: The run's folder.
        metrics: The final model's metrics by split: "validation" and "test".
        history: One row per epoch.
        epochs: Epochs trained, fewer than asked for if a callback stopped the training.
        resumed_from: Epoch at which this process went on, or None if it began the run.
        already_finished: Whether there was nothing left to do.
        seconds: Time that this process took for data, training and evaluation.
    """

    folder: Path
    metrics: Mapping[str, Mapping[str, float]]
    history: Sequence[Mapping[str, float]]
    epochs: int
    resumed_from: int | None = None
    already_finished: bool = False
    seconds: float = 0.0


def run_training(
    config: TrainConfig,
    *,
    output: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> RunResult:
    """Train what a config says, and leave a folder with all that came of it.

    The order of the data depends on seed and epoch alone, and the whole state is saved after each
    epoch. A run that was interrupted, or killed, at any point and is resumed ends with the weights
    that it would have ended with, bit for bit, on the same machine with the same versions.

    Args:
        config: The settings.
        output: The run's folder. Defaults to the config's `output`, or `runs/<name>`.
        resume: Go on with the run in the folder; if there is none, begin it.
        callbacks: Callbacks that watch, such as a progress bar; the state does not keep theirs.

    Raises:
        ConfigError: The config names parts that do not exist or do not fit.
        RunFolderError: The folder exists already, belongs to another run, or cannot be written.
        DataFileError: The saved state is damaged.

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
    folder = RunFolder(output or config.output or Path("runs") / config.name)
    goes_on = folder.check(resume=resume)
    make_model = find_part("model", config.model, config.model_options)
    splits: Splits = find_part("data", config.data, config.data_options)()
    plan = config.plan(splits.examples)
    resolved = config.resolve(plan)
    environment = describe(resolved, splits)
    if goes_on:
        folder.check_same(resolved, environment)
        if (result := folder.result()) is not None:
            return _finished(folder, result)
    with _seeded(config):
        model = _compiled(make_model, resolved, plan)
        if not goes_on:
            folder.create(resolved, environment)
        state = TrainingState(folder.state)
        start = state.restore(model)
        last = start if state.stopped else config.epochs
        own = [LearningRateLog(), *(_callback(c) for c in resolved.callbacks)]
        model.fit(
            batches(splits, config.batch_size, config.seed, epoch=start),
            steps_per_epoch=plan.steps_per_epoch,
            epochs=last,
            initial_epoch=start,
            validation_data=splits.validation,
            validation_batch_size=_EVALUATION_BATCH,
            shuffle=False,
            verbose=0,
            callbacks=[*state.around(*own), Recorder(folder, state), *callbacks],
        )
        return _conclude(folder, config, model, splits, state, start if goes_on else None, started)


def _conclude(
    folder: RunFolder,
    config: TrainConfig,
    model: keras.Model,
    splits: Splits,
    state: TrainingState,
    resumed_from: int | None,
    started: float,
) -> RunResult:
    """Evaluate the final model, write what is left to write, and end the run."""
    metrics = {}
    for name in ("validation", "test"):
        if (split := getattr(splits, name)) is not None:
            options = {"batch_size": _EVALUATION_BATCH, "verbose": 0, "return_dict": True}
            values = model.evaluate(*split, **options)
            metrics[name] = {key: float(value) for key, value in values.items()}
    folder.save_model(model)
    plot_curves(state.history, folder.path / "curves.png", config.name)
    result = RunResult(
        folder.path,
        metrics,
        state.history,
        len(state.history),
        resumed_from,
        seconds=round(time.monotonic() - started, 3),
    )
    written = {"epochs": result.epochs, "stopped_early": state.stopped, "seconds": result.seconds}
    folder.finish({**written, "history": state.history, "metrics": metrics})
    return result


def _finished(folder: RunFolder, result: Mapping[str, Any]) -> RunResult:
    return RunResult(
        folder.path,
        result["metrics"],
        result["history"],
        result["epochs"],
        resumed_from=result["epochs"],
        already_finished=True,
    )


@contextlib.contextmanager
def _seeded(config: TrainConfig) -> Iterator[None]:
    """Set the precision for what is built inside, and all seeds; give the precision back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        keras.utils.set_random_seed(config.seed)
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _compiled(make_model: Part, config: TrainConfig, plan: TrainingPlan) -> keras.Model:
    task: Task = make_model()
    optimizer = config.build_optimizer(plan)
    task.model.compile(optimizer=optimizer, loss=task.loss, metrics=list(task.metrics))
    return task.model


def _callback(config: Any) -> keras.callbacks.Callback:
    return _CALLBACKS[config.kind](**config.options())
