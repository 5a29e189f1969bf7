"""What `python -m tests` says at its end: failures of all jobs, and skips by reason."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests import __main__ as command
from tests import outcomes
from tests.outcomes import Failure, Outcome, one_failure, read_outcome, told_failures, told_skips
from tests.processes import environment

pytestmark = pytest.mark.once

_TESTS = """
import pytest

class TestClass:
    def test_method(self):
        assert 1 == 2, "these differ" + chr(10) + "second line"

@pytest.mark.parametrize("x", [1, 2, 3])
def test_skipped(x):
    pytest.skip("no GPU" if x < 3 else "no data")

@pytest.fixture
def broken():
    raise RuntimeError("no set-up")

def test_set_up(broken):
    pass

def test_good():
    pass
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The JUnit file of a run of pytest with each kind of end."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "inner").mkdir()
    (folder / "inner" / "test_ends.py").write_text(_TESTS)
    (folder / "test_import.py").write_text("import nothing_of_that_name\n")
    options = ["-q", "--noconftest", "--continue-on-collection-errors", "-p", "no:randomly"]
    options += ["--rootdir", str(folder), "-c", str(folder / "empty.ini")]
    (folder / "empty.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--junit-xml={folder / 'report.xml'}", "."],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return folder / "report.xml"


@pytest.fixture
def outcome(report, monkeypatch):
    monkeypatch.setattr(outcomes, "ROOT", report.parent)
    return read_outcome(report, "once")


def test_every_failure_is_read_with_its_place_and_its_message(outcome):
    """Failed tests, fixtures that raise and files that cannot be imported are told alike."""
    assert sorted(map(str, outcome.failures)) == [
        "[once] inner/test_ends.py::TestClass::test_method — AssertionError: these differ",
        '[once] inner/test_ends.py::test_set_up — failed on setup with "RuntimeError: no set-up"',
        "[once] test_import.py — ModuleNotFoundError: No module named 'nothing_of_that_name'",
    ]
    details = {failure.test: failure.details for failure in outcome.failures}
    assert "second line" in details["inner/test_ends.py::TestClass::test_method"]


def test_tests_are_counted_and_skips_summed_up_by_reason(outcome):
    """One line a reason, whatever number of tests it kept from running."""
    assert str(outcome) == "1 passed, 3 failed, 3 skipped"
    assert told_skips(outcome) == ["skipped 2: no GPU", "skipped 1: no data"]


def test_outcomes_of_jobs_add_up(outcome):
    """Counts, failures and reasons are those of both."""
    total = outcome + Outcome(2, 1, 1, (Failure("jax", "t", "m"),), (("no data", 4),))
    assert str(total) == "3 passed, 4 failed, 4 skipped"
    assert str(total.failures[-1]) == "[jax] t — m"
    assert dict(total.reasons) == {"no GPU": 2, "no data": 5}


def test_the_end_of_each_traceback_is_told_after_the_lines_of_all():
    """Of a long traceback the last lines are kept, for there is the error."""
    long = "\n".join(f"line {n}" for n in range(100))
    told = told_failures(
        [Failure("jax", "a::b", "first", long), Failure("torch", "c::d", "second")]
    )
    lines = told.splitlines()
    assert lines[:4] == ["[jax] a::b — first", "[torch] c::d — second", "", "--- [jax] a::b"]
    assert lines[4:] == [f"line {n}" for n in range(75, 100)]


@pytest.mark.parametrize("count", [1, 3, 40, 1000])
def test_what_is_told_has_a_limit(count):
    """A log is cut at its beginning: what is told must fit into what is left of it."""
    long = ("d" * 1000 + "\n") * 99 + "E the error"
    failures = [Failure("jax", f"test_{n}", "m" * 5000, long) for n in range(count)]
    told = told_failures(failures, 8000)
    assert len(told) <= 8000
    assert told.startswith("[jax] test_0 — mmm")
    whole = told.count("[jax] test_") - told.count("--- [jax]")
    assert ("… and" in told) == (whole < count)
    if whole < count:
        assert f"… and {count - whole} more" in told
    else:
        assert told.count("d\nE the error") == count


def test_the_failures_of_all_jobs_come_right_before_the_sum(monkeypatch, capsys):
    """The last of what is printed says which tests failed, in whichever job."""
    jobs = {"jax": one_failure("jax", "t::u", "bad", "Traceback\nat line 3"), "torch": Outcome(2)}
    monkeypatch.setattr(command, "_lint", lambda: one_failure("lint", "ruff check", "failed"))
    monkeypatch.setattr(command, "_run_backend", lambda label, *_: jobs.get(label, Outcome(1)))
    assert command.main(["jax", "torch"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "[lint] ruff check — failed",
        "[jax] t::u — bad",
        "",
        "--- [jax] t::u",
        "Traceback",
        "at line 3",
        "4 passed, 2 failed, 0 skipped",
    ]


def test_nothing_is_told_where_nothing_failed(monkeypatch, capsys):
    """The sum stands alone."""
    monkeypatch.setattr(command, "_lint", Outcome)
    monkeypatch.setattr(command, "_run_backend", lambda *_: Outcome(1, 0, 2))
    assert command.main(["torch"]) == 0
    assert capsys.readouterr().out == "3 passed, 0 failed, 6 skipped\n"


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "import os; os.kill(os.getpid(), 9)"])
def test_a_job_that_ends_without_a_report_is_a_failure(tmp_path, capsys, code):
    """Pytest crashed or refused its options then; the end of what it printed is kept."""
    (tmp_path / "crashing.py").write_text(f"print('the last words', flush=True); {code}")
    options = ["-p", "crashing", "-o", f"pythonpath={tmp_path}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_ADDOPTS", "--noconftest")
        outcome = command._run_backend("once", "torch", options, tmp_path / "report.xml", 1)
    assert str(outcome) == "0 passed, 1 failed, 0 skipped"
    status = 3 if "exit" in code else -9
    assert str(outcome.failures[0]) == f"[once] pytest — ended with exit status {status}"
    assert "the last words" in outcome.failures[0].details
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("[once] 0 passed, 1 failed, 0 skipped in")


def test_a_job_tells_its_skips_by_reason(tmp_path, capsys):
    """They are not listed one by one."""
    (tmp_path / "test_it.py").write_text(_TESTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_ADDOPTS", "--noconftest -p no:randomly -ra")
        patch.setattr(command, "ROOT", tmp_path)
        outcome = command._run_backend("once", "torch", [], tmp_path / "report.xml", 1)
    assert str(outcome) == "1 passed, 2 failed, 3 skipped"
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "kip" in line and "test_it" not in line][-3:] == [
        "[once] skipped 2: no GPU",
        "[once] skipped 1: no data",
        lines[-1],
    ]
    assert not any("SKIPPED" in line for line in lines)


def test_an_interrupt_ends_all_of_it(monkeypatch, capsys):
    """What has not begun is left out, and the status is that of Ctrl-C."""
    begun = []

    def run(label, *rest):
        begun.append(label)
        if len(begun) == 1:
            raise KeyboardInterrupt
        time.sleep(0.3)
        return Outcome(passed=1)

    monkeypatch.setattr(command, "_run_backend", run)
    monkeypatch.setattr(command.os, "cpu_count", lambda: 1)
    assert command.main(["--no-lint"]) == 130
    assert len(begun) < 5
    assert "Interrupted" in capsys.readouterr().out
