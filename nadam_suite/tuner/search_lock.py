"""One search at a time in a folder: a lock that ends with the process, however that ends."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nadam_suite.errors import SearchFolderError

__all__ = ["locked"]

_LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from searching in a folder, for the length of a `with` block.

    Where the system or its file system has no such locks, nothing is kept.

    Args:
        folder: The search's folder, which exists.

    Raises:
        SearchFolderError: Another process searches in it.

    Example:

    >>> import pathlib, tempfile
    >>> from nadam_suite.tuner.search_lock import locked
    >>> with locked(pathlib.Path(tempfile.mkdtemp())):
    ...     pass  # search
    """
    if importlib.util.find_spec("fcntl") is None:
        yield
        return
    with (folder / _LOCK).open("a", encoding="utf-8") as file:
        _lock(file, folder)
        yield


def _lock(file: IO[str], folder: Path) -> None:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SearchFolderError(
            "The search's folder must be used by one search at a time. Received: "
            f"output={str(folder)!r}, in which another process is searching. Wait for its end, or "
            "end it, and pass --resume; or search in another folder with --output."
        ) from None
    except OSError:  # a file system without locks
        return
