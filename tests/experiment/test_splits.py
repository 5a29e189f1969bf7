"""The data of a training: what becomes arrays, what is refused, several inputs, shapes that fit."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite.config import TrainConfig
from nadam_suite.errors import ArgumentTypeError, ConfigError
from nadam_suite.experiment import Splits, batches, find_part, run_training
from nadam_suite.experiment.assemble import check_inputs
from nadam_suite.experiment.environment import describe
from nadam_suite.experiment.stream import Evaluation, SharedBatches
from tests.experiment.comparing import assert_same
from tests.experiment.small_runs import OWN, Stop

Y = np.zeros(3)


class Frame:
    """What NumPy makes an array of, as it does of a data frame."""

    shape = (3, 1)

    def __array__(self, dtype=None, copy=None):
        return np.arange(3.0)[:, None]


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "shape"),
    [([1.0, 2.0, 3.0], (3,)), ([[1, 2], [3, 4], [5, 6]], (3, 2)), (Frame(), (3, 1))],
    ids=["numbers", "rows", "frame"],
)
def test_what_numpy_takes_for_an_array_becomes_one(given, shape):
    """Lists of numbers and data frames, as inputs, as targets and within a dict."""
    splits = Splits(train=(given, given), validation=({"a": given}, given))
    for array in (*splits.train, splits.validation[0]["a"], splits.validation[1]):
        assert type(array) is np.ndarray
        assert array.shape == shape
    assert splits.examples == 3


@pytest.mark.once
def test_arrays_stay_what_they_are():
    """No copy is made of an array, and one that lies in a file stays there."""
    x = np.zeros((3, 2))
    assert Splits(train=(x, Y)).train[0] is x


@pytest.mark.once
@pytest.mark.parametrize(
    ("split", "remedy"),
    [
        (None, "Write train="),
        ((np.zeros(3),), "Write train="),
        ((np.zeros(3), np.zeros(3), Y), r"train=\(\(a, b\), targets\)"),
        ((np.zeros(3), np.zeros(4)), "Give each example its target"),
        (((np.zeros(3), np.zeros(4)), Y), "Give each example its target"),
        ((np.zeros(0), np.zeros(0)), "Check where"),
        ((1.0, 2.0), "Make an array"),
        (([[1, 2], [3], [4]], Y), "Make an array"),
        (([np.zeros(3), np.zeros(3)], Y), r"list of 2, .*numpy.stack"),
        ((({}), Y), "Make an array"),
        ((np.array([{}, {}, {}]), Y), "with numbers"),
    ],
)
def test_splits_that_do_not_fit_are_refused(split, remedy):
    """Inputs and targets are pairs of equal, positive length; the remedy is that of the fault."""
    wanted = rf"`train` must be a pair.*Received: .*{remedy}"
    with pytest.raises(ArgumentTypeError, match=wanted):
        Splits(train=split)


@pytest.mark.once
@pytest.mark.parametrize("by_name", [True, False])
def test_several_inputs_are_cut_into_batches_together(by_name):
    """Every stream keeps the examples of all inputs and of the targets side by side."""
    splits = find_part("data", f"{OWN}:pairs_of_points", {"by_name": by_name})()
    streams = (
        batches(splits, 12, 0),
        (SharedBatches(splits, 12, 0, replicas=2)[index] for index in range(3)),
        (Evaluation(splits.test, 12, devices=2)[index] for index in range(2)),
    )
    for stream in streams:
        for inputs, targets in (next(stream) for _ in range(2)):
            first, second = inputs.values() if by_name else inputs
            np.testing.assert_allclose(first, 1.0 - second, atol=1e-6)
            np.testing.assert_allclose(first**2, targets, atol=1e-6)


@pytest.mark.parametrize(("model", "by_name"), [("two_inputs", True), ("two_by_position", False)])
def test_a_run_with_several_inputs_can_be_resumed(tmp_path, model, by_name):
    """It ends with the numbers of the run that was not interrupted, to the last bit."""
    config = TrainConfig(
        model=f"{OWN}:{model}",
        data=f"{OWN}:pairs_of_points",
        data_options={"by_name": by_name},
        epochs=3,
        batch_size=12,
        optimizer={"averaging": "ema"},
    )
    run_training(config, output=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_training(config, output=tmp_path / "cut", callbacks=[Stop(1)])
    result = run_training(config, output=tmp_path / "cut", resume=True)
    assert result.resumed_from == 1
    assert set(result.metrics) == {"validation", "test"}
    assert_same(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.once
def test_the_digest_knows_the_names_of_inputs():
    """Data whose inputs have changed places are other data."""
    config = TrainConfig(model="digits", data="digits")
    a, b = np.zeros(3), np.ones(3)
    given = [{"a": a, "b": b}, {"b": a, "a": b}, {"a": a, "c": b}, (a, b), a]
    digests = [describe(config, Splits(train=(inputs, Y)))["data_sha256"] for inputs in given]
    assert len(set(digests)) == len(given)
    # Runs that were made before there were several inputs go on.
    assert digests[-1].startswith("e1c0b84994dfcda0")


def test_examples_that_the_model_does_not_take_are_refused(tmp_path):
    """With both shapes, and before there is a folder."""
    config = TrainConfig(model=f"{OWN}:line", data=f"{OWN}:six_columns")
    with pytest.raises(ConfigError, match=r"shape \(1,\).*\(6,\) in `train`.*keras.Input\(\(6,\)"):
        run_training(config, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.once
@pytest.mark.parametrize(
    ("wanted", "shape", "fits"),
    [
        ((6,), (6,), True),
        ((None, 6), (3, 6), True),
        ((), (1,), True),
        ((6,), (6, 1), True),
        ((6, 1), (6,), True),
        ((7,), (6,), False),
        ((6,), (2, 6), False),
        ((6, 2), (6,), False),
    ],
)
def test_shapes_fit_as_keras_says(wanted, shape, fits):
    """What is refused is what a functional model refuses, and nothing else."""
    inputs = keras.Input(wanted)
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    splits = Splits(train=(np.zeros((3, *shape)), Y))
    if fits:
        check_inputs(model, splits)
        model(splits.train[0])
        return
    with pytest.raises(ConfigError, match="without the axis of the batch"):
        check_inputs(model, splits)
    with pytest.raises(ValueError, match="shape"):
        model(splits.train[0])


@pytest.mark.once
def test_a_sequential_model_may_take_other_shapes():
    """Where its layers do, as convolutions take larger images."""
    layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3), keras.layers.GlobalMaxPooling2D()]
    flat = [*layers[:2], keras.layers.Flatten(), keras.layers.Dense(1)]
    larger = Splits(train=(np.zeros((3, 12, 12, 1)), Y))
    check_inputs(keras.Sequential(layers), larger)
    with pytest.raises(ConfigError, match=r"shape \(8, 8, 1\).*\(12, 12, 1\)"):
        check_inputs(keras.Sequential(flat), larger)


@pytest.mark.once
def test_augmented_examples_may_have_another_shape():
    """The shape of these is not known; that of the validation data is looked at."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    cut, whole = (np.zeros((3, 2)), Y), (np.zeros((3, 4)), Y)
    check_inputs(model, Splits(whole, validation=cut, augment=lambda x, generator: x[:, :2]))
    with pytest.raises(ConfigError, match="`validation`"):
        check_inputs(model, Splits(whole, validation=whole, augment=lambda x, generator: x[:, :2]))
