"""The callbacks that a run's config names, as objects: what they read and where they write."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from nadam_suite.callbacks import (
    AverageCheckpoint,
    AverageSnapshots,
    EMAFinalization,
    EvaluateAverage,
    HyperparameterLogger,
    LossScaleMonitor,
    PlateauScale,
)
from nadam_suite.config import CallbackConfig, TrainConfig
from nadam_suite.experiment.stream import Epoch
from nadam_suite.schedules import TrainingPlan

__all__ = ["average_files", "own_callbacks", "snapshot_folder"]

_KINDS: Mapping[str, type[keras.callbacks.Callback]] = MappingProxyType(
    {
        "average_checkpoint": AverageCheckpoint,
        "average_snapshots": AverageSnapshots,
        "early_stopping": keras.callbacks.EarlyStopping,
        "ema_finalization": EMAFinalization,
        "evaluate_average": EvaluateAverage,
        "plateau_scale": PlateauScale,
        "reduce_lr_on_plateau": keras.callbacks.ReduceLROnPlateau,
        "terminate_on_nan": keras.callbacks.TerminateOnNaN,
    }
)


def own_callbacks(
    config: TrainConfig,
    plan: TrainingPlan,
    data: Epoch,
    folder: Path,
    optimizer: keras.optimizers.Optimizer,
    begun_with: Sequence[str] | None = None,
) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a training in their order.

    Args:
        config: The config, every duration in steps.
        plan: Length of the training.
        data: The training data, to recalibrate batch normalization with.
        folder: The run's folder, in which relative paths lie.
        optimizer: The model's optimizer; one with a loss scale is watched.
        begun_with: Classes of the callbacks that the run's state knows, or None where there is no
            state yet. One from before averages of `use_ema` were evaluated goes on as it began.
    """
    known = begun_with is None or EvaluateAverage.__name__ in begun_with
    if config.optimizer.use_ema and not known:
        config = config.replace(use_averages=False)
    watching: list[keras.callbacks.Callback] = [HyperparameterLogger()]
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        watching.append(LossScaleMonitor())
    return [*watching, *(_made(c, plan, data, folder) for c in config.full_callbacks())]


def average_files(config: TrainConfig, folder: Path) -> list[str]:
    """Return the names of the files that `AverageCheckpoint` has left in a run's folder.

    Args:
        config: The run's config.
        folder: Its folder.
    """
    found: set[Path] = set()
    for callback in config.callbacks:
        if callback.kind == "average_checkpoint":
            options = callback.options()
            path = options["path"]
            average = options["average_path"] or f"{path.removesuffix('.keras')}.*.keras"
            for text in (path, average):
                if not Path(text).is_absolute() and ".." not in Path(text).parts:
                    found.update(folder.glob(re.sub(r"\{[^}]*\}", "*", text)))
    names = (path.relative_to(folder) for path in found if not path.name.startswith("."))
    return sorted(name.as_posix() for name in names if name.name != "model.keras")


def snapshot_folder(config: TrainConfig, folder: Path) -> Path | None:
    """Return the folder of a run's snapshots of averages, or None where it keeps none.

    Args:
        config: The run's config.
        folder: The run's folder.

    Example:

    >>> from pathlib import Path
    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.experiment.own_callbacks import snapshot_folder
    >>> config = TrainConfig(model="digits", data="digits", optimizer={"averaging": "power_ema"},
    ...                      callbacks=[{"kind": "average_snapshots"}])
    >>> snapshot_folder(config, Path("runs", "digits")).as_posix()
    'runs/digits/snapshots'
    """
    for callback in config.callbacks:
        if callback.kind == "average_snapshots":
            return folder / str(callback.options()["folder"])
    return None


def _made(
    config: CallbackConfig, plan: TrainingPlan, data: Epoch, folder: Path
) -> keras.callbacks.Callback:
    options: dict[str, Any] = config.options()
    if "batch_norm" in options:
        options["data"] = data
    if config.kind == "average_snapshots":
        options["folder"] = folder / options["folder"]
        options["total"] = None if options["every"] else plan.total_updates
    if config.kind == "average_checkpoint":
        for key in ("path", "average_path"):
            if options[key] is not None:
                options[key] = _within(folder, options[key])
    return _KINDS[config.kind](**options)


def _within(folder: Path, text: str) -> str:
    """Return a path with fields, in a folder whose name has none."""
    if Path(text).is_absolute():
        return text
    escaped = str(folder).replace("{", "{{").replace("}", "}}")
    return str(Path(escaped) / text)
