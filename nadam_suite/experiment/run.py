"""Run one training from one config, record it, and go on exactly with one that was cut."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from nadam_suite.backends import get_backend
from nadam_suite.callbacks import TrainingState
from nadam_suite.config import TrainConfig
from nadam_suite.distribution import TrainingScope, training_scope
from nadam_suite.errors import ConfigError, RunFolderError
from nadam_suite.experiment.environment import describe
from nadam_suite.experiment.folder import RunFolder
from nadam_suite.experiment.parts import Part, Splits, Task, find_part
from nadam_suite.experiment.plot import plot_curves
from nadam_suite.experiment.record import LearningRateLog, Recorder
from nadam_suite.experiment.stream import Evaluation, SharedBatches, batches
from nadam_suite.precision import DynamicLossScaleOptimizer
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
    tell: Callable[[str], object] | None = None,
) -> RunResult:
    """Train what a config says, and leave a folder with all that came of it.

    The order of the data depends on seed and epoch alone, and the whole state is saved after each
    epoch. A run that was interrupted, or killed, at any point and is resumed ends with the weights
    that it would have ended with, bit for bit, on the same machine with the same versions.

    Where the config or the environment asks for several devices or workers, they share each batch,
    and the numbers agree with those of one device to rounding. All workers call this function, each
    in its process; the chief alone writes the folder, which all must see to resume a run.

    Args:
        config: The settings.
        output: The run's folder. Defaults to the config's `output`, or `runs/<name>`.
        resume: Go on with the run in the folder; if there is none, begin it.
        callbacks: Callbacks that watch, such as a progress bar; the state does not keep theirs.
        tell: Called with a line that says on which devices the training runs.

    Raises:
        ArgumentError: There are no such devices, or the batch size does not divide by them.
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
    path = Path(output or config.output or Path("runs") / config.name)
    folder = RunFolder(path, chief=get_backend().process()[0] == 0)
    goes_on = folder.check(resume=resume)
    with _scope(config) as scope:
        return _Run(config, folder, scope, goes_on, started, tell).train(callbacks)


