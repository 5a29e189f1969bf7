"""Where a run goes, and whether anything can be written there."""

from __future__ import annotations

import os
from pathlib import Path

from nadam_suite.config import TrainConfig

__all__ = ["run_path", "unwritable"]


def run_path(config: TrainConfig, output: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder that a run of a config gets.

    Args:
        config: The config, whose own `output` counts next.
        output: What is asked for.

    Example:

    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.experiment.place import run_path
    >>> run_path(TrainConfig(model="digits", data="digits", name="mine")).as_posix()
    'runs/mine'
    """
    return Path(output or config.output or Path("runs") / config.name)


def unwritable(path: Path) -> str | None:
    """Return why a folder cannot be written to, or created, or None if it can.

    Args:
        path: The folder; the nearest one above it that exists is looked at.

    Example:

    >>> import pathlib, tempfile
    >>> from nadam_suite.experiment.place import unwritable
    >>> unwritable(pathlib.Path(tempfile.mkdtemp(), "a", "b")) is None
    True
    """
    while not path.exists() and path != path.parent:
        path = path.parent
    if path.is_dir() and os.access(path, os.W_OK | os.X_OK):
        return None
    return f"{str(path)!r} {'may not be written to' if path.is_dir() else 'is no folder'}"
