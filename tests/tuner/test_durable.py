"""Searches that are killed at every write and go on, and folders that are refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading

import keras_tuner
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial

from nadam_suite.errors import SearchFolderError
from nadam_suite.tuner import surrogate
from nadam_suite.tuner.points import Enqueued
from tests.tuner.driving import (
    ORACLES,
    POINTS,
    Killed,
    drive,
    kill_at,
    make,
    on_disk,
    run,
    snapshots,
    space,
    told,
)

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """No waiting for the disk, and a rough search of the surrogate's minimum."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(surrogate, "_CANDIDATES", 30)
    monkeypatch.setattr(surrogate, "_POLISHED", 1)
    monkeypatch.setattr(surrogate, "_RESTARTS", 0)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 7])
@pytest.mark.parametrize("kind", ORACLES)
def test_killed_at_any_write_a_search_ends_as_if_it_had_not_been(
    kind, every, tmp_path, monkeypatch
):
    """From each of its moments on disk, every trial, value, score and the best are the same."""
    whole = tmp_path / "whole"
    with monkeypatch.context() as patch:
        copies = snapshots(patch, whole)
        expected = told(drive(make(kind, whole)))
    statuses = [trial["status"] for trial in expected["trials"].values()]
    moments = sorted(copies.iterdir(), key=lambda path: int(path.name))
    assert statuses.count("COMPLETED") > statuses.count("FAILED") > 0
    assert len(moments) > 5 * len(statuses)
    for moment in moments[::every]:
        assert told(drive(make(kind, moment))) == expected, moment.name
        assert on_disk(moment) == on_disk(whole), moment.name


@pytest.mark.parametrize("kind", ORACLES)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=4))
def test_killed_again_and_again(kind, tmp_path_factory, kills):
    """Writes that fail leave the files alike, however often that happens before the end."""
    folder = tmp_path_factory.mktemp(kind)
    expected = told(drive(make(kind, folder / "whole")))
    for write, after in kills:
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, write, after=after)
            try:
                drive(make(kind, folder / "killed"))
            except Killed:
                continue
            break
    assert told(drive(make(kind, folder / "killed"))) == expected


@pytest.mark.parametrize("kind", ["quasi_random", "random", "grid"])
def test_two_clients_and_a_chief_that_is_killed(kind, tmp_path, monkeypatch):
    """Trials are those of one client that is never killed."""
    expected = told(drive(make(kind, tmp_path / "one")))["trials"]
    with monkeypatch.context() as patch:
        copies = snapshots(patch, tmp_path / "two")
        found = told(drive(make(kind, tmp_path / "two"), ("a", "b")))["trials"]
    assert found == expected
    for moment in sorted(copies.iterdir())[::9]:
        assert told(drive(make(kind, moment), ("a", "b")))["trials"] == expected, moment.name


def test_stock_forgets_a_trial_that_was_killed_while_it_was_written(tmp_path):
    """What it wrote in part it cannot load; ours has no such moment."""
    stock = keras_tuner.oracles.RandomSearchOracle("val_loss", 4, hyperparameters=space())
    stock.verbose = 0
    BaseTuner(stock, directory=str(tmp_path), project_name="search")
    drive(stock)
    path = tmp_path / "search" / "oracle.json"
    path.write_text(path.read_text()[:100])  # `open(path, "w")`, killed within `write`
    with pytest.raises(json.JSONDecodeError):
        stock.reload()


def test_stock_can_go_on_with_a_folder_of_ours(tmp_path):
    """The files are keras-tuner's own, with more in them."""
    ours = drive(make("random", tmp_path))
    stock = keras_tuner.oracles.RandomSearchOracle("val_loss", 10, hyperparameters=space())
    stock.verbose = 0
    BaseTuner(stock, directory=str(tmp_path), project_name="search")
    stock.reload()
    best = [one.get_best_trials(1)[0].get_state() for one in (ours, stock)]
    assert best[0]["score"] == best[1]["score"]
    assert len(stock.trials) == 8
    assert stock.create_trial("tuner0").trial_id == "08"


def test_a_trial_unknown_to_the_oracle_is_dropped(tmp_path):
    """It was never handed out; its number is given again."""
    drive(make("random", tmp_path, max_trials=3))
    folder = tmp_path / "search"
    shutil.copytree(folder / "trial_2", folder / "trial_3")
    path = folder / "trial_3" / "trial.json"
    path.write_text(path.read_text().replace('"trial_id": "2"', '"trial_id": "3"'))
    oracle = make("random", tmp_path, max_trials=4)
    assert set(oracle.trials) == {"0", "1", "2"}
    trial = oracle.create_trial("tuner0")
    assert (trial.trial_id, trial.status) == ("3", "RUNNING")
    assert trial.hyperparameters.values != oracle.trials["2"].hyperparameters.values


