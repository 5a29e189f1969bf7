"""Keeping the start-up messages of native libraries off the screen."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["defaults", "muted"]

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def defaults() -> bool:
    """Set what the user has not set, before anything native is loaded; return whether to mute.

    That is so unless the user wants warnings or more in the logs.

    Threads that wait by spinning take the cores from each other where several processes share
    them: PyTorch on two busy cores then needs twice the time. Results do not depend on it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return os.environ.setdefault(_LEVEL, "2") >= "2"


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Hold back what is written to the process' stderr inside; show it if something fails.

    TensorFlow writes a few lines before it reads any setting about logs, so that only this helps.
    """
    try:
        stderr = sys.stderr.fileno()
        copy = os.dup(stderr)
    except (OSError, ValueError):  # stderr is no file: nothing native can write to it
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), stderr)
        try:
            yield
        except Exception:
            sys.stderr.flush()
            held.seek(0)
            os.write(copy, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(copy, stderr)
            os.close(copy)
