"""Whatever is wrong with the input, the command says what and what to do, and writes nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path

import keras
import pytest

from tests.cli.running import SMALL, run
from tests.processes import installed

GOOD = 'model = "digits"\ndata = "digits"\n'
NEWER = GOOD + "schema_version = 99\n"
OTHER = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}[keras.backend.backend()]

# Arguments, with files named by what they hold; then what the message must say.
CASES = {
    "recipe misspelt": (["train", "digts"], ["NAME", "'digts'", "Did you mean 'digits'?"]),
    "recipe unknown": (["train", "imagenet"], ["NAME", "'imagenet'", "nadam-suite ls"]),
    "preset trained": (["train", "algoperf-v05"], ["'algoperf-v05'", "optimizer.preset="]),
    "file missing": (["train", "missing.toml"], ["missing.toml", "Did you mean 'misspelt.toml'?"]),
    "file of another kind": (["train", "./notes.txt"], ["notes.txt", ".toml"]),
    "file not UTF-8": (["train", "latin.toml"], ["latin.toml", "UTF-8"]),
    "TOML broken": (["train", "broken.toml"], ["broken.toml", "TOML", "line 2", "Correct it"]),
    "JSON broken": (["train", "broken.json"], ["broken.json", "JSON", "line 1", "Correct it"]),
    "JSON no table": (["validate", "list.json"], ["list.json", "table", "braces"]),
    "key misspelt": (["train", "misspelt.toml"], ["epoch", "Did you mean", "epochs"]),
    "nested key misspelt": (
        ["train", "digits", "optimizer.learning_rte=1"],
        ["optimizer.learning_rte", "Did you mean", "learning_rate"],
    ),
    "schema newer": (["train", "newer.toml"], ["schema_version", "99", "pip install --upgrade"]),
    "model missing": (["train", "optimizer.toml"], ["model", "data", "optimizer.toml"]),
    "override without a value": (["train", "digits", "epochs"], ["'epochs'", "key=value"]),
    "override of nothing": (
        ["train", "digits", "~optimizer.betas"],
        ["optimizer.betas", "not set", "Keys there"],
    ),
    "override of a value": (["train", "digits", "epochs.x=1"], ["epochs", "no table"]),
    "no epochs": (["train", "digits", "epochs=0"], ["epochs", ">= 1", "epochs=0", "Raise it"]),
    "half an epoch": (["train", "digits", "epochs=1.5"], ["epochs", "an integer", "1.5"]),
    "no batch": (["train", "digits", "batch_size=0"], ["batch_size", ">= 1", "batch_size=0"]),
    "rate negative": (
        ["train", "digits", "optimizer.learning_rate=-1"],
        ["optimizer.learning_rate", ">= 0", "-1"],
    ),
    "rate as text": (
        ["train", "digits", "optimizer.learning_rate=fast"],
        ["optimizer.learning_rate", "number", "'fast'"],
    ),
    "beta of one": (["train", "digits", "optimizer.beta_1=1"], ["optimizer.beta_1", "< 1"]),
    "seed negative": (["train", "digits", "seed=-3"], ["seed", ">= 0", "-3"]),
    "precision unknown": (
        ["train", "digits", "precision=float8"],
        ["precision", "mixed_bfloat16", "float8"],
    ),
    "two faults": (["train", "digits", "epochs=0", "seed=-1"], ["2 faults", "epochs", "seed"]),
    "callback unknown": (
        ["train", "digits", 'callbacks=[{kind="stop"}]'],
        ["callbacks.0", "early_stopping", "'stop'"],
    ),
    "warm-up too long": (["train", "digits", "schedule.warmup=200%"], ["schedule.warmup", "200%"]),
    "model unknown": (["train", "digits", "model=digit"], ["`model`", "'digit'", "Did you mean"]),
    "data unknown": (["train", "digits", "data=cifar"], ["`data`", "'cifar'", "module:function"]),
    "module missing": (
        ["train", "digits", "model=no_such_module:build"],
        ["`model`", "no_such_module:build", "Start the command in the folder"],
    ),
    "function missing": (
        ["train", "digits", "model=json:load_al"],
        ["`model`", "'json:load_al'", "Did you mean"],
    ),
    "function of another kind": (
        ["train", "digits", "model=platform:node"],
        ["`model`", "platform:node", "Task"],
    ),
    "option unknown": (
        ["train", "digits", "model_options.widht=8"],
        ["`model_options`", "widht", "Did you mean 'width'?"],
    ),
    "option refused": (
        ["train", "text_lm", "model_options.width=10"],
        ["`width`", "multiple of heads=4", "width=10", "Choose"],
    ),
    "folder exists": (
        ["train", "digits", "--output", "taken"],
        ["output='taken'", "must not exist", "--resume", "--output"],
    ),
    "folder of no run": (
        ["train", "digits", "--output", "taken", "--resume"],
        ["output='taken'", "config.toml", "Check the path"],
    ),
    "folder below a file": (
        ["train", "digits", "--output", "notes.txt/run"],
        ["notes.txt", "no folder", "Choose another one"],
    ),
    "backend unknown": (
        ["train", "digits", "--backend", "tensorflw"],
        ["--backend", "'tensorflw'", "Did you mean 'tensorflow'?"],
    ),
    "backend fixed": (["train", "digits", "--backend", OTHER], ["--backend", OTHER, "new process"]),
    "doctor's row unknown": (["doctor", "K999"], ["K999"]),
    "show unknown": (["show", "kers"], ["NAME", "'kers'", "Did you mean 'keras'?"]),
    "cp over a file": (["cp", "digits", "good.toml"], ["good.toml", "Choose another name"]),
    "cp without a folder": (["cp", "digits", "no/such/a.toml"], ["no/such/a.toml", "Choose"]),
    "cp to another kind": (["cp", "digits", "my.yaml"], ["my.yaml", ".toml"]),
    "validate several": (
        ["validate", "good.toml", "newer.toml", "misspelt.toml"],
        ["newer.toml", "schema_version", "misspelt.toml", "epochs"],
    ),
    "validate options": (["validate", "options.toml"], ["options.toml", "widht", "'width'"]),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the files that the cases name."""
    monkeypatch.chdir(tmp_path)
    Path("good.toml").write_text(GOOD)
    Path("newer.toml").write_text(NEWER)
    Path("misspelt.toml").write_text(GOOD + "epoch = 3\n")
    Path("options.toml").write_text(GOOD + "[model_options]\nwidht = 8\n")
    Path("optimizer.toml").write_text("learning_rate = 0.1\n")
    Path("broken.toml").write_text('model = "digits"\ndata = \n')
    Path("broken.json").write_text('{"model": "digits",, }')
    Path("list.json").write_text("[1, 2]")
    Path("latin.toml").write_bytes(b'name = "\xe9"\n')
    Path("notes.txt").write_text("notes")
    Path("taken").mkdir()
    Path("taken/mine.txt").write_text("mine")
    return tmp_path


