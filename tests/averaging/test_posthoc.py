"""An average of any width from a folder of snapshots is the one that was not tracked."""

from __future__ import annotations

import tracemalloc
import warnings

import keras
import numpy as np
import pytest

from nadam_suite.averaging.posthoc import predicted_error, reconstruct, sigmas
from nadam_suite.averaging.power import exponent
from nadam_suite.errors import ArgumentError, NadamSuiteWarning, StateError
from tests.averaging.snapshots import COUNT, LENGTH, SHAPES, TIMES, TRACKED, split, training_path
from tests.averaging.snapshots import write as written
from tests.reference.averages import power
from tests.reference.posthoc import power_profiles


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("snapshots"))


def true_average(sigma, time=LENGTH):
    return power(training_path()[:time], exponent(sigma))[-1]


def as_vector(arrays):
    return np.concatenate([np.ravel(array) for array in arrays.values()])


@pytest.mark.once
@pytest.mark.parametrize("sigma", [0.03, 0.06, 0.15, 0.2, 0.24])
def test_average_is_the_one_that_was_not_tracked(folder, sigma):
    """It lies within the predicted error, and far from averages that are a little wider."""
    found = reconstruct(folder, sigma)
    assert {path: array.shape for path, array in found.items()} == SHAPES
    assert {array.dtype.name for array in found.values()} == {"float32"}
    path, profile = training_path(), power_profiles([LENGTH], exponent(sigma), LENGTH)
    off = np.abs(as_vector(found) - true_average(sigma))
    # Cauchy and Schwarz: the error of the profile, times the length of what it is applied to.
    bound = predicted_error(folder, sigma) * np.linalg.norm(profile) * np.linalg.norm(path, axis=0)
    assert np.all(off <= bound + 1e-5)
    assert off.max() < 0.5 * np.abs(true_average(sigma * 1.1) - true_average(sigma)).max()


@pytest.mark.once
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sigma", TRACKED)
def test_tracked_average_comes_back_to_the_bit(tmp_path, sigma, dtype):
    """Of a width that was tracked nothing is computed, and its type is kept."""
    written(tmp_path, dtype=dtype)
    expected = split(true_average(sigma).astype(dtype))
    for path, array in reconstruct(tmp_path, sigma).items():
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, expected[path])


@pytest.mark.once
def test_sum_is_taken_in_float64(tmp_path):
    """Weights of both signs take float32 snapshots apart no further than they are exact."""
    path = training_path() + 1000.0
    written(tmp_path, path=path)
    for sigma in (0.02, 0.2):
        true = power(path, exponent(sigma))[-1]
        exact = power(training_path(), exponent(sigma))[-1]
        at_zero = as_vector(reconstruct(written(tmp_path, path=training_path()), sigma)) - exact
        off = as_vector(reconstruct(written(tmp_path, path=path), sigma)) - true
        np.testing.assert_allclose(off, at_zero, atol=6e-4)  # ten units in the last place


@pytest.mark.once
@pytest.mark.parametrize("step", [160, 155, np.int64(320)])
def test_average_of_an_earlier_update(folder, step):
    """With `step` only what came before it counts; it need not be that of a snapshot."""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found = as_vector(reconstruct(folder, 0.12, step=step))
    off = np.abs(found - true_average(0.12, int(step))).max()
    assert off < 0.2 * np.abs(true_average(0.12) - true_average(0.12, 160)).max()


@pytest.mark.once
def test_one_array_at_a_time(tmp_path):
    """No more than the float64 sums and a few arrays are in memory, however many snapshots."""
    shapes = {f"layer_{number}": (50_000,) for number in range(8)}
    path = np.ones((16, 400_000))
    written(tmp_path, range(2, 17, 2), shapes=shapes, path=path)
    del path
    tracemalloc.start()
    try:
        found = reconstruct(tmp_path, 0.1001)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400_000 * 8 + 50_000 * 4 * 8
    np.testing.assert_allclose(found["layer_7"], 1.0, rtol=1e-6)


@pytest.mark.once
def test_large_error_is_told_with_where_it_is_small(tmp_path):
    """Above 5 % a warning has the figure, and the widths for which there would be none."""
    written(tmp_path, TIMES[3::4])
    with pytest.warns(NadamSuiteWarning, match="8 snapshots with an error of 24") as caught:
        reconstruct(tmp_path, 0.02)
    message = str(caught[0].message)
    assert caught[0].filename == __file__
    assert "after 320 updates" in message
    assert "at most 5% are from 0.04 to 0.17" in message
    assert "more snapshots" in message
    assert predicted_error(tmp_path, 0.02) == pytest.approx(0.2467, abs=1e-4)
    assert max(predicted_error(tmp_path, sigma) for sigma in (0.04, 0.17)) <= 0.05
    assert min(predicted_error(tmp_path, sigma) for sigma in (0.035, 0.175)) > 0.05


@pytest.mark.once
def test_default_number_of_snapshots_is_good_for_the_usual_widths(folder):
    """Of 32 snapshots no width from 0.02 to 0.25 brings a warning."""
    assert len(TIMES) == COUNT == 32
    for sigma in (0.02, 0.05, 0.15, 0.2, 0.25):
        reconstruct(folder, sigma)
        assert predicted_error(folder, sigma) < 0.05
    assert max(predicted_error(folder, sigma) for sigma in (0.06, 0.08, 0.15)) < 0.003
    with pytest.warns(NadamSuiteWarning, match=r"are from 0.02 to 0.255\."):
        reconstruct(folder, 0.27)


