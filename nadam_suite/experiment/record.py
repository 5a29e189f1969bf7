"""What a run writes while it trains: history, TensorBoard logs and a picture of the curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from nadam_suite.callbacks import TrainingState
from nadam_suite.experiment.events import EventLog
from nadam_suite.experiment.folder import RunFolder

__all__ = ["Recorder", "history_csv"]


class Recorder(keras.callbacks.Callback):
    """Rewrites the history after each epoch, from the state that a resumed run starts with.

    Whatever was written after that state by a process that was then killed is written anew, so
    that no epoch is missing or there twice.

    Args:
        folder: The run's folder; of several processes only the chief may have this callback.
        state: The callback that keeps the history; it must come before this one.
    """

    def __init__(self, folder: RunFolder, state: TrainingState) -> None:
        super().__init__()
        self._folder = folder
        self._state = state
        self._events: EventLog | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Write what the restored state knows."""
        self._events = EventLog(self._folder.path / "tensorboard", self._state.history)
        self._folder.write_text("history.csv", history_csv(self._state.history))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the epoch that the state has just added."""
        if self._events is not None:
            self._events.add(self._state.history[-1])
        self._folder.write_text("history.csv", history_csv(self._state.history))


def history_csv(history: Sequence[Mapping[str, float]]) -> str:
    """Return the rows as CSV text; floats have all their digits.

    Args:
        history: One row per epoch.

    Example:

    >>> from nadam_suite.experiment.record import history_csv
    >>> print(history_csv([{"epoch": 0, "loss": 0.1}, {"epoch": 1, "loss": 0.05}]), end="")
    epoch,loss
    0,0.1
    1,0.05
    """
    columns = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()
