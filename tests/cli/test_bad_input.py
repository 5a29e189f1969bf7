"""What is wrong with the machine or with a run, beside the rows of tests/cli/test_faults.py."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path

import keras
import pytest

from tests.cli.faults import files
from tests.cli.running import SMALL, run
from tests.processes import installed

OTHER = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}[keras.backend.backend()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with files of every kind."""
    monkeypatch.chdir(tmp_path)
    files()
    return tmp_path


def _tree(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_another_backend_than_the_one_that_runs(folder, capsys):
    """Keras fixes its backend when it is imported, which the message says."""
    if not installed(OTHER):
        pytest.skip(f"{OTHER} is not installed")
    outcome = run(capsys, "train", "digits", "--backend", OTHER)
    assert outcome.status == 2
    for text in ("--backend", OTHER, "new process"):
        assert text in outcome.errors


@pytest.mark.once
@pytest.mark.parametrize(
    "arguments",
    [("plot", "vit"), ("explain", "vit"), ("average", "run"), ("tune", "digits"), ("doctor",)],
)
def test_every_backend_is_checked(folder, capsys, arguments):
    """Before anything else, at whatever command."""
    outcome = run(capsys, *arguments, "--backend", "tensorflw")
    assert outcome.status == 2
    assert "--backend='tensorflw'. Did you mean 'tensorflow'?" in outcome.errors


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
    assert f"README run: pip install '.[{backend}]'" in outcome.errors
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