def test_an_attempt_that_was_cut_leaves_no_metrics(tmp_path):
    """Stock takes the mean of the old attempt's and the new one's."""
    oracle = make("random", tmp_path)
    trial = oracle.create_trial("tuner0")
    oracle.update_trial(trial.trial_id, {"val_loss": 100.0}, step=0)
    again = make("random", tmp_path)
    trial = again.create_trial("tuner0")
    again.update_trial(trial.trial_id, {"val_loss": 1.0}, step=0)
    trial.status = "COMPLETED"
    again.end_trial(trial)
    assert (again.trials["0"].score, again.trials["0"].status) == (1.0, "COMPLETED")


def test_running_trials_are_repeated_in_the_order_in_which_they_began(tmp_path):
    """Whoever asks first goes on with the oldest."""
    oracle = make("random", tmp_path)
    values = [oracle.create_trial(one).hyperparameters.values for one in "abc"]
    again = make("random", tmp_path)
    assert [again.create_trial(one).hyperparameters.values for one in "xyz"] == values
    assert again.create_trial("y").hyperparameters.values == values[1]  # it has that one


def test_a_trial_that_has_ended_is_not_run_again(tmp_path, monkeypatch):
    """Though the process died before the oracle's own file said so."""
    oracle = make("random", tmp_path)
    trial = oracle.create_trial("tuner0")
    oracle.update_trial(trial.trial_id, {"val_loss": 1.0})
    trial.status = "COMPLETED"
    with monkeypatch.context() as patch:
        kill_at(patch, 0, after=True)
        with pytest.raises(Killed):
            oracle.end_trial(trial)
    again = make("random", tmp_path, verbose=1)  # stock's display knows nothing of that trial
    assert (again.end_order, again.verbose) == (["0"], 1)
    assert again.create_trial("tuner0").trial_id == "1"


def test_an_attempt_that_was_cut_is_no_failure(tmp_path):
    """A trial that is tried again, and killed then, is tried once more."""
    oracle = make("random", tmp_path)
    trial = oracle.create_trial("tuner0")
    trial.status, trial.message = "INVALID", "OSError: full"
    oracle.end_trial(trial)
    assert oracle.create_trial("tuner0").trial_id == "0"
    again = make("random", tmp_path)
    trial = again.create_trial("tuner0")
    assert (trial.trial_id, trial.status) == ("0", "RUNNING")
    trial.status = "INVALID"
    again.end_trial(trial)
    assert (again.trials["0"].status, again.create_trial("tuner0").trial_id) == ("FAILED", "1")


