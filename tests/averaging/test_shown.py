"""Putting averages into a model and taking them out: exact, safe, and known to saved files."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import (
    EMA,
    SWA,
    average_names,
    average_tensors,
    averaged_weights,
    show_average,
    show_raw,
    shown,
    write_weights,
)
from nadam_suite.backends import get_backend
from nadam_suite.errors import ArgumentError, NadamSuiteWarning, SettingError, StateError
from nadam_suite.precision import DynamicLossScaleOptimizer
from tests.optimizers.driver import to_float64

X = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
TWO = {"fast": EMA(0.5, warmup=None), "slow": EMA(0.9, warmup=None)}


def model_of(optimizer, dtype="float32"):
    """A model of two layers with fixed start weights, compiled."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, "tanh", dtype=dtype, name="a"),
            keras.layers.Dense(1, dtype=dtype, name="b"),
        ]
    )
    model.compile(optimizer, "mse")
    return model


def train(model, epochs=1):
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


def weights(model):
    return [np.array(w) for w in map(to_float64, model.trainable_variables)]


def averages(model, name=None):
    return [to_float64(tensor) for _, tensor in average_tensors(model, name)]


def assert_equal(some, others):
    assert len(some) == len(others) > 0
    for a, b in zip(some, others, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_bfloat16"])
def test_raw_weights_come_back_to_the_bit(dtype):
    """Also by way of evaluate and predict, any number of times, and training goes on the same."""
    model, control = model_of(Nadam(0.05, averaging=TWO), dtype), model_of(Nadam(0.05), dtype)
    for one in (model, control):
        train(one, 2)
    raw, kept = weights(model), averages(model, "slow")
    for name in (None, "slow", "fast"):
        with averaged_weights(model, name):
            assert shown(model) == (name or "fast")
            model.evaluate(X, Y, verbose=0)
            model.predict(X, verbose=0)
        assert_equal(weights(model), raw)
    assert_equal(averages(model, "slow"), kept)
    for one in (model, control):
        train(one, 2)
    assert_equal(weights(model), weights(control))


def test_the_model_has_the_averages_inside():
    """Exactly the averages, in the type of the variables."""
    model = model_of(Nadam(0.05, averaging=TWO))
    train(model)
    for name in average_names(model):
        with averaged_weights(model, name):
            assert_equal(weights(model), averages(model, name))


@pytest.mark.parametrize("huge", [1e4, 1e8])
def test_averages_far_larger_than_the_weights(huge):
    """K17: no arithmetic is done on either."""
    model = model_of(Nadam(0.05, averaging=EMA(0.5)))
    train(model)
    for slot in model.optimizer._layout.slots:
        slot.averages[0].assign(keras.ops.full(slot.averages[0].shape, huge))
    raw = weights(model)
    for _ in range(3):
        with averaged_weights(model):
            pass
    assert_equal(weights(model), raw)


def test_an_exception_inside_restores():
    """D23: whatever ends the block."""
    model = model_of(Nadam(0.05, averaging=TWO))
    train(model)
    raw = weights(model)
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), averaged_weights(model):
            raise error
        assert shown(model) is None
        assert_equal(weights(model), raw)


def test_before_the_first_update_the_averages_are_the_weights():
    """D04, D22: no zeros, built or just loaded; late averages too."""
    model = model_of(Nadam(0.05, averaging={"late": SWA(100, every=1)}))
    with pytest.raises(StateError, match=r"`optimizer\.build\(model\.trainable_variables\)`"):
        model.optimizer.show_average("late")
    for _ in range(2):
        raw = weights(model)
        with averaged_weights(model):
            assert_equal(weights(model), raw)
        train(model)


def test_nested_use_is_refused():
    """And leaves the outer block as it was."""
    model = model_of(Nadam(0.05, averaging=TWO))
    train(model)
    raw = weights(model)
    with averaged_weights(model, "slow"):
        inside = weights(model)
        with pytest.raises(StateError, match="'slow'"), averaged_weights(model, "fast"):
            pass
        assert_equal(weights(model), inside)
    assert_equal(weights(model), raw)


def test_wrong_names_and_optimizers():
    """Each says what there is."""
    model = model_of(Nadam(0.05, averaging=TWO))
    with pytest.raises(ArgumentError, match=r"\['fast', 'slow'\]"):
        show_average(model, "ema")
    for optimizer in (Nadam(0.05), keras.optimizers.Nadam()):
        with pytest.raises(SettingError, match=r"averaging=nadam_suite\.averaging\.EMA\(\)"):
            show_average(model_of(optimizer))


