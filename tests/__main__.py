"""Run the tests, one pytest process a backend: `python -m tests [tensorflow jax torch] [options]`.

Keras fixes its backend at import, so one process cannot test two. Lint comes first, then the
backends, as many at a time as there are cores for; the last line sums all of them up.
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
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.processes import BACKENDS, ROOT, compile_cache, environment, in_ci, installed

_PRINT = threading.Lock()
_DEVICES = "multi_device and once"


@dataclass(frozen=True)
class Counts:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def _say(prefix: str, line: str) -> None:
    with _PRINT:
        print(f"[{prefix}] {line}", flush=True)


def _lint() -> Counts:
    """Ruff's two checks, each counted as one test; skipped, visibly, where ruff is missing."""
    if importlib.util.find_spec("ruff") is None:
        _say("lint", "ruff is not installed: `pip install '.[test]'`")
        return Counts(failed=2) if in_ci() else Counts(skipped=2)
    total = Counts()
    for arguments in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *arguments, "nadam_suite", "tests"]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment()
        )
        for line in (done.stdout + done.stderr).splitlines():
            _say("lint", line)
        total += Counts(failed=1) if done.returncode else Counts(passed=1)
    return total


def read_counts(report: Path) -> Counts:
    """Sum up a JUnit file; one that is missing or broken is a failure, for pytest then crashed."""
    try:
        suites = list(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 - our own file
    except (OSError, ET.ParseError):
        return Counts(failed=1)
    total = Counts()
    for suite in suites:
        tests, failures, errors, skipped = (
            int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")
        )
        total += Counts(tests - failures - errors - skipped, failures + errors, skipped)
    return total


def _jobs(backends: list[str], options: list[str]) -> list[tuple[str, str, list[str]]]:
    """The pytest processes: label, backend and options of each, the longest ones first.

    What does not depend on the backend runs under the first one only, in a job of its own, and so
    does what starts processes with several devices: TensorFlow's own tests are the longest job.
    """
    elsewhere = [*options, "--once-elsewhere"]
    if any(option.startswith(("-m", "-k")) or "::" in option for option in options):
        return [(name, name, elsewhere if i else options) for i, name in enumerate(backends)]
    first = backends[0]
    jobs = [(name, name, elsewhere) for name in backends]
    jobs.insert(1, ("once", first, [*options, "-m", f"once and not ({_DEVICES})"]))
    jobs.insert(2, ("devices", first, [*options, "-m", _DEVICES]))
    return jobs


def _run_backend(
    label: str, backend: str, options: list[str], report: Path, threads: int
) -> Counts:
    """Run pytest under one backend, its lines shown as they come."""
    if not installed(backend):
        _say(label, f"not installed: `pip install '.[{backend}]'`")
        return Counts(failed=1) if in_ci() else Counts(skipped=1)
    started = time.monotonic()
    command = [sys.executable, "-u", "-m", "pytest", f"--junit-xml={report}", *options]
    # A cache for each job, for two processes that write one entry at once would spoil it.
    cache = compile_cache(report.with_suffix(".cache"))
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(backend, threads, NADAM_SUITE_TESTS="all-backends", **cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    for line in child.stdout or ():
        _say(label, line.rstrip())
    status = child.wait()
    counts = read_counts(report)
    if status and not counts.failed:
        counts += Counts(failed=1)  # pytest stopped for a reason that is no test: usage, collection
    _say(label, f"{counts} in {time.monotonic() - started:.0f} s (exit status {status})")
    return counts


def _parse(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split the command line into backends and what pytest gets."""
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__)
    speed = parser.add_mutually_exclusive_group()
    speed.add_argument("--quick", action="store_true", help="leave out the tests marked slow")
    speed.add_argument("--all", action="store_true", help="the whole suite (the default)")
    known, rest = parser.parse_known_args(arguments)
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
    backends, options = _parse(sys.argv[1:] if arguments is None else arguments)
    cores = os.cpu_count() or 1
    jobs = _jobs(backends, options)
    at_once = min(len(jobs), max(1, cores))
    total = _lint()
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
        for run in runs:
            total += run.result()
    print(total, flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
