"""`train --resume --extend` and `train --cooldown-from`, as they are typed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import keras
import pytest

from nadam_suite.cli.branch import branch_of
from nadam_suite.config import load_config
from nadam_suite.errors import ConfigError
from nadam_suite.experiment import run_training
from tests.cli.running import run
from tests.experiment.comparing import assert_same
from tests.experiment.small_runs import OWN, contents
from tests.processes import COMMAND, LIMIT, environment

pytestmark = pytest.mark.once

CONFIG = f"""
name = "own"
model = "{OWN}:network"
data = "{OWN}:points"
epochs = 4
batch_size = 12
[optimizer]
learning_rate = 0.05
[schedule]
kind = "wsd"
warmup = 2
cooldown = "1ep"
"""
STABLE = "runs/own/checkpoints/3"
BACKEND = keras.backend.backend()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A working folder with a config and its finished run."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "own.toml").write_text(CONFIG)
    run_training(load_config(folder / "own.toml"), output=folder / "runs" / "own")
    return folder


@pytest.fixture
def folder(finished, tmp_path, monkeypatch):
    """A copy of it, which is the current folder."""
    copy = shutil.copytree(finished, tmp_path / "work")
    monkeypatch.chdir(copy)
    return copy


# Arguments of `train`; then what the message must say.
CASES = {
    "nothing": ([], ["`NAME`", "none", "nadam-suite train digits"]),
    "no run to extend": (
        ["own.toml", "--resume", "--extend", "1ep", "-o", "new"],
        ["--extend", "'new'", "--output"],
    ),
    "without --resume": (["own.toml", "--extend", "1ep"], ["--extend='1ep'", "Add --resume"]),
    "no whole epochs": (
        ["own.toml", "--resume", "--extend", "7"],
        ["whole epochs, of 3 batches", "--extend=7", "Write 2ep"],
    ),
    "no length": (["own.toml", "--resume", "--extend", "far"], ["--extend='far'", "20000ex"]),
    "both": (
        ["own.toml", "--resume", "--extend", "1ep", "--cooldown-from", STABLE],
        ["`--extend`", "`--cooldown-from`", "schedule.cooldown=5ep"],
    ),
    "longer by the config": (["own.toml", "epochs=5", "--resume"], ["epochs: 4 -> 5", "--extend"]),
    "no such checkpoint": (["--cooldown-from", "runs/none"], ["'runs/none'", "config.toml"]),
    "state in the cooldown": (["--cooldown-from", "runs/own"], [f"Pass '{STABLE}'"]),
    "cooldown of half an epoch": (
        ["--cooldown-from", STABLE, "schedule.cooldown=0.5ep"],
        ["schedule.cooldown='0.5ep'", "Write for instance schedule.cooldown=1ep"],
    ),
    "shape misspelt": (["--cooldown-from", STABLE, "schedule.shape=sqrt"], ["`shape`", "'sqrt'"]),
    "another rate": (
        ["optimizer.learning_rate=1", "--cooldown-from", STABLE],
        ["learning_rate: 0.05 -> 1.0", "leave NAME out"],
    ),
    "another training": (
        ["digits", "--cooldown-from", STABLE],
        ["data: 'tests.experiment.parts_of_a_user:points' -> 'digits'", "leave NAME out"],
    ),
    "into a run": (["--cooldown-from", STABLE, "-o", "runs/own"], ["must not exist yet"]),
    "on with a run": (["--cooldown-from", STABLE, "-o", "runs/own", "--resume"], ["another run"]),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_with_a_message(folder, capsys, case):
    """Status 2, argument, value and remedy, and no file is changed."""
    arguments, expected = CASES[case]
    before = contents(folder)
    outcome = run(capsys, "train", *arguments)
    assert outcome.status == 2
    for text in expected:
        assert text in outcome.errors
    assert "Traceback" not in outcome.errors
    assert contents(folder) == before


def test_arguments_of_a_branch(folder):
    """Those of the cooldown are apart from those with which the run was started."""
    wanted = ["schedule.cooldown=2ep", "schedule.shape=linear", "schedule.end=1e-3", "name=short"]
    config, found = branch_of(Path(STABLE), wanted[0], wanted[1:])
    assert config == load_config(f"{STABLE}/config.toml")
    assert found == {"cooldown": "2ep", "shape": "linear", "end": 1e-3, "name": "short"}
    config, found = branch_of(Path(STABLE), "own.toml", ["epochs=6", *wanted])
    assert config == load_config("own.toml", ["epochs=6"])
    assert found["cooldown"] == "2ep"
    wanted = ["optimizer.learning_rate.cooldown_shape=cosine", "output=a=b"]
    assert branch_of(Path(STABLE), None, wanted)[1] == {"shape": "cosine", "output": "a=b"}


def test_the_command_that_began_the_run_may_name_its_cooldown(folder):
    """A "wsd" that has none without it is completed by what is wanted; other faults are told."""
    text = CONFIG.replace('cooldown = "1ep"\n', "")
    Path("bare.toml").write_text(text)
    config, found = branch_of(Path(STABLE), "bare.toml", ["schedule.cooldown=2ep", "name=short"])
    assert (config.schedule.cooldown, config.name, found["cooldown"]) == ("2ep", "own", "2ep")
    with pytest.raises(ConfigError, match=r"epochs.*>= 1"):
        branch_of(Path(STABLE), "own.toml", ["epochs=0"])


def test_a_branch_has_a_folder_of_its_own(folder, capsys):
    """By default it is named after the run and the epoch."""
    outcome = run(capsys, "train", "--cooldown-from", STABLE, "schedule.cooldown=2ep")
    assert outcome.status == 0, outcome.errors
    assert f"Branched from {STABLE} into runs/own-cooldown-3" in outcome.output
    assert "Going on at epoch 4 of 5" in outcome.output
    again = run(capsys, "train", "runs/own-cooldown-3/config.toml", "--resume")
    assert "This run is finished: 5 epochs" in again.output


def _command(*arguments, **variables):
    return {
        "args": [*COMMAND, *arguments],
        "env": environment(BACKEND, **variables),
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }


@pytest.mark.slow
def test_an_interrupted_extension_goes_on_by_its_advice(folder, capsys):
    """Ctrl-C, then the command that the message names, ends like a longer run."""
    words = ("train", "own.toml", "--resume", "--extend", "2ep")
    process = subprocess.Popen(**_command(*words, PAUSE="0.3"))
    deadline = time.monotonic() + LIMIT
    while not (folder / "runs/own/before-extension-1").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, errors
    advice = errors.splitlines()[-1].split()[1:]
    assert advice == ["train", "own.toml", "--extend", "2ep", "--resume"]
    done = subprocess.run(**_command(*advice), check=False)
    assert done.returncode == 0, done.stderr
    outcome = run(capsys, "train", "own.toml", "epochs=6", "--output", "planned")
    assert outcome.status == 0, outcome.errors
    assert_same(folder / "runs/own", folder / "planned")


@pytest.mark.slow
@pytest.mark.multi_device
@pytest.mark.skipif(BACKEND == "torch", reason="Keras trains on one device with PyTorch")
def test_several_workers_extend_and_branch(folder):
    """The chief alone writes, and what all end with is what they were planned to end with."""
    variables = {"CUDA_VISIBLE_DEVICES": "-1"}

    def launched(*words):
        command = _command("launch", "-n", "2", "--", "train", *words, **variables)
        for name in ("TF_NUM_INTEROP_THREADS", "TF_CONFIG", "XLA_FLAGS"):
            command["env"].pop(name, None)  # both wait in these threads for the other workers
        done = subprocess.run(**command, check=False, timeout=LIMIT)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    launched("own.toml", "-o", "run")
    assert "from 4 to 5 epochs" in launched("own.toml", "-o", "run", "--resume", "--extend", "1ep")
    launched("own.toml", "epochs=5", "-o", "long")
    assert_same(folder / "run", folder / "long")
    launched("--cooldown-from", "run/checkpoints/3", "-o", "branch", "--resume")
    assert_same(folder / "run" / "before-extension-1", folder / "branch")
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
