"""What became of the tests of a job: counts, failures, reasons of skips, from pytest's report."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.processes import ROOT

# A log is often cut to its last 12,000 characters. The failures and the sum have to be in these.
LIMIT = 8000
LINES = 25
WIDTH = 300


@dataclass(frozen=True)
class Failure:
    """A test that failed, or something else that went wrong, and what was printed about it."""

    job: str
    test: str
    message: str
    details: str = ""

    def __str__(self) -> str:
        return f"[{self.job}] {self.test} — {_first_line(self.message)}"


@dataclass(frozen=True)
class Outcome:
    """How many tests ended how; of those that failed, what is known."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()
    reasons: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.failures + other.failures,
            tuple((Counter(dict(self.reasons)) + Counter(dict(other.reasons))).most_common()),
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def one_failure(job: str, test: str, message: str, details: str = "") -> Outcome:
    """What went wrong outside of pytest's report, counted as a failed test."""
    return Outcome(failed=1, failures=(Failure(job, test, message, details),))


def read_outcome(report: Path, job: str) -> Outcome:
    """Sum up a JUnit file; one that is missing or broken has nothing: pytest crashed then."""
    try:
        suites = list(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 - our own file
    except (OSError, ET.ParseError):
        return Outcome()
    total = Outcome()
    for suite in suites:
        tests, failures, errors, skipped = (
            int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")
        )
        total += Outcome(
            tests - failures - errors - skipped,
            failures + errors,
            skipped,
            tuple(_failures(suite, job)),
            tuple(Counter(skip.get("message", "") for skip in suite.iter("skipped")).items()),
        )
    return total


def told_skips(outcome: Outcome) -> list[str]:
    """A line for each reason why tests were skipped, the most frequent first."""
    return [f"skipped {count}: {_first_line(reason)}" for reason, count in outcome.reasons]


def told_failures(failures: Iterable[Failure], limit: int = LIMIT) -> str:
    """Every failure in one line, then the end of each one's traceback, in `limit` characters.

    The lines come first and get all the room they need, up to the limit; the tracebacks share the
    rest. What finds no room is counted.
    """
    failures = list(failures)
    heads = [str(failure) for failure in failures]
    told = _as_many_as_fit(heads, limit)
    left = limit - len(told)
    bodies = [_ending(failure, left // max(1, len(failures))) for failure in failures]
    return "\n".join([told, *filter(None, bodies)])


def _as_many_as_fit(lines: list[str], limit: int) -> str:
    """The lines, as far as they fit; a last one says how many did not."""
    text = "\n".join(lines)
    if len(text) <= limit:
        return text
    last = "… and {} more"
    room, kept = limit - len(last) - 8, []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join([*kept, last.format(len(lines) - len(kept))])


def _ending(failure: Failure, limit: int) -> str:
    """A title and the last lines of the traceback; nothing where a title alone would fit."""
    title = f"\n--- [{failure.job}] {failure.test[:WIDTH]}\n"
    room = limit - len(title) - 2
    lines = [line[:WIDTH] for line in failure.details.rstrip().splitlines()[-LINES:]]
    text = "\n".join(lines)
    return title + text[-room:] if text and room > WIDTH // 3 else ""


def _failures(suite: ET.Element, job: str) -> Iterable[Failure]:
    for case in suite.iter("testcase"):
        for child in case:
            if child.tag in {"failure", "error"}:
                details = child.text or ""
                # What pytest says of a file that cannot be imported is only "collection failure".
                said = re.findall(r"^E +(.*)", details, re.MULTILINE)
                imported = bool(case.get("classname"))
                message = child.get("message", "") if imported or not said else said[-1]
                yield Failure(job, _node(case), message, details)


def _node(case: ET.Element) -> str:
    """The name by which pytest runs one test again; JUnit has dots where it has slashes."""
    module, name = case.get("classname", ""), case.get("name", "")
    if not module:  # the test file itself could not be imported
        return _path_of(name) or name
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if path := _path_of(".".join(parts[:end])):
            return "::".join([path, *parts[end:], name])
    return f"{module}::{name}"


def _path_of(module: str) -> str | None:
    path = module.replace(".", "/") + ".py"
    return path if (ROOT / path).is_file() else None


def _first_line(text: str) -> str:
    """The first line that says anything, without the colours that a terminal would show."""
    plain = re.sub(r"(\x1b|#x1B)\[[0-9;]*m", "", text).strip()
    return plain.splitlines()[0][:WIDTH] if plain else ""
