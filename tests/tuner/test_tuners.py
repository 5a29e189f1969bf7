"""Stock keras-tuner's failures, and the same searches with ours (T2, T5, T6, T7, D67)."""

from __future__ import annotations

import keras
import keras_tuner
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import show_raw
from nadam_suite.callbacks import EvaluateAverage
from nadam_suite.errors import ArgumentError, SearchFolderError
from nadam_suite.schedules import TrainingPlan
from nadam_suite.tuner.hypermodel import NadamHyperModel
from nadam_suite.tuner.points import PublishedPoint
from nadam_suite.tuner.tuners import (
    BayesianOptimization,
    GridSearch,
    QuasiRandomSearch,
    RandomSearch,
)
from tests.tuner.searching import (
    BATCH,
    EPOCHS,
    EXAMPLES,
    STEPS,
    data,
    make,
    quietly,
    search,
)

pytestmark = pytest.mark.once

KINDS = [
    QuasiRandomSearch,
    *(
        pytest.param(k, marks=pytest.mark.slow)
        for k in (RandomSearch, BayesianOptimization, GridSearch)
    ),
]


def _evaluated(tuner):
    """The best trial's score, and what its model evaluates to."""
    found = tuner.get_best_models()[0].evaluate(*data(), batch_size=BATCH, verbose=0)
    return tuner.oracle.get_best_trials()[0].score, found[0]


# Averages, T2 and D67


def test_stock_scores_the_averages_and_keeps_the_raw_weights(tmp_path):
    """So that its best model is another one than it says."""
    tuner = make(keras_tuner.RandomSearch, tmp_path, trials=1)
    with quietly():
        search(tuner, callbacks=[EvaluateAverage()])
        score, found = _evaluated(tuner)
    assert abs(found - score) > 1e-3 * abs(score)


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_model_evaluates_to_its_score(tmp_path, kind):
    """Whichever search has found it."""
    tuner = search(make(kind, tmp_path), callbacks=[EvaluateAverage()])
    score, found = _evaluated(tuner)
    assert found == pytest.approx(score, rel=1e-6)


def test_the_best_model_is_trained_on_from_its_raw_weights(tmp_path):
    """The file has both, so that nothing is lost by what it shows."""
    tuner = search(make(QuasiRandomSearch, tmp_path, trials=1), callbacks=[EvaluateAverage()])
    model = tuner.get_best_models()[0]
    averaged = model.evaluate(*data(), verbose=0)[0]
    best = tuner.oracle.trials["0"].best_step
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == (best + 1) * STEPS
    assert show_raw(model)
    raw = tuner.oracle.trials["0"].metrics.get_best_value("val_raw_loss")
    assert averaged != raw
    assert model.evaluate(*data(), verbose=0)[0] == pytest.approx(raw, rel=1e-6)


def test_recalibrated_statistics_are_kept_too(tmp_path):
    """Those with which the averages were measured."""
    average = EvaluateAverage(batch_norm="recalibrate", data=data()[0])
    score, found = _evaluated(search(make(QuasiRandomSearch, tmp_path), callbacks=[average]))
    assert found == pytest.approx(score, rel=1e-6)


@pytest.mark.parametrize("objective", ["val_loss", "val_raw_loss"])
def test_raw_weights_are_kept_where_they_are_what_is_measured(tmp_path, objective):
    """Averages alone do not make an objective theirs."""
    callbacks = [EvaluateAverage()] if objective == "val_raw_loss" else []
    objective = keras_tuner.Objective(objective, "min")
    tuner = search(make(QuasiRandomSearch, tmp_path, objective=objective), callbacks=callbacks)
    score, found = _evaluated(tuner)
    assert found == pytest.approx(score, rel=1e-6)


def test_a_hypermodel_of_ours_is_measured_by_its_averages(tmp_path):
    """Without a callback of the user's; its settings lie beside the trial."""
    plan = TrainingPlan.from_data(examples=EXAMPLES, batch_size=BATCH, epochs=EPOCHS)

    def build_model(hp, optimizer):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(optimizer, loss="mse", metrics=["mae"])
        return model

    hypermodel = NadamHyperModel(build_model, plan=plan, tune=("learning_rate", "averaging"))
    points = [{"averaging": "ema"}]
    tuner = search(make(QuasiRandomSearch, tmp_path, hypermodel, points=points), epochs=None)
    score, found = _evaluated(tuner)
    assert found == pytest.approx(score, rel=1e-6)
    trial = tuner.oracle.trials["0"]
    assert trial.metrics.exists("val_raw_loss")
    rate = trial.hyperparameters["learning_rate"]
    assert str(rate) in (tmp_path / "s" / "trial_0" / "optimizer.toml").read_text()


def test_more_epochs_than_planned_end_the_search_at_once(tmp_path):
    """They would fail in each trial."""
    plan = TrainingPlan.from_data(examples=EXAMPLES, batch_size=BATCH, epochs=EPOCHS)

    def build_model(hp, optimizer):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(optimizer, loss="mse")
        return model

    tuner = make(QuasiRandomSearch, tmp_path, NadamHyperModel(build_model, plan=plan))
    with pytest.raises(ArgumentError, match="`epochs` must be at most the plan's"):
        search(tuner, epochs=EPOCHS + 1)
    assert [trial.status for trial in tuner.oracle.trials.values()] == ["RUNNING"]


