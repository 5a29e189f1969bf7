"""Workers live and die together: their output, the first failure, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from nadam_suite.cli import workers
from nadam_suite.cli.workers import Workers
from tests.processes import ROOT, environment

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform == "win32", reason="needs process groups"),
]
START = """
import os, signal, subprocess, sys, time
N = int(os.environ['N'])

def wait_for(name):
    path = os.path.join(os.environ['FOLDER'], name)
    while not os.path.exists(path):
        time.sleep(0.01)
"""
LIMIT = 300  # seconds after which a test is a hang


@pytest.fixture(autouse=True)
def _no_hang():
    """End a test that hangs as Ctrl-C would, which fails it."""
    timer = threading.Timer(LIMIT, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    yield
    timer.cancel()


@pytest.fixture
def run(tmp_path):
    """Run workers, each with its number in N; return the failure and the lines.

    Once all of them have written a line there is a file "all", for which they can wait.
    """

    def started(code, number=2, serving=()):
        lines = []

        def write(*line):
            lines.append(line)
            if len({worker for worker, _, _ in lines}) == number:
                (tmp_path / "all").touch()

        shared = {**os.environ, "FOLDER": str(tmp_path)}
        environments = [{**shared, "N": str(n)} for n in range(number)]
        command = [sys.executable, "-c", START + textwrap.dedent(code)]
        return Workers(command, environments, write, serving).run(), lines

    return started


def _ends(pid, seconds=60):
    """Whether a process is gone, or a zombie, before long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_lines_come_with_their_worker(run):
    """Each line is told with its worker and stream, in its order; all well is no failure."""
    failure, lines = run("print('a', N); print('b'); print('c', file=sys.stderr)", 3)
    assert failure is None
    for worker in range(3):
        own = [(is_error, text) for number, is_error, text in lines if number == worker]
        assert [text for is_error, text in own if not is_error] == [f"a {worker}", "b"]
        assert [text for is_error, text in own if is_error] == ["c"]


def test_first_failure_is_told_and_its_consequences_are_not(run, monkeypatch):
    """The failed worker's error is there, what the others said because of it is not."""
    monkeypatch.setattr(workers, "_HOLD", 60.0)  # a slow machine takes its time to end a process
    failure, lines = run(
        """
        print("begun", flush=True)
        wait_for("all")
        if N == 1:
            print("cause", file=sys.stderr, flush=True)
            wait_for("told")
            sys.exit(3)
        print("consequence", file=sys.stderr, flush=True)
        open(os.path.join(os.environ['FOLDER'], "told"), "w").close()
        time.sleep(600)
        """
    )
    assert (failure.worker, failure.status, failure.signal) == (1, 3, None)
    assert [line for line in lines if line[1]] == [(1, True, "cause")]


def test_those_that_serve_end_with_the_others(run):
    """They need not end by themselves; that they are ended is no failure."""
    code = "print(os.getpid(), flush=True); time.sleep(600) if N == 2 else wait_for('all')"
    failure, lines = run(code, 3, serving={2})
    assert failure is None
    assert {worker for worker, _, _ in lines} == {0, 1, 2}
    assert all(_ends(int(text)) for _, _, text in lines)


def test_one_that_serves_can_fail(run):
    """The others cannot go on without it."""
    failure, _ = run("sys.exit(3) if N == 1 else time.sleep(600)", serving={1})
    assert (failure.worker, failure.status) == (1, 3)


def test_killed_worker_is_named(run):
    """A worker that a signal ends is a failure with that signal's name and shell status."""
    failure, _ = run("os.kill(os.getpid(), signal.SIGKILL) if N == 0 else time.sleep(600)")
    assert (failure.worker, failure.signal, failure.status) == (0, "SIGKILL", 137)


def test_a_worker_that_ignores_the_end_is_killed(run):
    """SIGTERM is asked first, and SIGKILL then."""
    failure, lines = run(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        if N == 1:
            wait_for("all")
            sys.exit(1)
        time.sleep(600)
        """
    )
    assert failure.worker == 1
    assert len(lines) == 2
    assert all(_ends(int(text)) for _, _, text in lines)


def test_what_workers_start_ends_with_them(run):
    """Processes that a worker started are not left behind when it is killed."""
    failure, lines = run(
        """
        child = subprocess.Popen(["sleep", "600"])
        print(child.pid, flush=True)
        if N == 1:
            wait_for("all")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)
        """
    )
    assert failure.signal == "SIGKILL"
    assert len(lines) == 2
    assert all(_ends(int(text)) for _, _, text in lines)


def test_interruption_reaches_all():
    """Ctrl-C is passed on, every worker ends, and the caller hears of it."""
    lines = []

    def write(*line):
        lines.append(line)
        if len(lines) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    code = START + "print(os.getpid(), flush=True)\ntime.sleep(600)"
    environments = [{**os.environ, "N": str(n)} for n in range(2)]
    with pytest.raises(KeyboardInterrupt):
        Workers([sys.executable, "-c", code], environments, write).run()
    assert len(lines) == 2
    assert all(_ends(int(text)) for _, _, text in lines)


def test_workers_end_with_a_launcher_that_is_killed():
    """A worker of `launch` notices that its launcher is gone, however that ended."""
    worker = (
        "import os, threading, time; from nadam_suite.cli.worker import _end_with_launcher\n"
        "threading.Thread(target=_end_with_launcher, daemon=True).start()\n"
        "print(os.getpid(), flush=True); time.sleep(600)"
    )
    launcher = (
        f"import os, sys; sys.path.append({str(ROOT)!r}); sys.argv[0] = 'nadam-suite'\n"
        "from nadam_suite.cli.workers import Workers\n"
        f"code = 'import sys; sys.path[:] = ' + repr(sys.path) + '\\n' + {worker!r}\n"
        "code = code.replace('import sys;', 'import sys; sys.argv[0] = \"nadam-suite\";', 1)\n"
        "write = lambda worker, is_error, line: print(line, flush=True)\n"
        "Workers([sys.executable, '-c', code], [dict(os.environ)] * 2, write).run()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", launcher], stdout=subprocess.PIPE, text=True, env=environment()
    )
    try:
        pids = [int(process.stdout.readline()) for _ in range(2)]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert all(_ends(pid) for pid in pids)
