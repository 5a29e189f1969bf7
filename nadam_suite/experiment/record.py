"""What a run writes while it trains: history, TensorBoard logs and a picture of the curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from nadam_suite.callbacks import TrainingState
from nadam_suite.config import TrainConfig
from nadam_suite.experiment.event_hparams import append_end, append_start, hparams_path, run_hparams
from nadam_suite.experiment.events import EventLog
from nadam_suite.experiment.folder import HISTORY, RunFolder
from nadam_suite.experiment.norm_record import NormRecord

__all__ = ["Recorder", "history_csv"]


class Recorder(keras.callbacks.Callback):
    """Rewrites the history after each epoch, from the state that a resumed run starts with.

    Whatever was written after that state by a process that was then killed is written anew, so
    that no epoch is missing or there twice.

    Args:
        folder: The run's folder; of several processes only the chief may have this callback.
        state: The callback that keeps the history; it must come before this one.
        config: The run's config, for TensorBoard's table of hyperparameters.
        norms: The callback that keeps the norms, likewise, or None where there are none.
    """

    def __init__(
        self,
        folder: RunFolder,
        state: TrainingState,
        config: TrainConfig,
        norms: NormRecord | None = None,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._state = state
        self._config = config
        self._norms = norms
        self._events: EventLog | None = None
        self._hparams: Path | None = None
        self._added = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Write what the restored state knows."""
        place = self._folder.path / "tensorboard"
        self._events, self._added = EventLog(place, self._state.history), 0
        self._add_norms()
        self._hparams = hparams_path(place)
        append_start(self._hparams, self._config.name, run_hparams(self._config).items())
        self._folder.write_text(HISTORY, history_csv(self._state.history))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the epoch that the state has just added."""
        if self._events is not None:
            self._events.add(self._state.history[-1])
        self._add_norms()
        self._folder.write_text(HISTORY, history_csv(self._state.history))

    def on_train_end(self, logs: Any = None) -> None:
        """Tell TensorBoard that the training has ended well."""
        # A search has replaced the table by its own, which says how the trial ends.
        if self._hparams is not None and self._hparams.is_file():
            append_end(self._hparams, success=True)

    def _add_norms(self) -> None:
        if self._norms is None or self._events is None:
            return
        for norms in self._norms.norms[self._added :]:
            self._events.add_norms(norms, by_epoch=self._norms.by_epoch)
        self._added = len(self._norms.norms)


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
