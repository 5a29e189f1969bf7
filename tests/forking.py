"""Run something in a copy of this process: to import a framework takes longer than most tests."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable


def in_a_copy(work: Callable[[], object]) -> int:
    """Call `work` in a copy of this process, and give its exit status: minus the signal's number.

    The copy is as good as a fresh process as long as this one has used no device: that starts
    threads, which a copy would lack.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        work()
        sys.stdout.flush()
        status = 0
    except BaseException:  # noqa: BLE001 - the copy must not go on as if it were the tests
        traceback.print_exc()
    finally:
        os._exit(status)
