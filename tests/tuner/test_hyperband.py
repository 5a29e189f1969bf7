"""Hyperband's rungs: stock ones begin the optimizer anew, ours go on with it (T1)."""

from __future__ import annotations

import csv
import warnings

import keras_tuner
import numpy as np
import pytest

from nadam_suite.errors import ArgumentError, SearchFolderError
from nadam_suite.schedules import TrainingPlan
from nadam_suite.tuner.hypermodel import NadamHyperModel
from nadam_suite.tuner.tuners import QuasiRandomSearch, ResumableHyperband
from tests.tuner.searching import (
    BATCH,
    EPOCHS,
    EXAMPLES,
    RATES,
    STEPS,
    Cut,
    Seen,
    build_planned,
    build_stock,
    data,
    history,
    scores,
    search,
    stored,
)

pytestmark = pytest.mark.once

# Rungs of one epoch and of three: the first three trials, the one that goes on, and two beside.
RUNGS = [(0, 1), (0, 1), (0, 1), (1, 3), (0, 3), (0, 3)]


def _hyperband(kind, folder, build=build_planned, **options):
    options = {"objective": "val_loss", "max_epochs": EPOCHS, "seed": 3, **options}
    return kind(build, directory=folder, project_name="s", **options)


def _rungs(tuner):
    """Epochs at which each trial began and ended, in the order of the trials."""
    values = [t.hyperparameters.values for t in tuner.oracle.trials.values()]
    return [(v["tuner/initial_epoch"], v["tuner/epochs"]) for v in values]


def test_stock_replays_the_warm_up_in_each_rung(tmp_path):
    """Which is why there is a tuner of ours: without this failure it would have no purpose."""
    seen = Seen()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on some backends it says that it skips the optimizer
        tuner = _hyperband(keras_tuner.Hyperband, tmp_path, build_stock)
        search(tuner, epochs=None, callbacks=[seen])
    assert _rungs(tuner) == RUNGS
    assert seen.iterations == [0] * len(RUNGS)


@pytest.mark.parametrize(
    "build", [build_planned, pytest.param(build_stock, marks=pytest.mark.slow)]
)
def test_iterations_and_schedule_go_on_from_rung_to_rung(tmp_path, build):
    """With Keras' own optimizer and schedule, and with ours."""
    seen = Seen()
    tuner = _hyperband(ResumableHyperband, tmp_path, build)
    search(tuner, epochs=None, callbacks=[seen])
    assert _rungs(tuner) == RUNGS
    assert seen.iterations == [start * STEPS for start, _ in RUNGS]
    # The rate is zero at the first step of a warm-up, and nowhere else.
    assert seen.rates.count(0.0) == sum(start == 0 for start, _ in RUNGS)
    assert len(seen.rates) == sum(end - start for start, end in RUNGS) * STEPS


@pytest.mark.slow
@pytest.mark.parametrize("kind", [keras_tuner.Hyperband, ResumableHyperband])
def test_a_rung_begins_with_the_last_epoch_and_not_with_the_best(tmp_path, kind):
    """Here the first epoch is the best; stock goes back to it and counts on from its end."""
    worst = keras_tuner.Objective("val_loss", "max")
    seen = Seen()
    options = {"max_epochs": 4, "factor": 2, "objective": worst}
    tuner = search(_hyperband(kind, tmp_path, **options), epochs=None, callbacks=[seen])
    starts = [start for start, _ in _rungs(tuner)]
    assert 2 in starts
    assert (seen.iterations == [start * STEPS for start in starts]) == (kind is ResumableHyperband)


