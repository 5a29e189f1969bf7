"""`nadam-suite launch`: what it refuses, what it prints, and trainings by several workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from nadam_suite.cli import cluster
from tests.cli.running import SMALL, run
from tests.processes import COMMAND, LIMIT, environment

BACKEND = keras.backend.backend()
TRAIN = ("--", "train", "digits")
HOSTS = "10.0.0.1:1234,10.0.0.2:1234"

# Arguments of `launch`; then what the message must say.
CASES = {
    "no number": (TRAIN, ["--workers", "no value", "--workers 2"]),
    "no workers": (("-n", "0", *TRAIN), ["--workers", ">= 1", "--workers=0"]),
    "negative": (("-n", "-3", *TRAIN), ["--workers", ">= 1", "--workers=-3"]),
    "no devices": (
        ("-n", "2", "--devices-per-worker", "0", *TRAIN),
        ["--devices-per-worker", ">= 1", "=0"],
    ),
    "no command": (("-n", "2"), ["after `--`", "none", "launch --workers 2 -- train digits"]),
    "nothing after --": (("-n", "2", "--"), ["after `--`", "none", "train digits"]),
    "other command": (("-n", "2", "--", "doctor"), ["`train`", "'doctor'", "train digits"]),
    "torch": (
        ("-n", "2", "--backend", "torch", *TRAIN),
        ["tensorflow or jax", "one device", "backend='torch'"],
    ),
    "torch inside": (("-n", "2", *TRAIN, "--backend=torch"), ["backend='torch'", "--backend jax"]),
    "two backends": (
        ("-n", "2", "--backend", "jax", *TRAIN, "--backend", "tensorflow"),
        ["the same", "'jax'", "'tensorflow'"],
    ),
    "backend misspelt": (
        ("-n", "2", "--backend", "tensorflw", *TRAIN),
        ["--backend", "'tensorflw'", "Did you mean 'tensorflow'?"],
    ),
    "no hosts": (("--print-env", *TRAIN), ["--hosts", "no value", "10.0.0.1:12345"]),
    "hosts alone": (("--hosts", HOSTS, *TRAIN), ["--print-env", HOSTS]),
    "host without a port": (
        ("--print-env", "--hosts", "a:1,b", *TRAIN),
        ["--hosts", "'b'", "host:port"],
    ),
    "port too large": (("--print-env", "--hosts", "a:70000", *TRAIN), ["'a:70000'"]),
    "empty host": (("--print-env", "--hosts", "a:1,", *TRAIN), ["''", "host:port"]),
    "host twice": (("--print-env", "--hosts", "a:1,a:1", *TRAIN), ["'a:1'", "twice"]),
    "other number": (
        ("--print-env", "-n", "3", "--hosts", HOSTS, *TRAIN),
        ["--workers", "2", "--workers=3"],
    ),
    "devices of hosts": (
        ("--print-env", "--hosts", HOSTS, "--devices-per-worker", "2", *TRAIN),
        ["--devices-per-worker", "left out"],
    ),
}


@pytest.fixture
def no_processes(monkeypatch):
    """Fail if a process is started."""

    def started(*arguments, **options):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # of PyTorch's more is refused
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.once
@pytest.mark.parametrize("case", CASES)
def test_refused_before_anything_starts(no_processes, capsys, case):
    """Status 2 and one sentence that names argument, value and remedy."""
    arguments, expected = CASES[case]
    outcome = run(capsys, "launch", *arguments)
    assert outcome.status == 2
    for text in expected:
        assert text in outcome.errors
    assert "Traceback" not in outcome.errors
    assert outcome.errors.count("Error: ") == 1


@pytest.mark.once
def test_exports_of_tensorflow(capsys):
    """A shell that runs what is printed for a host has its TF_CONFIG, and runs the command."""
    arguments = ("--print-env", "--backend", "tensorflow", "--hosts", HOSTS, *TRAIN, "name=a b")
    blocks = run(capsys, "launch", *arguments).output.split("\n\n")
    assert len(blocks) == 3
    for index, block in enumerate(blocks[1:]):
        assert f"10.0.0.{index + 1}:1234" in block.splitlines()[0]
        lines = block.replace("nadam-suite", "printf '%s|'") + '\nprintf %s "$TF_CONFIG"'
        words, _, text = _shell(lines).rpartition("|")
        assert words == "train|digits|name=a b"
        table = json.loads(text)
        assert table["cluster"] == {"worker": HOSTS.split(",")}
        assert table["task"] == {"type": "worker", "index": index}


@pytest.mark.once
def test_exports_of_jax(capsys):
    """JAX finds address, number and index in the variables that Keras reads."""
    arguments = ("--print-env", "--backend", "jax", "--hosts", HOSTS, *TRAIN)
    block = run(capsys, "launch", *arguments).output.split("\n\n")[2]
    names = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
    shown = "".join(f'echo "$KERAS_DISTRIBUTION_{name}"\n' for name in names)
    lines = block.replace("nadam-suite", "true") + "\necho $KERAS_BACKEND\n" + shown
    assert _shell(lines).split() == ["jax", HOSTS, "2", "1"]


def _shell(script):
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.once
def test_gpus_are_shared_out():
    """Each worker sees GPUs of its own, and too few of them are refused."""
    four = {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}
    shares = cluster.device_variables("tensorflow", 2, None, four)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["4,5", "6,7"]
    shares = cluster.device_variables("jax", 2, 1, four)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["4", "5"]
    with pytest.raises(ValueError, match=r"--workers=5, where 4 are visible.*CUDA_VISIBLE_DEVICES"):
        cluster.device_variables("jax", 5, None, four)


@pytest.mark.once
def test_a_cpu_is_one_device_of_a_worker():
    """Several are refused: one is a replica of TensorFlow, and on JAX they might wait for ever."""
    hidden = {"CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "7"}
    shares = cluster.device_variables("jax", 2, None, hidden)
    assert [share["JAX_NUM_CPU_DEVICES"] for share in shares] == ["1", "1"]
    assert shares[0]["OMP_NUM_THREADS"] == "7"
    with pytest.raises(ValueError, match=r"must be 1 without GPUs.*=2.*more workers"):
        cluster.device_variables("jax", 2, 2, hidden)


@pytest.mark.once
def test_free_addresses_differ():
    """Every worker gets a port of its own on this machine."""
    addresses = cluster.free_addresses(20)
    assert len(set(addresses)) == 20
    assert all(address.startswith("127.0.0.1:") for address in addresses)


# Trainings. Without dropout the numbers of two workers are those of one process to rounding.
several = [
    pytest.mark.slow,
    pytest.mark.multi_device,
    pytest.mark.skipif(BACKEND == "torch", reason="Keras trains on one device with PyTorch"),
]
CONFIG = (*SMALL, "data_options.train_examples=90", "model_options.dropout=0", "epochs=3")


def _environment():
    values = environment(BACKEND)
    # Both wait in these threads for the other workers.
    for name in ("TF_NUM_INTEROP_THREADS", "TF_CONFIG", "XLA_FLAGS"):
        values.pop(name, None)
    return values | {"CUDA_VISIBLE_DEVICES": "-1"}


def _command(*arguments):
    return [*COMMAND, *map(str, arguments)]


def _done(*arguments, check=True):
    done = subprocess.run(
        _command(*arguments),
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def _launched(folder, *changes, check=True):
    words = ("launch", "-n", 2, "--", "train", "digits", *CONFIG, *changes, "--output", folder)
    return _done(*words, check=check)


def _result(folder):
    return json.loads((folder / "result.json").read_text())


def _weights(folder):
    model = keras.saving.load_model(folder / "model.keras")
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder and output of an uninterrupted training of two workers."""
    folder = tmp_path_factory.mktemp("launch") / "whole"
    return folder, _launched(folder)


