"""Exponential averages of the weights: the stock rule, per real update, put in place on request."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from tests.optimizers.driver import Loop, make_variables, to_float64
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import initial_state, nadam_step


def twin_average(start, gradients, **options):
    """The twin's average after the last gradient."""
    x, state = start, initial_state(start)
    for g in gradients:
        x, state = nadam_step(x, g, state, **options)
    return state.average


@pytest.mark.parametrize("ema_momentum", [0.0, 0.5, 0.99, 1.0])
def test_finalize_puts_the_twins_average_into_the_weights(ema_momentum):
    """finalize_variable_values leaves the average, for every ema_momentum from 0 to 1."""
    start, gradients = start_values(), gradient_list(50)
    options = {"learning_rate": 0.01, "use_ema": True, "ema_momentum": ema_momentum}
    variables = make_variables(start)
    optimizer = Nadam(**options)
    Loop(optimizer, variables).run(gradients)
    optimizer.finalize_variable_values(variables)
    for variable, expected in zip(
        variables, twin_average(start, gradients, **options), strict=True
    ):
        np.testing.assert_allclose(to_float64(variable), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ema_momentum", [0.9, 0.999, 0.9999])
def test_the_average_of_weights_at_rest_is_the_weights(ema_momentum):
    """The two factors add up to one in float32: 2,000 averages of one number are that number."""
    variables = make_variables([np.array([1.0, 0.3, -7.0])])
    optimizer = Nadam(0.0, use_ema=True, ema_momentum=ema_momentum)
    expected = to_float64(variables[0])
    Loop(optimizer, variables).run([[np.ones(3)]] * 2000)
    optimizer.finalize_variable_values(variables)
    np.testing.assert_allclose(to_float64(variables[0]), expected, rtol=1e-6)


def test_finalize_before_any_update_leaves_the_weights():
    """Without an update there is no average, and finalizing must not write zeros."""
    variables = make_variables(start_values())
    optimizer = Nadam(use_ema=True)
    optimizer.build(variables)
    before = [to_float64(v) for v in variables]
    optimizer.finalize_variable_values(variables)
    for variable, expected in zip(variables, before, strict=True):
        np.testing.assert_array_equal(to_float64(variable), expected)


def test_training_can_go_on_after_finalize():
    """D03: fit() twice, evaluate, train_on_batch and save work with averages on every backend."""
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(Nadam(0.05, use_ema=True, ema_momentum=0.5), "mse")
    first = model.fit(x, y, epochs=2, verbose=0).history["loss"]
    model.evaluate(x, y, verbose=0)
    model.train_on_batch(x, y)
    second = model.fit(x, y, epochs=6, verbose=0).history["loss"]
    assert np.isfinite([to_float64(w).sum() for w in model.weights]).all()
    assert second[-1] < first[0]


def test_the_overwrite_happens_every_n_updates():
    """With frequency 3 the weights equal the average after updates 3 and 6 and at no other."""
    optimizer = Nadam(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3)
    variables = make_variables([np.ones(2)])
    loop = Loop(optimizer, variables, compiled=False)
    equal = []
    for row in [[np.array([1.0, -1.0])]] * 7:
        loop.step(row)
        store = {}
        optimizer.save_own_variables(store)
        equal.append(bool(np.allclose(np.asarray(store["average_0"]), loop.values()[0], rtol=1e-7)))
    assert equal == [True, False, True, False, False, True, False]


def test_stock_swap_callback_finds_our_averages():
    """keras.callbacks.SwapEMAWeights evaluates our averages and gives the weights back."""
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(Nadam(0.05, use_ema=True, ema_momentum=0.5), "mse")
    callback = keras.callbacks.SwapEMAWeights(swap_on_epoch=False)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[callback], validation_data=(x, y))
    assert np.isfinite(model.evaluate(x, y, verbose=0))
