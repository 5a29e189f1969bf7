"""Files that a command writes: refused before any work if they exist or cannot be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from nadam_suite.errors import DataFileError

__all__ = ["checked_output", "write_output"]


def checked_output(option: str, path: Path, default: str, *, force: bool) -> Path:
    """Return the file to write, in a folder under its default name, if nothing stands against it.

    Raises:
        DataFileError: It exists and is not to be replaced, has another suffix, or its folder
            cannot be written to.
    """
    if path.is_dir():
        path = path / default
    shown, suffix = f"{option}={str(path)!r}", Path(default).suffix
    if path.suffix.lower() != suffix:
        raise DataFileError(
            f"The name of a file for `{option}` must end in {suffix}. Received: {shown}. Choose "
            f"for instance {str(path.with_suffix(suffix))!r}."
        )
    if path.is_dir() or (path.exists() and not force):
        remedy = "Choose another name" if path.is_dir() else "Pass --force to replace it"
        raise DataFileError(
            f"The file of `{option}` must not exist yet. Received: {shown}, which was left as it "
            f"is. {remedy}, or name another one with {option}."
        )
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        what = "may not be written to" if path.parent.is_dir() else "is no folder"
        raise DataFileError(
            f"The file of `{option}` must lie in a folder that may be written to. Received: "
            f"{shown}, but {str(path.parent)!r} {what}. Choose another place with {option}."
        )
    return path


def write_output(option: str, path: Path, write: Callable[[], None]) -> None:
    """Call what writes a file.

    Raises:
        DataFileError: It cannot be written.
    """
    try:
        write()
    except OSError as error:
        raise DataFileError(
            f"The file of `{option}` must be writable. Received: {option}={str(path)!r}: "
            f"{error.strerror or error}. Choose another place with {option}."
        ) from error
