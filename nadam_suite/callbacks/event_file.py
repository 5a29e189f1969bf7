"""Event files of TensorBoard, written without TensorFlow, so that every backend has them alike.

An event file is only a series of checksummed messages, for which the `tensorboard` package has all
that is needed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["append_scalars", "append_values", "event_path"]


def event_path(folder: Path, suffix: str = "") -> Path:
    """Return a new name for an event file in a folder, which is created.

    Args:
        folder: The folder, of which TensorBoard makes one run.
        suffix: End of the name, to find the file again by.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # TensorBoard finds event files by the first words of their names.
    return folder / f"events.out.tfevents.{time.time_ns()}.nadam_suite{suffix}"


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


def append_scalars(path: Path, scalars: Mapping[str, float], step: int) -> None:
    """Append one event with a number for each tag.

    Args:
        path: The file, as for `append_values`.
        scalars: Numbers by tag; TensorBoard makes one section of what is before the first slash.
        step: The step that they are of.

    Example:

    >>> import pathlib, tempfile
    >>> from nadam_suite.callbacks.event_file import append_scalars, event_path
    >>> path = event_path(pathlib.Path(tempfile.mkdtemp(), "train"))
    >>> append_scalars(path, {"update_norm/dense": 0.5}, step=3)
    >>> path.stat().st_size > 0
    True
    """
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
    append_values(path, values, step)
