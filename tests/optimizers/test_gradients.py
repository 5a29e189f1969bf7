"""Gradients that are missing, sparse, or not gradients at all; constraints on what they move."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from tests.optimizers.driver import (
    BACKEND,
    Loop,
    assert_paths_close,
    make_variables,
    record,
    to_float64,
)
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory


@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")  # what is tested
@pytest.mark.parametrize("accumulation", [None, 2])
def test_a_missing_gradient_leaves_its_variable(accumulation):
    """None freezes that variable for the step, decay included; the others go on as the twin."""
    options = {"weight_decay": 0.1, "use_ema": True, "gradient_accumulation_steps": accumulation}
    start = start_values()
    gradients = [[a, None, c, d] for a, _, c, d in gradient_list(20)]
    path = record(Nadam(**options), start, gradients)
    np.testing.assert_array_equal(path[-1][1], start[1])
    others = [0, 2, 3]
    twin = trajectory(
        [start[i] for i in others], [[g[i] for i in others] for g in gradients], **options
    )
    assert_paths_close([[row[i] for i in others] for row in path], twin, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")  # what is tested
@pytest.mark.parametrize("accumulation", [None, 3])
def test_a_gradient_that_is_missing_now_and_then(accumulation):
    """A window counts what came; a variable's average moves on although its gradient is None."""
    options = {
        "learning_rate": 0.01,
        "weight_decay": 0.1,
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": accumulation,
    }
    gradients = gradient_list(24)
    for i, row in enumerate(gradients):
        if i % 4 in (2, 3):
            row[1] = None
    start = start_values()
    loop = Loop(Nadam(**options), make_variables(start), compiled=True)
    assert_paths_close(
        loop.run(gradients), trajectory(start, gradients, **options), rtol=1e-5, atol=1e-5
    )


def test_no_gradient_at_all_is_refused():
    """A step without any gradient is a mistake in the loop and raises, as in stock Keras."""
    variables = make_variables([np.ones(2)])
    optimizer = Nadam()
    optimizer.build(variables)
    with pytest.raises(ValueError, match="No gradients provided"):
        optimizer.apply([None], variables)


@pytest.mark.parametrize("accumulation", [None, 3])
def test_overwrite_with_gradient_variables_take_the_gradient(accumulation):
    """A float8 scale becomes its gradient (the window's largest), without decay or averages."""
    options = {"weight_decay": 0.5, "use_ema": True, "gradient_accumulation_steps": accumulation}
    variables = make_variables([np.ones(2), np.ones(2)])
    variables[1].overwrite_with_gradient = True
    loop = Loop(Nadam(**options), variables)
    for value in (5.0, 9.0, 7.0):
        loop.step([np.ones(2), np.full(2, value)])
    np.testing.assert_array_equal(loop.values()[1], 9.0 if accumulation else 7.0)
    assert np.all(loop.values()[0] < 1.0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="IndexedSlices are TensorFlow's")
@pytest.mark.parametrize(
    "options", [{}, {"global_clipnorm": 0.1}, {"gradient_accumulation_steps": 2}]
)
def test_repeated_rows_of_a_sparse_gradient_add_up(options):
    """D05: tokens that occur twice give the square of their sum, not the sum of squares."""
    import tensorflow as tf

    start = [np.ones((6, 2))]
    indices = [1, 4, 1, 1]
    generator = np.random.default_rng(0)
    sparse, dense = [], []
    for _ in range(10):
        rows = generator.normal(size=(4, 2)).astype("float32")
        slices = tf.IndexedSlices(tf.constant(rows), tf.constant(indices), tf.constant([6, 2]))
        sparse.append([slices])
        whole = np.zeros((6, 2))
        np.add.at(whole, indices, rows)
        dense.append([whole])
    path = record(Nadam(**options), start, sparse)
    assert_paths_close(path, trajectory(start, dense, **options), rtol=1e-5, atol=1e-6)


def test_an_embedding_with_repeated_tokens_trains_as_a_dense_layer():
    """In fit() an embedding with repeated tokens moves as one-hot inputs to a kernel do."""
    tokens = np.array([[1, 1, 2], [3, 1, 1], [0, 0, 0], [2, 3, 2]])
    y = np.arange(4.0)[:, None]
    table = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")

    def train(layer, x):
        model = keras.Sequential(
            [
                keras.Input(x.shape[1:]),
                layer,
                keras.layers.Lambda(lambda a: keras.ops.sum(a, (1, 2))[:, None]),
            ]
        )
        layer.set_weights([table])
        model.compile(Nadam(0.05), "mse")
        model.fit(x, y, batch_size=4, epochs=6, verbose=0)
        return layer.get_weights()[0]

    embedded = train(keras.layers.Embedding(4, 3), tokens)
    one_hot = train(keras.layers.Dense(3, use_bias=False), np.eye(4, dtype="float32")[tokens])
    np.testing.assert_allclose(embedded, one_hot, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("accumulation", [None, 2])
def test_averages_are_taken_after_constraints(accumulation):
    """D27: the average of a NonNeg variable is never negative, and follows the twin."""
    options = {
        "learning_rate": 0.2,
        "use_ema": True,
        "ema_momentum": 0.5,
        "gradient_accumulation_steps": accumulation,
    }
    start = [np.array([0.1, 1.0]), np.array([0.5])]
    gradients = [[np.array([1.0, -1.0]), np.array([1.0])]] * 8
    non_negative = keras.constraints.NonNeg()
    variables = make_variables(start, constraints=[non_negative, None])
    optimizer = Nadam(**options)
    path = Loop(optimizer, variables).run(gradients)
    twin = trajectory(start, gradients, constraints=[lambda a: np.maximum(a, 0.0), None], **options)
    assert_paths_close(path, twin, rtol=1e-5, atol=1e-6)
    assert path[-1][0][0] == 0.0
    optimizer.finalize_variable_values(variables)
    assert np.all(to_float64(variables[0]) >= 0.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_constraints_hold_after_every_update(dtype):
    """MinMaxNorm and MaxNorm see the weights after the update, in any precision."""
    limit = keras.constraints.MaxNorm(0.5, axis=None)
    path = record(
        Nadam(0.1), [np.full(4, 0.2)], [[-np.ones(4)]] * 10, dtypes=dtype, constraints=[limit]
    )
    norms = [np.linalg.norm(row[0]) for row in path]
    assert max(norms) <= 0.5 * (1 + 2**-7)
    assert norms[-1] > 0.49


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_not_hidden(value):
    """NaN or inf in a gradient shows in the weights, as in stock Keras: no clipping masks it."""
    gradients = gradient_list(1)
    gradients[0][0][0, 0] = value
    end = record(Nadam(global_clipnorm=1.0), start_values(), gradients)[-1]
    assert not np.isfinite(end[0]).all()