@pytest.mark.parametrize("wrap", [DynamicLossScaleOptimizer, keras.optimizers.LossScaleOptimizer])
def test_inside_loss_scaling(wrap):
    """The wrapper's inner optimizer is found."""
    model = model_of(wrap(Nadam(0.05, averaging=TWO)))
    train(model)
    assert average_names(model) == ("fast", "slow")
    with averaged_weights(model):
        assert_equal(weights(model), averages(model))


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has no MultiOptimizer"
)
def test_several_optimizers():
    """Each variable has the average of its own optimizer; one may keep none."""
    own = Nadam(0.05, averaging=TWO)
    optimizers = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.01))
    optimizers[r"(.*/)?a/.*"] = own
    model = model_of(keras.optimizers.MultiOptimizer(optimizers))
    train(model)
    raw = weights(model)
    with averaged_weights(model):
        inside = weights(model)
        assert_equal(inside[:2], averages(model))
        assert_equal(inside[2:], raw[2:])
    assert_equal(weights(model), raw)


def test_other_values_can_be_shown():
    """Copies of earlier averages, as for the best epoch."""
    model = model_of(Nadam(0.05, averaging=TWO))
    train(model)
    best = [get_backend().copy(tensor) for _, tensor in average_tensors(model)]
    kept = averages(model)
    train(model)
    raw = weights(model)
    write_weights(model, "fast", best)
    assert_equal(weights(model), kept)
    assert show_raw(model)
    assert_equal(weights(model), raw)
    assert not show_raw(model)
    with pytest.raises(ArgumentError, match="shapes"):
        write_weights(model, "fast", best[:1])


def test_training_on_from_averages_drops_the_copy():
    """With a warning, and the weights as they are now."""
    model = model_of(Nadam(0.05, averaging=TWO))
    train(model)
    show_average(model)
    train(model)
    now = weights(model)
    with pytest.warns(NadamSuiteWarning, match="trained on from its average 'fast'"):
        assert not show_raw(model)
    assert_equal(weights(model), now)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_file_saved_while_shown_knows_the_raw_weights(tmp_path, dtype):
    """K13: the file evaluates the averages, and a training from it goes on exactly."""
    model = model_of(Nadam(0.05, averaging=TWO), dtype)
    train(model)
    raw = weights(model)
    with averaged_weights(model, "slow"):
        expected = model.evaluate(X, Y, verbose=0)
        model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert shown(loaded) == "slow"
    assert loaded.evaluate(X, Y, verbose=0) == pytest.approx(expected, rel=1e-6)
    assert show_raw(loaded)
    assert_equal(weights(loaded), raw)
    for one in (model, loaded):
        train(one)
    assert_equal(weights(loaded), weights(model))


@pytest.mark.parametrize("window", [None, 2])
def test_a_layer_frozen_later_keeps_its_own_average(window):
    """D28: averages belong to variables, not to positions; that of a frozen one stays."""
    model = model_of(Nadam(0.05, averaging=EMA(0.5), gradient_accumulation_steps=window))
    train(model)
    before = {variable.path: to_float64(tensor) for variable, tensor in average_tensors(model)}
    model.get_layer("a").trainable = False
    model.compile(model.optimizer, "mse")
    train(model)
    expected = {variable.path: to_float64(tensor) for variable, tensor in average_tensors(model)}
    frozen = to_float64(model.get_layer("a").kernel)
    changed = {path: bool((before[path] != expected[path]).any()) for path in before}
    assert changed == {path: "a/" not in path for path in changed}
    with averaged_weights(model):
        for variable in model.variables:
            np.testing.assert_array_equal(to_float64(variable), expected[variable.path])
    np.testing.assert_array_equal(to_float64(model.get_layer("a").kernel), frozen)


def test_fit_does_not_put_averages_in_place():
    """K15, K20: without a callback that says so the model keeps its raw weights."""
    model, control = model_of(Nadam(0.05, averaging=TWO)), model_of(Nadam(0.05))
    for one in (model, control):
        train(one, 2)
    assert_equal(weights(model), weights(control))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_models_that_are_built_by_their_data(dtype):
    """The optimizer is built while the first step is traced, where variables have no values."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.layers.Dense(1, dtype=dtype)])
    model.compile(Nadam(0.05, averaging={"early": SWA(0, 1), "late": SWA(1000, 1)}), "mse")
    model.fit(X, Y, batch_size=32, verbose=0)
    raw = weights(model)
    for name in ("early", "late"):  # of one update, and of none
        for average, weight in zip(averages(model, name), raw, strict=True):
            np.testing.assert_allclose(average, weight, rtol=0.0 if dtype == "float32" else 4e-3)
        with averaged_weights(model, name):
            assert_equal(weights(model), raw)
    train(model, 2)
    with averaged_weights(model, "late"):
        shown_now = weights(model)
    assert_equal(shown_now, weights(model))