def test_reading_alone_writes_nothing(tmp_path):
    """A finished search can be loaded from a folder that is only read."""
    drive(make("quasi_random", tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    best = make("quasi_random", tmp_path).get_best_trials(1)[0]
    assert best.status == "COMPLETED"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before


FILES = [
    (name, damage)
    for name in ("oracle.json", "trial_1/trial.json")
    for damage in ("cut", "no table", "no keys", "gone", "binary")
    if (name, damage) != ("oracle.json", "gone")
]


@pytest.mark.parametrize(("name", "damage"), FILES)
def test_a_damaged_file_is_named(name, damage, tmp_path):
    """Nothing is run on top of it, and nothing is written over it."""
    drive(make("random", tmp_path, max_trials=2))
    path = tmp_path / "search" / name
    text = path.read_text()
    contents = {"cut": text[: len(text) // 2], "no table": "[1]", "no keys": '{"nadam_suite": 3}'}
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(contents.get(damage, "").encode() or b"\xff\xfe\x00")
    with pytest.raises(SearchFolderError, match=str(path)) as caught:
        make("random", tmp_path, max_trials=2)
    assert ("missing" if damage == "gone" else "damaged") in str(caught.value)


def test_a_search_does_not_begin_on_top_of_trained_trials(tmp_path):
    """Without the file that knows them they would be taken for its own, and gone on with."""
    run_one(make("random", tmp_path))
    (tmp_path / "search" / "oracle.json").unlink()
    run_one(make("random", tmp_path))  # a trial that nobody began to train
    (tmp_path / "search" / "oracle.json").unlink()
    (tmp_path / "search" / "trial_0" / "state").mkdir()
    with pytest.raises(SearchFolderError, match=r"no oracle.json that knows.*trial_0/state"):
        make("random", tmp_path).create_trial("tuner0")


def test_what_points_are_called_does_not_count(tmp_path):
    """A search goes on with the same values under other names."""
    oracle = drive(make("quasi_random", tmp_path, max_trials=2, seed=3))
    renamed = [dataclasses.replace(point, name=f"new {point.name}") for point in POINTS]
    again = make("quasi_random", tmp_path, max_trials=2, seed=3, points=renamed)
    assert again.origins == oracle.origins


def test_another_search_is_refused(tmp_path):
    """All that differs is listed, and the remedy."""
    drive(make("quasi_random", tmp_path, max_trials=2, seed=3))
    with pytest.raises(SearchFolderError) as caught:
        make(
            "quasi_random",
            tmp_path,
            seed=4,
            sampler="halton",
            points=(POINTS[0], Enqueued("mine", {"units": 3})),
        )
    text = str(caught.value)
    assert "\n  seed: 3 -> 4\n" in text
    assert "\n  sampler: 'sobol' -> 'halton'\n" in text
    assert "\n  points: default, ours -> default, mine\n" in text
    assert "oracle" not in text.split("with", 1)[1].split("Give", maxsplit=1)[0]
    assert "project_name" in text
    points = (POINTS[0], Enqueued("ours", {"units": 3}))
    with pytest.raises(SearchFolderError, match="points: ours with other values"):
        make("quasi_random", tmp_path, seed=3, points=points)


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("random", {"seed": 0}, "seed: 7 -> 0"),
        ("hyperband", {"factor": 3}, "factor: 2 -> 3"),
        ("hyperband", {"max_epochs": 5}, "max_epochs: 4 -> 5"),
        ("bayesian", {"beta": 1.0}, "beta: 2.6 -> 1.0"),
        ("grid", {"values_per_range": 3}, "values_per_range: 2 -> 3"),
    ],
)
def test_other_settings_of_an_oracle_are_refused(kind, change, said, tmp_path):
    """Stock goes on with the old ones and says nothing."""
    run_one(make(kind, tmp_path))
    with pytest.raises(SearchFolderError, match=said):
        make(kind, tmp_path, **change)


def test_another_kind_or_objective_is_refused(tmp_path):
    """As is a folder of stock keras-tuner, which cannot say what it is."""
    run_one(make("random", tmp_path))
    with pytest.raises(SearchFolderError, match="oracle: 'RandomSearchOracle' -> 'Grid"):
        make("grid", tmp_path)
    other = ORACLES["random"][0](keras_tuner.Objective("val_loss", "max"), points=POINTS)
    BaseTuner(other, directory=str(tmp_path), project_name="search")
    with pytest.raises(SearchFolderError, match=r"objective: .*'min'.* -> .*'max'"):
        other.reload()
    stock = keras_tuner.oracles.RandomSearchOracle("val_loss", 1, hyperparameters=space())
    stock.verbose = 0
    BaseTuner(stock, directory=str(tmp_path), project_name="stock")
    drive(stock)
    with pytest.raises(SearchFolderError, match="another program"):
        make("random", tmp_path, name="stock")


def run_one(oracle):
    """Run the first trial of a search."""
    run(oracle, oracle.create_trial("tuner0"))


def test_more_trials_may_be_asked_for(tmp_path):
    """They are those that a search for as many would have had."""
    drive(make("quasi_random", tmp_path / "a", max_trials=4))
    more = drive(make("quasi_random", tmp_path / "a", max_trials=8))
    expected = drive(make("quasi_random", tmp_path / "b", max_trials=8))
    assert told(more)["trials"] == told(expected)["trials"]
    drive(make("hyperband", tmp_path / "c"))
    longer = drive(make("hyperband", tmp_path / "c", hyperband_iterations=2))
    assert len(longer.trials) > 1.5 * len(make("hyperband", tmp_path / "c").trials) / 2
    assert longer.get_state()["hyperband_iterations"] == 2


def waits(oracle, seconds):
    """Whether another thread that asks for a trial is still waiting after so many seconds."""
    other = threading.Thread(target=oracle.create_trial, args=("b",), daemon=True)
    other.start()
    other.join(seconds)
    return other.is_alive()


def test_an_error_does_not_lock_the_others_out(tmp_path):
    """Stock never gives its lock back if an exception passes it."""
    stock = keras_tuner.oracles.RandomSearchOracle("val_loss", hyperparameters=space())
    stock.verbose = 0
    BaseTuner(stock, directory=str(tmp_path), project_name="stock")
    # The one waits for ever, the other is as quick as the machine and its disk.
    for oracle, locked, seconds in ((stock, True, 0.5), (make("random", tmp_path), False, 60)):
        trial = oracle.create_trial("a")
        with pytest.raises(ValueError, match="Objective value missing"):
            oracle.update_trial(trial.trial_id, {"loss": 1.0})
        assert waits(oracle, seconds) is locked


def test_what_comes_back_from_a_worker_keeps_the_space_in_order(tmp_path, capsys):
    """The protocol sorts a space by type; coordinates and conditions depend on its order."""
    oracle = make("random", tmp_path)
    trial = oracle.create_trial("a")
    order = [entry.name for entry in trial.hyperparameters.space]
    values = dict(trial.hyperparameters.values)
    worker = Trial.from_proto(trial.to_proto())
    assert [entry.name for entry in worker.hyperparameters.space] != order
    worker.hyperparameters.Float("late", 0.0, 1.0, default=0.5)
    oracle.update_trial(worker.trial_id, {"val_loss": 1.0})
    worker.status = "COMPLETED"
    oracle.end_trial(worker)
    assert [entry.name for entry in trial.hyperparameters.space] == [*order, "late"]
    assert trial.hyperparameters.values == {**values, "late": 0.5}
    assert [entry.name for entry in oracle.hyperparameters.space] == [*order, "late"]
    assert capsys.readouterr().out  # stock prints the values of conditions as it sends them
