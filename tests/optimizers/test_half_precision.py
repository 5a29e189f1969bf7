"""bfloat16 and float16 variables train as float32 would, and round only when they are written."""

from __future__ import annotations

import keras
import ml_dtypes
import numpy as np
import pytest

from nadam_suite import Nadam
from tests.optimizers.driver import Loop, assert_paths_close, make_variables, record, to_float64
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import initial_state, nadam_step, trajectory

STEPS = 1000
# Distance of neighbouring numbers relative to their size; rounding moves by half of it.
SPACING = {"bfloat16": 2.0**-7, "float16": 2.0**-10}


def rounded(values, dtype):
    """`values` as numbers that `dtype` can hold, in float64."""
    return [np.asarray(a).astype(dtype).astype("float64") for a in values]


OPTIONS = {
    "defaults": {},
    "decay, clip, average": {"weight_decay": 0.05, "global_clipnorm": 1.0, "use_ema": True},
    "accumulation": {"gradient_accumulation_steps": 4},
}


@pytest.mark.parametrize("dtype", SPACING)
@pytest.mark.parametrize("name", OPTIONS)
def test_half_precision_follows_the_twin_for_a_thousand_steps(dtype, name):
    """K6: after each of 1,000 steps the variable is the float64 twin, rounded once to its type."""
    start = rounded(start_values(), dtype)
    gradients = gradient_list(STEPS, dtype=dtype)
    path = record(Nadam(**OPTIONS[name]), start, gradients, dtypes=dtype)
    twin = trajectory(start, gradients, **OPTIONS[name])
    # Half a spacing for the rounding itself, and the float32 arithmetic's own 1e-5 around it.
    assert_paths_close(path, twin, rtol=0.5 * SPACING[dtype] + 1e-5, atol=1e-5)


def test_steps_smaller_than_the_spacing_add_up():
    """A thousand steps of 1e-5 move a bfloat16 weight of 1.0, whose spacing is 8e-3."""
    loop = Loop(Nadam(learning_rate=1e-5), make_variables([np.ones(3)], "bfloat16"))
    end = loop.run([[np.ones(3)]] * 1000)[-1][0]
    np.testing.assert_allclose(end, 0.99, atol=0.004)
    assert np.all(end < 1.0)


@pytest.mark.parametrize("dtype", SPACING)
def test_averages_of_half_precision_weights_are_kept_in_float32(dtype):
    """K7: with ema_momentum=0.999 the average follows the twin's instead of standing still."""
    options = {"learning_rate": 1e-3, "use_ema": True, "ema_momentum": 0.999}
    optimizer = Nadam(**options)
    variables = make_variables([np.ones(3)], dtype)
    gradients = [[np.full(3, -1.0)]] * 400
    Loop(optimizer, variables).run(gradients)
    x, state = [np.ones(3)], initial_state([np.ones(3)])
    for g in gradients:
        x, state = nadam_step(x, g, state, **options)
    optimizer.finalize_variable_values(variables)
    expected = state.average[0]
    assert np.all(expected > 1.05)
    np.testing.assert_allclose(to_float64(variables[0]), expected, rtol=SPACING[dtype])


@pytest.mark.parametrize("gradient", [1e-4, 1e-6])
def test_small_float16_gradients_move_the_weights(gradient):
    """D09: gradients whose square is nothing in float16 give steps of the learning rate's size."""
    value = float(np.float16(gradient))
    path = record(Nadam(), [np.ones(2)], [[np.full(2, value)]] * 100, dtypes="float16")
    twin = trajectory([np.ones(2)], [[np.full(2, value)]] * 100)
    assert_paths_close(path, twin, rtol=0.5 * SPACING["float16"] + 1e-5)


def test_variables_of_several_types_train_side_by_side():
    """D11: each variable is computed in its own arithmetic, whatever type comes first."""
    dtypes = ["float16", "float32", "bfloat16", "float32"]
    start = [rounded([a], d)[0] for a, d in zip(start_values(), dtypes, strict=True)]
    gradients = [
        [rounded([g], d)[0] for g, d in zip(row, dtypes, strict=True)] for row in gradient_list(200)
    ]
    options = {"weight_decay": 0.01, "global_clipnorm": 1.0}
    path = record(Nadam(**options), start, gradients, dtypes=dtypes)
    twin = trajectory(start, gradients, **options)
    for i, dtype in enumerate(dtypes):
        rtol = 0.5 * SPACING.get(dtype, 0.0) + 1e-5
        assert_paths_close([[r[i]] for r in path], [[r[i]] for r in twin], rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("slot_dtype", [None, "float32", "bfloat16"])
def test_slot_dtype_chooses_the_type_of_the_slots(slot_dtype):
    """None keeps float32 slots for half-precision variables; a named type is what is stored."""
    optimizer = Nadam(slot_dtype=slot_dtype)
    optimizer.build(make_variables([np.ones(3)], "bfloat16"))
    slots = [v for v in optimizer.variables if v.shape == (3,) and "momentum" in v.name]
    assert slots
    assert {keras.backend.standardize_dtype(v.dtype) for v in slots} == {slot_dtype or "float32"}


def test_bfloat16_slots_train_within_their_rounding():
    """slot_dtype="bfloat16" with float32 weights stays near the twin and finite."""
    start, gradients = start_values(), gradient_list(300)
    path = record(Nadam(slot_dtype="bfloat16"), start, gradients)
    twin = trajectory(start, gradients)
    assert np.isfinite(path[-1][0]).all()
    assert_paths_close(path[:3], twin[:3], rtol=0, atol=3 * 1e-3 * SPACING["bfloat16"])
    assert_paths_close(path, twin, rtol=0, atol=0.05)


def test_a_half_precision_weight_written_from_outside_is_what_trains_on():
    """Assigning a bfloat16 variable (a loaded file, a reset) is not undone by the master copy."""
    variables = make_variables([np.ones(3)], "bfloat16")
    loop = Loop(Nadam(), variables, compiled=False)
    for _ in range(5):
        loop.step([np.ones(3)])
    variables[0].assign(np.array([4.0, 1.0, 1.0], dtype=ml_dtypes.bfloat16))
    loop.step([np.ones(3)])
    end = loop.values()[0]
    np.testing.assert_allclose(end[0], 4.0, atol=4 * SPACING["bfloat16"])


def test_mixed_bfloat16_model_trains_in_fit():
    """fit() under the mixed_bfloat16 policy lowers the loss and leaves finite weights."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)]
    )
    model.compile(Nadam(0.01), "mse")
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    losses = model.fit(x, x.sum(1), batch_size=16, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
def test_model_wholly_in_half_precision_trains_in_fit(policy):
    """fit() with half-precision variables and activations stays finite and lowers the loss."""
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(Nadam(0.01), "mse")
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    losses = model.fit(x, x.sum(1), batch_size=16, epochs=10, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
