"""What the five oracles propose, with one client or several."""

from __future__ import annotations

import collections
import random

import keras_tuner
import numpy as np
import pytest
from keras_tuner.engine.base_tuner import BaseTuner

from nadam_suite.errors import ArgumentError
from nadam_suite.tuner import oracles
from nadam_suite.tuner.points import Enqueued
from nadam_suite.tuner.proposals import completed
from tests.tuner.driving import ORACLES, drive, losses, make, run, space

pytestmark = pytest.mark.once


def values_of(oracle):
    """Values of each trial, without what Hyperband adds."""
    return [
        {k: v for k, v in oracle.trials[one].hyperparameters.values.items() if "tuner/" not in k}
        for one in oracle.start_order
    ]


def succeed(oracle, trial):
    """Run a trial well, in one epoch."""
    name = oracle.objective.name
    loss = min(losses(trial.hyperparameters.values))
    oracle.update_trial(trial.trial_id, {name: loss if name == "val_loss" else -loss})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def stock(cls, folder, **options):
    """An oracle of keras-tuner."""
    oracle = cls("val_loss", hyperparameters=space(), **options)
    oracle.verbose = 0
    BaseTuner(oracle, directory=str(folder), project_name="stock")
    return oracle


@pytest.mark.parametrize("kind", ORACLES)
def test_points_come_first(kind, tmp_path):
    """Their names, and what the space changed in them, stay with their trials."""
    points = [
        Enqueued("default", {}),
        Enqueued("one", {"units": 7, "schedule": "wsd"}, ("epsilon",)),
        Enqueued("one again", {"schedule": "wsd", "units": 7}),
        Enqueued("two", {"learning_rate": 0.1, "decay": True}),
    ]
    oracle = make(kind, tmp_path, points=points)
    trials = [oracle.create_trial(client) for client in "abcd"]
    expected = [completed(space().space, points[number].values) for number in (0, 1, 3)]
    assert values_of(oracle)[:3] == expected
    assert values_of(oracle)[3] not in expected
    ids = [trial.trial_id for trial in trials]
    assert make(kind, tmp_path, points=points).origins == {
        ids[0]: {"name": "default", "changed": []},
        ids[1]: {"name": "one", "changed": ["epsilon"]},
        ids[2]: {"name": "two", "changed": []},
    }


@pytest.mark.parametrize("kind", ["RandomSearchOracle", "BayesianOptimizationOracle"])
def test_stock_does_not_begin_with_the_default(kind, tmp_path):
    """It begins anywhere, and nothing can be put before that."""
    oracle = stock(getattr(keras_tuner.oracles, kind), tmp_path, seed=1)
    assert oracle.create_trial("a").hyperparameters.values != completed(space().space)


@pytest.mark.parametrize("sampler", ["halton", "sobol"])
@pytest.mark.parametrize("clients", ["ab", "abcde"])
def test_several_clients_find_the_points_of_one(sampler, clients, tmp_path):
    """Whoever asks gets the next one, whatever the others do meanwhile."""
    options = {"max_trials": 12, "sampler": sampler}
    alone = drive(make("quasi_random", tmp_path / "one", **options))
    together = make("quasi_random", tmp_path / "more", **options)
    order, running = random.Random(3), {}
    while trials := [one for one in clients if one not in running or running[one]]:
        client = order.choice(trials)
        trial = running.get(client) or together.create_trial(client)
        if client in running:
            run(together, trial)
            running.pop(client)
        else:
            running[client] = trial if trial.status == "RUNNING" else None
    assert values_of(together) == values_of(alone)
    assert len(together.end_order) == 12


@pytest.mark.parametrize("kind", ORACLES)
def test_seed_0_is_a_seed_and_none_is_drawn_once(kind, tmp_path):
    """Stock takes another one in place of 0."""
    searches = [make(kind, tmp_path / str(n), seed=0, points=()) for n in range(2)]
    assert [search.seed for search in searches] == [0, 0]
    for search in searches:
        for client in "abc":
            search.create_trial(client)
    assert values_of(searches[0]) == values_of(searches[1])
    drawn = [make(kind, tmp_path / f"none{n}", seed=None, points=()) for n in range(2)]
    assert drawn[0].seed != drawn[1].seed
    for search in drawn:
        search.create_trial("a")
        search.create_trial("b")
    assert kind == "grid" or values_of(drawn[0])[-1] != values_of(drawn[1])[-1]
    again = make(kind, tmp_path / "none0", seed=None, points=())
    assert again.seed == drawn[0].seed
    again.create_trial("a"), again.create_trial("b"), again.create_trial("c")
    assert values_of(again)[:2] == values_of(drawn[0])


def test_stock_draws_another_seed_for_0(tmp_path):
    """And the same one whenever Python's generator is seeded."""
    assert stock(keras_tuner.oracles.RandomSearchOracle, tmp_path, seed=0).seed != 0


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1", 2**31])
def test_other_seeds_are_refused(seed):
    """One message, with what was received."""
    with pytest.raises(ArgumentError, match=r"`seed` must be None or an integer.*Received: seed="):
        oracles.RandomSearchOracle("val_loss", seed=seed)