def _tree(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES)
def test_refused_with_a_message(folder, capsys, case):
    """Status 2, one screen that names argument, value and remedy, no traceback, nothing written."""
    arguments, expected = CASES[case]
    if OTHER in arguments and not installed(OTHER):
        pytest.skip(f"{OTHER} is not installed")
    before = _tree(folder)
    outcome = run(capsys, *arguments)
    assert outcome.status == 2
    assert "Traceback" not in outcome.errors
    for text in expected:
        assert text in outcome.errors
    assert len(outcome.errors.splitlines()) <= 24
    assert _tree(folder) == before


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_missing_extra(folder, capsys, monkeypatch, backend):
    """A backend that is not installed is refused with the command that installs it."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == backend else found(name, *a)
    )
    before = _tree(folder)
    outcome = run(capsys, "train", "digits", "--backend", backend)
    assert outcome.status == 2
    assert f"--backend {backend}" in outcome.errors or f"backend='{backend}'" in outcome.errors
    assert f"pip install 'nadam_suite[{backend}]'" in outcome.errors
    assert _tree(folder) == before


def test_wrong_environment_variable(folder, capsys, monkeypatch):
    """KERAS_BACKEND is checked as --backend is, and named."""
    monkeypatch.setenv("KERAS_BACKEND", "pytorch")
    outcome = run(capsys, "train", "digits")
    assert outcome.status == 2
    assert "KERAS_BACKEND='pytorch'" in outcome.errors
    assert "Did you mean 'torch'?" in outcome.errors


ROOT_USER = getattr(os, "geteuid", lambda: 0)() == 0


@pytest.mark.skipif(ROOT_USER, reason="root writes anywhere")
def test_unwritable_folder(folder, capsys):
    """A folder below one that may not be written to is refused before any work."""
    Path("sealed").mkdir(mode=0o500)
    outcome = run(capsys, "train", "digits", "--output", "sealed/run")
    assert outcome.status == 2
    assert "may not be written to" in outcome.errors


def test_unwritable_folder_whoever_asks(folder, capsys, monkeypatch):
    """The same where the system says no in another way, such as a disk that is read-only."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    outcome = run(capsys, "train", "digits", "--output", "runs/a")
    assert outcome.status == 2
    assert "output='runs/a'" in outcome.errors
    assert "may not be written to" in outcome.errors
    assert not Path("runs").exists()


