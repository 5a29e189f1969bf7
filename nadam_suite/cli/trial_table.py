"""The trials of a search while it runs, read from its folder: a live table, or a line for each."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nadam_suite.experiment.folder import HISTORY
from nadam_suite.tuner.runs import RUN
from nadam_suite.tuner.search_folder import read_search
from nadam_suite.tuner.search_record import SearchRecord, TrialRecord

__all__ = ["TrialTable", "line_of", "table_of"]

_INTERVAL = 0.5  # seconds between two looks at the folder
_BEST = 10  # finished trials in the table


class TrialTable:
    """Shows the trials of a search for the length of a `with` block.

    Args:
        console: Where to. On a terminal there is a table that changes; elsewhere each trial gets a
            line when it ends, those that had ended before the block none.
        folder: The search's folder, which need not hold anything yet.
        trials: Trials in all, or None if nobody knows.
        epochs: Epochs of a whole trial.
    """

    def __init__(self, console: Console, folder: Path, trials: int | None, epochs: int) -> None:
        self._console = console
        self._folder = folder
        self._trials = trials
        self._epochs = epochs
        self._told: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Begin to show."""
        record = self._read()
        if record is not None:
            self._told = {trial.id for trial in record.trials if _ended(trial)}
            self._console.print(f"Going on: {self._counted(len(self._told))} have ended before.")
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Show what has come last, and give the terminal back."""
        self._over.set()
        self._thread.join()
        if self._live is not None:
            self._live.stop()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        record = self._read()
        if record is None:
            return
        if self._live is not None and self._live.is_started:
            title = f"{self._counted(sum(map(_ended, record.trials)))} have ended"
            self._live.update(table_of(record, title, self._epochs), refresh=True)
        elif self._live is None:
            for trial in record.trials:
                if _ended(trial) and trial.id not in self._told:
                    self._told.add(trial.id)
                    self._console.print(line_of(trial, record), soft_wrap=True)

    def _read(self) -> SearchRecord | None:
        with contextlib.suppress(OSError):  # there is nothing yet, or a file goes away just now
            return read_search(self._folder)
        return None

    def _counted(self, number: int) -> str:
        return f"{number} trials" if self._trials is None else f"{number} of {self._trials} trials"


def line_of(trial: TrialRecord, record: SearchRecord) -> str:
    """Return a finished trial as one line: its score, or why it failed, and its values."""
    values = "  ".join(f"{name} {_shown(value)}" for name, value in trial.values.items())
    name = trial.id if trial.origin is None else f"{trial.id} ({trial.origin})"
    if trial.failed:
        return f"trial {name}  failed: {trial.reason}  {values}"
    score = f"{record.objective} {trial.score:.6g} at epoch {(trial.best_step or 0) + 1}"
    best = record.best
    return f"trial {name}  {score}  {values}  (best: {best.id if best else 'none'})"


def table_of(record: SearchRecord, title: str, epochs: int) -> Table:
    """Return the trials that run, the best ones, and those that failed last, as a table.

    Args:
        record: The search so far.
        title: What stands above.
        epochs: Epochs of a whole trial.
    """
    names = list(dict.fromkeys(dimension.name for dimension in record.varied))
    table = Table(title=title)
    for name in ("trial", record.objective, "epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", overflow="ellipsis", no_wrap=True)
    for trial, score, epoch in _rows(record, epochs):
        values = (_shown(trial.values[name]) if name in trial.values else "" for name in names)
        table.add_row(trial.id, score, epoch, *values)
    return table


def _rows(record: SearchRecord, epochs: int) -> Iterator[tuple[TrialRecord, str, str]]:
    """Yield trials with what to show for score and epoch."""
    for trial in record.unfinished:
        done = _epochs_of(trial)
        yield trial, "[yellow]runs[/]", f"{done}/{trial.epochs or epochs}"
    for trial in record.ranked[:_BEST]:
        yield trial, f"{trial.score:.6g}", str((trial.best_step or 0) + 1)
    for trial in record.failed[-3:]:
        yield trial, "[red]diverged[/]" if trial.diverged else "[red]failed[/]", ""


def _epochs_of(trial: TrialRecord) -> int:
    """Return how many epochs a trial's run has trained, by its history."""
    with contextlib.suppress(OSError):  # it has none before its first epoch
        return max(0, (trial.folder / RUN / HISTORY).read_text("utf-8").count("\n") - 1)
    return 0


def _ended(trial: TrialRecord) -> bool:
    return trial.ended_well or trial.failed


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
