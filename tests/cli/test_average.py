"""`nadam-suite average`: a table, a picture and a file of averages after a run."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import keras
import pytest

from tests.cli.running import SMALL, run

pytestmark = pytest.mark.once

AVERAGES = (
    "optimizer.use_ema=false",
    "optimizer.averaging=power_ema",
    'callbacks=[{kind="average_snapshots", count=8}]',
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run of 16 updates."""
    from nadam_suite.config import load_config
    from nadam_suite.experiment import recipe_path, run_training

    keras.utils.clear_session()
    folder = tmp_path_factory.mktemp("trained") / "digits"
    changes = [*SMALL, *AVERAGES, "epochs=2", "batch_size=8"]
    run_training(load_config(recipe_path("digits"), changes), output=folder)
    return folder


@pytest.fixture(autouse=True)
def folder(trained, tmp_path, monkeypatch):
    """A working folder with a copy of the run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "100")
    shutil.copytree(trained, "digits")
    return tmp_path


def test_a_table_a_picture_and_a_csv_file(capsys):
    """A row for each width, the raw weights, the best, and its metrics on the test data."""
    outcome = run(capsys, "average", "digits", "--sigma", ".05:.2:4")
    assert outcome.status == 0, outcome.errors
    rows = list(csv.DictReader(Path("digits/averages.csv").read_text().splitlines()))
    assert [float(row["sigma_rel"]) for row in rows] == [0.05, 0.0794, 0.126, 0.2]
    assert set(rows[0]) == {"sigma_rel", "error", "accuracy", "loss"}
    for row in rows:
        assert f"{float(row['loss']):.5g}" in outcome.output
    best = min(rows, key=lambda row: float(row["loss"]))["sigma_rel"]
    marked = [line for line in outcome.output.splitlines() if "best loss" in line]
    assert len(marked) == 1
    assert f" {float(best):g} " in marked[0]
    assert "raw" in outcome.output
    assert "Test of the best: accuracy" in outcome.output
    assert Path("digits/averages.png").read_bytes()[1:4] == b"PNG"
    assert "after 16 updates, from 8 snapshots" in outcome.output


def test_files_are_not_replaced_unless_forced(capsys):
    """What is there stays, and nothing is computed before that is known."""
    Path("digits/averages.csv").write_text("mine")
    outcome = run(capsys, "average", "digits", "--sigma", ".1")
    assert outcome.status == 2
    assert "--csv='digits/averages.csv'" in outcome.errors
    assert "--force" in outcome.errors
    assert not Path("digits/averages.png").exists()
    assert Path("digits/averages.csv").read_text() == "mine"
    assert run(capsys, "average", "digits", "--sigma", ".1", "--force").status == 0
    assert Path("digits/averages.csv").read_text() != "mine"


def test_json_alone_writes_no_files(capsys):
    """It has every number; files that are named are written."""
    arguments = ("--sigma", ".05,.1", "--json", "--monitor", "val_accuracy", "--csv", "own.csv")
    outcome = run(capsys, "average", "digits", *arguments)
    assert outcome.status == 0, outcome.errors
    table = json.loads(outcome.output)
    assert [row["sigma_rel"] for row in table["rows"]] == [0.05, 0.1]
    assert table["rows"][table["best"]]["best"]
    assert table["monitor"] == "accuracy"
    assert Path("own.csv").exists()
    assert not list(Path("digits").glob("averages.*"))


def test_the_best_is_written(capsys):
    """As a model that can be loaded and evaluates to the number in the table."""
    arguments = ("--sigma", ".05,.2", "--json", "--write", "best.keras")
    outcome = run(capsys, "average", "digits", *arguments)
    assert outcome.status == 0, outcome.errors
    from nadam_suite.experiment import find_part

    table = json.loads(outcome.output)
    data = find_part("data", "digits", {})().validation
    model = keras.saving.load_model("best.keras")
    found = model.evaluate(*data, verbose=0, return_dict=True)
    assert found == pytest.approx(table["rows"][table["best"]]["metrics"], rel=1e-5)
    before = Path("best.keras").read_bytes()
    outcome = run(capsys, "average", "digits", *arguments)
    assert (outcome.status, Path("best.keras").read_bytes()) == (2, before)
    assert "--write='best.keras'" in outcome.errors


def test_the_best_by_the_other_way_and_a_picture_elsewhere(capsys):
    """The mode says which way is best; the picture has the name that it is given."""
    arguments = ("--sigma", ".05:.2:3", "--mode", "max", "--output", "own.png", "--json")
    outcome = run(capsys, "average", "digits", *arguments)
    assert outcome.status == 0, outcome.errors
    table = json.loads(outcome.output)
    losses = [row["metrics"]["loss"] for row in table["rows"]]
    assert table["best"] == losses.index(max(losses))
    assert Path("own.png").read_bytes()[1:4] == b"PNG"
    assert "Wrote own.png" in outcome.errors


REFUSED = {
    "no run": (["missing"], ["RUN='missing'", "Check the path"]),
    "no widths": (["digits", "--sigma", "wide"], ["`sigma`", "'wide'", "Correct it"]),
    "width too large": (["digits", "--sigma", ".3"], ["sigma_rel", "0.3", "0.2886"]),
    "no such metric": (["digits", "--monitor", "f1"], ["`monitor`", "'f1'", "'accuracy'"]),
    "no such step": (["digits", "--step", "99"], ["`step`", "99", "Leave it out"]),
    "other suffix": (["digits", "--write", "best.h5"], ["--write", ".keras"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_message(capsys, case):
    """Status 2, what was wrong and what to do, and nothing written."""
    arguments, expected = REFUSED[case]
    outcome = run(capsys, "average", *arguments)
    assert outcome.status == 2
    for text in expected:
        assert text in outcome.errors
    assert not list(Path().rglob("averages.*"))


def test_a_run_without_snapshots_says_how_to_get_them(capsys):
    """With the words of the command that trains."""
    from nadam_suite.config import load_config, save_config

    path = Path("digits/config.toml")
    save_config(load_config(path).replace(callbacks=[]), path, overwrite=True)
    outcome = run(capsys, "average", "digits")
    assert outcome.status == 2
    assert "optimizer.averaging=power_ema" in outcome.errors
    assert "average_snapshots" in outcome.errors


def test_help_has_examples(capsys):
    """As the other commands have."""
    outcome = run(capsys, "average", "--help")
    assert "nadam-suite average runs/digits" in outcome.output