def test_disk_that_fails_at_the_last_moment(folder, capsys, monkeypatch):
    """If the folder cannot be created after all, nothing half-made stays."""

    def refused(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", refused)
    before = _tree(folder)
    outcome = run(capsys, "train", "digits", *SMALL, "--output", "here")
    assert outcome.status == 2
    assert "No space left on device" in outcome.errors
    assert _tree(folder) == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a small finished run."""
    from nadam_suite.config import load_config
    from nadam_suite.experiment import recipe_path, run_training

    folder = tmp_path_factory.mktemp("finished") / "run"
    run_training(load_config(recipe_path("digits"), SMALL), output=folder)
    return folder


def _resume(capsys, folder, *changes):
    return run(capsys, "train", "digits", *SMALL, *changes, "--output", folder, "--resume")


def test_resume_under_another_config(finished, capsys):
    """The differences are listed, and the run is left as it was."""
    before = _tree(finished)
    outcome = _resume(capsys, finished, "optimizer.beta_1=0.8")
    assert outcome.status == 2
    assert "optimizer.beta_1: 0.9 -> 0.8" in outcome.errors
    assert "Take them back" in outcome.errors
    assert _tree(finished) == before


def test_resume_on_another_backend(finished, capsys, tmp_path):
    """Another backend computes other numbers, so it is refused."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    environment = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps(environment | {"backend": OTHER}))
    outcome = _resume(capsys, folder)
    assert outcome.status == 2
    assert f"--backend {OTHER}" in outcome.errors


def test_resume_on_other_data(finished, capsys, tmp_path):
    """Data that changed since is noticed by its digest."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    environment = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps(environment | {"data_sha256": "0"}))
    outcome = _resume(capsys, folder)
    assert outcome.status == 2
    assert "digest" in outcome.errors


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_resume_with_a_truncated_state(finished, capsys, tmp_path, size):
    """A damaged state is named, with the way out."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "result.json").unlink()
    path = folder / "state" / "training_state.npz"
    path.write_bytes(path.read_bytes()[:size])
    outcome = _resume(capsys, folder)
    assert outcome.status == 2
    assert "Traceback" not in outcome.errors
    assert str(path) in outcome.errors
    assert "Delete it" in outcome.errors


def test_debug_shows_the_traceback(folder):
    """With --debug the error comes through as it was raised."""
    from nadam_suite.cli import main
    from nadam_suite.errors import ConfigError

    with pytest.raises(ConfigError, match="digts"):
        main(["train", "digts", "--debug"])
