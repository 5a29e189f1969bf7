"""One worker of `launch` or `tune`: the command, in a process that ends with its launcher."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence

__all__ = ["command_line", "main"]


def command_line(arguments: Sequence[str]) -> list[str]:
    """Return program and arguments that start a worker with these arguments of the command."""
    # A worker finds its modules where this process found them.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; sys.argv[0] = 'nadam-suite'\n"
        "from nadam_suite.cli.worker import main; main()"
    )
    return [sys.executable, "-c", code, *arguments]


def main() -> None:
    """Run the command that stands in `sys.argv`.

    A worker that fails is gone at once: the libraries that join it to the others would wait at
    exit for peers that wait for it.
    """
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    try:
        from nadam_suite.cli import main as command

        command()
    except SystemExit as exited:
        status = exited.code if isinstance(exited.code, int) else int(exited.code is not None)
    except BaseException:  # noqa: BLE001 - shown as Python would show it
        traceback.print_exc()
        status = 1
    else:
        status = 0
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    if status:
        os._exit(status)


def _end_with_launcher() -> None:
    """End this process and what it started when the launcher's end of stdin is closed."""
    while os.read(0, 4096):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
