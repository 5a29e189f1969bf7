"""Messages of TensorBoard's table of hyperparameters, written without TensorFlow.

The messages are those of `tensorboard.plugins.hparams`, whose own writer imports TensorFlow.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nadam_suite.callbacks.event_file import append_values, event_path
from nadam_suite.config import TrainConfig

__all__ = [
    "append_end",
    "append_message",
    "append_start",
    "fill",
    "flat",
    "hparams_path",
    "run_hparams",
]

_SUFFIX = ".hparams"
_TOP = ("batch_size", "epochs", "model", "data", "precision", "seed")


def hparams_path(folder: Path) -> Path:
    """Return a new event file for a table in a folder; older ones there are removed."""
    for path in folder.glob(f"events.out.tfevents.*{_SUFFIX}"):
        path.unlink()
    return event_path(folder, _SUFFIX)


def append_start(path: Path, name: str, values: Iterable[tuple[str, Any]]) -> None:
    """Append that a training begins.

    Args:
        path: The event file.
        name: Name of its group: what is to be shown as one row.
        values: Names and values of its hyperparameters: numbers, strings and booleans.
    """
    from tensorboard.plugins.hparams import plugin_data_pb2

    start = plugin_data_pb2.SessionStartInfo(group_name=name, start_time_secs=time.time())
    for key, value in values:
        fill(start.hparams[key], value)
    content = plugin_data_pb2.HParamsPluginData(session_start_info=start)
    append_message(path, "session_start_info", content)


def append_end(path: Path, *, success: bool) -> None:
    """Append how a training has ended."""
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

    status = api_pb2.STATUS_SUCCESS if success else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    content = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    append_message(path, "session_end_info", content)


def append_message(path: Path, tag: str, content: Any) -> None:
    """Append one message of the plugin to an event file."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    value = Summary.Value(
        tag=f"_hparams_/{tag}",
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )
    append_values(path, [value])


def fill(message: Any, value: Any) -> None:
    """Put a value into a protobuf `Value`."""
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, str):
        message.string_value = value
    else:
        message.number_value = value


def run_hparams(config: TrainConfig) -> dict[str, Any]:
    """Return what the table shows of a run: its settings that are numbers, words or switches.

    Args:
        config: The run's config.

    Example:

    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.experiment.event_hparams import run_hparams
    >>> config = TrainConfig(model="digits", data="digits", schedule={"kind": "linear"})
    >>> found = run_hparams(config)
    >>> found["schedule.kind"], found["optimizer.beta_2"]
    ('linear', 0.999)
    """
    table = config.to_dict()
    found = {key: table[key] for key in _TOP}
    for part in ("optimizer", "schedule"):
        values = flat(table.get(part) or {}, f"{part}.")
        found |= {k: v for k, v in values.items() if isinstance(v, (bool, int, float, str))}
    return found


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return what a table and the tables in it hold, by dotted key."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found
