"""What the kinds of callback in a training config share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from nadam_suite.callbacks import PlateauScale
from nadam_suite.config import faults
from nadam_suite.config.base import Config
from nadam_suite.errors import ArgumentError

__all__ = ["MODE", "CallbackConfig", "KnownMode", "Mode", "Monitor", "tells_direction"]

# What the mode must be for a metric that PlateauScale, and others of ours, do not know.
MODE = '"min" or "max" for a metric whose name does not tell'

Monitor = Annotated[str, Field(min_length=1)]
Mode = Literal["auto", "min", "max"]


def tells_direction(monitor: str, mode: str) -> bool:
    """Return whether it is known if a metric should fall or rise.

    Example:
    >>> from nadam_suite.config.callback_base import tells_direction
    >>> [tells_direction(name, "auto") for name in ("val_loss", "val_accuracy", "val_gap")]
    [True, True, False]
    """
    try:
        PlateauScale(monitor, mode=mode)
    except ArgumentError:
        return False
    return True


def _known_mode(mode: str, info: ValidationInfo) -> str:
    if "monitor" in info.data and not tells_direction(info.data["monitor"], mode):
        raise faults.refuse(MODE, "Choose the one that is meant.")
    return mode


KnownMode = Annotated[Mode, AfterValidator(_known_mode)]


class CallbackConfig(Config):
    """What the kinds of callback share; only its subclasses are used.

    Args:
        kind: Which callback it is, a key of `CALLBACKS`.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import CALLBACKS
    >>> CALLBACKS["terminate_on_nan"](kind="terminate_on_nan")
    TerminateOnNaNConfig(kind='terminate_on_nan')
    """

    kind: str

    def options(self) -> dict[str, Any]:
        """Return the keywords of the callback."""
        return {key: value for key, value in dict(self).items() if key != "kind"}
