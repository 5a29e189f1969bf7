"""The callbacks of one execution of a trial: copies of the user's, and the hooks of the tuner."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.trial import Trial

from nadam_suite.errors import ArgumentError

__all__ = ["FatalArgumentError", "Hooks", "copies", "own_log_folders"]


class FatalArgumentError(ArgumentError, keras_tuner.errors.FatalError):
    """What is wrong for all trials of a search, which therefore ends; see `ArgumentError`."""


class Hooks(keras.callbacks.Callback):
    """Calls the methods of the tuner that subclasses may override."""

    def __init__(self, tuner: keras_tuner.Tuner, trial: Trial) -> None:
        super().__init__()
        self._tuner, self._trial = tuner, trial

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Call `on_epoch_begin` of the tuner."""
        self._tuner.on_epoch_begin(self._trial, self.model, epoch, logs=logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Call `on_batch_begin` of the tuner."""
        self._tuner.on_batch_begin(self._trial, self.model, batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Call `on_batch_end` of the tuner."""
        self._tuner.on_batch_end(self._trial, self.model, batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Call `on_epoch_end` of the tuner."""
        self._tuner.on_epoch_end(self._trial, self.model, epoch, logs=logs)


def copies(callbacks: Sequence[Any]) -> list[Any]:
    """Return copies of callbacks, for one execution.

    Raises:
        FatalArgumentError: One of them cannot be copied.
    """
    try:
        return list(copy.deepcopy(callbacks))
    except Exception as error:
        raise FatalArgumentError(
            "Argument `callbacks` must be a list of callbacks that `copy.deepcopy` can copy, as "
            f"each trial gets its own. Received: callbacks={callbacks!r}: {error}. Open files and "
            "connections in `on_train_begin`."
        ) from error


def own_log_folders(callbacks: Sequence[Any], place: Path) -> list[Path]:
    """Give each TensorBoard callback a log folder of this execution alone, and return them."""
    found = [c for c in callbacks if isinstance(c, keras.callbacks.TensorBoard)]
    for callback in found:
        callback.log_dir = str(Path(callback.log_dir) / place)
    return [Path(callback.log_dir) for callback in found]
