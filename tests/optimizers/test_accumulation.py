"""Gradient accumulation is one large batch: nothing but the sum moves on a micro-batch."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from tests.optimizers.driver import (
    Loop,
    assert_paths_close,
    make_variables,
    record,
    state_by_name,
)
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory

OPTIONS = {
    "plain": {},
    "clipped and decayed": {"global_clipnorm": 0.3, "weight_decay": 0.1},
    "averaged": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_window_equals_one_step_with_the_mean(name):
    """Five windows of four gradients are five steps with their means, averages included."""
    start, gradients = start_values(), gradient_list(20)
    means = [
        [np.mean(parts, axis=0) for parts in zip(*gradients[i : i + 4], strict=True)]
        for i in range(0, 20, 4)
    ]
    ours = record(Nadam(gradient_accumulation_steps=4, **OPTIONS[name]), start, gradients)
    whole = record(Nadam(**OPTIONS[name]), start, means)
    assert_paths_close(ours[3::4], whole, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("compiled", [True, False])
def test_only_the_sum_and_the_counter_move_within_a_window(compiled):
    """K16, D15: on micro-batches weights, slots and averages stay bit for bit as they are."""
    options = {"use_ema": True, "ema_overwrite_frequency": 1, "weight_decay": 0.1}
    loop = Loop(
        Nadam(gradient_accumulation_steps=3, **options), make_variables(start_values()), compiled
    )
    loop.run(gradient_list(3))
    weights, before = loop.values(), state_by_name(loop.optimizer)
    for row in gradient_list(2, seed=5):
        loop.step(row)
    loop.write_back()
    after = state_by_name(loop.optimizer)
    for a, b in zip(loop.values(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {name.split("_")[0] for name in moved} == {"iteration", "accumulator"}


def test_iterations_count_real_updates():
    """`iterations` is the number of updates, as Keras documents, not of micro-batches."""
    loop = Loop(Nadam(gradient_accumulation_steps=4), make_variables(start_values()))
    loop.run(gradient_list(11))
    assert int(loop.optimizer.iterations) == 2


def test_the_average_decays_once_per_update():
    """K16: with windows of four, 40 gradients decay the average ten times, not forty."""
    options = {"use_ema": True, "ema_momentum": 0.8, "gradient_accumulation_steps": 4}
    start, gradients = start_values(), gradient_list(40)
    variables = make_variables(start)
    optimizer = Nadam(**options)
    Loop(optimizer, variables).run(gradients)
    means = [
        [np.mean(parts, axis=0) for parts in zip(*gradients[i : i + 4], strict=True)]
        for i in range(0, 40, 4)
    ]
    path, average = trajectory(start, means), None
    for row in path:
        average = (
            row
            if average is None
            else [0.8 * a + 0.2 * b for a, b in zip(average, row, strict=True)]
        )
    optimizer.finalize_variable_values(variables)
    for variable, expected in zip(variables, average, strict=True):
        actual = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_a_window_left_over_is_carried_into_the_next_epoch():
    """D63: with 5 batches an epoch and windows of 2, the fifth waits for the next epoch's first."""
    x = np.random.default_rng(1).normal(size=(20, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    gaps = []
    for epochs in (1, 2):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(Nadam(0.01, gradient_accumulation_steps=2), "mse")
        model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
        gaps.append(int(model.optimizer.iterations))
    assert gaps == [2, 5]


def test_fit_with_accumulation_equals_fit_with_large_batches():
    """fit() on batches of 4 accumulated 4 times ends where fit() on batches of 16 does."""
    x = np.random.default_rng(1).normal(size=(64, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    ends = []
    for batch, window in ((4, 4), (16, None)):
        keras.utils.set_random_seed(3)
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)]
        )
        model.compile(Nadam(0.01, weight_decay=0.1, gradient_accumulation_steps=window), "mse")
        model.fit(x, y, batch_size=batch, epochs=3, shuffle=False, verbose=0)
        ends.append(model.get_weights())
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="counts the operations of a jaxpr")
def test_jax_does_not_compute_the_update_on_micro_batches():
    """K38: the square roots of the update stand inside a loop of one turn or none only."""
    import jax

    optimizer = Nadam(gradient_accumulation_steps=4)
    variables = make_variables(start_values())
    optimizer.build(variables)
    weights = [v.value for v in variables]
    state = [v.value for v in optimizer.variables]
    program = jax.make_jaxpr(optimizer.stateless_apply)(state, weights, weights)
    outside = [e.primitive.name for e in program.jaxpr.eqns]
    assert "sqrt" in str(program)
    assert "while" in outside
    assert "sqrt" not in outside
