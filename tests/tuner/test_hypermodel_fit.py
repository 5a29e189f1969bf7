"""How the hypermodel trains: planned, in a restorable order, and measured by its averages."""

from __future__ import annotations

import keras
import keras_tuner
import numpy as np
import pytest

from nadam_suite.averaging import averaged_weights
from nadam_suite.callbacks import EvaluateAverage
from nadam_suite.errors import ArgumentError
from nadam_suite.schedules import TrainingPlan
from tests.tuner.lines import AVERAGED, X, Y, hypermodel_of, point

pytestmark = pytest.mark.once


class Seen(keras.callbacks.Callback):
    """Keeps the rate before each batch, and the logs of each epoch."""

    def on_train_begin(self, logs=None):
        self.rates, self.rows = [], []

    def on_train_batch_begin(self, batch, logs=None):
        rate = self.model.optimizer.learning_rate
        self.rates.append(float(keras.ops.convert_to_numpy(rate)))

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append(dict(logs))


def weights_of(model):
    return [np.array(weight) for weight in model.get_weights()]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_schedule_is_that_of_the_whole_training():
    """A trial that trains for one epoch has the rates of the first epoch of four."""
    hypermodel = hypermodel_of()
    hp = point(hypermodel)
    rates = {}
    for epochs in (1, 4):
        seen = Seen()
        options = {"epochs": epochs, "verbose": 0, "callbacks": [seen]}
        hypermodel.fit(hp, hypermodel.build(hp), X, Y, **options)
        rates[epochs] = seen.rates
    assert len(rates[4]) == 20
    assert rates[1] == rates[4][:5]
    assert max(rates[4]) == pytest.approx(hypermodel.config(hp).learning_rate.peak)


def test_epochs_and_batch_size_are_the_plans():
    """Without them it trains for the plan's epochs, of the plan's batches."""
    hypermodel = hypermodel_of()
    hp = point(hypermodel)
    model = hypermodel.build(hp)
    history = hypermodel.fit(hp, model, X, Y, verbose=0)
    assert history.epoch == [0, 1, 2, 3]
    assert int(model.optimizer.iterations) == 20
    assert hypermodel.arguments(model, X, Y)["validation_batch_size"] == 8
    assert hypermodel.arguments(model, X, Y, 8, 2)["epochs"] == 2


@pytest.mark.parametrize("average", [True, False])
def test_val_loss_is_that_of_the_averages_where_there_are_any(average):
    """With averages val_loss is theirs and val_raw_loss the raw weights'; else it is the raw's."""
    hypermodel = hypermodel_of(tune=("learning_rate", "averaging"))
    hp = point(hypermodel, learning_rate=0.03, **(AVERAGED if average else {}))
    model = hypermodel.build(hp)
    history = hypermodel.fit(hp, model, X, Y, validation_data=(X, Y), verbose=0).history
    raw = model.evaluate(X, Y, batch_size=8, verbose=0)
    if not average:
        assert "val_raw_loss" not in history
        assert history["val_loss"][-1] == pytest.approx(raw, rel=1e-6)
        return
    with averaged_weights(model):
        shown = model.evaluate(X, Y, batch_size=8, verbose=0)
    assert history["val_raw_loss"][-1] == pytest.approx(raw, rel=1e-6)
    assert history["val_loss"][-1] == pytest.approx(shown, rel=1e-6)
    assert shown != pytest.approx(raw, rel=1e-3)


def test_an_evaluation_of_ones_own_is_left_alone():
    """Where the callbacks have an `EvaluateAverage`, none is added."""
    hypermodel = hypermodel_of(tune=("averaging",))
    model = hypermodel.build(point(hypermodel, **AVERAGED))
    own, other = EvaluateAverage(also_raw=False), Seen()
    given = hypermodel.arguments(model, X, Y, callbacks=[other, own])["callbacks"]
    assert given == [other, own]
    added = hypermodel.arguments(model, X, Y, callbacks=[other])["callbacks"]
    assert isinstance(added[0], EvaluateAverage)
    assert added[1:] == [other]
    assert "callbacks" not in hypermodel.arguments(hypermodel_of().build(point(hypermodel)), X, Y)