def test_a_trial_through_all_rungs_is_one_training_of_all_epochs(tmp_path):
    """Weights, averages, optimizer and history to the bit, as if the rungs were not there."""
    tuner = search(_hyperband(ResumableHyperband, tmp_path), epochs=None)
    trial = tuner.oracle.trials["0003"]
    assert trial.hyperparameters["tuner/round"] == 1
    alone = QuasiRandomSearch(
        build_planned,
        "val_loss",
        1,
        seed=3,
        points=[{"rate": trial.hyperparameters["rate"]}],
        directory=tmp_path,
        project_name="alone",
    )
    search(alone)
    rungs = stored(tmp_path / "s", "trial_0003/*/state/*.npz")
    whole = stored(tmp_path / "alone")
    assert len(rungs) > 8
    for (name, array), expected in zip(rungs.items(), whole.values(), strict=True):
        np.testing.assert_array_equal(array, expected, err_msg=name)
    assert history(tmp_path / "s", "0003") == history(tmp_path / "alone", "0")


@pytest.mark.parametrize("direction", ["max", pytest.param("min", marks=pytest.mark.slow)])
def test_the_best_epoch_of_earlier_rungs_counts(tmp_path, direction):
    """Score, step and weights are those of the whole history: here of the first or last epoch."""
    objective = keras_tuner.Objective("val_loss", direction)
    tuner = _hyperband(ResumableHyperband, tmp_path, objective=objective)
    search(tuner, epochs=None)
    best = {"max": max, "min": min}[direction]
    for trial in tuner.oracle.trials.values():
        rows = list(csv.DictReader(history(tmp_path / "s", trial.trial_id)))
        epochs = range(trial.hyperparameters["tuner/epochs"])
        assert [int(row["epoch"]) for row in rows] == list(epochs)
        losses = [float(row["val_loss"]) for row in rows]
        assert (trial.score, trial.best_step) == (best(losses), losses.index(best(losses)))
    steps = [trial.best_step for trial in tuner.oracle.trials.values()]
    assert steps[3] == (0 if direction == "max" else EPOCHS - 1)
    for trial in tuner.oracle.trials.values():
        found = tuner.load_model(trial).evaluate(*data(), batch_size=BATCH, verbose=0)
        assert found == pytest.approx(trial.score, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [{"batch": 5}, {"batch": 11}, {"epoch": 4}, {"epoch": 5}])
def test_cut_anywhere_equals_uncut(tmp_path, cut):
    """In a first rung, in a later one, and at the end of either."""

    def run(folder, **where):
        tuner = _hyperband(ResumableHyperband, tmp_path / folder)
        return search(tuner, epochs=None, callbacks=[Cut(**where)])

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("cut", **cut)
    resumed = run("cut")
    assert scores(resumed) == scores(whole)
    expected = stored(tmp_path / "whole")
    for name, array in stored(tmp_path / "cut").items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_a_past_trial_without_its_state_is_named(tmp_path):
    """Nothing is trained from the beginning in its place."""
    tuner = _hyperband(ResumableHyperband, tmp_path)
    trial = tuner.oracle.create_trial("t")
    trial.hyperparameters.values |= {"tuner/trial_id": "0099", "tuner/epochs": 3}
    with pytest.raises(SearchFolderError, match="trial_0099"):
        tuner.run_trial(trial, *data(), validation_data=data(), verbose=0)


@pytest.mark.parametrize("epochs", [3, 9])
def test_schedules_must_be_planned_for_the_longest_trials(tmp_path, epochs):
    """A plan of other epochs would end before the last rung, or after it."""
    plan = TrainingPlan.from_data(examples=EXAMPLES, batch_size=BATCH, epochs=6)
    hypermodel = NadamHyperModel(lambda hp, optimizer: None, plan=plan)
    with pytest.raises(ArgumentError, match=rf"max_epochs={epochs}.*epochs=6|plan has 6"):
        ResumableHyperband(hypermodel, "val_loss", epochs, directory=tmp_path)


def test_rates_lie_in_the_space(tmp_path):
    """The first trial is the default point, the others are the oracle's."""
    tuner = _hyperband(ResumableHyperband, tmp_path, max_epochs=2, factor=2)
    search(tuner, epochs=None)
    rates = [t.hyperparameters["rate"] for t in tuner.oracle.trials.values()]
    assert rates[0] == 0.05  # the default point comes first
    assert all(RATES[0] <= rate <= RATES[1] for rate in rates)