def test_seeds_may_be_numpys(tmp_path):
    """As they come out of a generator; files keep them as integers."""
    oracle = make("random", tmp_path, seed=np.int64(3))
    oracle.create_trial("a")
    assert make("random", tmp_path, seed=3).seed == 3


@pytest.mark.parametrize(
    ("make_oracle", "said"),
    [
        (lambda: oracles.QuasiRandomOracle(sampler="random"), "Use RandomSearchOracle"),
        (lambda: oracles.QuasiRandomOracle(sampler="sobl"), "Did you mean 'sobol'"),
        (lambda: oracles.HyperbandOracle(sampler="grid"), "Received: sampler='grid'"),
        (lambda: oracles.GridSearchOracle(values_per_range=1), "Received: values_per_range=1"),
    ],
)
def test_other_arguments_are_refused(make_oracle, said):
    """At once, with a remedy."""
    with pytest.raises(ArgumentError, match=said):
        make_oracle()


def test_points_outside_of_the_space_are_refused(tmp_path):
    """When their trial is to begin, which is the first that knows the space."""
    oracle = make("random", tmp_path, points=[Enqueued("far", {"learning_rate": 3.0})])
    with pytest.raises(ArgumentError, match=r"from 0.0001 to 0.1. Received: learning_rate=3.0"):
        oracle.create_trial("a")


def small():
    """Eight combinations: three of b where it counts, one where it does not, each with two of c."""
    hp = keras_tuner.HyperParameters()
    hp.Choice("a", ["x", "y"])
    with hp.conditional_scope("a", ["x"]):
        hp.Int("b", 1, 3)
    hp.Boolean("c")
    return hp


@pytest.mark.parametrize("kind", ["quasi_random", "random", "grid"])
def test_a_space_without_ranges_is_searched_to_its_end(kind, tmp_path):
    """Each combination once, and then the search is over."""
    oracle = make(kind, tmp_path, hyperparameters=small(), points=(), max_trials=99)
    for _ in range(8):
        trial = oracle.create_trial("a")
        oracle.update_trial(trial.trial_id, {"val_loss": 1.0})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert oracle.create_trial("a").status == "STOPPED"
    assert len({tuple(sorted(values.items())) for values in values_of(oracle)}) == 8


def test_a_space_that_was_given_is_not_changed(tmp_path):
    """Stock adds to it what trials declare, so that the next search has another space."""
    given = small()
    for cls, size in ((oracles.RandomSearchOracle, 3), (keras_tuner.oracles.RandomSearchOracle, 4)):
        oracle = cls("val_loss", hyperparameters=given)
        more = oracle.get_space()
        more.Boolean("late")
        oracle.update_space(more)
        assert len(given.space) == size


def test_a_growing_space_moves_no_quasi_random_point(tmp_path):
    """What is declared later gets coordinates of its own."""
    fixed = drive(make("quasi_random", tmp_path / "a", points=(), max_trials=6))
    oracle = make("quasi_random", tmp_path / "b", points=(), max_trials=6)
    trial = oracle.create_trial("a")
    trial.hyperparameters.Float("late", 0.0, 1.0)
    run(oracle, trial)
    drive(oracle)
    late = [values.pop("late", None) for values in values_of(oracle)]
    assert [{**v, "late": 0} for v in values_of(fixed)] == [
        {**v, "late": 0} for v in values_of(oracle)
    ]
    assert len(set(late)) == 6


def test_a_grid_waits_for_what_running_trials_may_declare(tmp_path):
    """Unless the space cannot grow."""
    options = {"hyperparameters": small(), "points": (), "max_trials": None}
    oracle = make("grid", tmp_path / "a", **options)
    trials = [oracle.create_trial(str(client)) for client in range(8)]
    assert oracle.create_trial("8").status == "IDLE"
    trials[0].hyperparameters.Choice("late", ["p", "q"])
    for trial in trials:
        oracle.update_trial(trial.trial_id, {"val_loss": 1.0})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    more = [oracle.create_trial(str(client)).hyperparameters.values for client in range(16)]
    assert {values["late"] for values in more if values} == {"p", "q"}
    closed = make("grid", tmp_path / "b", **options, allow_new_entries=False)
    for client in range(8):
        closed.create_trial(str(client))
    assert closed.create_trial("8").status == "STOPPED"


def test_stocks_grid_loses_its_place(tmp_path):
    """Loaded again, it runs its last trial twice or stops; ours goes on, as all five do."""
    first = stock(keras_tuner.oracles.GridSearchOracle, tmp_path)
    succeed(first, first.create_trial("a"))
    killed = stock(keras_tuner.oracles.GridSearchOracle, tmp_path)
    killed.reload()
    assert killed.create_trial("a").trial_id == "0000"
    first.save()  # as a tuner does a moment later
    again = stock(keras_tuner.oracles.GridSearchOracle, tmp_path)
    again.reload()
    assert again.create_trial("a").status == "STOPPED"
    ours = make("grid", tmp_path)
    succeed(ours, ours.create_trial("a"))
    assert make("grid", tmp_path).create_trial("a").status == "RUNNING"