def test_the_order_of_arrays_is_that_of_seed_and_epoch():
    """Equal seeds train alike, others do not; going on at an epoch is training on."""
    hypermodel = hypermodel_of(tune=("learning_rate",))
    hp = point(hypermodel, learning_rate=0.03)

    def trained(*parts, seed=3, drawn=0):
        keras.utils.set_random_seed(0)
        model = hypermodel.build(hp)
        for begin, end in parts:
            np.random.seed(drawn + begin)  # noqa: NPY002 - what the process has drawn so far
            options = {"initial_epoch": begin, "epochs": end, "seed": seed, "verbose": 0}
            hypermodel.fit(hp, model, X, Y, **options)
        return weights_of(model)

    whole = trained((0, 4))
    assert_same(trained((0, 4)), whole)
    assert_same(trained((0, 1), (1, 3), (3, 4)), whole)
    assert not np.array_equal(trained((0, 4), seed=4)[0], whole[0])
    unseeded = trained((0, 4), seed=None)
    assert_same(trained((0, 4), seed=None), unseeded)
    assert not np.array_equal(trained((0, 4), seed=None, drawn=1)[0], unseeded[0])


def test_weights_of_examples_and_classes_and_splits_are_kept():
    """What Keras takes with arrays is taken: a split for validation, weights, and no targets."""
    hypermodel = hypermodel_of(plan=TrainingPlan.from_data(32, 8, 1))
    hp = point(hypermodel)
    ones = np.ones(40, "float32")

    def loss(**options):
        keras.utils.set_random_seed(0)
        model = hypermodel.build(hp)
        options = {"validation_split": 0.2, "verbose": 0, "seed": 0, **options}
        return hypermodel.fit(hp, model, X, **options).history

    targets = (X[:, :1] > 0).astype("float32")
    plain = loss(y=targets)
    assert plain["val_loss"]
    assert loss(y=targets, sample_weight=ones) == plain
    assert loss(y=targets, sample_weight=2 * ones)["loss"] != plain["loss"]
    heavier = loss(y=targets, class_weight={0: 1.0, 1: 3.0})
    assert heavier["loss"] != plain["loss"]


def test_other_data_is_trained_as_it_is():
    """A generator with its own steps needs no arrays, and its steps are checked too."""
    hypermodel = hypermodel_of()
    hp = point(hypermodel)

    def batches():
        while True:
            yield X[:8], Y[:8]

    options = {"epochs": 2, "verbose": 0, "shuffle": False}
    model = hypermodel.build(hp)
    hypermodel.fit(hp, model, batches(), steps_per_epoch=5, **options)
    assert int(model.optimizer.iterations) == 10
    with pytest.raises(ArgumentError, match=r"`plan` must.*a plan of 5 batches, and 6 to train"):
        hypermodel.fit(hp, model, batches(), steps_per_epoch=6, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 5}, "`epochs` must be at most the plan's.*epochs=5, and the plan has 4"),
        ({"epochs": -1}, "`epochs` must be an integer >= 0"),
        ({"batch_size": 10}, "`plan` must have the batches.*a plan of 5 batches, and 4 to train"),
        ({"validation_split": 0.5}, "a plan of 5 batches, and 3 to train"),
    ],
)
def test_a_training_that_is_not_the_planned_one_is_refused(options, message):
    """Schedules would be cut or run on; the message says what is planned."""
    hypermodel = hypermodel_of()
    hp = point(hypermodel)
    with pytest.raises(ArgumentError, match=message):
        hypermodel.fit(hp, hypermodel.build(hp), X, Y, **options)


def test_such_a_training_ends_the_search(tmp_path):
    """It would meet every trial, so that the first one ends the search, with the message."""
    tuner = keras_tuner.RandomSearch(
        hypermodel_of(), "loss", max_trials=9, directory=tmp_path, max_retries_per_trial=0
    )
    with pytest.raises(ArgumentError, match="a plan of 5 batches, and 4 to train"):
        tuner.search(X, Y, batch_size=10, verbose=0)
    assert len(tuner.oracle.trials) == 1


def test_keras_tuners_own_tuner_searches_with_it(tmp_path):
    """It is a hypermodel like any other."""
    hypermodel = hypermodel_of(tune=("learning_rate", "averaging"), name="line")
    tuner = keras_tuner.RandomSearch(
        hypermodel, "val_loss", max_trials=3, seed=1, directory=tmp_path, executions_per_trial=1
    )
    tuner.search(X, Y, validation_data=(X, Y), epochs=2, verbose=0)
    best = tuner.get_best_hyperparameters()[0]
    scores = [trial.score for trial in tuner.oracle.trials.values()]
    assert np.isfinite(scores).all()
    assert hypermodel.config(best).learning_rate.total == 20
    assert hypermodel.name == "line"
