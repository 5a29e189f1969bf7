"""`nadam-suite report` of runs: on the screen, as a page, as JSON; kinds of folders told apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.experiment.fake_runs import make, session

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with three runs and what looks like a search."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    make(Path("runs/a"))
    make(Path("runs/b"), seed=1)
    make(Path("runs/c"), trained=1, result=False, sessions=[session("interrupted", 1)])
    Path("search/trial_0").mkdir(parents=True)
    Path("search/trial_0/trial.json").write_text('{"trial_id": "0"}')
    return tmp_path


def test_one_run_has_its_page_in_its_folder(capsys):
    """Its state and metrics on the screen; a page that is there stays unless forced."""
    outcome = run(capsys, "report", "runs/c")
    assert outcome.status == 0, outcome.errors
    assert "c: interrupted: `--resume` goes on with it; 1 of 3 epochs." in outcome.output
    assert "Wrote runs/c/report.html" in outcome.output
    page = Path("runs/c/report.html")
    assert "<h1>Run c</h1>" in page.read_text("utf-8")
    page.write_text("mine")
    outcome = run(capsys, "report", "runs/c")
    assert outcome.status == 2
    assert "--output='runs/c/report.html'" in outcome.errors
    assert "--force" in outcome.errors
    assert page.read_text() == "mine"
    assert run(capsys, "report", "runs/c", "--force").status == 0
    assert "<h1>Run c</h1>" in page.read_text("utf-8")


def test_several_runs_are_compared(capsys):
    """Mean and spread over seeds, and what differs; the page lies in the current folder."""
    outcome = run(capsys, "report", "runs/a", "runs/b")
    assert outcome.status == 0, outcome.errors
    lines = [line.split() for line in outcome.output.splitlines()]
    assert ["a", "0", "0.9", "0.5"] in [words[:4] for words in lines]
    assert ["a,", "b", "2", "seeds", "0.85", "±", "0.071"] in [words[:7] for words in lines]
    assert "  seed: 0 | 1" in outcome.output
    assert "The environments are alike." in outcome.output
    assert Path("report.html").is_file()
    assert not Path("runs/a/report.html").exists()


def test_a_page_elsewhere(capsys):
    """A file, or a folder that gets the usual name; another suffix is refused."""
    assert run(capsys, "report", "runs/a", "--output", "mine.html").status == 0
    assert run(capsys, "report", "runs/a", "--output", "runs").status == 0
    assert Path("mine.html").is_file()
    assert Path("runs/report.html").is_file()
    outcome = run(capsys, "report", "runs/a", "--output", "mine.pdf")
    assert outcome.status == 2
    assert "must end in .html" in outcome.errors


def test_json_has_the_same_numbers_and_writes_nothing(capsys, folder):
    """Unless a page is named, whose place then is told on stderr."""
    before = sorted(folder.rglob("*"))
    outcome = run(capsys, "report", "runs/a", "runs/b", "--json")
    table = json.loads(outcome.output)
    assert table["groups"][0]["final"]["test accuracy"]["mean"] == pytest.approx(0.85)
    assert [each["state"] for each in table["runs"]] == ["finished; 3 of 3 epochs"] * 2
    assert sorted(folder.rglob("*")) == before
    outcome = run(capsys, "report", "runs/a", "--json", "--output", "new.html")
    assert json.loads(outcome.output)["runs"][0]["label"] == "a"
    assert "Wrote new.html" in outcome.errors


def test_a_trial_that_is_a_run(capsys):
    """Named by its own folder or by its run's."""
    make(Path("search/trial_0/run"))
    outcome = run(capsys, "report", "search/trial_0", "runs/a")
    assert outcome.status == 0, outcome.errors
    assert "Trial 0 of the search" in outcome.output


REFUSED = {
    "mixed": (["runs/a", "search"], ["'runs/a' (a run), 'search' (a search)", "by itself"]),
    "two searches": (["search", "search"], ["(a search)", "one search"]),
    "twice": (["runs/a", "runs/../runs/a"], ["'runs/../runs/a' twice", "Leave one"]),
    "neither": (["empty"], ["folder='empty'", "config.toml", "oracle.json", "trial_*/trial.json"]),
    "missing": (["runs/a", "missing"], ["folder='missing'", "does not exist", "Check the path"]),
    "a file": (["runs/a/config.toml"], ["is a file"]),
    "above": (["runs"], ["'runs/a', 'runs/b', 'runs/c'", "Name one of them"]),
    "top": (["runs/a", "--top", "3"], ["--top=3", "trials of a search"]),
    "none": ([], ["DIR"]),
    "damaged": (["broken"], ["history.csv", "Resume the run"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_message(capsys, folder, case):
    """Status 2, what was wrong and what to do; no page."""
    Path("empty").mkdir()
    make(Path("broken"))
    Path("broken/history.csv").write_text("epoch,loss\n0,many\n")
    arguments, expected = REFUSED[case]
    outcome = run(capsys, "report", *arguments)
    assert outcome.status == 2
    for text in expected:
        assert text in outcome.errors
    assert not list(folder.rglob("report.html"))
