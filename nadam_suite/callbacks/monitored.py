"""A metric that a callback watches: its name, whether it should rise, and when it is better."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.optimizers.arguments import check_choice

__all__ = ["better", "checked_monitor", "monitored_value", "not_validated"]

_RISING = ("acc", "accuracy", "auc", "f1", "iou", "precision", "recall", "score")
_FALLING = ("crossentropy", "divergence", "error", "loss", "mae", "mape", "mse", "perplexity")


def checked_monitor(monitor: Any, mode: Any) -> bool:
    """Return whether a higher value of a metric is a better one.

    Args:
        monitor: Name of the metric.
        mode: "min", "max", or "auto", which knows it of names that end in words such as "loss",
            "error", "accuracy" or "auc".

    Raises:
        ArgumentError: `mode` is none of these, or "auto" does not know the metric.
        ArgumentTypeError: `monitor` is no name.

    Example:

    >>> from nadam_suite.callbacks.monitored import checked_monitor
    >>> checked_monitor("val_loss", "auto"), checked_monitor("val_accuracy", "auto")
    (False, True)
    """
    if not isinstance(monitor, str) or not monitor:
        raise ArgumentTypeError(
            "Argument `monitor` must be the name of a metric. Received: "
            f'monitor={monitor!r}. Pass for instance "val_loss".'
        )
    check_choice("mode", mode, ("auto", "min", "max"))
    if mode != "auto":
        return bool(mode == "max")
    word = re.split(r"[^a-z0-9]+", monitor.lower())[-1]
    rising = word.endswith(_RISING)
    if not rising and not word.endswith(_FALLING):
        raise ArgumentError(
            'Argument `mode` must be "min" or "max" for a metric whose name does not tell. '
            f"Received: mode='auto', monitor={monitor!r}. Pass the one that is meant."
        )
    return rising


def monitored_value(monitor: str, logs: Mapping[str, Any] | None) -> float:
    """Return the value of a metric in the logs of an epoch.

    Raises:
        ArgumentError: There is no such metric.
    """
    value = (logs or {}).get(monitor)
    if value is None:
        raise ArgumentError(
            f"Argument `monitor` must be among the metrics of an epoch. Received: "
            f"monitor={monitor!r}, and the logs have {sorted(logs or {})}. Correct it, or pass "
            "validation data."
        )
    return float(value)


def not_validated(monitor: str, logs: Mapping[str, Any] | None) -> bool:
    """Return whether a metric is missing because this epoch was not validated.

    `fit(validation_freq=)` leaves the validation out of some epochs.
    """
    return monitor.startswith("val_") and not any(name.startswith("val_") for name in logs or {})


def better(value: float, best: float | None, rises: bool) -> bool:
    """Return whether a value is better than the best so far; NaN never is."""
    if math.isnan(value):
        return False
    return best is None or (value > best if rises else value < best)
