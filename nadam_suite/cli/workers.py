"""A group of processes that live and die together: their output as one stream, the first failure.

Nothing here knows of trainings. A worker ends with its launcher however that ends, because each
one watches a pipe that only the launcher holds open; see `cli/worker.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from nadam_suite.cli.status import killed

__all__ = ["Failure", "Workers"]

_HOLD = 1.0  # seconds that lines of stderr wait: a peer's failure often causes one's own
_DRAIN = 3.0  # seconds to read what a process that has ended left in its pipes
_INTERRUPTED = 10.0  # seconds for all to end by themselves after Ctrl-C
_TERMINATED = 2.0  # seconds between SIGTERM and SIGKILL
_TICK = 0.1

Write = Callable[[int, bool, str], None]


@dataclasses.dataclass(frozen=True)
class Failure:
    """The worker that failed first.

    Args:
        worker: Its number.
        pid: Its process.
        returncode: Its exit status, or minus the signal that killed it.
    """

    worker: int
    pid: int
    returncode: int

    @property
    def status(self) -> int:
        """Exit status of the whole, as a shell counts signals."""
        return self.returncode if self.returncode > 0 else killed(-self.returncode)

    @property
    def signal(self) -> str | None:
        """Name of the signal that killed it, or None."""
        if self.returncode > 0:
            return None
        with contextlib.suppress(ValueError):
            return signal.Signals(-self.returncode).name
        return f"signal {-self.returncode}"


class _Event(NamedTuple):
    """A line, the end of a stream (no line, no code), or the end of a process (a code)."""

    worker: int
    is_error: bool = False
    line: str | None = None
    returncode: int | None = None


class Workers:
    """Processes of one command, each in an environment of its own.

    Args:
        command: Program and arguments.
        environments: One for each worker.
        write: Called in this thread with a worker's number, whether the line is of its stderr, and
            the line.
        serving: Numbers of those that serve the others, and are ended when these have ended well.
    """

    def __init__(
        self,
        command: Sequence[str],
        environments: Sequence[Mapping[str, str]],
        write: Write,
        serving: Collection[int] = (),
    ) -> None:
        self._command = list(command)
        self._environments = environments
        self._write = write
        self._serving = frozenset(serving)
        self._events: queue.Queue[_Event] = queue.Queue()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._open: dict[int, int] = {}  # streams of a worker that are still read
        self._running: set[int] = set()
        self._held: list[tuple[float, int, str]] = []
        self._threads: list[threading.Thread] = []

    def run(self) -> Failure | None:
        """Start all, wait for all, and return the first that failed, after ending the others.

        Its lines come first and the last second of the others' stderr is left out: what they say
        is that it is gone, or the same. Whatever happens, no process is left behind.

        Raises:
            KeyboardInterrupt: As it came; the workers were told, and have ended.
        """
        try:
            self._start()
            failed = self._watch()
            if failed is not None:
                self._tell_last_words(failed.worker)
            return failed
        except KeyboardInterrupt:
            self._signal(signal.SIGINT)
            self._wait(_INTERRUPTED)
            raise
        finally:
            self._end()

    def _start(self) -> None:
        for number, environment in enumerate(self._environments):
            process = subprocess.Popen(
                self._command,
                env=dict(environment),
                stdin=subprocess.PIPE,  # never written to: its end says that the launcher is gone
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C reaches the launcher alone, which passes it on
            )
            self._processes.append(process)
            self._running.add(number)
            self._open[number] = 2
            for target, arguments in (
                (self._read, (number, process.stdout, False)),
                (self._read, (number, process.stderr, True)),
                (self._reap, (number, process)),
            ):
                thread = threading.Thread(target=target, args=arguments, daemon=True)
                thread.start()
                self._threads.append(thread)

    def _read(self, worker: int, stream: BinaryIO, is_error: bool) -> None:
        """Put the lines of a stream among the events, in a thread of its own."""
        with stream:
            for line in stream:
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                self._events.put(_Event(worker, is_error, text))
        self._events.put(_Event(worker, is_error))

    def _reap(self, worker: int, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end of a process, and end what it has started itself."""
        with contextlib.suppress(ChildProcessError):
            # Not reaped yet, so that its number, which is that of its group, is no one else's.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            _signal_group(process.pid, signal.SIGKILL)
        self._events.put(_Event(worker, returncode=process.wait()))

    def _watch(self) -> Failure | None:
        """Write lines as they come until all have ended well, or one has not."""
        while self._waits():
            for event in self._next(_TICK):
                if event.returncode:
                    return Failure(
                        event.worker, self._processes[event.worker].pid, event.returncode
                    )
                if event.line is not None and event.is_error:
                    self._held.append((time.monotonic(), event.worker, event.line))
                elif event.line is not None:
                    self._write(event.worker, False, event.line)
            self._release(time.monotonic() - _HOLD)
        self._release(float("inf"))
        return None

    def _waits(self) -> bool:
        """Return whether a worker runs, or has lines to be read, that serves no others."""
        reading = {worker for worker, streams in self._open.items() if streams}
        return bool((self._running | reading) - self._serving)

    def _release(self, until: float) -> None:
        """Write the lines of stderr that have been held for long enough."""
        while self._held and self._held[0][0] <= until:
            _, worker, line = self._held.pop(0)
            self._write(worker, True, line)

    def _tell_last_words(self, worker: int) -> None:
        """Write what one worker still has to say, and nothing of the others."""
        for _, number, line in self._held:
            if number == worker:
                self._write(number, True, line)
        self._held.clear()
        deadline = time.monotonic() + _DRAIN
        while self._open[worker] and time.monotonic() < deadline:
            for event in self._next(_TICK):
                if event.worker == worker and event.line is not None:
                    self._write(worker, event.is_error, event.line)

    def _next(self, seconds: float) -> Iterator[_Event]:
        """Yield one event if it comes in time, with the books kept about it."""
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return
        if event.returncode is not None:
            self._running.discard(event.worker)
        elif event.line is None:
            self._open[event.worker] -= 1
        yield event

    def _signal(self, number: signal.Signals) -> None:
        for worker in sorted(self._running):
            _signal_group(self._processes[worker].pid, number)

    def _wait(self, seconds: float) -> None:
        """Wait for all to end, and drop what they say; a second Ctrl-C ends the waiting."""
        deadline = time.monotonic() + seconds
        while self._running and time.monotonic() < deadline:
            for _ in self._next(_TICK):
                pass

    def _end(self) -> None:
        """End whatever still runs, kindly at first."""
        try:
            if self._running:
                self._signal(signal.SIGTERM)
                self._wait(_TERMINATED)
        finally:
            self._signal(signal.SIGKILL)
            for process in self._processes:
                process.wait()
                if process.stdin is not None:
                    process.stdin.close()
            for thread in self._threads:
                thread.join(_DRAIN)  # a process that left its group may hold a pipe for ever


def _signal_group(pid: int, number: signal.Signals) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
