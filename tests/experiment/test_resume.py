"""A run that is killed anywhere and resumed ends with the very same files of numbers."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time

import numpy as np
import pytest

from tests.experiment.comparing import assert_same
from tests.processes import COMMAND, LIMIT, environment, run_python

EPOCHS, STEPS = 4, 3
OWN = "tests.experiment.parts_of_a_user"
CONFIG = f"""
name = "own"
model = "{OWN}:network"
data = "{OWN}:points"
epochs = {EPOCHS}
batch_size = 12
[optimizer]
learning_rate = 0.05
weight_decay = 0.1
gradient_accumulation_steps = 2
[optimizer.averaging]
half_life = 3
[schedule]
warmup = "10%"
[[callbacks]]
kind = "early_stopping"
patience = 3
restore_best_weights = true
"""

# Runs the config again and again, each time in a copy of the process that a signal ends: before a
# batch, or at a write of a file.
RUN = """
import json, os, signal, sys
import keras
from nadam_suite.callbacks import files
from nadam_suite.config import load_config
from nadam_suite.experiment import run_training
from tests.forking import in_a_copy

config, folder, kills = sys.argv[1:]


def end():
    global number
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    number -= 1


class Batches(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if where == "batch":
            end()


fsync = os.fsync
def watched(descriptor):
    if where == "write":
        end()
    fsync(descriptor)


def train():
    run_training(load_config(config), output=folder, resume=True, callbacks=[Batches()])


os.fsync = watched
ends = []
for where, number in [*json.loads(kills), ("nowhere", 0)]:
    ends.append((in_a_copy(train), os.path.exists(os.path.join(folder, "result.json"))))
print(json.dumps(ends))
"""


def _run(folder, *kills):
    """Begin the run in `folder`, end it at each of these points, go on with it each time."""
    config = folder.parent / "own.toml"
    config.write_text(CONFIG)
    done = run_python(RUN, str(config), str(folder), json.dumps(kills))
    expected = [[-signal.SIGKILL, False]] * len(kills) + [[0, True]]
    assert json.loads(done.stdout.splitlines()[-1]) == expected, done.stderr[-3000:]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    _run(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills",
    [
        # Before the first batch, in the second epoch, at once again, before the last batch.
        pytest.param(
            [("batch", 0), ("batch", STEPS + 1), ("batch", 1), ("batch", 3 * STEPS - 1)],
            id="batches",
        ),
        # While the folder is filled, the history begun, a state and a history row written.
        pytest.param(
            [("write", 0), ("write", 2), ("write", 3), ("write", 5), ("write", 8)],
            marks=pytest.mark.once,
            id="early writes",
        ),
        # At the end: the last state, the picture, the result.
        pytest.param(
            [("write", 18), ("write", 4), ("write", 5)],
            marks=pytest.mark.once,
            id="late writes",
        ),
    ],
)
def test_killed_again_and_again(tmp_path, whole, kills):
    """`kill -9` at these points, each time resumed, ends with the uninterrupted run's numbers."""
    folder = tmp_path / "run"
    _run(folder, *kills)
    assert_same(folder, whole)


def _command(tmp_path, *arguments):
    (tmp_path / "own.toml").write_text(CONFIG)
    return {
        "args": [*COMMAND, "train", "own.toml", "--output", "run", *arguments],
        "env": environment(PAUSE="0.2"),
        "text": True,
        "cwd": tmp_path,
    }


@pytest.mark.slow
@pytest.mark.once
def test_interrupted_command_resumes_exactly(tmp_path, whole):
    """Ctrl-C: status 130 and advice, which leads to the uninterrupted run's numbers."""
    process = subprocess.Popen(
        **_command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1
    )
    folder = tmp_path / "run"
    deadline = time.monotonic() + LIMIT
    while not folder.exists() and process.poll() is None:  # it trains, or is about to
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "nadam-suite train own.toml --output run --resume" in errors
    assert not (folder / "result.json").exists()

    done = subprocess.run(**_command(tmp_path, "--resume"), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_same(folder, whole)

    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = subprocess.run(**_command(tmp_path, "--resume"), capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "This run is finished" in again.stdout
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.once
def test_resumed_run_has_each_epoch_once(tmp_path):
    """History and TensorBoard logs are written anew from the state: no gap, no duplicate."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    _run(folder, ("batch", 2 * STEPS + 1))
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == list(range(EPOCHS))
    for split, name in (("train", "loss"), ("validation", "val_loss")):
        events = EventAccumulator(str(folder / "tensorboard" / split)).Reload()
        curve = events.Scalars("epoch_loss")
        assert [point.step for point in curve] == list(range(EPOCHS))
        expected = [float(row[name]) for row in rows]
        np.testing.assert_allclose([point.value for point in curve], expected, rtol=1e-7)
