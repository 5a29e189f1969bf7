"""Which processes have trained a run: when, how long each epoch took, and how they ended."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import keras

from nadam_suite.errors import RunFolderError
from nadam_suite.experiment.folder import RunFolder

__all__ = ["SESSIONS", "EpochTimes", "Session", "is_alive", "read_sessions"]

SESSIONS = "sessions.json"
_RUNNING = "running"


class Session:
    """One process' part of a run, noted in the run's folder for the length of a `with` block.

    A block that ends is "finished", one that `KeyboardInterrupt` ends "interrupted", one that
    another exception ends "failed", with its text. An exception may say otherwise in an attribute
    `run_status`: a search's rung leaves its runs "paused". Of a process that was killed the note
    stays "running", with what tells whether it still is.

    Args:
        folder: The run's folder; of several processes only the chief writes.

    Example:

    >>> import tempfile
    >>> from nadam_suite.experiment.folder import RunFolder
    >>> from nadam_suite.experiment.sessions import Session, read_sessions
    >>> folder = RunFolder(tempfile.mkdtemp())
    >>> with Session(folder) as session:
    ...     session.add(0, 1.5)
    >>> [(each["status"], each["epochs"]) for each in read_sessions(folder.path)]
    [('finished', [[0, 1.5]])]
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._began = time.monotonic()
        self._before: list[dict[str, Any]] = []
        self._note: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Note that this process trains."""
        self._began = time.monotonic()
        self._before = read_sessions(self._folder.path) if self._folder.chief else []
        self._note = {
            "status": _RUNNING,
            "started": _now(),
            "ended": None,
            "seconds": 0.0,
            "error": None,
            "epochs": [],
            "process": {"host": socket.gethostname(), "pid": os.getpid(), "start": _start()},
        }
        self._write()
        return self

    def add(self, epoch: int, seconds: float) -> None:
        """Note an epoch, counted from 0."""
        self._note["epochs"].append([epoch, round(seconds, 6)])
        self._write()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Note how it ended."""
        del trace
        status = "finished"
        if kind is not None:
            ends = issubclass(kind, Exception)
            status = getattr(error, "run_status", "failed" if ends else "interrupted")
        text = f"{kind.__name__}: {error}" if kind is not None and status == "failed" else None
        self._note |= {"status": status, "ended": _now(), "error": text}
        self._write()

    def _write(self) -> None:
        self._note["seconds"] = round(time.monotonic() - self._began, 6)
        table = {"sessions": [*self._before, self._note]}
        self._folder.write_text(SESSIONS, json.dumps(table, indent=2) + "\n")


class EpochTimes(keras.callbacks.Callback):
    """Notes how long each epoch takes, its validation included.

    Args:
        session: The session of this process.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Take the time."""
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note the time since."""
        self._session.add(epoch, time.monotonic() - self._began)


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """Return the notes of all processes that have trained a run, the first one first.

    Args:
        folder: The run's folder. One that was written before there were notes has none.

    Raises:
        RunFolderError: The file is damaged.
    """
    path = folder / SESSIONS
    if not path.is_file():
        return []
    try:
        sessions: Sequence[Any] = json.loads(path.read_text("utf-8"))["sessions"]
        for each in sessions:
            if not isinstance(each["epochs"], list) or not isinstance(each["status"], str):
                raise TypeError(each)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"The file {str(path)!r} must be the JSON that the run wrote. Received: "
            f"{type(error).__name__}: {error}. Delete it; only times are lost."
        ) from error
    return [dict(each) for each in sessions]


def is_alive(session: Mapping[str, Any]) -> bool | None:
    """Return whether a process still trains; None if it is on another machine.

    Args:
        session: Its note.
    """
    if session["status"] != _RUNNING:
        return False
    process = session.get("process") or {}
    if process.get("host") != socket.gethostname() or os.name != "posix":
        return None
    pid = int(process.get("pid") or 0)
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return bool(_start(pid) == process.get("start"))


def _start(pid: int | None = None) -> str | None:
    """Return when a process was started, so that another one of its number is told from it."""
    try:
        text = Path(f"/proc/{pid or os.getpid()}/stat").read_text("utf-8")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
    except OSError:
        return None
    # The name in brackets may have blanks; the start is the 22nd field, the 20th behind it.
    return f"{boot}:{text.rpartition(')')[2].split()[19]}"


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
