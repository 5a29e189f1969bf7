"""Folders of searches are read, as stock keras-tuner and this package write them."""

from __future__ import annotations

import json
import math
import shutil

import keras_tuner
import pytest

from nadam_suite.errors import SearchFolderError
from nadam_suite.tuner.failures import FAILURE
from nadam_suite.tuner.oracles import RandomSearchOracle
from nadam_suite.tuner.points import Enqueued
from nadam_suite.tuner.search_folder import read_search
from tests.tuner.recorded import formula, space, stock

pytestmark = pytest.mark.once

TUNERS = {
    "random": (keras_tuner.RandomSearch, {"max_trials": 8}),
    "bayesian": (keras_tuner.BayesianOptimization, {"max_trials": 8}),
    "grid": (keras_tuner.GridSearch, {"max_trials": 8}),
    "hyperband": (keras_tuner.Hyperband, {"max_epochs": 4, "factor": 2}),
}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", TUNERS)
def test_a_stock_search_is_read_as_its_own_tuner_knows_it(tmp_path, kind):
    """Trials in their order, values, scores, best ones; and nothing is written."""
    tuner, options = TUNERS[kind]
    made, folder = stock(tuner, tmp_path, formula, **options)
    before = contents(folder)
    found = read_search(folder)
    assert contents(folder) == before
    assert (found.objective, found.direction, found.notes) == ("val_loss", "min", ())
    assert [trial.id for trial in found.trials] == made.oracle.start_order
    assert len(found.trials) >= 8
    for trial in found.trials:
        theirs = made.oracle.trials[trial.id]
        own = {n: v for n, v in theirs.hyperparameters.values.items() if "tuner/" not in n}
        assert dict(trial.values) == own
        assert ("cooldown" in trial.values) == (trial.values["kind"] == "wsd")
        assert trial.score == theirs.score
    assert found.best.score == made.oracle.get_best_trials()[0].score
    assert [trial.score for trial in found.ranked] == sorted(t.score for t in found.trials)
    assert [d.name for d in found.varied] == ["rate", "kind", "cooldown", "width", "flag"]
    assert [d.kind for d in found.dimensions][-1] == "fixed"


def test_rungs_of_hyperband_are_known(tmp_path):
    """Each trial's length and which one it goes on with; the last rung stands for its values."""
    made, folder = stock(keras_tuner.Hyperband, tmp_path, formula, max_epochs=4, factor=2)
    found = read_search(folder)
    for trial in found.trials:
        values = made.oracle.trials[trial.id].hyperparameters.values
        assert (trial.epochs, trial.rung) == (values["tuner/epochs"], values["tuner/round"])
        assert trial.past == values.get("tuner/trial_id")
    gone_on = {trial.past for trial in found.trials} - {None}
    assert gone_on
    assert found.best.epochs == 4
    assert {t.id for t in found.configurations} == {t.id for t in found.trials} - gone_on


def one(name):
    return lambda values: {name: formula(values), "size": float(values["width"])}


def several(values):
    score, size = formula(values), float(values["width"])
    return {"val_loss": score, "size": size, "multi_objective": score - size}


MANY = [keras_tuner.Objective("val_loss", "min"), keras_tuner.Objective("size", "max")]
OBJECTIVES = {
    "smallest": ("val_loss", one("val_loss"), "val_loss", "min"),
    "greatest": ("val_accuracy", one("val_accuracy"), "val_accuracy", "max"),
    "of one's own": (keras_tuner.Objective("gain", "max"), one("gain"), "gain", "max"),
    "unnamed": (None, formula, "default_objective", "min"),
    "several": (MANY, several, "multi_objective", "min"),
    "several executions": ("val_loss", lambda v: [formula(v), 3.0], "val_loss", "min"),
}


@pytest.mark.parametrize("case", OBJECTIVES)
def test_the_objective_is_found_from_the_scores(tmp_path, case):
    """Stock keras-tuner writes neither its name nor its direction."""
    objective, run, name, direction = OBJECTIVES[case]
    made, folder = stock(keras_tuner.RandomSearch, tmp_path, run, objective=objective, max_trials=5)
    found = read_search(folder)
    assert (found.objective, found.direction, found.notes) == (name, direction, ())
    assert found.best.id == made.oracle.get_best_trials()[0].trial_id


@pytest.mark.parametrize("direction", ["min", "max"])
def test_of_several_epochs_the_best_one_is_the_score(tmp_path, direction):
    """So the objective is found, though another metric has the same value in another epoch."""
    oracle = keras_tuner.oracles.RandomSearchOracle(
        keras_tuner.Objective("val_gain", direction), max_trials=2, hyperparameters=space()
    )
    oracle._set_project_dir(str(tmp_path), "search")
    oracle.verbose = 0
    trial = oracle.create_trial("a")
    for step, gain in enumerate((0.5, 0.9, 0.1)):
        oracle.update_trial(trial.trial_id, {"val_gain": gain, "loss": 1 - gain}, step=step)
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    oracle.save()
    found = read_search(tmp_path / "search")
    best = {"min": (0.1, 2), "max": (0.9, 1)}[direction]
    assert (found.best.score, found.best.best_step) == best
    assert found.best.metrics["val_gain"] == best[0]
    assert (found.objective, found.direction) == ("val_gain", direction)


