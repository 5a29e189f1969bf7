"""TensorBoard logs without TensorFlow, so that every backend writes them alike.

`keras.callbacks.TensorBoard` writes through TensorFlow whatever the backend; an event file is only
a series of checksummed messages, for which the `tensorboard` package has all that is needed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["EventLog", "append_values"]


class EventLog:
    """One curve per metric, in a sub-folder for training and one for validation.

    Where the validation is that of averages, that of the raw weights has a third one.

    Args:
        folder: Where the logs lie. Logs of an earlier part of the run are written anew.
        history: Rows of the epochs so far, see `add`.
    """

    def __init__(self, folder: Path, history: Iterable[Mapping[str, float]] = ()) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._files: dict[str, Path] = {}
        for row in history:
            self.add(row)

    def add(self, row: Mapping[str, float]) -> None:
        """Add the metrics of an epoch; those that begin with "val_" are of the validation."""
        values: dict[str, dict[str, float]] = {}
        for name, value in row.items():
            if name != "epoch":
                split, metric = _place(name, row)
                values.setdefault(split, {})[f"epoch_{metric}"] = value
        for split, metrics in values.items():
            self._append(split, int(row["epoch"]), metrics)

    def _append(self, split: str, step: int, metrics: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        if split not in self._files:
            folder = self._folder / split
            folder.mkdir(parents=True, exist_ok=True)
            # TensorBoard finds event files by this word in their names.
            self._files[split] = folder / f"events.out.tfevents.{time.time_ns()}.nadam_suite"
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        append_values(self._files[split], values, step)


def append_values(path: Path, values: Sequence[Any], step: int = 0) -> None:
    """Append an event to an event file, which it begins if there is none.

    Args:
        path: The file; its name must have the word by which TensorBoard finds such files.
        values: Messages of type `Summary.Value`.
        step: The step that they are of.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    events = [Event(wall_time=time.time(), step=step, summary=Summary(value=values))]
    if not path.exists():
        events.insert(0, Event(wall_time=time.time(), file_version="brain.Event:2"))
    with path.open("ab") as file:
        for event in events:
            RecordWriter(file).write(event.SerializeToString())


def _place(name: str, row: Mapping[str, float]) -> tuple[str, str]:
    """Return the sub-folder of a metric, and what it is called there."""
    raw = name.removeprefix("val_raw_")
    if raw != name and f"val_{raw}" in row:
        return "validation_raw", raw
    if name.startswith("val_"):
        return "validation", name.removeprefix("val_")
    return "train", name
