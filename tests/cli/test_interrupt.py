"""An interruption is never lost, wherever Python happens to be when it comes."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys

import pydantic
import pytest

from nadam_suite.cli.interrupt import Interrupt
from tests.processes import run_python

pytestmark = pytest.mark.once


def test_interruption_is_raised_at_once():
    """Where nothing swallows it, it comes through as usual."""
    with pytest.raises(KeyboardInterrupt), Interrupt().watched():
        os.kill(os.getpid(), signal.SIGINT)


def test_swallowed_interruption_is_remembered(monkeypatch):
    """In a callback of the garbage collector it is swallowed, and raised by the next check."""
    noted = []
    monkeypatch.setattr(sys, "unraisablehook", noted.append)
    interrupt = Interrupt()

    def collected(phase, info):
        if phase == "start":
            os.kill(os.getpid(), signal.SIGINT)

    with interrupt.watched():
        interrupt.check()
        gc.callbacks.append(collected)
        try:
            gc.collect()
        finally:
            gc.callbacks.remove(collected)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    assert not noted  # no traceback for what is not lost


def test_other_ignored_errors_are_noted(monkeypatch):
    """Also after an interruption, and after the block an interruption as well."""
    noted = []
    monkeypatch.setattr(sys, "unraisablehook", lambda ignored: noted.append(ignored.exc_type))

    class Failing:
        def __init__(self, error):
            self.error = error

        def __del__(self):
            raise self.error

    with Interrupt().watched():
        Failing(KeyboardInterrupt())  # nobody has asked for it
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        Failing(ZeroDivisionError())
    Failing(KeyboardInterrupt())
    assert noted == [KeyboardInterrupt, ZeroDivisionError, KeyboardInterrupt]


def test_an_error_that_was_made_of_an_interruption_is_one():
    """Pydantic wraps whatever comes out of a serializer."""

    class Slow(pydantic.BaseModel):
        @pydantic.model_serializer
        def interrupted(self):
            os.kill(os.getpid(), signal.SIGINT)
            return {}

    with pytest.raises(KeyboardInterrupt), Interrupt().watched():
        Slow().model_dump()


def test_other_errors_stay_what_they_are():
    """Without an interruption, and after one that somebody dealt with."""

    def failing(number):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        return 1 / 0

    for number in (0, signal.SIGINT):  # 0 is no signal
        with pytest.raises(ZeroDivisionError), Interrupt().watched():
            failing(number)


def test_handler_is_given_back():
    """Outside, the signal does what it did before."""
    before = signal.getsignal(signal.SIGINT)
    with Interrupt().watched():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


LAST = """
import atexit, os, signal
from nadam_suite.cli import configs_command, main

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

configs_command.load_backend = interrupt
atexit.register(interrupt)
sys.argv = ["nadam-suite", "ls"]
main()
"""


def test_further_interruptions_change_nothing():
    """While Python ends another one neither changes the status nor shows a traceback."""
    done = run_python(LAST, check=False)
    assert (done.returncode, done.stderr.strip()) == (130, "Interrupted.")
