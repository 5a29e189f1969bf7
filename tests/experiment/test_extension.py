"""A run that is made longer ends like one that was planned so long from the start."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from nadam_suite.callbacks.snapshot import read_header
from nadam_suite.config import load_config
from nadam_suite.errors import (
    ArgumentError,
    ArgumentTypeError,
    ConfigError,
    DataFileError,
    RunFolderError,
)
from tests.experiment.comparing import assert_same
from tests.experiment.small_runs import contents, damage, no_pictures, train

pytestmark = pytest.mark.once

__all__ = ["no_pictures"]  # a fixture that every test of this file uses


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A finished run of four epochs."""
    folder = tmp_path_factory.mktemp("short") / "run"
    train(folder, 4)
    return folder


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """A run that was planned to have six epochs."""
    folder = tmp_path_factory.mktemp("longer") / "run"
    train(folder, 6)
    return folder


@pytest.fixture
def run(short, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(short, tmp_path / "run")


@pytest.fixture(scope="module")
def extended(short, tmp_path_factory):
    """The finished run, made longer by two epochs; what it told, and its result."""
    folder = shutil.copytree(short, tmp_path_factory.mktemp("extended") / "run")
    told = []
    result = train(folder, 4, resume=True, extend="2ep", tell=told.append)
    return folder, told, result


def test_a_finished_run_ends_like_a_longer_one(extended, longer):
    """It goes back to before its cooldown, and ends with the longer run's numbers."""
    folder, told, result = extended
    assert (result.epochs, result.resumed_from, result.already_finished) == (6, 3, False)
    assert_same(folder, longer)
    assert any("from 4 to 6 epochs, going back to epoch 3" in line for line in told)
    assert load_config(folder / "config.toml") == load_config(longer / "config.toml")
    known, expected = (json.loads((f / "environment.json").read_text()) for f in (folder, longer))
    assert known == expected


def test_what_the_shorter_run_left_is_kept(extended, short):
    """Its files lie in a folder of the run, which is a finished run itself."""
    kept = extended[0] / "before-extension-1"
    before = contents(short)
    assert contents(kept) == {name: data for name, data in before.items() if "check" not in name}
    assert train(kept, 4, resume=True).already_finished


def test_an_interrupted_run_goes_on_from_where_it_is(tmp_path, longer):
    """In its stable phase it need not go back."""
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(folder, 4, stop=2)
    assert train(folder, 4, resume=True, extend="2ep").resumed_from == 2
    assert_same(folder, longer)


@pytest.mark.slow
def test_a_run_is_extended_twice(tmp_path, longer):
    """After the first extension, and after a second one that was interrupted."""
    folder = tmp_path / "run"
    train(folder, 3)
    assert train(folder, 3, resume=True, extend="1ep").epochs == 4
    with pytest.raises(KeyboardInterrupt):
        train(folder, 3, resume=True, extend="2ep", stop=4)
    assert train(folder, 3, resume=True).epochs == 6
    assert_same(folder, longer)
    assert {path.name for path in folder.glob("before-*")} == {
        "before-extension-1",
        "before-extension-2",
    }


@pytest.mark.slow
def test_the_command_can_be_repeated(run, longer):
    """Until the extension has finished, it goes on with the same one."""
    told = []
    for epoch in (3, 5):
        with pytest.raises(KeyboardInterrupt):
            train(run, 4, resume=True, extend="2ep", stop=epoch)
    assert train(run, 4, resume=True, extend="50%", tell=told.append).resumed_from == 5
    assert any("extended to 6 epochs already" in line for line in told)
    assert_same(run, longer)


def test_an_extended_run_is_resumed_by_either_config(extended):
    """That with which it was started, and that which it has now; no other one."""
    folder, *_ = extended
    assert train(folder, 4, resume=True).already_finished
    assert train(folder, 6, resume=True).already_finished
    with pytest.raises(RunFolderError, match=r"(?s)epochs: 6 -> 7.*--extend"):
        train(folder, 7, resume=True)


@pytest.mark.parametrize("kind", ["cosine", "one_cycle"])
def test_a_schedule_that_depends_on_its_length_is_refused(tmp_path, kind):
    """The message names its kind and what to do; the folder is left as it is."""
    folder, schedule = tmp_path / "run", {"kind": kind, "warmup": 2}
    train(folder, 2, schedule)
    before = contents(folder)
    with pytest.raises(ConfigError, match=rf'`schedule`.*kind=\'{kind}\'.*6 -> 12.*kind = "wsd"'):
        train(folder, 2, schedule, resume=True, extend="2ep")
    assert contents(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weight_decay", "beta_1"])
def test_every_schedule_of_the_optimizer_counts(tmp_path, name):
    """One that depends on the length is refused, one with a cooldown moves along."""
    values = {"kind": "cosine", "peak": 0.5, "end": 0.1}
    folder, options = tmp_path / "run", {"optimizer": {name: values}}
    train(folder, 2, None, **options)
    with pytest.raises(ConfigError, match=rf"`optimizer.{name}`.*kind='cosine'"):
        train(folder, 2, None, resume=True, extend="1ep", **options)
    train(tmp_path / "wsd", 2, **options)
    with pytest.raises(ConfigError, match=rf"`optimizer.{name}`.*kind='cosine'.*Begin a new run"):
        train(tmp_path / "wsd", 2, resume=True, extend="1ep", **options)
    values |= {"kind": "wsd", "cooldown": "1ep"}
    train(tmp_path / "short", 2, None, **options)
    train(tmp_path / "short", 2, None, resume=True, extend="1ep", **options)
    train(tmp_path / "long", 3, None, **options)
    assert_same(tmp_path / "short", tmp_path / "long")


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [None, {"kind": "inverse_sqrt", "warmup": 2}])
def test_a_schedule_without_an_end_goes_on_from_the_last_state(tmp_path, schedule):
    """A finished run need not go back."""
    train(tmp_path / "run", 2, schedule)
    assert train(tmp_path / "run", 2, schedule, resume=True, extend="1ep").resumed_from == 2
    train(tmp_path / "long", 3, schedule)
    assert_same(tmp_path / "run", tmp_path / "long")


@pytest.mark.slow
def test_schedules_that_count_updates(tmp_path):
    """Windows that epochs cut are continued, and the cooldown begins at an update."""
    options = {
        "schedule": {"kind": "wsd", "warmup": 1, "cooldown": 2},
        "optimizer": {"gradient_accumulation_steps": 2, "schedule_step": "update"},
    }
    train(tmp_path / "run", 3, **options)  # 9 batches, 4 updates, 2 of them stable
    result = train(tmp_path / "run", 3, resume=True, extend="2ep", **options)
    assert result.resumed_from == 1
    train(tmp_path / "long", 5, **options)
    assert_same(tmp_path / "run", tmp_path / "long")


@pytest.mark.slow
def test_the_last_part_of_a_joined_schedule_moves(tmp_path):
    """It lasts to the end of the training before, and after."""
    parts = [{"kind": "constant"}, {"kind": "wsd", "cooldown": 3}]
    schedule = {"kind": "joined", "parts": parts, "boundaries": [2]}
    train(tmp_path / "run", 3, schedule)
    train(tmp_path / "run", 3, schedule, resume=True, extend="1ep")
    train(tmp_path / "long", 4, schedule)
    assert_same(tmp_path / "run", tmp_path / "long")


def test_what_a_callback_ended_is_refused(tmp_path):
    """A longer run would end there too; the message leads to a cooldown."""
    stop = {"kind": "early_stopping", "monitor": "loss", "patience": 1, "min_delta": 1e9}
    options = {"schedule": None, "callbacks": [stop]}
    assert train(tmp_path / "run", 6, **options).epochs == 2
    with pytest.raises(RunFolderError, match=r"ended after epoch 2.*--cooldown-from"):
        train(tmp_path / "run", 6, resume=True, extend="1ep", **options)


def test_a_run_without_the_state_before_its_cooldown_is_refused(run):
    """The message names the checkpoint that is gone."""
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(ConfigError, match=r"kind='wsd'.*differs from step 10.*3', is gone"):
        train(run, 4, resume=True, extend="2ep")


def test_a_damaged_checkpoint_is_refused(run):
    """Before anything is changed."""
    path = damage(run / "checkpoints" / "3")
    before = contents(run)
    with pytest.raises(DataFileError, match=rf"{path}' cannot be read"):
        train(run, 4, resume=True, extend="2ep")
    assert contents(run) == before


def test_a_cooldown_from_the_first_epoch_on_is_refused(tmp_path):
    """There is no state to go back to."""
    schedule = {"kind": "wsd", "cooldown": 2}
    train(tmp_path / "run", 1, schedule)
    with pytest.raises(ConfigError, match="begins in the first epoch"):
        train(tmp_path / "run", 1, schedule, resume=True, extend="1ep")


@pytest.mark.parametrize(
    ("duration", "error", "message"),
    [
        ("33%", ArgumentError, r"whole epochs, of 3 batches.*'33%', which is 4 batches. Write 1ep"),
        ("0ep", ArgumentError, r"whole epochs.*'0ep'"),
        ("ten", ArgumentError, r"--extend.*'ten'"),
        (2.5, ArgumentTypeError, r"--extend.*2\.5"),
    ],
)
def test_a_length_that_makes_no_epochs_is_refused(run, duration, error, message):
    """The message names the nearest one, and nothing is changed."""
    before = contents(run)
    with pytest.raises(error, match=message):
        train(run, 4, resume=True, extend=duration)
    assert contents(run) == before


def test_there_must_be_a_run(tmp_path, run):
    """Without one, and without `resume`, there is nothing to extend."""
    with pytest.raises(RunFolderError, match="must name a run that exists"):
        train(tmp_path / "new", 4, resume=True, extend="1ep")
    with pytest.raises(ArgumentError, match="--resume"):
        train(run, 4, extend="1ep")
    assert not (tmp_path / "new").exists()


class Killed(BaseException):
    """What ends a process at a write; not even the code that cleans up may go on."""


def standing(folder):
    """How far an extension has come: length, results, epoch of the state, results kept."""
    kept = folder / "before-extension-1"
    state = read_header(folder / "state" / "training_state.npz")["epoch"]
    finished = [(path / "result.json").exists() for path in (folder, kept)]
    return (load_config(folder / "config.toml").epochs, finished[0], state, finished[1])


@pytest.mark.slow
def test_an_extension_that_is_cut_anywhere(short, longer, tmp_path, monkeypatch):
    """At every write either the shorter run is whole, or the longer one, and both go on."""
    sync, left = os.fsync, 0

    def cut(descriptor):
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        sync(descriptor)

    found = {}
    for number in range(100):
        folder, left = shutil.copytree(short, tmp_path / str(number)), number
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", cut)
            try:
                train(folder, 4, resume=True, extend="2ep", stop=3)
            except Killed:
                found.setdefault(standing(folder), folder)
            except KeyboardInterrupt:
                break  # it trains
    assert list(found) == [
        (4, True, 4, False),
        (4, True, 4, True),
        (4, False, 4, True),
        (4, False, 3, True),
        (6, False, 3, True),
    ]
    for (epochs, *_), folder in found.items():
        again = shutil.copytree(folder, tmp_path / f"{folder.name} again")
        train(folder, 4, resume=True)
        assert_same(folder, short if epochs == 4 else longer)
        train(again, 4, resume=True, extend="2ep")
        assert_same(again, longer)
        assert_same(again / "before-extension-1", short)
        assert not again.joinpath("before-extension-2").exists()
