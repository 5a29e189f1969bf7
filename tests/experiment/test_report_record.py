"""What a report reads from the folder of a run, however that run stands."""

from __future__ import annotations

import json
import socket

import pytest

from nadam_suite.config import TrainConfig, save_config
from nadam_suite.errors import DataFileError, RunFolderError
from nadam_suite.experiment.folder import RunFolder
from nadam_suite.experiment.report import is_run, read_run, read_runs
from nadam_suite.experiment.sessions import Session, is_alive, read_sessions
from tests.experiment.fake_runs import make, session

pytestmark = pytest.mark.once


def test_a_finished_run_is_read_whole(tmp_path):
    """Its metrics, curves, norms, times and config."""
    run = read_run(make(tmp_path / "run"))
    assert run.state() == "finished; 3 of 3 epochs"
    assert run.final() == {"test accuracy": 0.9, "test loss": 0.5}
    assert run.best()["val_loss"] == (pytest.approx(2.2 / 3), 3)
    assert run.best()["val_raw_accuracy"] == (0.45, 1)
    assert "gradient_norm" not in run.metrics
    assert run.norms[2].layers["out"].ratio == 0.05
    assert run.norms[0].layers["out"].gradient is None
    assert run.epoch_seconds == {0: 1.25, 1: 1.25, 2: 1.25}
    assert run.seconds == 4.5
    assert "averaging" in run.config_text
    assert run.remarks() == []
    json.dumps(run.to_dict(), allow_nan=False)


ALIVE = {"host": socket.gethostname(), "pid": 2**22 + 5, "start": "no such process"}
STATES = {
    "interrupted": ([session("interrupted", 2)], "interrupted: `--resume` goes on with it; 2 of 3"),
    "failed": ([session("failed", 1, "OSError: full")], "failed: OSError: full; 2 of 3"),
    "killed": ([session("running", 2, process=ALIVE)], "cut off: its process was killed"),
    "elsewhere": ([session("running", 2)], "running on another machine, or cut off there"),
    "paused": ([session("paused", 2)], "paused: a rung of its search is reached"),
    "extended": ([session("finished", 2)], "interrupted"),
    "old": ([], "not finished; 2 of 3 epochs"),
}


@pytest.mark.parametrize("case", STATES)
def test_a_run_that_has_no_result_says_why(tmp_path, case):
    """From the notes of its processes."""
    sessions, expected = STATES[case]
    run = read_run(make(tmp_path / "run", trained=2, result=False, sessions=sessions))
    assert run.state().startswith(expected)
    assert run.final()["last loss"] == 1.0


def test_a_run_that_trains_now_is_running(tmp_path):
    """As long as its process lives; after the block it has ended."""
    make(tmp_path / "run", trained=1, result=False, sessions=[])
    with Session(RunFolder(tmp_path / "run")) as notes:
        notes.add(0, 0.5)
        assert read_run(tmp_path / "run").state() == "running; 1 of 3 epochs"
        assert is_alive(read_sessions(tmp_path / "run")[0])
    assert read_run(tmp_path / "run").status == "interrupted"  # no result was written


class Rung(Exception):  # noqa: N818 - as the one of a search is none
    run_status = "paused"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (OSError("disk full"), "failed", "OSError: disk full"),
        (KeyboardInterrupt(), "interrupted", None),
        (Rung(), "paused", None),
    ],
)
def test_a_session_notes_how_it_ends(tmp_path, error, status, text):
    """After those before it, and the exception goes on."""
    make(tmp_path / "run", sessions=[session("interrupted", 1)])
    with pytest.raises(type(error)), Session(RunFolder(tmp_path / "run")):
        raise error
    first, second = read_sessions(tmp_path / "run")
    assert first == session("interrupted", 1)
    assert (second["status"], second["error"]) == (status, text)
    assert second["ended"] >= second["started"]


def test_what_else_happened_is_told(tmp_path):
    """Resumed, extended, branched, and a trial of a search."""
    search = tmp_path / "search"
    (search / "trial_07").mkdir(parents=True)
    (search / "trial_07" / "trial.json").write_text('{"trial_id": "07"}')
    run = make(search / "trial_07" / "run", sessions=[session("interrupted", 1), session()])
    (run / "before-extension-1").mkdir()
    shorter = TrainConfig(model="digits", data="digits", epochs=2)
    save_config(shorter, run / "before-extension-1" / "config.toml")
    (run / "origin.json").write_text('{"checkpoint": "runs/a/checkpoints/1", "epoch": 1}')
    found = read_run(search / "trial_07")
    assert is_run(search / "trial_07")
    assert found.path == run
    text = " ".join(found.remarks())
    for part in ("Trial 07", str(search), "runs/a/checkpoints/1", "2 to 3 epochs", "2 processes"):
        assert part in text


def test_damaged_and_missing_files(tmp_path):
    """Refused by name; what a run has not written yet is just not there."""
    empty = read_run(make(tmp_path / "new", trained=0, result=False, sessions=[]))
    assert (empty.history, empty.norms, empty.final()) == ((), (), {})
    (tmp_path / "no").mkdir()
    with pytest.raises(RunFolderError, match=r"config\.toml"):
        read_run(tmp_path / "no")
    for name, error in (
        ("history.csv", DataFileError),
        ("norms.csv", DataFileError),
        ("sessions.json", RunFolderError),
        ("result.json", RunFolderError),
    ):
        path = make(tmp_path / f"damaged-{name}") / name
        path.write_text("epoch,loss\n1,x\n")
        with pytest.raises(error, match=name):
            read_run(path.parent)


def test_runs_of_one_name_are_told_apart(tmp_path):
    """By as much of their paths as is needed."""
    paths = [make(tmp_path / place / "run") for place in ("a", "b")]
    assert [run.label for run in read_runs(paths).runs] == ["a/run", "b/run"]
