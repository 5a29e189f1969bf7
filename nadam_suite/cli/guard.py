"""What surrounds every command: errors as a message and a status, interruption as advice."""

from __future__ import annotations

import contextlib
import shlex
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from nadam_suite.cli.interrupt import Interrupt
from nadam_suite.errors import MissingExtraError, NadamSuiteError

__all__ = ["advice", "guarded", "missing", "say"]

_REFUSED, _INTERRUPTED = 2, 130
_EXTRAS = {"jax": "nadam_suite[jax]", "torch": "nadam_suite[torch]", "tensorflow": "tensorflow"}


@contextlib.contextmanager
def guarded(*, debug: bool = False, resumable: bool = False) -> Iterator[Interrupt]:
    """Turn this package's errors into a message on stderr and exit status 2.

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
        except NadamSuiteError as error:
            if debug:
                raise
            say("Error: ", "bold red", str(error))
            raise typer.Exit(_REFUSED) from None
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get((error.name or "").partition(".")[0])
            if debug or extra is None:
                raise
            say("Error: ", "bold red", str(missing(error.name or "")))
            raise typer.Exit(_REFUSED) from None
        except KeyboardInterrupt:
            if debug:
                raise
            say("Interrupted. ", "bold yellow", advice() if resumable else "")
            raise typer.Exit(_INTERRUPTED) from None


def missing(backend: str) -> MissingExtraError:
    """Return the error about a framework that is not installed."""
    return MissingExtraError(
        f"Backend {backend!r} must be installed. Received: backend={backend!r}, which Python does "
        f"not find. Run: pip install '{_EXTRAS[backend]}'"
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