class TestTraining:
    """Trainings of two processes."""

    pytestmark = several

    def test_two_workers_compute_what_one_process_does(self, whole, tmp_path):
        """History, metrics and all variables agree to rounding, a smaller last batch included."""
        folder, done = whole
        alone = tmp_path / "alone"
        _done("train", "digits", *CONFIG, "-o", alone)
        ours, theirs = _result(folder), _result(alone)
        for row, expected in zip(ours["history"], theirs["history"], strict=True):
            assert row == pytest.approx(expected, rel=1e-4)
        for name, values in theirs["metrics"].items():
            assert ours["metrics"][name] == pytest.approx(values, rel=1e-4)
        for one, two in zip(_weights(alone), _weights(folder), strict=True):
            np.testing.assert_allclose(two, one, rtol=2e-3, atol=2e-5)
        assert "workers: 2" in json.loads((folder / "environment.json").read_text())["distribution"]
        assert "[worker 0] epoch 3/3" in done.stdout
        assert "[worker 1]" not in done.stdout

    def test_folder_is_the_chiefs(self, whole):
        """The folder has each file once, and nothing of the other worker."""
        names = {path.name for path in whole[0].iterdir()}
        assert {"config.toml", "model.keras", "result.json", "state"} <= names
        assert not [name for name in names if name.startswith(".")]
        assert not [path for path in whole[0].parent.iterdir() if path.name.startswith(".")]

    @pytest.mark.once
    def test_killed_worker_ends_the_job_and_resume_goes_on(self, whole, tmp_path):
        """The error names the worker and the way on, in time; resumed, the result is the same."""
        folder = tmp_path / "cut"
        words = ("launch", "-n", 2, "--", "train", "digits", *CONFIG, "--output", folder)
        process = _started(*words)
        # Found while it still imports: there is not much time between the state and the end.
        (victim,) = _wait_for(process, lambda: [p for p in _workers(folder) if _is_second(p)])
        _wait_for(process, (folder / "state" / "training_state.npz").exists)
        os.kill(victim, signal.SIGKILL)
        _, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 137
        assert f"Worker 1 (process {victim}) was killed by SIGKILL" in errors
        assert "--resume" in errors.splitlines()[-1]
        assert not _workers(folder)
        assert not (folder / "result.json").exists()
        _launched(folder, "--resume")
        assert _result(folder)["history"] == _result(whole[0])["history"]
        assert _result(folder)["metrics"] == _result(whole[0])["metrics"]
        for one, two in zip(_weights(whole[0]), _weights(folder), strict=True):
            np.testing.assert_array_equal(one, two)

    @pytest.mark.once
    def test_interruption_ends_all_and_is_resumable(self, tmp_path):
        """Ctrl-C ends the launcher with status 130, leaves no worker and a state to go on with."""
        folder = tmp_path / "cut"
        words = ("launch", "-n", 2, "--", "train", "digits", *CONFIG, "epochs=500", "-o", folder)
        process = _started(*words)
        _wait_for(process, (folder / "state" / "training_state.npz").exists)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 130
        assert "Interrupted" in errors
        assert "Traceback" not in errors
        assert "nadam-suite launch" in errors
        assert not _workers(folder)

    @pytest.mark.once
    def test_error_of_the_config_is_told_once(self, tmp_path):
        """What all workers refuse is told by one, with its status, and nothing is written."""
        done = _launched(tmp_path / "run", "batch_size=33", check=False)
        assert done.returncode == 2
        assert done.stderr.count("batch_size=33") == 1
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "run").exists()


def _started(*words):
    return subprocess.Popen(
        _command(*words),
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for(process, happened):
    deadline = time.monotonic() + LIMIT
    while not (found := happened()):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError("".join(process.communicate()))
        time.sleep(0.02)
    return found


def _workers(folder):
    """Processes of the workers that train into a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text() if entry.name.isdecimal() else ""
        except OSError:
            continue
        if str(folder) in words and "nadam_suite.cli.worker" in words:
            found.append(int(entry.name))
    return found


def _is_second(pid):
    try:
        text = Path(f"/proc/{pid}/environ").read_text()
    except OSError:  # it has just ended
        return False
    return '"index": 1' in text or "PROCESS_ID=1" in text
