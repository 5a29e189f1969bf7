"""What commands print: JSON on stdout for scripts, results and errors alike; width for tables."""

from __future__ import annotations

import contextlib
import contextvars
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from nadam_suite.errors import ConfigError

__all__ = ["asks_for_json", "json_errors", "print_error", "print_json", "widen"]

_WIDE = 160
_OPTION = "--json"
_errors = contextvars.ContextVar("errors", default=False)


def print_json(table: Mapping[str, Any]) -> None:
    """Write a result to stdout; numbers that are not finite, which JSON has not, become null.

    Args:
        table: Plain data. Its keys are documented in the README and never renamed.
    """
    sys.stdout.write(json.dumps(_plain(table), indent=2, allow_nan=False) + "\n")


def print_error(error: BaseException | str, message: str, status: int) -> None:
    """Write an error to stdout as JSON, if JSON was asked for.

    Args:
        error: The error, or what stands for it: "Usage" or "Interrupted".
        message: What stderr says as well.
        status: Exit status of the command.
    """
    if not _errors.get():
        return
    kind = error if isinstance(error, str) else type(error).__name__
    faults = list(error.faults) if isinstance(error, ConfigError) else [message]
    print_json({"error": {"kind": kind, "message": message, "faults": faults, "status": status}})


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Return whether the arguments ask for JSON; those after `--` are another command's."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return _OPTION in own


@contextlib.contextmanager
def json_errors(wanted: bool) -> Iterator[None]:
    """Have `print_error` write inside, or not."""
    token = _errors.set(wanted)
    try:
        yield
    finally:
        _errors.reset(token)


def widen(console: Console) -> None:
    """Give a console that writes to a file or pipe, which has no width of its own, a large one."""
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE


def _plain(value: Any) -> Any:
    """Return plain data with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