def test_of_metrics_that_are_always_equal_the_validation_s_is_taken_with_a_note(tmp_path):
    """Which one it was cannot be known, and the ranking is the same."""
    run = lambda values: {"a": formula(values), "val_a": formula(values)}  # noqa: E731
    goal = keras_tuner.Objective("a", "min")
    _, folder = stock(keras_tuner.RandomSearch, tmp_path, run, objective=goal, max_trials=4)
    found = read_search(folder)
    assert found.objective == "val_a"
    assert "a, val_a fit the scores" in found.notes[0]


def failing(values):
    if values["rate"] > 0.03:
        raise keras_tuner.errors.FailedTrialError("Diverged: val_loss is nan at epoch 3")
    if values["kind"] == "linear":
        raise ValueError("no room\nleft")
    return math.inf if values["flag"] else math.nan if values["width"] > 32 else formula(values)


@pytest.mark.filterwarnings("ignore:All-NaN axis:RuntimeWarning")  # by stock, of the NaN
def test_why_trials_failed(tmp_path):
    """Of a traceback the error, of a stock NaN a sentence; what is not finite is never ranked."""
    _, folder = stock(keras_tuner.RandomSearch, tmp_path, failing, max_trials=24)
    found = read_search(folder)
    reasons = {
        "Diverged: val_loss is nan at epoch 3": True,
        "ValueError: no room": False,
        "Diverged: val_loss is inf": True,
        "Diverged: val_loss is nan": True,
    }
    assert {trial.reason: trial.diverged for trial in found.failed} == reasons
    assert len(found.failed) + len(found.ranked) == 24
    assert all(math.isfinite(trial.score) for trial in found.ranked)
    assert all(trial.reason is None for trial in found.ranked)
    assert all("Traceback" in t.details for t in found.failed if t.reason == "ValueError: no room")


def test_a_search_that_was_killed_has_a_trial_that_is_not_finished(tmp_path):
    """Neither ranked nor failed."""
    seen = []

    def run(values):
        seen.append(values)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return formula(values)

    _, folder = stock(keras_tuner.RandomSearch, tmp_path, run, max_trials=9)
    found = read_search(folder)
    assert [trial.status for trial in found.unfinished] == ["RUNNING"]
    assert (len(found.ranked), len(found.failed)) == (3, 0)


@pytest.fixture
def folder(tmp_path):
    return stock(keras_tuner.RandomSearch, tmp_path, formula, max_trials=4)[1]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"trial_id": "0"}', "\udcff"])
def test_a_damaged_trial_is_left_out_with_a_note(folder, text):
    """Such as one that is being written just now; the others are read."""
    path = sorted(folder.glob("trial_*"))[1] / "trial.json"
    path.write_text(text, errors="surrogateescape")
    found = read_search(folder)
    assert [trial.id for trial in found.trials] == ["0", "2", "3"]
    assert len(found.notes) == 1
    assert found.notes[0].startswith("trial_1/trial.json was left out: it ")


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_the_trials_alone_are_enough(folder, text):
    """Ranges are in their files too."""
    whole = read_search(folder)
    (folder / "oracle.json").unlink()
    if text is not None:
        (folder / "oracle.json").write_text(text)
    found = read_search(folder)
    assert found.trials == whole.trials
    assert {d.name for d in found.varied} <= {d.name for d in whole.varied}
    assert "rate" in {d.name for d in found.varied}
    assert ["oracle.json" in note for note in found.notes] == [True] * (text == "{")


def test_without_any_whole_file_there_is_no_search(folder):
    """The message names the files and what to do."""
    for path in folder.rglob("*.json"):
        path.write_text("{")
    with pytest.raises(SearchFolderError, match=r"trial_3/trial\.json was left out.*from a copy"):
        read_search(folder)


def test_what_is_no_search_is_refused(folder, tmp_path):
    """With what it is instead, and what to name."""
    with pytest.raises(SearchFolderError, match=r"'.*missing', which does not exist\. Check"):
        read_search(tmp_path / "missing")
    with pytest.raises(SearchFolderError, match="is a file"):
        read_search(folder / "oracle.json")
    with pytest.raises(SearchFolderError, match=rf"Name one of them: '{folder}'"):
        read_search(tmp_path)
    shutil.rmtree(folder)
    with pytest.raises(
        SearchFolderError, match=r"which holds neither\. Name the folder that `tune`"
    ):
        read_search(tmp_path)
    (tmp_path / "config.toml").touch()
    with pytest.raises(SearchFolderError, match="which is the folder of a run"):
        read_search(tmp_path)


