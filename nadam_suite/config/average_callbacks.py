"""The callbacks that evaluate, keep and finalize averages of the weights, as settings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from nadam_suite.config import faults
from nadam_suite.config.callback_base import CallbackConfig, KnownMode, Monitor
from nadam_suite.config.schedule_config import Length

__all__ = [
    "AverageCallbackConfig",
    "AverageCheckpointConfig",
    "AverageSnapshotsConfig",
    "EMAFinalizationConfig",
    "EvaluateAverageConfig",
]


def _model_file(path: str) -> str:
    if not path.endswith(".keras"):
        raise faults.refuse("a file name that ends in .keras", 'Write for instance "best.keras".')
    return path


_ModelFile = Annotated[str, AfterValidator(_model_file)]
_Count = Annotated[int, Field(ge=1, lt=2**31)]


class AverageCallbackConfig(CallbackConfig):
    """What the callbacks that show averages share; only its subclasses are used."""

    name: Annotated[str, Field(min_length=1)] | None = None
    batch_norm: Literal["keep", "recalibrate"] = "recalibrate"
    steps: _Count | None = None


class EvaluateAverageConfig(AverageCallbackConfig):
    """Validates the averages, as val_*, and the raw weights, as val_raw_*: `EvaluateAverage`.

    Args:
        kind: "evaluate_average".
        name: Name of the average, or None, the default, for the first one.
        batch_norm: "recalibrate" (the default) gives batch normalization, where the model has it,
            the statistics that the averages have over the training data, which are read for it at
            each validation; "keep" keeps those of the raw weights.
        steps: Batches of the training data to read for it, or None, the default, for all.
        also_raw: Whether to validate the raw weights too. Defaults to true.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import EvaluateAverageConfig
    >>> EvaluateAverageConfig(kind="evaluate_average", name="ema").options()["also_raw"]
    True
    """

    TAG: ClassVar[str] = "<evaluate_average>"

    kind: Literal["evaluate_average"]
    also_raw: bool = True


class AverageCheckpointConfig(AverageCallbackConfig):
    """Saves the training and a model with the averages at epochs' ends: `AverageCheckpoint`.

    Args:
        kind: "average_checkpoint".
        name: Name of the average, or None, the default, for the first one.
        batch_norm: "recalibrate" (the default) or "keep", as in `EvaluateAverageConfig`.
        steps: Batches of the training data to read for it, or None, the default, for all.
        path: File of the training, in the run's folder unless it is absolute; it may have fields
            as in "{epoch:02d}.keras". Defaults to "checkpoint.keras".
        average_path: File of the averages, likewise. Defaults to `path` with the name of the
            average in it, as in "checkpoint.ema.keras".
        monitor: Metric that `save_best_only` goes by. Defaults to "val_loss".
        save_best_only: Whether to save only where the metric is the best so far. Defaults to false.
        mode: "auto" (the default), which knows many metrics by their names, "min" or "max".

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import AverageCheckpointConfig
    >>> AverageCheckpointConfig(kind="average_checkpoint").path
    'checkpoint.keras'
    """

    TAG: ClassVar[str] = "<average_checkpoint>"

    kind: Literal["average_checkpoint"]
    path: _ModelFile = "checkpoint.keras"
    average_path: _ModelFile | None = None
    monitor: Monitor = "val_loss"
    save_best_only: bool = False
    mode: KnownMode = "auto"


class EMAFinalizationConfig(AverageCallbackConfig):
    """Gives the final model the averages, the last ones or the best: `EMAFinalization`.

    Args:
        kind: "ema_finalization".
        name: Name of the average, or None, the default, for the first one.
        batch_norm: "recalibrate" (the default) or "keep", as in `EvaluateAverageConfig`.
        steps: Batches of the training data to read for it, or None, the default, for all.
        restore_best: Whether to take the averages of the epoch with the best metric, instead of
            the last ones. Defaults to false.
        monitor: That metric. Defaults to "val_loss".
        mode: "auto" (the default), which knows many metrics by their names, "min" or "max".

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import EMAFinalizationConfig
    >>> EMAFinalizationConfig(kind="ema_finalization", restore_best=True).monitor
    'val_loss'
    """

    TAG: ClassVar[str] = "<ema_finalization>"

    kind: Literal["ema_finalization"]
    restore_best: bool = False
    monitor: Monitor = "val_loss"
    mode: KnownMode = "auto"


class AverageSnapshotsConfig(CallbackConfig):
    """Keeps power function averages for `nadam-suite average`: `AverageSnapshots`.

    Args:
        kind: "average_snapshots".
        folder: Where they lie, in the run's folder unless it is absolute. Defaults to "snapshots".
        count: Number of snapshots, evenly over the training, an integer >= 1. Defaults to 32.
        every: Real updates from one to the next, instead of `count`: a number or a duration.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import AverageSnapshotsConfig
    >>> AverageSnapshotsConfig(kind="average_snapshots", every="1ep").folder
    'snapshots'
    """

    TAG: ClassVar[str] = "<average_snapshots>"

    kind: Literal["average_snapshots"]
    folder: Annotated[str, Field(min_length=1)] = "snapshots"
    count: _Count = 32
    every: Length | None = None
