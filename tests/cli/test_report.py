"""`nadam-suite report`: a search on the screen, as a page, as JSON, and its best config."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras_tuner
import pytest

from nadam_suite.config import TrainConfig, load_config, save_config
from tests.cli.running import run
from tests.tuner.recorded import formula, stock

pytestmark = pytest.mark.once

FILES = ["importance.png", "parallel.png", "report.html", "slices.png"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search by stock keras-tuner of 16 trials, some of which fail."""

    def trial(values):
        if values["width"] > 56:
            raise keras_tuner.errors.FailedTrialError(f"Diverged: val_loss is nan [{values}]")
        return formula(values)

    place = tmp_path_factory.mktemp("searched")
    return stock(keras_tuner.RandomSearch, place, trial, max_trials=16)[1]


@pytest.fixture(autouse=True)
def folder(searched, tmp_path, monkeypatch):
    """A working folder with a copy of the search."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    shutil.copytree(searched, "search")
    return tmp_path


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def best():
    """The best trial's state, as stock keras-tuner has written it."""
    states = [json.loads(path.read_text()) for path in Path("search").glob("*/trial.json")]
    return min((s for s in states if s["status"] == "COMPLETED"), key=lambda s: s["score"])


def make_runs():
    """Give each trial the config of a run."""
    for path in Path("search").glob("trial_*"):
        (path / "run").mkdir()
        seed = int(path.name.removeprefix("trial_"))
        config = TrainConfig(model="digits", data="digits", seed=seed)
        save_config(config, path / "run" / "config.toml")


def test_a_table_importances_and_a_page(capsys):
    """The best trials with their values, what failed, and where the page is."""
    outcome = run(capsys, "report", "search", "--top", "3")
    assert outcome.status == 0, outcome.errors
    lines = outcome.output.splitlines()
    state = best()
    first = next(line for line in lines if line.split()[:1] == ["1"])
    assert first.split()[1:3] == [state["trial_id"], f"{state['score']:.6g}"]
    assert f"{state['hyperparameters']['values']['rate']:.4g}" in first
    ranks = [line.split()[0] for line in lines if line[:5].strip().isdigit()]
    assert ranks == ["1", "2", "3"]
    assert "Importance" in outcome.output
    assert "has no score. Diverged: val_loss is nan [{'rate'" in outcome.output
    assert "Wrote search/report/report.html" in outcome.output
    assert names("search/report") == FILES
    assert not Path("search/best.toml").exists()
    assert run(capsys, "report", "search").status == 0


def test_a_narrow_screen_has_the_values_in_one_column(capsys, monkeypatch):
    """Whole numbers, and no more columns than there are."""
    monkeypatch.setenv("COLUMNS", "60")
    outcome = run(capsys, "report", "search", "--json", "--top", "1")
    shown = run(capsys, "report", "search", "--top", "1").output
    values = json.loads(outcome.output)["ranked"][0]["values"]
    table = shown[shown.index("rank") : shown.index("Importance")]
    assert all(len(line) <= 60 for line in table.splitlines())
    assert f"rate {values['rate']:.4g}" in " ".join(table.split())


def test_json_alone_writes_no_files(capsys):
    """It has every number; a folder that is named is written."""
    before = names("search")
    outcome = run(capsys, "report", "search", "--json", "--top", "2")
    assert outcome.status == 0, outcome.errors
    table = json.loads(outcome.output)
    assert [row["rank"] for row in table["ranked"]] == [1, 2]
    assert table["ranked"][0]["id"] == best()["trial_id"]
    assert table["trials"]["all"] == 16
    assert table["trials"]["diverged"] == len(table["failed"]) > 0
    assert names("search") == before
    outcome = run(capsys, "report", "search", "--json", "--output", "new/place")
    assert json.loads(outcome.output)["objective"] == "val_loss"
    assert "Wrote new/place/report.html" in outcome.errors
    assert names("new/place") == FILES


def test_files_elsewhere_are_not_replaced_unless_forced(capsys):
    """What is there stays."""
    Path("mine").mkdir()
    Path("mine/report.html").write_text("mine")
    outcome = run(capsys, "report", "search", "--output", "mine")
    assert outcome.status == 2
    assert "--output='mine'" in outcome.errors
    assert "--force" in outcome.errors
    assert Path("mine/report.html").read_text() == "mine"
    assert names("mine") == ["report.html"]
    assert run(capsys, "report", "search", "--output", "mine", "--force").status == 0
    assert names("mine") == FILES


def test_the_best_config_is_written_once(capsys):
    """With the command that trains it; one that was edited stays, unless --force is given."""
    make_runs()
    outcome = run(capsys, "report", "search")
    assert outcome.status == 0, outcome.errors
    assert "nadam-suite train search/best.toml" in outcome.output
    assert load_config("search/best.toml").seed == int(best()["trial_id"])
    changed = load_config("search/best.toml").replace(epochs=77)
    save_config(changed, "search/best.toml", overwrite=True)
    outcome = run(capsys, "report", "search")
    assert outcome.status == 0, outcome.errors
    assert "search/best.toml was edited, and stays as it is" in outcome.output
    assert load_config("search/best.toml") == changed
    outcome = run(capsys, "report", "search", "--force")
    assert "Replaced search/best.toml" in outcome.output
    assert load_config("search/best.toml").epochs == 1
    outcome = run(capsys, "report", "search", "--output", "new")
    assert "nadam-suite train new/best.toml" in outcome.output
    assert names("new") == sorted([*FILES, "best.toml"])


REFUSED = {
    "no folder": (["missing"], ["folder='missing'", "does not exist", "Check the path"]),
    "no search": (["empty"], ["folder='empty'", "holds neither", "`tune`"]),
    "several": (["."], ["'search'", "Name one of them"]),
    "top": (["search", "--top", "0"], ["--top=0", "Leave it out"]),
    "output is a file": (["search", "--output", "file"], ["--output='file'", "is a file"]),
    "unwritable": (["search", "--output", "file/new"], ["--output='file/new'", "another place"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_message(capsys, case):
    """Status 2, what was wrong and what to do."""
    Path("empty").mkdir()
    Path("file").write_text("mine")
    arguments, expected = REFUSED[case]
    outcome = run(capsys, "report", *arguments)
    assert outcome.status == 2
    for text in expected:
        assert text in outcome.errors
    assert Path("file").read_text() == "mine"
    assert not list(Path().rglob("report.html"))


def test_help_has_examples(capsys):
    """As the other commands have."""
    outcome = run(capsys, "report", "--help")
    assert "nadam-suite report searches/digits" in outcome.output
