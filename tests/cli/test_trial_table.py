"""What is on the screen while a search runs."""

from __future__ import annotations

import io
import json
import time

import pytest
from rich.console import Console

from nadam_suite.cli import trial_table
from nadam_suite.tuner.search_folder import read_search

pytestmark = pytest.mark.once


@pytest.fixture
def folder(tmp_path):
    """A search with a good trial, one that diverged, and one that runs."""
    space = {
        "class_name": "Float",
        "config": {
            "name": "rate",
            "min_value": 1e-4,
            "max_value": 0.1,
            "sampling": "log",
            "conditions": [],
        },
    }
    for number, (status, score) in enumerate(
        [("COMPLETED", 0.25), ("FAILED", None), ("RUNNING", None)]
    ):
        loss = {"direction": "min", "observations": [{"value": [score], "step": 3}]}
        state = {
            "trial_id": str(number),
            "status": status,
            "score": score,
            "best_step": 3,
            "hyperparameters": {"space": [space], "values": {"rate": 0.0125}},
            "metrics": {"metrics": {"val_loss": loss} if score else {}},
        }
        place = tmp_path / f"trial_{number}"
        (place / "run").mkdir(parents=True)
        (place / "trial.json").write_text(json.dumps(state))
    (tmp_path / "trial_1" / "failure.txt").write_text("Diverged: val_loss is nan at epoch 2.")
    (tmp_path / "trial_2" / "run" / "history.csv").write_text("epoch,loss\n0,1\n1,0.5\n")
    return tmp_path


def test_a_line_has_score_or_reason_and_the_values(folder):
    """One line tells all of a trial that has ended."""
    record = read_search(folder)
    good, failed, _ = record.trials
    line = trial_table.line_of(good, record)
    assert line == "trial 0  val_loss 0.25 at epoch 4  rate 0.0125  (best: 0)"
    assert "Diverged: val_loss is nan at epoch 2." in trial_table.line_of(failed, record)


def test_a_terminal_has_a_table(folder):
    """What runs and how far, the best, and what failed."""
    console = Console(file=io.StringIO(), width=100)
    console.print(trial_table.table_of(read_search(folder), "1 of 9", 7))
    text = console.file.getvalue()
    assert "1 of 9" in text
    rows = [" ".join(line.replace("│", " ").split()) for line in text.splitlines()]
    assert "2 runs 2/7 0.0125" in rows
    assert "0 0.25 4 0.0125" in rows
    assert "1 diverged 0.0125" in rows


def test_only_new_ends_are_told(folder):
    """What had ended before is counted, what ends now has a line, once."""
    console = Console(file=io.StringIO(), width=100)
    path = folder / "trial_2" / "trial.json"
    with trial_table.TrialTable(console, folder, 9, 7):
        state = json.loads(path.read_text())
        new = path.with_suffix(".new")  # the table is to read it whole
        new.write_text(json.dumps(state | {"status": "INVALID", "message": "OSError: full"}))
        new.replace(path)
        _wait_for(lambda: "full" in console.file.getvalue())
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "Going on: 2 of 9 trials have ended before."
    assert len(lines) == 2
    assert "trial 2  failed: OSError: full" in lines[1]


def test_a_live_table_leaves_the_terminal_as_it_was(folder):
    """It is drawn while the search runs and gone when it ends, also after an error."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    table = trial_table.TrialTable(console, folder, None, 7)
    with pytest.raises(KeyboardInterrupt), table:
        _interrupted_when(lambda: "2/7" in console.file.getvalue())
    text = console.file.getvalue()
    assert "2 trials have ended" in text
    assert "\x1b[?25h" in text  # the cursor is back


def _wait_for(happened, seconds=300):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def _interrupted_when(happened):
    _wait_for(happened)
    raise KeyboardInterrupt
