"""What surrounds every command: errors as a message and a status, interruption as advice."""

from __future__ import annotations

import contextlib
import errno
import shlex
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from nadam_suite.cli.interrupt import Interrupt, ignore_others
from nadam_suite.cli.printing import print_error
from nadam_suite.cli.status import FAILED, INTERRUPTED, REFUSED, of_error
from nadam_suite.errors import MissingExtraError, NadamSuiteError

__all__ = ["advice", "guarded", "missing", "say"]

_BEGIN = "No epoch had begun. Give the command again."
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_HERE = "In the folder of nadam_suite's README run"
_INSTALLS = {
    "jax": f"{_HERE}: pip install '.[jax]'",
    "torch": f"{_HERE}: pip install '.[torch]'",
    "tensorflow": "Run: pip install tensorflow",
}


@contextlib.contextmanager
def guarded(*, debug: bool = False, resumable: bool = False) -> Iterator[Interrupt]:
    """Turn this package's errors into a message on stderr and an exit status of `cli/status.py`.

    Where JSON was asked for, the error stands on stdout as well.

    Args:
        debug: Let the traceback be shown.
        resumable: Whether an interrupted command can be given again with `--resume`.

    Yields:
        What knows of an interruption that Python swallowed.
    """
    interrupt = Interrupt()
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            with interrupt.watched():
                yield interrupt
        except KeyboardInterrupt:
            ignore_others()
            if debug:
                raise
            how = "" if not resumable else advice() if interrupt.has_begun() else _BEGIN
            raise _ended("Interrupted", how, INTERRUPTED) from None
        except typer.Exit:
            raise
        except Exception as error:
            message, status = _told(error, resumable)
            if debug or message is None:  # what nobody has foreseen has its traceback
                print_error(error, str(error), status)
                raise
            raise _ended(error, message, status) from None


def _told(error: Exception, resumable: bool) -> tuple[str | None, int]:
    """Return what to say of an error, or None if that is not known, and the exit status."""
    if isinstance(error, NadamSuiteError):
        return str(error), of_error(error)
    if isinstance(error, ModuleNotFoundError):
        name = (error.name or "").partition(".")[0]
        return (str(missing(name)), REFUSED) if name in _INSTALLS else (None, FAILED)
    if isinstance(error, OSError) and error.errno in _FULL:
        return _unwritten(error, resumable), FAILED
    return None, FAILED


def _unwritten(error: OSError, resumable: bool) -> str:
    """Return what to say of a disk that takes no more."""
    name = "A file" if error.filename is None else f"File {str(error.filename)!r}"
    how = f" {advice()}" if resumable else " Give the command again."
    return f"{name} cannot be written ({error.strerror}). Free space there.{how}"


def _ended(error: BaseException | str, message: str, status: int) -> typer.Exit:
    """Say why the command ends, and return what ends it."""
    if isinstance(error, str):
        say(f"{error}. ", "bold yellow", message)
    else:
        say("Error: ", "bold red", message)
    print_error(error, message, status)
    return typer.Exit(status)


def missing(backend: str) -> MissingExtraError:
    """Return the error about a framework that is not installed."""
    return MissingExtraError(
        f"Backend {backend!r} must be installed. Received: backend={backend!r}, which Python does "
        f"not find. {_INSTALLS[backend]}"
    )


def advice() -> str:
    """Return how to go on; the epoch that was cut is trained again from its beginning."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    command = shlex.join(["nadam-suite", *arguments, "--resume"])
    return f"All finished epochs are kept. Go on with:\n  {command}"


def say(head: str, style: str, message: str) -> None:
    """Write a message to stderr, its head in a style."""
    text = Text.assemble((head, style), message)
    # Not wrapped: paths and commands are there to be copied.
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def _show_warning(message: Any, *details: Any) -> None:
    """Show a warning as one paragraph, without the line of source that it came from."""
    del details
    say("Warning: ", "yellow", str(message))
