"""Checks of a search's space and objective against what is there."""

from __future__ import annotations

import keras_tuner
import pytest

from nadam_suite.errors import ArgumentError, SearchFolderError
from nadam_suite.tuner.check import check_objective, check_space, declared_space
from tests.tuner.driving import make, run, space

pytestmark = pytest.mark.once


def started(folder, **options):
    """The folder of a search with one trial."""
    oracle = make("random", folder, **options)
    run(oracle, oracle.create_trial("tuner0"))
    return folder / "search"


def test_the_same_space_is_let_through(tmp_path):
    """Declared again, or gone on with after trials."""
    folder = started(tmp_path)
    check_space(folder, space())
    check_space(folder, make("random", tmp_path).get_space())


def test_stock_keeps_the_old_range_and_says_nothing(tmp_path):
    """The new one is declared, and the trials do not reach into it."""
    started(tmp_path)
    oracle = make("random", tmp_path, hyperparameters=space(highest=10.0))
    oracle.update_space(space(highest=10.0))
    assert oracle.hyperparameters.space[0].max_value == 0.1
    with pytest.raises(SearchFolderError, match=r"\n  learning_rate: max_value 0.1 -> 10.0\n"):
        check_space(tmp_path / "search", space(highest=10.0))


def test_all_changes_are_listed(tmp_path):
    """Ranges, scales, defaults, types, and names that came or went, with their conditions."""
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", 1e-3, 1e-1, default=1e-3)
    hp.Choice("schedule", ["cosine", "linear"])
    with hp.conditional_scope("schedule", ["linear"]):
        hp.Float("wsd/cooldown", 0.05, 0.5)
    hp.Boolean("decay", default=True)
    hp.Float("units", 1, 8, default=4.0)
    hp.Fixed("layers", 3)
    with pytest.raises(SearchFolderError) as caught:
        check_space(started(tmp_path), hp)
    lines = str(caught.value).splitlines()
    assert lines[1:-1] == [
        "  learning_rate: min_value 0.0001 -> 0.001",
        "  learning_rate: sampling 'log' -> 'linear'",
        "  schedule: values ['cosine', 'wsd'] -> ['cosine', 'linear']",
        "  wsd/cooldown (where schedule in ['wsd']): no longer declared",
        "  decay: default False -> True",
        "  weight_decay (where decay in [True]): no longer declared",
        "  units: type 'Int' -> 'Float'",
        "  units: step 1 -> None",
        "  layers: value 2 -> 3",
        "  wsd/cooldown (where schedule in ['linear']): new",
    ]
    assert "project_name" in lines[-1]
    assert "overwrite=True" in lines[-1]


def test_what_only_training_declares_is_not_missed(tmp_path):
    """A batch size in `fit` is in the space after a trial, and never before one."""
    oracle = make("random", tmp_path)
    trial = oracle.create_trial("tuner0")
    trial.hyperparameters.Int("batch_size", 16, 64)
    run(oracle, trial)
    check_space(tmp_path / "search", space())
    again = make("random", tmp_path)
    run(again, again.create_trial("tuner0"))
    check_space(tmp_path / "search", space())
    later = space()
    later.Int("batch_size", 16, 128)
    with pytest.raises(SearchFolderError, match="batch_size: max_value 64 -> 128"):
        check_space(tmp_path / "search", later)


def test_folders_of_stock_are_checked_too(tmp_path):
    """All that it has counts as declared."""
    stock = keras_tuner.oracles.RandomSearchOracle("val_loss", 1, hyperparameters=space())
    stock._set_project_dir(str(tmp_path), "search")
    stock.save()
    check_space(tmp_path / "search", space())
    fewer = keras_tuner.HyperParameters()
    fewer.merge(space().space[1:])
    with pytest.raises(SearchFolderError, match="learning_rate: no longer declared"):
        check_space(str(tmp_path / "search"), fewer)


@pytest.mark.parametrize("text", [None, "{", "{}", '{"hyperparameters": {"space": [1]}}'])
def test_a_folder_without_a_whole_search_is_refused(text, tmp_path):
    """The file is named."""
    if text is not None:
        (tmp_path / "oracle.json").write_text(text)
    with pytest.raises(SearchFolderError, match=r"oracle\.json"):
        check_space(tmp_path, space())


def nested(hp):
    """Scopes in scopes, as a function, in plain `if`s as well."""
    kind = hp.Choice("kind", ["a", "b", "c"])
    with hp.conditional_scope("kind", ["b", "c"]):
        if kind in {"b", "c"}:
            hp.Boolean("deep")
            with hp.conditional_scope("deep", [True]):
                hp.Int("depth", 1, 3)
    with hp.conditional_scope("kind", ["c"]):
        hp.Float("rate", 0.1, 0.2)


def test_all_scopes_are_explored():
    """As keras-tuner itself finds them, in an order that is always the same."""
    found = [[entry.name for entry in declared_space(nested).space] for _ in range(5)]
    assert found == [["kind", "rate", "deep", "depth"]] * 5
    tuner = keras_tuner.RandomSearch(Model(), "val_loss", max_trials=1, directory="unused")
    assert {entry.name for entry in tuner.oracle.get_space().space} == set(found[0])


class Model(keras_tuner.HyperModel):
    """A hypermodel that builds nothing."""

    def __init__(self):
        super().__init__()
        self.built = 0

    def build(self, hp):
        self.built += 1
        nested(hp)


class Declaring(Model):
    """One that need not build."""

    def declare(self, hp):
        nested(hp)


def test_models_are_built_only_where_nothing_else_declares():
    """Once with the defaults, and once for each scope that was not active."""
    building, declaring = Model(), Declaring()
    spaces = [declared_space(one) for one in (building, declaring)]
    assert spaces[0].get_config() == spaces[1].get_config()
    assert (building.built, declaring.built) == (4, 0)
    assert spaces[0].values == {"kind": "a"}


def test_what_is_given_has_precedence_and_may_close_scopes():
    """Stock asks for ever if a scope can never be active."""
    given = keras_tuner.HyperParameters()
    given.Choice("kind", ["a", "b"])
    found = declared_space(nested, given)
    assert [entry.name for entry in found.space] == ["kind", "rate", "deep", "depth"]
    assert found.space[0].values == ["a", "b"]
    assert len(given.space) == 1


def test_an_objective_that_is_reported_is_let_through():
    """By name, as an objective, several, or the one number that a model returns."""
    names = ["loss", "val_loss", "val_acc"]
    check_objective("val_loss", names)
    check_objective(keras_tuner.Objective("val_acc", "max"), names)
    check_objective(["val_loss", keras_tuner.Objective("val_acc", "max")], names)
    check_objective(keras_tuner.Oracle(None).objective, names)


@pytest.mark.parametrize("several", [False, True])
def test_a_misspelt_objective_is_refused_with_the_nearest(several):
    """Stock trains three whole trials before it says anything."""
    objective = keras_tuner.Objective("val_acc", "max")
    if several:
        objective = keras_tuner.Oracle(["val_loss", objective]).objective
    with pytest.raises(ArgumentError) as caught:
        check_objective(objective, ["val_loss", "val_accuracy"])
    assert "Received: 'val_acc'. Did you mean 'val_accuracy'?" in str(caught.value)
    assert "val_accuracy, val_loss" in str(caught.value)
    with pytest.raises(ArgumentError, match="It reports: loss"):
        check_objective("f1", ["loss"])
