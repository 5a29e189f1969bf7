"""Write a file so that at any moment, a power cut included, it is either the old one or the new."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["replace_file", "replace_text", "sync_folder", "write_beside"]


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write beside `path`, bring it to the disk, and only then give it the name.

    Args:
        path: The file; its folder must exist. An older file stays until the new one is complete.
        write: Called with the open binary file.

    Raises:
        OSError: The file cannot be written; what was there before is untouched.

    Example:

    >>> import pathlib, tempfile
    >>> from nadam_suite.callbacks.files import replace_file
    >>> path = pathlib.Path(tempfile.mkdtemp(), "state")
    >>> replace_file(path, lambda file: file.write(b"whole"))
    >>> path.read_bytes()
    b'whole'
    """
    path = Path(path)

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            write(file)

    write_beside(path, f".{path.name}.tmp", fill)


def write_beside(path: Path, name: str, write: Callable[[Path], object]) -> None:
    """Have a file written beside `path`, bring it to the disk, and only then give it the name.

    Args:
        path: The file; its folder must exist.
        name: Name of the other file. A fixed one: what a killed process left half-written is
            overwritten by the next.
        write: Called with the path of the other file.
    """
    temporary = path.with_name(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` in UTF-8, as `replace_file` does."""
    replace_file(path, lambda file: file.write(text.encode("utf-8")))


def sync_folder(folder: Path) -> None:
    """Bring a new name to the disk, where the system can do that for folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
