"""Run the tests, one pytest process a backend: `python -m tests [tensorflow jax torch] [options]`.

`--keras 3.12.0` or `--keras latest` runs the contract table in a fresh environment with that Keras.

Keras fixes its backend at import, so one process cannot test two. Lint comes first, then the
backends, one more at a time than there are cores; the last line sums all of them up.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import other_keras
from tests.outcomes import (
    LINES,
    Outcome,
    one_failure,
    read_outcome,
    told_failures,
    told_skips,
)
from tests.processes import (
    BACKENDS,
    ROOT,
    compile_cache,
    environment,
    in_ci,
    installed,
    names_tests,
)

_PRINT = threading.Lock()
_DEVICES = "multi_device and once"
INTERRUPTED = 130  # the exit status of a command that Ctrl-C has ended


def _say(prefix: str, line: str) -> None:
    with _PRINT:
        print(f"[{prefix}] {line}", flush=True)


def _missing(label: str, message: str) -> Outcome:
    """What is not installed is skipped, visibly; where it counts it is a failure."""
    _say(label, message)
    return one_failure(label, "installation", message) if in_ci() else Outcome(skipped=1)


def _lint() -> Outcome:
    """Ruff's two checks, each counted as one test."""
    if importlib.util.find_spec("ruff") is None:
        return _missing("lint", "ruff is not installed: `pip install '.[test]'`")
    total = Outcome()
    for arguments in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *arguments, "nadam_suite", "tests"]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment()
        )
        output = done.stdout + done.stderr
        for line in output.splitlines():
            _say("lint", line)
        if done.returncode:
            total += one_failure("lint", " ".join(["ruff", *arguments]), "failed", output)
        else:
            total += Outcome(passed=1)
    return total


def _jobs(backends: list[str], options: list[str]) -> list[tuple[str, str, list[str]]]:
    """The pytest processes: label, backend and options of each, the longest ones first.

    What does not depend on the backend runs in a job of its own, under PyTorch if it is chosen: it
    starts quickest, and traces nothing. Of searches and runs that is all but what shows on each
    backend that they train, are cut, go on and are told. What starts processes with several
    devices, of which PyTorch has one, runs under the first backend. TensorFlow's own tests are the
    longest job.
    """
    elsewhere = [*options, "--once-elsewhere"]
    if names_tests(options) or any(option.startswith(("-m", "-k")) for option in options):
        return [(name, name, elsewhere if i else options) for i, name in enumerate(backends)]
    first = backends[0]
    jobs = [(name, name, elsewhere) for name in backends]
    lightest = "torch" if "torch" in backends else first
    jobs.insert(1, ("once", lightest, [*options, "-m", f"once and not ({_DEVICES})"]))
    jobs.insert(2, ("devices", first, [*options, "-m", _DEVICES]))
    return jobs


def _run_backend(
    label: str, backend: str, options: list[str], report: Path, threads: int
) -> Outcome:
    """Run pytest under one backend, its lines shown as they come."""
    if not installed(backend):
        return _missing(label, f"{backend} is not installed: `pip install '.[{backend}]'`")
    started = time.monotonic()
    # Skips are summed up by reason below: one line each would be most of what a run prints.
    command = [sys.executable, "-u", "-m", "pytest", "-rfExX", f"--junit-xml={report}", *options]
    # A cache for each job, for two processes that write one entry at once would spoil it.
    cache = compile_cache(report.with_suffix(".cache"))
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(backend, threads, NADAM_SUITE_TESTS="all-backends", **cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        ending: deque[str] = deque(maxlen=LINES)
        for line in child.stdout or ():
            ending.append(line)
            _say(label, line.rstrip())
    outcome = read_outcome(report, label)
    if child.returncode and not outcome.failures:
        # Pytest crashed, or stopped for a reason that is no test, as an unknown option.
        message = f"ended with exit status {child.returncode}"
        outcome += one_failure(label, "pytest", message, "".join(ending))
    for line in told_skips(outcome):
        _say(label, line)
    _say(label, f"{outcome} in {time.monotonic() - started:.0f} s (exit status {child.returncode})")
    return outcome


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests", description=__doc__, allow_abbrev=False
    )
    speed = parser.add_mutually_exclusive_group()
    speed.add_argument("--quick", action="store_true", help="leave out the tests marked slow")
    speed.add_argument("--all", action="store_true", help="the whole suite (the default)")
    parser.add_argument("--no-lint", action="store_true", help="leave out ruff")
    parser.add_argument(
        "--keras",
        metavar="VERSION",
        help="run the contract, or the tests named, on this Keras or the `latest`, in an "
        "environment of its own that is built once and kept in the user's cache",
    )
    return parser


def _parse(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split the command line into backends and what pytest gets."""
    known, rest = _parser().parse_known_args(arguments)
    chosen = [name for name in BACKENDS if name in rest]
    options = [word for word in rest if word not in BACKENDS]
    if not known.quick:
        options.append("--slow")
    if not any("randomly" in word for word in options):
        # The same order in every run; `-p no:randomly` or another seed are a user's to give.
        options.append("--randomly-seed=2016")
    return chosen or list(BACKENDS), options


def main(arguments: list[str] | None = None) -> int:
    """Run lint and all chosen backends; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    known, rest = _parser().parse_known_args(arguments)
    if known.keras is not None:
        return other_keras.run(known.keras, [*rest, *(["--quick"] if known.quick else [])])
    backends, options = _parse(arguments)
    cores = os.cpu_count() or 1
    jobs = _jobs(backends, options)
    # Many tests wait: for workers, for a process that hangs as it should, for a file.
    at_once = min(len(jobs), cores + 1)
    total = Outcome() if known.no_lint else _lint()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_once) as pool:
        runs = [
            pool.submit(
                _run_backend,
                label,
                backend,
                chosen,
                Path(folder) / f"{label}.xml",
                max(1, cores // at_once),
            )
            for label, backend, chosen in jobs
        ]
        try:
            for run in runs:
                total += run.result()
        except KeyboardInterrupt:  # the processes that run have got the same signal
            pool.shutdown(wait=False, cancel_futures=True)
            print("Interrupted: the tests that had not begun are left out.", flush=True)
            return INTERRUPTED
    if total.failures:
        print(told_failures(total.failures), flush=True)
    print(total, flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