def test_a_search_that_has_begun_has_no_trials(tmp_path):
    """Only `oracle.json` is there."""
    state = {"hyperparameters": space().get_config(), "start_order": []}
    (tmp_path / "oracle.json").write_text(json.dumps(state))
    found = read_search(tmp_path)
    assert (found.trials, found.best, found.notes) == ((), None, ())
    assert found.varied[0].name == "rate"


def test_only_values_of_active_hyperparameters_are_kept(folder):
    """Whatever else a file has: other tuners leave values of choices that were not taken."""
    path = folder / "trial_0" / "trial.json"
    state = json.loads(path.read_text())
    state["hyperparameters"]["values"] |= {
        "kind": "linear",
        "cooldown": 0.5,
        "deep": True,
        "mine": 1,
    }
    parent = {"class_name": "Parent", "config": {"name": "cooldown", "values": [0.5]}}
    deep = {"name": "deep", "conditions": [parent]}
    state["hyperparameters"]["space"].append({"class_name": "Boolean", "config": deep})
    path.write_text(json.dumps(state))
    values = read_search(folder).trials[0].values
    assert not {"cooldown", "deep"} & {*values}
    assert values["mine"] == 1


def test_a_name_under_two_conditions_is_two_hyperparameters(tmp_path):
    """Told apart by their labels; each trial has one of them."""
    hp = keras_tuner.HyperParameters()
    hp.Choice("layer", ["dense", "conv"])
    for layer, most in (("dense", 512), ("conv", 64)):
        with hp.conditional_scope("layer", [layer]):
            hp.Int("units", 8, most)
    options = {"max_trials": 2, "hyperparameters": hp}
    _, folder = stock(keras_tuner.GridSearch, tmp_path, lambda values: 1.0, **options)
    for layer, path in zip(("dense", "conv"), sorted(folder.glob("*/trial.json")), strict=True):
        state = json.loads(path.read_text())
        # Stock loses the value of a name that is declared again.
        state["hyperparameters"]["values"] = {"layer": layer, "units": 16}
        path.write_text(json.dumps(state))
    found = read_search(folder)
    assert [d.label for d in found.varied] == [
        "layer",
        "units [layer=dense]",
        "units [layer=conv]",
    ]
    for trial in found.trials:
        levels = [dimension.level(trial.values) for dimension in found.varied[1:]]
        assert levels[trial.values["layer"] == "dense"] is None
        assert sum(level is None for level in levels) == 1


def ours(folder, points=(), trials=5):
    """An oracle of this package with its folder."""
    oracle = RandomSearchOracle(
        keras_tuner.Objective("gain", "max"),
        max_trials=trials,
        seed=0,
        hyperparameters=space(),
        points=points,
    )
    oracle._set_project_dir(str(folder), "search")
    oracle.verbose = 0
    return oracle


def test_our_folders_say_more(tmp_path):
    """The objective before any trial has ended, the points, and why a worker's trial failed."""
    point = Enqueued("winner", {"rate": 0.01, "kind": "linear"}, ("epsilon",))
    oracle = ours(tmp_path, [point])
    first, second = oracle.create_trial("a"), oracle.create_trial("b")
    found = read_search(tmp_path / "search")
    assert (found.objective, found.direction) == ("gain", "max")
    assert [trial.status for trial in found.trials] == ["RUNNING"] * 2
    assert (found.trials[0].origin, found.trials[0].changed) == ("winner", ("epsilon",))
    assert (found.trials[1].origin, found.trials[1].changed) == (None, ())
    oracle.update_trial(first.trial_id, {"gain": 0.5, "less": -0.5}, step=4)
    first.status = "COMPLETED"
    oracle.end_trial(first)
    place = tmp_path / "search" / f"trial_{second.trial_id}"
    (place / FAILURE).write_text("Diverged: gain is nan at epoch 2 (loss nan)\n")
    second.status = "FAILED"
    oracle.end_trial(second)
    found = read_search(tmp_path / "search")
    assert (found.best.id, found.best.score, found.best.best_step) == (first.trial_id, 0.5, 4)
    assert found.failed[0].diverged
    assert found.failed[0].reason == "Diverged: gain is nan at epoch 2 (loss nan)"


def test_a_trial_of_ours_that_was_never_handed_out_is_not_there(tmp_path):
    """A kill between the two files leaves it; it will be proposed again."""
    oracle = ours(tmp_path)
    oracle.create_trial("a")
    before = (tmp_path / "search" / "oracle.json").read_bytes()
    oracle.create_trial("b")
    (tmp_path / "search" / "oracle.json").write_bytes(before)
    assert len(read_search(tmp_path / "search").trials) == 1
