"""Whatever is wrong, the command says what and what to do, and writes nothing; docs/faults.md."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.cli import faults, faults_of_configs, faults_of_runs
from tests.cli.faults import TRAIN
from tests.cli.running import run

pytestmark = pytest.mark.once

FAULTS = {**faults_of_configs.FAULTS, **faults_of_runs.FAULTS}
LINES = 24


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a small finished run."""
    from nadam_suite.config import load_config
    from nadam_suite.experiment import recipe_path, run_training

    folder = tmp_path_factory.mktemp("finished") / "run"
    run_training(load_config(recipe_path("digits"), TRAIN[2:]), output=folder)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the files that the rows name, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name in [name for name in sys.modules if name.startswith("own_")]:
        monkeypatch.delitem(sys.modules, name)  # of another folder
    faults.files()
    return tmp_path


def tree(folder):
    """What is in a folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.filterwarnings("default::nadam_suite.errors.NadamSuiteWarning")
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_told_as_the_table_says(folder, capsys, monkeypatch, request, name):
    """Status, argument, value and remedy; no traceback, nothing written, and the table has it."""
    fault = FAULTS[name]
    if fault.run:
        shutil.copytree(request.getfixturevalue("finished"), "run")
    with monkeypatch.context() as patch:
        if fault.prepare is not None:
            fault.prepare(patch)
        patch.setattr(sys, "argv", ["nadam-suite", *faults.words_of(fault)])
        before = tree(folder)
        outcome = run(capsys, *fault.command)
    assert outcome.status == fault.status
    assert "Traceback" not in outcome.errors
    for text in fault.said:
        assert text in outcome.errors
    assert len(outcome.errors.splitlines()) <= LINES
    if fault.status == 2:
        assert tree(folder) == before
    row = faults.row_of(name, fault, outcome)
    if (target := os.environ.get(faults.TARGET)) is not None:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(f"{row}\n")
    else:
        assert row in faults.PAGE.read_text("utf-8").splitlines()


def test_the_table_has_these_faults_and_no_others():
    """Thirty rows and more, over all commands, each of which is run above."""
    lines = faults.PAGE.read_text("utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ")][2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(FAULTS)
    assert len(FAULTS) >= 30
    assert lines[: len(faults.HEAD)] == list(faults.HEAD)
    commands = {fault.command[0] for fault in FAULTS.values()}
    from nadam_suite.cli import app

    assert {info.name or info.callback.__name__ for info in app.registered_commands} <= commands
