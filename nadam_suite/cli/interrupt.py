"""Ctrl-C that is never lost.

Python raises KeyboardInterrupt wherever it happens to be, and some places swallow every exception:
callbacks of the garbage collector, which frameworks install, and finalizers. So that the request
is also remembered, and looked at between two batches; Python's note that it has ignored something,
with a traceback, would only confuse. Others make an error of their own of it, such
as pydantic where it calls back; that is an interruption too.
"""

from __future__ import annotations

import contextlib
import contextvars
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from nadam_suite.errors import NadamSuiteError

__all__ = ["Interrupt", "ends_process", "ignore_others"]

_ends = contextvars.ContextVar("ends", default=False)


@contextlib.contextmanager
def ends_process(wanted: bool) -> Iterator[None]:
    """Say that the process ends with the command that runs inside, or that it does not."""
    token = _ends.set(wanted)
    try:
        yield
    finally:
        _ends.reset(token)


def ignore_others() -> None:
    """Ignore Ctrl-C from now on, if the process ends anyway.

    A second one, while Python ends, would give the process another exit status.
    """
    if _ends.get():
        with contextlib.suppress(ValueError):  # only the main thread may do this
            signal.signal(signal.SIGINT, signal.SIG_IGN)


class Interrupt:
    """Whether the user has asked to stop.

    `has_begun` says whether there is anything to go on with; a command that knows sets another.
    """

    def __init__(self) -> None:
        self._asked = False
        self.has_begun: Callable[[], bool] = lambda: True

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Remember what the signal asks for, inside; elsewhere it does what it did before.

        Raises:
            KeyboardInterrupt: The signal came, also where an error was made of it.
        """
        try:
            before = signal.signal(signal.SIGINT, self._ask)
        except ValueError:  # only the main thread may do this
            yield
            return
        note = sys.unraisablehook
        sys.unraisablehook = lambda ignored: None if self._is_known(ignored) else note(ignored)
        try:
            yield
        except Exception as error:
            if self._asked and not isinstance(error, NadamSuiteError) and _is_made_of_one(error):
                raise KeyboardInterrupt from error
            raise
        finally:
            sys.unraisablehook = note
            signal.signal(signal.SIGINT, before)

    def check(self) -> None:
        """Stop, if that was asked for.

        Raises:
            KeyboardInterrupt: It was.
        """
        if self._asked:
            raise KeyboardInterrupt

    def _is_known(self, ignored: Any) -> bool:
        """Return whether what Python has ignored is the interruption that is remembered."""
        return self._asked and issubclass(ignored.exc_type, KeyboardInterrupt)

    def _ask(self, number: int, frame: Any) -> None:
        del number, frame
        self._asked = True
        raise KeyboardInterrupt


def _is_made_of_one(error: BaseException | None) -> bool:
    """Return whether an error was raised while a KeyboardInterrupt was handled."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