def test_the_weights_of_the_best_of_several_executions_are_kept(tmp_path):
    """While the score is the mean of all."""
    tuner = search(make(QuasiRandomSearch, tmp_path, trials=1, executions_per_trial=3))
    folders = sorted((tmp_path / "s" / "trial_0").glob("execution_*"))
    lowest = []
    for folder in folders:
        rows = np.genfromtxt(folder / "history.csv", delimiter=",", names=True)
        lowest.append(rows["val_loss"].min())
    score, found = _evaluated(tuner)
    assert len(set(lowest)) == 3
    assert score == pytest.approx(np.mean(lowest), rel=1e-6)
    assert found == pytest.approx(min(lowest), rel=1e-6)


def test_epochs_without_validation_are_passed_over(tmp_path):
    """The best one is among those that were validated."""
    tuner = search(make(QuasiRandomSearch, tmp_path, trials=1), validation_freq=2)
    assert tuner.oracle.trials["0"].best_step == 1
    score, found = _evaluated(tuner)
    assert found == pytest.approx(score, rel=1e-6)


# Known points first, T5


def test_stock_does_not_try_the_default_point_first(tmp_path):
    """Nor can it be told to."""
    tuner = make(keras_tuner.RandomSearch, tmp_path)
    assert tuner.oracle.create_trial("t").hyperparameters["rate"] != 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_point_or_given_ones_come_first(tmp_path, kind):
    """Projected onto the space, with what that has changed."""
    tuner = make(kind, tmp_path)
    assert tuner.oracle.create_trial("t").hyperparameters["rate"] == 0.05
    points = [{"rate": 0.2}, PublishedPoint("mine", {"rate": 7.0, "beta": 0.9}, "a paper")]
    given = make(kind, tmp_path / "given", trials=3, points=points)
    rates = [given.oracle.create_trial(f"t{i}").hyperparameters["rate"] for i in range(2)]
    assert rates == [0.2, 1.0]
    assert given.oracle.origins["1"]["name"] == "mine"
    assert sorted(given.oracle.origins["1"]["changed"]) == ["beta", "rate"]
    none = make(kind, tmp_path / "none", points=())
    assert none.oracle.origins == {}


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("first", "Received: points='first'"),
        ({"rate": 0.2}, r"Received: points=\{'rate': 0.2\}"),
        ([0.2], "Received: points=0.2"),
        ([{"rat": 0.2}], "Received: 'rat'. Did you mean 'rate'"),
    ],
)
def test_what_are_no_points_is_refused(tmp_path, points, message):
    """With the nearest name, or what to pass."""
    with pytest.raises(ArgumentError, match=message):
        make(QuasiRandomSearch, tmp_path, points=points)


# Workers and overwriting, T6


@pytest.mark.parametrize("identity", ["chief", "tuner1"])
def test_workers_must_not_overwrite(tmp_path, identity, monkeypatch):
    """Stock lets the worker that comes late delete all that is there."""
    folder = tmp_path / "s"
    folder.mkdir()
    kept = folder / "kept"
    monkeypatch.setenv("KERASTUNER_TUNER_ID", identity)
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    kept.touch()
    with pytest.raises(ArgumentError, match="`overwrite` must be False where workers share"):
        make(QuasiRandomSearch, tmp_path, overwrite=True)
    assert kept.exists()
    make(keras_tuner.RandomSearch, tmp_path, overwrite=True)
    assert not kept.exists()


def test_one_process_may_overwrite(tmp_path):
    """As in stock keras-tuner."""
    first = make(QuasiRandomSearch, tmp_path, seed=1)
    first.oracle.create_trial("t")
    again = make(QuasiRandomSearch, tmp_path, seed=2, overwrite=True)
    assert again.oracle.trials == {}


# Another space, T7


def _with_range(highest):
    def build_within(hp):
        rate = hp.Float("rate", 1e-3, highest, sampling="log")
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(Nadam(rate), loss="mse")
        return model

    return build_within


def test_a_changed_range_is_refused_and_stock_keeps_the_old_one(tmp_path):
    """The message has the old bound and the new one."""
    stock = make(keras_tuner.RandomSearch, tmp_path / "stock", _with_range(1e-2))
    stock.save()
    with quietly():
        stock = make(keras_tuner.RandomSearch, tmp_path / "stock", _with_range(1.0))
    assert stock.oracle.get_space().space[0].max_value == 1e-2
    ours = make(QuasiRandomSearch, tmp_path / "ours", _with_range(1e-2))
    ours.save()
    with pytest.raises(SearchFolderError, match=r"rate: max_value 0\.01 -> 1\.0"):
        make(QuasiRandomSearch, tmp_path / "ours", _with_range(1.0))
    make(QuasiRandomSearch, tmp_path / "ours", _with_range(1e-2))


def test_entries_that_are_not_tuned_do_not_change_the_space(tmp_path):
    """A search goes on though its hypermodel declares more than it tunes."""
    hp = keras_tuner.HyperParameters()
    hp.Int("other", 1, 3)
    for _ in range(2):
        tuner = make(QuasiRandomSearch, tmp_path, hyperparameters=hp.copy(), tune_new_entries=False)
        tuner.save()
    assert [entry.name for entry in tuner.oracle.get_space().space] == ["other"]