@pytest.mark.parametrize(("max_epochs", "factor"), [(4, 2), (9, 3), (10, 3)])
def test_hyperband_has_stocks_rounds(max_epochs, factor, tmp_path):
    """As many trials with as many epochs, and each goes on with one of the best."""
    found = []
    options = {"max_epochs": max_epochs, "factor": factor, "seed": 5}
    for oracle in (
        make("hyperband", tmp_path, **options),
        stock(keras_tuner.oracles.HyperbandOracle, tmp_path, **options),
    ):
        while (trial := oracle.create_trial("a")).status != "STOPPED":
            succeed(oracle, trial)
        trials = [one.hyperparameters.values for one in oracle.trials.values()]
        names = ("tuner/bracket", "tuner/round", "tuner/initial_epoch", "tuner/epochs")
        found.append(collections.Counter(tuple(one[name] for name in names) for one in trials))
        for values in trials:
            if "tuner/trial_id" in values:
                past = oracle.trials[values["tuner/trial_id"]].hyperparameters.values
                assert past["tuner/epochs"] == values["tuner/initial_epoch"]
    assert found[0] == found[1]
    assert sum(found[0].values()) > 6


def bowl(oracle, trials, *, sign=1.0, client="a"):
    """Let an oracle look for the lowest or highest point of a smooth function of two numbers."""
    for _ in range(trials):
        trial = oracle.create_trial(client)
        x, y = (trial.hyperparameters.values[name] for name in "xy")
        value = (np.log10(x) + 2) ** 2 + (y - 0.7) ** 2
        oracle.update_trial(trial.trial_id, {oracle.objective.name: sign * value})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    return abs(oracle.get_best_trials(1)[0].score)


def plane():
    hp = keras_tuner.HyperParameters()
    hp.Float("x", 1e-4, 1.0, sampling="log")
    hp.Float("y", 0.0, 1.0)
    return hp


@pytest.mark.parametrize("direction", ["min", "max"])
def test_bayesian_optimization_finds_the_optimum_of_a_smooth_function(direction, tmp_path):
    """A good deal closer than as many even points, in either direction."""
    sign = 1.0 if direction == "min" else -1.0
    found = []
    for cls, own in (
        (oracles.BayesianOptimizationOracle, {"beta": 0.5}),
        (oracles.QuasiRandomOracle, {}),
    ):
        objective = keras_tuner.Objective("score", direction)
        oracle = cls(objective, max_trials=12, seed=0, hyperparameters=plane(), **own)
        oracle.verbose = 0
        BaseTuner(oracle, directory=str(tmp_path), project_name=cls.__name__)
        found.append(bowl(oracle, 12, sign=sign))
    assert found[0] < found[1] / 4


def test_failed_and_running_trials_are_told_to_the_surrogate(tmp_path, monkeypatch):
    """The failed ones as the worst; a proposal that was tried is passed over."""
    seen, seeds = {}, []

    def promising(known, scores, running, **settings):
        seen.update(known=known, scores=scores, running=running, **settings)
        seeds.append(settings["seed"])
        return np.array([known[0], [0.25, 0.75]])

    monkeypatch.setattr(oracles, "promising", promising)
    oracle = oracles.BayesianOptimizationOracle(
        keras_tuner.Objective("score", "max"), 9, 2, beta=1.5, seed=4, hyperparameters=plane()
    )
    oracle.verbose = 0
    BaseTuner(oracle, directory=str(tmp_path), project_name="search")
    for number, status in enumerate(["COMPLETED", "FAILED", "COMPLETED"]):
        trial = oracle.create_trial("a")
        oracle.update_trial(trial.trial_id, {"score": 10.0 * number})
        trial.status, trial.message = status, "Diverged: score is nan"
        oracle.end_trial(trial)
    proposed = [oracle.create_trial(client).hyperparameters.values for client in "ab"]
    assert seen["scores"].tolist() == [0.0, -20.0, 0.0]
    assert seen["running"].tolist() == [pytest.approx([0.25, 0.75])]
    trials = [oracle.trials[one].hyperparameters.values for one in "021"]
    expected = [[(np.log10(values["x"]) + 4) / 4, values["y"]] for values in trials]
    np.testing.assert_allclose(seen["known"], expected)
    assert (len(set(seeds)), seen["beta"], seen["alpha"]) == (2, 1.5, 1e-4)
    assert proposed[0] == {"x": pytest.approx(1e-3), "y": 0.75}
    assert proposed[1] != proposed[0]  # all that is promising was tried: an even point instead


def test_bayesian_optimization_of_nothing_ends(tmp_path):
    """A space of fixed values has one trial."""
    hp = keras_tuner.HyperParameters()
    hp.Fixed("x", 1)
    oracle = make("bayesian", tmp_path, hyperparameters=hp, points=(), num_initial_points=1)
    trial = oracle.create_trial("a")
    oracle.update_trial(trial.trial_id, {"val_loss": 1.0})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert (trial.hyperparameters.values, oracle.create_trial("a").status) == ({"x": 1}, "STOPPED")
