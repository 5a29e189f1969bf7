"""The states that a run keeps: which, when, and that each is a run of its own."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from nadam_suite.callbacks.snapshot import read_header
from nadam_suite.config import load_config
from nadam_suite.errors import RunFolderError
from nadam_suite.experiment.checkpoints import (
    Checkpoints,
    copy_files,
    epoch_of,
    kept_epochs,
    remove_folder,
)
from nadam_suite.experiment.folder import RunFolder
from tests.experiment.comparing import assert_same
from tests.experiment.small_runs import contents, no_pictures, train

__all__ = ["no_pictures"]  # a fixture that every test of this file uses


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four epochs, the last of which cools down, with a checkpoint every second one."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    train(folder, 4, checkpoint_every=2)
    return folder


def test_states_that_are_kept(run):
    """That before the cooldown, and each second one; every one tells where it is from."""
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["2", "3", "4"]
    assert kept_epochs(RunFolder(run)) == [4, 3, 2]
    for epoch in (2, 3, 4):
        folder = run / "checkpoints" / str(epoch)
        assert epoch_of(RunFolder(folder)) == epoch
        about = json.loads((folder / "checkpoint.json").read_text())
        known = json.loads((run / "environment.json").read_text())
        assert (about["epoch"], about["step"], about["run"]) == (epoch, 3 * epoch, "run")
        assert about["config_fingerprint"] == known["config_fingerprint"]
        assert load_config(folder / "config.toml") == load_config(run / "config.toml")


def test_a_checkpoint_goes_on_like_the_run(run, tmp_path):
    """A copy of it, resumed, ends with the run's numbers."""
    folder = shutil.copytree(run / "checkpoints" / "2", tmp_path / "copy")
    assert train(folder, 4, resume=True).resumed_from == 2
    assert_same(folder, run)


def test_a_schedule_without_a_cooldown_keeps_none(tmp_path):
    """There is no folder for them."""
    train(tmp_path / "run", 1, None)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_how_often_may_change_when_a_run_goes_on(tmp_path):
    """It changes nothing of what is trained."""
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(folder, 2, None, stop=1)
    train(folder, 2, None, resume=True, checkpoint_every=1)
    assert kept_epochs(RunFolder(folder)) == [2, 1]


@pytest.mark.slow
@pytest.mark.once
def test_checkpoints_of_a_shorter_run_move_away(run, tmp_path):
    """Those that a longer run will not have are kept with the other results."""
    folder = shutil.copytree(run, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(folder, 4, resume=True, extend="1ep", checkpoint_every=2, stop=3)
    assert kept_epochs(RunFolder(folder)) == [3, 2]
    moved = folder / "before-extension-1" / "checkpoints" / "4"
    assert contents(moved) == contents(run / "checkpoints" / "4")
    train(folder, 4, resume=True, checkpoint_every=2)
    assert kept_epochs(RunFolder(folder)) == [4, 3, 2]
    assert load_config(folder / "checkpoints" / "4" / "config.toml").epochs == 5


@pytest.fixture
def parts(tmp_path):
    """A folder with what a checkpoint is made of."""
    folder = RunFolder(tmp_path / "run")
    (folder.path / "state").mkdir(parents=True)
    for name in ("config.toml", "environment.json", "state/training_state.npz"):
        (folder.path / name).write_text(name)
    (folder.path / "state" / ".training_state.npz.tmp").write_text("half")
    return folder


@pytest.mark.once
def test_a_copy_is_whole_or_not_there(parts, monkeypatch):
    """Whichever write fails, and then all of it is there; half-written files are left out."""
    sync = os.fsync
    names = ("config.toml", "state", "missing")
    target = parts.path / "copy"
    for number in range(20):
        left = iter(range(number))
        monkeypatch.setattr(
            os, "fsync", lambda descriptor, left=left: (next(left), sync(descriptor))
        )
        try:
            copy_files(parts.path, target, names, {"about.json": {"epoch": 3}})
        except StopIteration:
            there = target.exists()
            assert not there or len(contents(target)) == 3
            shutil.rmtree(target, ignore_errors=True)
        else:
            break
    assert number > 3
    assert sorted(contents(target)) == ["about.json", "config.toml", "state/training_state.npz"]
    assert not list(parts.path.glob(".*"))


@pytest.mark.once
def test_large_files_are_shared_where_that_is_possible(parts, monkeypatch):
    """A state is another name of the same file, or a copy where there are no such names."""
    copy_files(parts.path, parts.path / "1", ["state", "config.toml"])
    state = "state/training_state.npz"
    assert (parts.path / "1" / state).samefile(parts.path / state)
    assert not (parts.path / "1" / "config.toml").samefile(parts.path / "config.toml")

    def refused(*arguments):
        raise OSError

    monkeypatch.setattr(os, "link", refused)
    copy_files(parts.path, parts.path / "1", ["state"])
    assert not (parts.path / "1" / state).samefile(parts.path / state)
    assert (parts.path / "1" / state).read_text() == state


@pytest.mark.once
def test_a_copy_that_cannot_be_written_is_an_error(parts):
    """The message has the path and what to do."""
    with pytest.raises(RunFolderError, match=r"writable.*nowhere.*--resume"):
        copy_files(parts.path, parts.path / "nowhere" / "copy", ["state"])


@pytest.mark.once
def test_a_folder_is_removed_with_what_an_earlier_removal_left(tmp_path):
    """Nothing of either stays."""
    for name in ("8", ".8.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    remove_folder(tmp_path / "8")
    remove_folder(tmp_path / "8")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_was_left_out_is_made_up_for(run, tmp_path):
    """A process that is killed between the state and the checkpoint leaves that to the next."""
    folder = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints")
    (folder / "result.json").unlink()
    train(folder, 4, resume=True, checkpoint_every=2)
    assert kept_epochs(RunFolder(folder)) == [4]
    assert read_header(folder / "checkpoints" / "4" / "state" / "training_state.npz")["epoch"] == 4


@pytest.mark.once
def test_a_checkpoint_that_is_there_is_left_alone(run, tmp_path):
    """It is written anew only if it belongs to another config."""
    folder = shutil.copytree(run, tmp_path / "run")
    kept = folder / "checkpoints" / "4"
    callback = Checkpoints(RunFolder(folder), [4], 4, 3)
    (kept / "mark").write_text("")
    callback.on_train_begin()
    assert (kept / "mark").exists()
    text = (kept / "config.toml").read_text()
    (kept / "config.toml").write_text(text.replace("epochs = 4", "epochs = 5"))
    callback.on_train_begin()
    assert not (kept / "mark").exists()
