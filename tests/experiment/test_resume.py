"""A run that is killed anywhere and resumed ends with the very same files of numbers."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest

from tests.processes import ROOT, environment, run_python

EPOCHS, STEPS = 4, 3
CHANGES = [
    f"epochs={EPOCHS}",
    "batch_size=32",
    "data_options.train_examples=80",
    "model_options.width=4",
    "optimizer.gradient_accumulation_steps=2",
]

# Runs the recipe and ends the process by a signal: before a batch, or at a write of a file.
RUN = """
import os, signal, sys
import keras
from nadam_suite.callbacks import files
from nadam_suite.config import load_config
from nadam_suite.experiment import recipe_path, run_training

folder, where, number, *changes = sys.argv[1:]
number = int(number)


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


os.fsync = watched
config = load_config(recipe_path("digits"), changes)
run_training(config, output=folder, resume=True, callbacks=[Batches()])
"""


def _run(folder, where="nowhere", number=0, check=True):
    return run_python(RUN, str(folder), where, str(number), *CHANGES, check=check)


def _numbers(folder):
    """Return everything that must be the same: weights, optimizer state, history, figures."""
    with zipfile.ZipFile(folder / "model.keras") as archive:
        data = archive.read("model.weights.h5")
    arrays = {}
    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(
            lambda name, item: arrays.update({name: item[()]} if isinstance(item, h5py.Dataset) else {})
        )
    assert arrays
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"]
    return arrays, (folder / "history.csv").read_text(), result


def _assert_same(folder, whole):
    arrays, history, result = _numbers(folder)
    expected_arrays, expected_history, expected_result = _numbers(whole)
    assert arrays.keys() == expected_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected_arrays[name], err_msg=name)
    assert history == expected_history
    assert result == expected_result


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    _run(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("batch", [0, 5, EPOCHS * STEPS - 1])
def test_killed_before_a_batch(tmp_path, whole, batch):
    """`kill -9` before a batch of the first, a middle and the last epoch."""
    folder = tmp_path / "run"
    assert _run(folder, "batch", batch, check=False).returncode == -signal.SIGKILL
    assert not (folder / "result.json").exists()
    _run(folder)
    _assert_same(folder, whole)


@pytest.mark.slow
@pytest.mark.parametrize("write", [0, 2, 7, 9, 21, 23])
def test_killed_while_writing(tmp_path, whole, write):
    """`kill -9` in the middle of writing a file: the config, a state, the history, the model."""
    folder = tmp_path / "run"
    assert _run(folder, "write", write, check=False).returncode == -signal.SIGKILL
    _run(folder)
    _assert_same(folder, whole)


@pytest.mark.slow
def test_interrupted_command_says_how_to_go_on(tmp_path, whole):
    """Ctrl-C ends the command with status 130 and advice, which resumes to the same end."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "nadam_suite.cli", "train", "digits", *CHANGES]
    command += ["--output", str(folder)]
    variables = environment(PYTHONSAFEPATH="", PYTHONPATH=str(ROOT))
    process = subprocess.Popen(
        [*command, "epochs=200"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    deadline = time.monotonic() + 300
    while not (folder / "state" / "training_state.npz").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "--resume" in errors
    assert f"--output {folder}" in errors

    resumed = subprocess.run(
        [*command, "epochs=200", "--resume", "--output", str(folder), "epochs=5"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert resumed.returncode == 2
    assert "epochs: 200 -> 5" in resumed.stderr


@pytest.mark.slow
def test_interrupted_command_resumes_exactly(tmp_path, whole):
    """The resumed command ends where the uninterrupted one does, and a third one has nothing to do."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "nadam_suite.cli", "train", "digits", *CHANGES]
    command += ["--output", str(folder), "--resume"]
    variables = environment(PYTHONSAFEPATH="", PYTHONPATH=str(ROOT))
    # Ended by the same handler as Ctrl-C, before the sixth batch.
    assert _run(folder, "batch", 5, check=False).returncode == -signal.SIGKILL
    done = subprocess.run(
        command, env=variables, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Going on at epoch 2 of 4." in done.stdout
    _assert_same(folder, whole)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = subprocess.run(
        command, env=variables, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    assert "This run is finished" in again.stdout
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_history_of_a_resumed_run_has_each_epoch_once(tmp_path):
    """Also the TensorBoard logs are written anew from the state, without gaps or duplicates."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    _run(folder, "batch", 2 * STEPS + 1, check=False)
    _run(folder)
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [int(row["epoch"]) for row in rows] == list(range(EPOCHS))
    for split, name in (("train", "loss"), ("validation", "val_loss")):
        events = EventAccumulator(str(folder / "tensorboard" / split)).Reload()
        curve = events.Scalars("epoch_loss")
        assert [point.step for point in curve] == list(range(EPOCHS))
        expected = [float(row[name]) for row in rows]
        np.testing.assert_allclose([point.value for point in curve], expected, rtol=1e-7)
