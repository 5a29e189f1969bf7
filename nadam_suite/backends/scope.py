"""What sharing out a training comes to, in words common to all backends."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from nadam_suite.errors import ArgumentError

__all__ = [
    "STRATEGIES",
    "Sharing",
    "devices_missing",
    "listed",
    "one_process_only",
    "several_processes_only",
]

STRATEGIES = (
    "auto",
    "none",
    "mirrored",
    "multi_worker",
    "tpu",
    "data_parallel",
    "model_parallel",
)


@dataclasses.dataclass(frozen=True)
class Sharing:
    """How one training is shared out: decided, and ready to be entered.

    Args:
        strategy: One of `STRATEGIES` but "auto": what was asked for, or what it became here.
        devices: The devices in words.
        replicas: Parts that a global batch is divided into.
        workers: Processes that take part.
        worker: Index of this one; 0 is the chief.
        native: The `tf.distribute.Strategy` or `keras.distribution.Distribution`, or None.
        enter: Makes a context manager in which models are built and trained.
    """

    strategy: str
    devices: str = "one device"
    replicas: int = 1
    workers: int = 1
    worker: int = 0
    native: Any = None
    enter: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them; long lists are cut in the middle."""
    if len(names) > 8:
        return f"{len(names)} devices from {names[0]} to {names[-1]}"
    return ", ".join(names)


def one_process_only(strategy: str, workers: int, source: str) -> ArgumentError:
    """Return the error of a strategy for one process in a cluster of several."""
    return ArgumentError(
        f'Argument `strategy` must be "auto" or "multi_worker" in a cluster. Received: strategy='
        f"{strategy!r}, where {source} names {workers} processes; each would train a model of its "
        f"own. Choose one of the two, or unset {source}."
    )


def several_processes_only(source: str) -> ArgumentError:
    """Return the error of a strategy for a cluster in a process that is alone."""
    return ArgumentError(
        'Argument `strategy` must be "auto" in a process that is alone. Received: strategy='
        f"'multi_worker', where {source} names no other process. Start the training with "
        "`nadam-suite launch --workers N -- train ...`, or set it in each process."
    )


def devices_missing(devices: Any, present: Sequence[str], remedy: str) -> ArgumentError:
    """Return the error of devices that this machine has not."""
    return ArgumentError(
        f"Argument `devices` must name devices that are there, or be at most their number. "
        f"Received: devices={devices!r}, where there are {', '.join(present) or 'none'}. {remedy}"
    )
