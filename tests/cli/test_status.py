"""The exit statuses are those that the help and the README name."""

from __future__ import annotations

import re

import pytest

from nadam_suite.cli import status
from nadam_suite.errors import ConfigError, NonFiniteError, SearchError
from tests.cli.running import run
from tests.processes import ROOT

pytestmark = pytest.mark.once


def test_done(capsys):
    """0."""
    assert run(capsys, "show", "vit").status == status.DONE == 0


def test_refused(capsys):
    """2, for arguments, a config, a file; and for what typer refuses."""
    for arguments in (["show", "vt"], ["validate", "no.toml"], ["ls", "--nothing"], ["nothing"]):
        assert run(capsys, *arguments).status == status.REFUSED == 2


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (NonFiniteError("steps were skipped"), 1),
        (SearchError("no trial ended well"), 1),
        (OSError(28, "No space left on device", "state.npz"), 1),
        (OSError(30, "Read-only file system"), 1),
        (ConfigError("fault"), 2),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_a_training_ends_with(capsys, monkeypatch, tmp_path, error, number):
    """1 if it had begun and failed, 2 if it was refused, 130 after Ctrl-C; never a traceback."""
    from nadam_suite.experiment import run as running

    def fail(*arguments, **options):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running.Training, "_fit", fail)
    outcome = run(capsys, "train", "digits", "data_options.train_examples=64")
    assert outcome.status == number
    assert "Traceback" not in outcome.errors
    assert outcome.errors.startswith("Interrupted. " if number == 130 else "Error: ")


def test_an_error_of_the_system_that_is_no_full_disk_keeps_its_traceback(capsys, monkeypatch):
    """Nobody has foreseen it, so that its place must be seen."""

    def fail(*arguments, **options):
        raise OSError(5000, "strange")

    monkeypatch.setattr("nadam_suite.cli.configs.list_all", fail)
    with pytest.raises(OSError, match="strange"):
        run(capsys, "ls")


def test_a_broken_promise_is_a_failure(capsys, monkeypatch):
    """1 from `doctor`."""
    import nadam_suite.doctor
    from nadam_suite.doctor import CellResult, Observation

    def broken(*arguments, **options):
        cell = nadam_suite.doctor.select(["K33/typed"])[0]
        seen = Observation(False, "broken")
        return [CellResult(cell, "torch", seen, seen)]

    monkeypatch.setattr(nadam_suite.doctor, "run_cells", broken)
    assert run(capsys, "doctor").status == status.FAILED == 1


def test_a_killed_worker():
    """128 and the number of the signal, as shells count."""
    assert status.killed(9) == 137


def test_help_and_readme_name_each(capsys, monkeypatch):
    """With the same numbers."""
    monkeypatch.setenv("COLUMNS", "200")
    shown = run(capsys, "--help").output
    readme = (ROOT / "README.md").read_text("utf-8")
    table = re.findall(r"^\| ([\d +N]+) \| (.+) \|$", readme, re.MULTILINE)
    assert [number for number, _ in table] == [*map(str, status.MEANINGS), "128 + N"]
    for number, meaning in status.MEANINGS.items():
        assert re.search(rf"\b{number}: {re.escape(meaning)}", shown)
        assert (str(number), meaning) in table
    assert "128 + N: " in shown
