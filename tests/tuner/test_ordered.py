"""Arrays in an order that a restart can find again, and the metrics known before a first step."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite.errors import ArgumentError
from nadam_suite.experiment import Splits, batches
from nadam_suite.tuner.metric_names import adds_no_names, metric_names
from nadam_suite.tuner.ordered import OrderedBatches, first_batch, fit_arguments, ordered

pytestmark = pytest.mark.once

X = np.arange(10, dtype="float32").reshape(10, 1)
Y = 2 * X


@given(st.integers(1, 12), st.integers(0, 9), st.integers(0, 3), st.integers(0, 11))
def test_batches_are_those_of_runs(size, seed, epoch, index):
    """So that a trial and a run of one seed see the same."""
    ours = OrderedBatches((X, Y), size, seed, epoch)
    stream = batches(Splits(train=(X, Y)), size, seed, epoch=epoch)
    theirs = [next(stream) for _ in range(index + 1)][index]
    for mine, other in zip(ours[index], theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


@given(st.integers(1, 12), st.integers(0, 9), st.integers(0, 5))
def test_an_epoch_has_each_example_once(size, seed, epoch):
    """The last batch has what is left."""
    ours = OrderedBatches((X,), size, seed, epoch)
    found = np.concatenate([ours[index][0] for index in range(ours.steps)])
    np.testing.assert_array_equal(np.sort(found, axis=0), X)


def test_nests_of_arrays_and_weights_stay_together():
    """An example's inputs, targets and weight come in one batch."""
    x, weights = {"a": X, "b": -X}, X[:, 0] + 1
    inputs, targets, sample = OrderedBatches((x, [Y, Y]), 4, 0)[0] + (None,)
    np.testing.assert_array_equal(inputs["a"], -inputs["b"])
    np.testing.assert_array_equal(targets[1], 2 * inputs["a"])
    inputs, _, sample = OrderedBatches((x, Y, weights), 4, 0)[1]
    np.testing.assert_array_equal(sample, inputs["a"][:, 0] + 1)


def test_arguments_are_known_by_name():
    """Wherever they stood in the call."""
    assert fit_arguments((X, Y, 5), {"epochs": 2}) == {
        "x": X,
        "y": Y,
        "batch_size": 5,
        "epochs": 2,
    }


def test_the_last_examples_validate_as_in_keras():
    """And are not trained on."""
    arguments = ordered({"x": X, "y": Y, "validation_split": 0.25, "batch_size": 4}, 0, 0)
    validation = arguments["validation_data"]
    np.testing.assert_array_equal(validation[0], X[7:])
    assert arguments["steps_per_epoch"] == 2
    found = np.concatenate([arguments["x"][index][0] for index in range(2)])
    np.testing.assert_array_equal(np.sort(found, axis=0), X[:7])
    assert "validation_split" not in arguments


@pytest.mark.parametrize(
    "arguments",
    [
        {"x": iter([X])},
        {"x": X, "y": Y, "shuffle": False},
        {"x": X, "y": Y, "shuffle": "batch"},
        {"x": X, "y": Y, "steps_per_epoch": 2},
        {"x": [X, None], "y": Y},
        {"x": X, "sample_weight": X},
    ],
)
def test_other_data_stay_as_they_are(arguments):
    """What is not shuffled, or has no length, keeps its own order."""
    assert ordered(arguments, 0, 0) == arguments


def _model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse", metrics=["mae"])
    return model


@pytest.mark.parametrize("extra", [{}, {"class_weight": {0: 1.0, 1: 3.0}}, {"sample_weight": True}])
def test_a_training_that_goes_on_is_the_one_that_did_not_stop(extra):
    """With weights of classes and of examples too."""
    targets = (X > 4).astype("int32")
    if "sample_weight" in extra:
        extra = {"sample_weight": X[:, 0] + 1}

    def train(model, first, last):
        arguments = {"x": X, "y": targets, "batch_size": 4, "epochs": last, "verbose": 0, **extra}
        model.fit(**ordered({**arguments, "initial_epoch": first}, 3, first))
        return [np.array(weight) for weight in model.get_weights()]

    keras.utils.set_random_seed(0)
    whole = _model()
    start = whole.get_weights()
    expected = train(whole, 0, 3)
    parts = _model()
    parts.set_weights(start)
    train(parts, 0, 1)
    for found, wanted in zip(train(parts, 1, 3), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_executions_that_run_into_the_next_epoch_are_refused():
    """Keras would train the batches of an execution to its end, here those of two epochs."""
    arguments = {"x": X, "y": Y, "batch_size": 2}
    assert ordered(arguments, 0, 0, 5)["steps_per_epoch"] == 5
    with pytest.raises(ArgumentError, match=r"here 5. Received: steps_per_execution=4. Compile"):
        ordered(arguments, 0, 0, 4)


def test_names_are_those_that_a_fit_logs():
    """And none where looking would use the data up."""
    model = _model()
    arguments = {"x": X, "y": Y, "validation_data": (X, Y)}
    names = metric_names(model, arguments)
    assert sorted(names) == sorted(model.fit(**arguments, verbose=0).history)
    assert metric_names(model, {"x": X, "y": Y}) == ("loss", "mae")
    assert metric_names(model, {"x": iter([(X, Y)])}) is None


def test_one_batch_is_enough_to_know_them():
    """Other data are read by Keras, one step of them."""
    found = first_batch({"x": {"a": X}, "y": Y, "batch_size": 3, "epochs": 2})
    assert [len(found["x"]["a"]), len(found["y"]), found["batch_size"]] == [3, 3, 3]
    data = object()
    assert first_batch({"x": data, "epochs": 2}) == {"x": data}


def test_callbacks_that_may_add_names_are_told_from_others():
    """A subclass may do anything."""

    class Mine(keras.callbacks.EarlyStopping):
        """It may do anything."""

    quiet = keras.callbacks.EarlyStopping()
    assert adds_no_names([quiet, keras.callbacks.TerminateOnNaN()])
    assert not adds_no_names([quiet, keras.callbacks.ReduceLROnPlateau()])
    assert not adds_no_names([Mine()])
