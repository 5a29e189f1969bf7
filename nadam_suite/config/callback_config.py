"""The callbacks that a training config may name; a fixed set, so that no file runs other code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from nadam_suite.config.average_callbacks import (
    AverageCheckpointConfig,
    AverageSnapshotsConfig,
    EMAFinalizationConfig,
    EvaluateAverageConfig,
)
from nadam_suite.config.base import Number, Share
from nadam_suite.config.callback_base import CallbackConfig, KnownMode, Mode, Monitor

__all__ = [
    "CALLBACKS",
    "Callback",
    "EarlyStoppingConfig",
    "PlateauScaleConfig",
    "ReducePlateauConfig",
    "TerminateOnNaNConfig",
]


class EarlyStoppingConfig(CallbackConfig):
    """Stops when a metric no longer improves: `keras.callbacks.EarlyStopping`.

    Args:
        kind: "early_stopping".
        monitor: Name of the metric. Defaults to "val_loss".
        min_delta: Least change that counts, >= 0. Defaults to 0.
        patience: Epochs without improvement, an integer >= 0. Defaults to 5.
        mode: "auto", "min" or "max".
        restore_best_weights: Whether to end with the weights of the best epoch. Defaults to false.
        start_from_epoch: Epochs to wait first. Defaults to 0.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import EarlyStoppingConfig
    >>> EarlyStoppingConfig(kind="early_stopping", patience=3).options()["patience"]
    3
    """

    TAG: ClassVar[str] = "<early_stopping>"

    kind: Literal["early_stopping"]
    monitor: Monitor = "val_loss"
    min_delta: Number = 0.0
    patience: Annotated[int, Field(ge=0)] = 5
    mode: Mode = "auto"
    restore_best_weights: bool = False
    start_from_epoch: Annotated[int, Field(ge=0)] = 0


class TerminateOnNaNConfig(CallbackConfig):
    """Stops when the loss is not finite: `keras.callbacks.TerminateOnNaN`.

    Args:
        kind: "terminate_on_nan".

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import TerminateOnNaNConfig
    >>> TerminateOnNaNConfig(kind="terminate_on_nan").options()
    {}
    """

    TAG: ClassVar[str] = "<terminate_on_nan>"

    kind: Literal["terminate_on_nan"]


class ReducePlateauConfig(CallbackConfig):
    """Lowers a constant rate when a metric stalls: `keras.callbacks.ReduceLROnPlateau`.

    Args:
        kind: "reduce_lr_on_plateau".
        monitor: Name of the metric. Defaults to "val_loss".
        factor: What the rate is multiplied by, in (0, 1). Defaults to 0.1.
        patience: Epochs without improvement, an integer >= 0. Defaults to 10.
        mode: "auto", "min" or "max".
        min_delta: Least change that counts, >= 0. Defaults to 1e-4.
        cooldown: Epochs to wait after a reduction. Defaults to 0.
        min_lr: Lowest rate. Defaults to 0.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import ReducePlateauConfig
    >>> ReducePlateauConfig(kind="reduce_lr_on_plateau", factor=0.5).options()["factor"]
    0.5
    """

    TAG: ClassVar[str] = "<reduce_lr_on_plateau>"

    kind: Literal["reduce_lr_on_plateau"]
    monitor: Monitor = "val_loss"
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    patience: Annotated[int, Field(ge=0)] = 10
    mode: Mode = "auto"
    min_delta: Number = 1e-4
    cooldown: Annotated[int, Field(ge=0)] = 0
    min_lr: Number = 0.0


class PlateauScaleConfig(CallbackConfig):
    """Lowers any learning rate when a metric stalls: `nadam_suite.callbacks.PlateauScale`.

    Args:
        kind: "plateau_scale".
        monitor: Name of the metric. Defaults to "val_loss".
        factor: What the rate is multiplied by, in (0, 1). Defaults to 0.1.
        patience: Epochs without improvement, an integer >= 0. Defaults to 10.
        mode: "auto" (the default), which knows many metrics by their names, "min" or "max".
        min_delta: Least change that counts, >= 0. Defaults to 1e-4.
        cooldown: Epochs to wait after a reduction. Defaults to 0.
        min_scale: The product of all factors stays at or above it, in [0, 1]. Defaults to 0.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import PlateauScaleConfig
    >>> PlateauScaleConfig(kind="plateau_scale", factor=0.5).options()["factor"]
    0.5
    """

    TAG: ClassVar[str] = "<plateau_scale>"

    kind: Literal["plateau_scale"]
    monitor: Monitor = "val_loss"
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    patience: Annotated[int, Field(ge=0)] = 10
    mode: KnownMode = "auto"
    min_delta: Number = 1e-4
    cooldown: Annotated[int, Field(ge=0)] = 0
    min_scale: Share = 0.0


CALLBACKS: dict[str, type[CallbackConfig]] = {
    "average_checkpoint": AverageCheckpointConfig,
    "average_snapshots": AverageSnapshotsConfig,
    "early_stopping": EarlyStoppingConfig,
    "ema_finalization": EMAFinalizationConfig,
    "evaluate_average": EvaluateAverageConfig,
    "plateau_scale": PlateauScaleConfig,
    "reduce_lr_on_plateau": ReducePlateauConfig,
    "terminate_on_nan": TerminateOnNaNConfig,
}


def _tag(value: Any) -> str | None:
    if isinstance(value, CallbackConfig):
        return value.TAG
    kind = value.get("kind") if isinstance(value, Mapping) else None
    return CALLBACKS[kind].TAG if isinstance(kind, str) and kind in CALLBACKS else None


Callback = Annotated[
    Annotated[AverageCheckpointConfig, Tag(AverageCheckpointConfig.TAG)]
    | Annotated[AverageSnapshotsConfig, Tag(AverageSnapshotsConfig.TAG)]
    | Annotated[EarlyStoppingConfig, Tag(EarlyStoppingConfig.TAG)]
    | Annotated[EMAFinalizationConfig, Tag(EMAFinalizationConfig.TAG)]
    | Annotated[EvaluateAverageConfig, Tag(EvaluateAverageConfig.TAG)]
    | Annotated[PlateauScaleConfig, Tag(PlateauScaleConfig.TAG)]
    | Annotated[TerminateOnNaNConfig, Tag(TerminateOnNaNConfig.TAG)]
    | Annotated[ReducePlateauConfig, Tag(ReducePlateauConfig.TAG)],
    Discriminator(
        _tag,
        custom_error_type="refused",
        custom_error_message="unknown kind of callback",
        custom_error_context={
            "requirement": f"a table whose `kind` is one of {', '.join(map(repr, CALLBACKS))}",
            "remedy": "Correct its `kind`.",
        },
    ),
]