@pytest.mark.once
def test_single_tracked_average(tmp_path):
    """One average alone is enough for widths near to it."""
    written(tmp_path, tracked=(0.1,))
    assert predicted_error(tmp_path, 0.1) == 0.0
    assert predicted_error(tmp_path, 0.11) < 0.05
    assert 0.05 < predicted_error(tmp_path, 0.25) < 0.3


class Scale(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(), name="scale")

    def call(self, x):
        return x * self.scale


def model(name="dense", units=2):
    """A model with the variables of the snapshots, and moving statistics besides."""
    layers = [
        keras.layers.Dense(units, name=name),
        Scale(name="scaling"),
        keras.layers.BatchNormalization(center=False, scale=False),
    ]
    return keras.Sequential([keras.Input((3,)), *layers])


def as_float64(tensor):
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")), "float64")


@pytest.mark.parametrize("policy", ["float32", "bfloat16"])
def test_model_gets_the_values_by_path(tmp_path, policy):
    """Whatever the order in the file, each variable gets its own; statistics stay as they are."""
    keras.config.set_dtype_policy(policy)
    target = model()
    paths = {v.path: v for v in target.trainable_variables}
    shapes = {path: tuple(paths[path].shape) for path in reversed(paths)}
    written(tmp_path, shapes=shapes)
    statistics = [np.array(v) for v in target.non_trainable_variables]
    found = reconstruct(tmp_path, 0.15, model=target)
    for path, variable in paths.items():
        expected, value = keras.ops.cast(found[path], policy), variable.value
        np.testing.assert_array_equal(as_float64(value), as_float64(expected))
    for variable, before in zip(target.non_trainable_variables, statistics, strict=True):
        np.testing.assert_array_equal(variable, before)


def test_model_of_other_names_gets_the_values_by_position(folder):
    """Keras numbers the layers of a second model; their order and shapes tell which is which."""
    target = model(name="other")
    found = reconstruct(folder, 0.15, model=target)
    for variable, value in zip(target.trainable_variables, found.values(), strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize(
    ("target", "difference"),
    [
        (lambda: model(units=4), r"kernel' of shape \(3, 4\).* 'dense/kernel' of shape \(3, 2\)"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), "0 trainable variables, and 3 in"),
        (
            lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]),
            "2 trainable variables, and 3 in the snapshots",
        ),
    ],
    ids=["shape", "unbuilt", "number"],
)
def test_another_model_is_refused(folder, target, difference):
    """Nothing is assigned to a model with other variables; the first difference is named."""
    target = target()
    before = [np.array(v) for v in target.variables]
    with pytest.raises(
        StateError, match=rf"must have the variables.*Received: .*{difference}.*Build"
    ):
        reconstruct(folder, 0.15, model=target)
    for variable, value in zip(target.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.once
@pytest.mark.parametrize("step", [9, 321, 0, -1, 2.5, True, "320"])
def test_impossible_step_is_refused(folder, step):
    """There is no average before the first snapshot, nor after the last."""
    with pytest.raises(ArgumentError, match=r"`step` must be an integer from 10 to 320.*Received"):
        reconstruct(folder, 0.15, step=step)


@pytest.mark.once
def test_impossible_width_is_refused(folder):
    """The width is checked before anything is read."""
    with pytest.raises(ArgumentError, match="`sigma_rel` must be"):
        reconstruct(folder, 0.3)


@pytest.mark.once
@pytest.mark.parametrize(
    ("text", "widths"),
    [
        (".05", (0.05,)),
        (".05,.1", (0.05, 0.1)),
        (" 0.1 , 5e-2 ", (0.1, 0.05)),
        (".1,.1,0.10", (0.1,)),
        (".02:.25:2", (0.02, 0.25)),
        (".02:.08:3", (0.02, 0.04, 0.08)),
        (".02:.25", (0.02, 0.0274, 0.0376, 0.0516, 0.0707, 0.097, 0.133, 0.182, 0.25)),
        (".1 : .2 : 2, .15", (0.1, 0.2, 0.15)),
    ],
)
def test_widths_are_read_from_text(text, widths):
    """Lists, ranges and both together are widths; none comes twice."""
    assert sigmas(text) == widths


@pytest.mark.once
@pytest.mark.parametrize(
    "text", ["", ",", ".1,", "a", "-.1", ".1:", ".1:.2:", ".2:.1", ".1:.1", ".1:.2:1", ".1:.2:3:4"]
)
def test_malformed_widths_are_refused(text):
    """The message shows the forms that there are, and the part that has another one."""
    with pytest.raises(
        ArgumentError, match=r"`sigma` must be .*\.02:\.25.*Received: sigma=.*, and"
    ):
        sigmas(text)


@pytest.mark.once
@pytest.mark.parametrize("text", [".3", "0", ".1:.3", "0:.1"])
def test_widths_out_of_range_are_refused(text):
    """A list has no width that `reconstruct` would refuse."""
    with pytest.raises(ArgumentError, match="`sigma_rel` must be"):
        sigmas(text)