class _Run:
    """One training under a scope that is open: its parts and how they are shared out."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        scope: TrainingScope,
        goes_on: bool,
        started: float,
        tell: Callable[[str], object] | None,
    ) -> None:
        self._started = started
        self._scope = scope
        self._folder = folder
        self._goes_on = goes_on
        self._make_model = find_part("model", config.model, config.model_options)
        self._splits: Splits = find_part("data", config.data, config.data_options)()
        scaled = config.scaled(scope.learning_rate_factor)
        self._plan = scaled.plan(_examples(self._splits, config.batch_size, scope.replicas))
        self._config = scaled.resolve(self._plan)
        self._environment = describe(self._config, self._splits, scope.describe())
        if tell is not None:
            tell(scope.describe())

    def train(self, callbacks: Sequence[keras.callbacks.Callback]) -> RunResult:
        """Train, unless that was done before."""
        folder, config = self._folder, self._config
        if self._goes_on:
            folder.check_same(config, self._environment)
            if (result := folder.result()) is not None:
                return _finished(folder, result)
        with _seeded(config):
            model = _compiled(self._make_model, config, self._plan)
            if not self._goes_on:
                folder.create(config, self._environment)
            state = TrainingState(folder.state)
            start = state.restore(model)
            if not get_backend().same_on_all(start):
                raise RunFolderError(
                    "All workers must restore the same state. Received: "
                    f"output={str(folder.path)!r}, where this worker finds epoch {start} and "
                    "another one a different epoch. Give them a folder that all of them see."
                )
            last = start if state.stopped else config.epochs
            own = [LearningRateLog(), *(_callback(c) for c in config.callbacks)]
            recorder = [Recorder(folder, state)] if self._scope.is_chief else []
            model.fit(
                self._batches(start),
                steps_per_epoch=self._plan.steps_per_epoch,
                epochs=last,
                initial_epoch=start,
                validation_data=self._evaluation(self._splits.validation),
                validation_batch_size=_EVALUATION_BATCH,
                shuffle=False,
                verbose=0,
                callbacks=[*state.around(*own), *recorder, *callbacks],
            )
            return self._conclude(model, state, start if self._goes_on else None)

    def _batches(self, epoch: int) -> Any:
        """Return the stream, or this process' part of it where the backend asks for that."""
        scope, config = self._scope, self._config
        if scope.replicas == 1:
            return batches(self._splits, config.batch_size, config.seed, epoch=epoch)
        # TensorFlow divides a batch itself; JAX puts a batch together from what processes have.
        part = (0, 1)
        if keras.backend.backend() == "jax":
            part = (scope.worker, scope.workers)
            scope.distribution.auto_shard_dataset = False
        return SharedBatches(
            self._splits,
            config.batch_size,
            config.seed,
            replicas=scope.replicas,
            epoch=epoch,
            part=part,
        )

    def _evaluation(self, split: tuple[Any, Any] | None) -> Any:
        """Return a split in the form in which all processes together evaluate it."""
        scope = self._scope
        if split is None or scope.replicas == 1 or keras.backend.backend() != "jax":
            return split
        return Evaluation(split, _EVALUATION_BATCH, devices=scope.replicas // scope.workers)

    def _conclude(
        self, model: keras.Model, state: TrainingState, resumed_from: int | None
    ) -> RunResult:
        """Evaluate the final model, write what is left to write, and end the run."""
        folder = self._folder
        metrics = {}
        for name in ("validation", "test"):
            if (split := self._evaluation(getattr(self._splits, name))) is not None:
                metrics[name] = _evaluate(model, split)
        folder.save_model(model)
        if self._scope.is_chief:
            plot_curves(state.history, folder.path / "curves.png", self._config.name)
        result = RunResult(
            folder.path,
            metrics,
            state.history,
            len(state.history),
            resumed_from,
            seconds=round(time.monotonic() - self._started, 3),
        )
        table = {
            "epochs": result.epochs,
            "stopped_early": state.stopped,
            "seconds": result.seconds,
            "history": state.history,
            "metrics": metrics,
        }
        folder.finish(table)
        return result


def _scope(config: TrainConfig) -> TrainingScope:
    settings = config.distribution
    return training_scope(
        settings.strategy,
        devices=settings.devices,
        batch_size=config.batch_size,
        base_batch_size=settings.base_batch_size,
        scale_learning_rate=settings.scale_learning_rate,
        model_devices=settings.model_devices,
        verbose=False,
    )


def _examples(splits: Splits, batch_size: int, replicas: int) -> int:
    """Return how many examples of an epoch are trained on.

    Raises:
        ConfigError: There is not one for each replica.
    """
    if replicas == 1:
        return splits.examples
    if splits.examples < replicas:
        raise ConfigError(
            f"`data` must have at least one training example for each of {replicas} replicas. "
            f"Received: {splits.examples} examples. Train on fewer devices."
        )
    return SharedBatches.examples(splits, batch_size, replicas)


def _evaluate(model: keras.Model, split: Any) -> dict[str, float]:
    options = {"verbose": 0, "return_dict": True}
    if isinstance(split, tuple):
        values = model.evaluate(*split, batch_size=_EVALUATION_BATCH, **options)
    else:
        values = model.evaluate(split, **options)
    return {key: float(value) for key, value in values.items()}


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
    optimizer: Any = config.build_optimizer(plan)
    if config.precision == "mixed_float16":
        # Keras would add its own wrapper, which asks the first replica alone for overflows.
        optimizer = DynamicLossScaleOptimizer(optimizer)
    task.model.compile(optimizer=optimizer, loss=task.loss, metrics=list(task.metrics))
    return task.model


def _callback(config: Any) -> keras.callbacks.Callback:
    return _CALLBACKS[config.kind](**config.options())
