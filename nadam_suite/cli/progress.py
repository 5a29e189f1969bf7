"""The progress of a training: one line per epoch, and on a terminal a live bar below them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
from rich import progress as bars
from rich.console import Console

__all__ = ["Progress"]

# In the history; on the screen they would fill the line.
_LEFT_OUT = ("weight_decay", "beta_1", "momentum", "loss_scale_growths")
_REFRESH = 0.1  # seconds; reading the metrics waits for the device, so not at every batch


class Progress(keras.callbacks.Callback):
    """Shows epoch, batch and metrics.

    Args:
        console: Where to.
        check: Called before each batch; it may raise KeyboardInterrupt.
    """

    def __init__(self, console: Console, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check
        self._console = console
        self._bar: bars.Progress | None = None
        self._task: Any = None
        self._shown = 0.0
        self._first = True

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the bar, if there is a terminal."""
        if self._console.is_terminal and self._bar is None:
            self._bar = bars.Progress(
                bars.TextColumn("[bold]epoch {task.fields[epoch]}/{task.fields[epochs]}"),
                bars.BarColumn(bar_width=20),
                bars.TextColumn("batch {task.completed:.0f}/{task.total:.0f}"),
                bars.TextColumn("{task.fields[metrics]}"),
                bars.TimeElapsedColumn(),
                console=self._console,
            )
            self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin the epoch's part, and say once where a resumed run goes on."""
        if self._first and epoch:
            self._console.print(f"Going on at epoch {epoch + 1} of {self.params['epochs']}.")
        self._first = False
        if self._bar is None:
            return
        fields = {
            "epoch": epoch + 1,
            "epochs": self.params["epochs"],
            "total": self.params["steps"],
        }
        if self._task is None:
            self._task = self._bar.add_task("", metrics="", **fields)
        self._bar.update(self._task, completed=0, **fields)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Stop if the user has asked for it."""
        self._check()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Move the bar, ten times a second at most."""
        now = time.monotonic()
        if self._bar is not None and now - self._shown >= _REFRESH:
            self._shown = now
            self._bar.update(self._task, completed=batch + 1, metrics=_metrics(logs))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Print the epoch's metrics, those of the validation too; a bar stays below the lines."""
        width = len(str(self.params["epochs"]))
        line = f"epoch {epoch + 1:>{width}}/{self.params['epochs']}  {_metrics(logs)}"
        if self._bar is not None:
            self._bar.update(self._task, completed=self.params["steps"])
        self._console.print(line, soft_wrap=True)

    def on_train_end(self, logs: Any = None) -> None:
        """Leave the finished bar on the screen."""
        self.close()

    def close(self) -> None:
        """Give the terminal back, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _metrics(logs: Mapping[str, Any] | None) -> str:
    values = {name: float(value) for name, value in (logs or {}).items() if name not in _LEFT_OUT}
    first = ["loss"] if "loss" in values else []
    names = first + [name for name in values if name != "loss"]
    return "  ".join(f"{name} {values[name]:.4g}" for name in names)
