"""`DynamicLossScaleOptimizer`: what a step does, a skipped one, and many of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nadam_suite import Nadam
from nadam_suite.averaging import EMA
from nadam_suite.errors import ArgumentError, ArgumentTypeError, NonFiniteError, SettingError
from nadam_suite.precision import DynamicLossScaleOptimizer, loss_scale_report, skip_nonfinite
from tests.optimizers.driver import (
    BACKEND,
    Loop,
    assert_paths_close,
    make_variables,
    record,
    to_float64,
)
from tests.precision.scaled import Scaled, remembered
from tests.reference.gradients import gradient_list, start_values
from tests.reference.loss_scale import LossScaleTwin
from tests.reference.nadam import trajectory

NOT_FINITE = [np.inf, -np.inf, np.nan]
COMPILED = [True, False]


def adam():
    return keras.optimizers.Adam(0.01)


@pytest.mark.parametrize("compiled", COMPILED)
def test_steps_are_those_of_the_bare_optimizer(compiled):
    """At every step what the float64 twin says, whatever the scale is at that time."""
    start, gradients = start_values(), gradient_list(40)
    optimizer = DynamicLossScaleOptimizer(
        Nadam(0.01, global_clipnorm=0.5, weight_decay=0.1),
        initial_scale=4.0,
        dynamic_growth_steps=7,
    )
    scales = [4.0 * 2.0 ** (step // 7) for step in range(40)]
    scaled = [[g * scale for g in row] for row, scale in zip(gradients, scales, strict=True)]
    path = record(optimizer, start, scaled, compiled=compiled)
    arguments = {"learning_rate": 0.01, "global_clipnorm": 0.5, "weight_decay": 0.1}
    assert_paths_close(path, trajectory(start, gradients, **arguments), rtol=1e-5, atol=1e-5)
    assert remembered(optimizer)[0] == 4.0 * 2.0**5


@pytest.mark.parametrize("inner", [Nadam, adam])
@pytest.mark.parametrize("compiled", COMPILED)
@settings(max_examples=6)
@given(steps=st.lists(st.booleans(), max_size=12))
def test_any_sequence_of_steps(inner, compiled, steps):
    """Around ours and around others: the numbers are the twin's, a skipped step changes nothing."""
    options = {"initial_scale": 16.0, "hysteresis": 2, "max_scale": 64.0, "min_scale": 8.0}
    scaled = Scaled(inner(), compiled, dynamic_growth_steps=3, **options)
    twin = LossScaleTwin(growth_steps=3, **options)
    taken = 0
    for finite in steps:
        before = scaled.everything()
        scaled.step(finite)
        twin.step(finite)
        taken += finite
        assert remembered(scaled.optimizer) == twin.state()
        assert int(scaled.optimizer.iterations) == taken
        same = all(np.array_equal(a, b) for a, b in zip(before, scaled.everything(), strict=True))
        assert same is not finite


@pytest.mark.skipif(BACKEND != "tensorflow", reason="what a tf.function is compiled with")
@pytest.mark.parametrize("inner", [Nadam, adam])
def test_xla_does_the_same(inner):
    """jit_compile=True."""
    scaled, twin = Scaled(inner(), jit_compile=True), LossScaleTwin()
    for finite in (True, False, True, False, False, True):
        before = scaled.everything()
        scaled.step(finite)
        twin.step(finite)
        assert remembered(scaled.optimizer) == twin.state()
        same = all(np.array_equal(a, b) for a, b in zip(before, scaled.everything(), strict=True))
        assert same is not finite


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("compiled", COMPILED)
def test_a_skipped_step_changes_nothing_but_the_scale(value, compiled):
    """Weights, moments, products, averages, the running window and the iteration stay."""
    inner = Nadam(
        0.01, gradient_accumulation_steps=3, averaging=EMA(0.9), weight_decay=0.1, clipnorm=1.0
    )
    scaled = Scaled(inner, compiled)
    for _ in range(4):  # one update, and one batch into the next window
        scaled.step()
    before = scaled.everything()
    scaled.step(finite=False, value=value)
    for a, b in zip(before, scaled.everything(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert remembered(scaled.optimizer)[0] == 2.0**14


@pytest.mark.parametrize("compiled", COMPILED)
def test_a_window_consists_of_finite_batches(compiled):
    """Skipped batches amid a window leave its mean as if they had not been there."""
    start, gradients = start_values(), gradient_list(12)
    twin = trajectory(start, gradients, learning_rate=0.01, gradient_accumulation_steps=4)
    optimizer = DynamicLossScaleOptimizer(
        Nadam(0.01, gradient_accumulation_steps=4), initial_scale=2.0**10
    )
    loop = Loop(optimizer, make_variables(start), compiled)
    path = []
    for step, row in enumerate(gradients):
        if step % 3 == 1:
            loop.step([np.full_like(g, np.nan) for g in row])
            loop.write_back()
        scale = remembered(optimizer)[0]
        loop.step([g * scale for g in row])
        path.append(loop.values())
        loop.write_back()
    assert remembered(optimizer)[0] == 2.0**6
    assert_paths_close(path, twin, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inner", [Nadam, adam])
def test_two_hundred_bad_steps_and_a_good_one(inner):
    """K8: the scale stands at its floor, and the weights move by one finite step."""
    scaled = Scaled(inner())
    before = scaled.everything()
    for _ in range(200):
        scaled.step(finite=False)
    assert remembered(scaled.optimizer)[0] == 2.0**-14
    scaled.step()
    after = scaled.everything()
    assert all(np.all(np.isfinite(value)) for value in after)
    assert 0.0 < np.max(np.abs(after[0] - before[0])) < 0.02


@pytest.mark.slow
def test_growth_to_the_ceiling_and_long_after():
    """K8: 5,000 steps beyond the ceiling every step is still taken."""
    scaled = Scaled(dynamic_growth_steps=1, max_scale=2.0**17)
    for _ in range(5003):
        scaled.loop.step([np.array([0.5, -0.25]), np.array([[1.0]])])
    scaled.loop.write_back()
    assert remembered(scaled.optimizer) == (2.0**17, 0, [1, 0, 0, 2])
    assert int(scaled.optimizer.iterations) == 5003


@pytest.mark.parametrize("inner", [Nadam, adam])
def test_too_many_skips_in_a_row_end_an_eager_training(inner):
    """The error names the variables, what share of them, and the scales; the weights are whole."""
    scaled = Scaled(inner(), compiled=False, max_consecutive_skips=3)
    before = scaled.everything()
    scaled.step(finite=False)
    scaled.step()
    scaled.step(finite=False)
    scaled.step(finite=False)
    with pytest.raises(NonFiniteError) as caught:
        scaled.step(finite=False, value=np.nan)
    message = str(caught.value)
    assert message.startswith("3 steps in a row were skipped")
    assert "max_consecutive_skips=3" in message
    assert "w0 (0.5 of 2 entries)." in message
    assert "w1" not in message
    assert "32768, 16384, 8192, 4096" in message
    assert isinstance(caught.value, FloatingPointError)
    scaled.step()
    assert int(scaled.optimizer.iterations) == 2
    assert not np.array_equal(before[0], scaled.everything()[0])


def test_a_compiled_training_is_warned_at_the_end_of_fit():
    """Nothing can be raised inside of a compiled step."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    scale = DynamicLossScaleOptimizer(Nadam(0.1), max_consecutive_skips=4)
    eager = BACKEND == "torch"
    model.compile(scale, "mse")
    x = np.full((8, 2), np.nan, "float32")
    weights = model.get_weights()
    if eager:
        with pytest.raises(NonFiniteError, match="4 steps in a row"):
            model.fit(x, x[:, :1], batch_size=2, verbose=0)
    else:
        with pytest.warns(UserWarning, match=r"4 steps in a row.*kernel \(1 of 2 entries\)"):
            model.fit(x, x[:, :1], batch_size=2, verbose=0)
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_skipping_without_scaling():
    """`skip_nonfinite`: the loss stays as it is, and so do gradients, to the bit."""
    start, gradients = start_values(), gradient_list(10)
    guarded = record(skip_nonfinite(Nadam(0.01)), start, gradients)
    bare = record(Nadam(0.01), start, gradients)
    for row, wanted in zip(guarded, bare, strict=True):
        for a, b in zip(row, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    optimizer = skip_nonfinite(Nadam(), max_consecutive_skips=None)
    assert float(keras.ops.convert_to_numpy(optimizer.scale_loss(3.0))) == 3.0
    assert optimizer.max_consecutive_skips is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bad_batches_are_skipped_in_every_precision(dtype):
    """One NaN changes no weight; the next step is taken."""
    variables = make_variables([np.array([1.0, 2.0])], dtype)
    loop = Loop(skip_nonfinite(Nadam(0.1, averaging=EMA(0.9))), variables)
    loop.step([np.array([np.nan, 1.0])])
    assert loop.values()[0].tolist() == [1.0, 2.0]
    loop.step([np.array([1.0, 1.0])])
    loop.write_back()
    assert np.all(to_float64(variables[0]) < [1.0, 2.0])
    assert loss_scale_report(loop.optimizer)["skips"] == 1


def test_values_that_replace_their_variables_pass_unscaled():
    """Float8 scales come as gradients, and no scale of the loss is in them."""
    variables = make_variables([np.array([1.0]), np.array([2.0])])
    variables[1].overwrite_with_gradient = True
    for inner in (Nadam(0.1), keras.optimizers.Adam(0.1)):
        loop = Loop(DynamicLossScaleOptimizer(inner, initial_scale=4.0), variables)
        loop.step([np.array([np.inf]), np.array([7.0])])
        loop.write_back()
        assert to_float64(variables[1]) != 7.0
        loop.step([np.array([2.0]), np.array([7.0])])
        loop.write_back()
        assert to_float64(variables[1]) == 7.0
        variables[1].assign([2.0])


@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # that is what is tried
@pytest.mark.parametrize("inner", [Nadam, adam])
@pytest.mark.parametrize("compiled", COMPILED)
def test_variables_without_gradient_are_left_out(inner, compiled):
    """None stays None: the variable keeps its value, and counts as finite."""
    scaled = Scaled(inner(), compiled)
    before = scaled.everything()
    scaled.loop.step([np.array([1.0, 1.0]), None])
    scaled.loop.write_back()
    after = scaled.everything()
    assert not np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    scaled.loop.step([np.array([np.inf, 1.0]), None])
    scaled.loop.write_back()
    assert remembered(scaled.optimizer)[2][2] == 1


@pytest.mark.parametrize("inner", [Nadam, adam])
def test_gradients_of_embeddings(inner):
    """Sparse ones, which TensorFlow hands over, are unscaled and looked at as others are."""
    tokens, y = np.array([[0, 1, 1]] * 4), np.zeros((4, 3, 2), "float32")

    def trained(optimizer):
        layer = keras.layers.Embedding(6, 2, embeddings_initializer="ones")
        model = keras.Sequential([keras.Input((3,), dtype="int32"), layer])
        model.compile(optimizer, "mse")
        model.fit(tokens, y, batch_size=2, verbose=0)
        return model

    scale = DynamicLossScaleOptimizer(inner(), initial_scale=8.0)
    model = trained(scale)
    (table,) = model.get_weights()
    np.testing.assert_allclose(table, trained(inner()).get_weights()[0], rtol=1e-6)
    y[0, 0] = np.nan
    model.fit(tokens, y, batch_size=4, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], table)
    assert 0.0 < keras.ops.convert_to_numpy(scale.scale_variables.shares)[0] < 1.0


def test_large_gradients_are_finite():
    """Sums of squares overflow where the gradients do not; that is no reason to skip a step."""
    scaled = Scaled(initial_scale=1.0)
    scaled.loop.step([np.array([1e30, -3e38]), np.array([[1e25]])])
    scaled.loop.write_back()
    assert remembered(scaled.optimizer)[2][2] == 0
    assert int(scaled.optimizer.iterations) == 1


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("initial_scale", -1.0),
        ("dynamic_growth_steps", 0),
        ("growth_factor", 0.9),
        ("backoff_factor", 2.0),
        ("hysteresis", 0),
        ("min_scale", -1.0),
        ("max_scale", 2.0),
        ("max_consecutive_skips", 0),
    ],
)
def test_values_out_of_range(argument, value):
    """Refused when the wrapper is made."""
    with pytest.raises(ArgumentError, match=f"{argument}={value!r}"):
        DynamicLossScaleOptimizer(Nadam(), **{argument: value})


def test_what_may_not_be_inside():
    """No second scale, of whatever kind, and nothing that is no optimizer."""
    with pytest.raises(ArgumentError, match=r"loss_scale_factor=8\.0.*initial_scale=8\.0"):
        DynamicLossScaleOptimizer(Nadam(loss_scale_factor=8.0))
    with pytest.raises(ArgumentError, match="must not be a loss scale itself"):
        DynamicLossScaleOptimizer(keras.optimizers.LossScaleOptimizer(Nadam()))
    with pytest.raises(ArgumentTypeError, match="of type str"):
        DynamicLossScaleOptimizer("nadam")


def test_the_stock_wrapper_cannot_take_a_factor_away():
    """K10: compile() under mixed_float16 would drop it without a word."""
    with pytest.raises(SettingError, match=r"held: 8\.0.*auto_scale_loss=False"):
        keras.optimizers.LossScaleOptimizer(Nadam(loss_scale_factor=8.0))


def test_compile_does_not_wrap_it_again():
    """It is a loss scale of Keras."""
    keras.config.set_dtype_policy("mixed_float16")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer = DynamicLossScaleOptimizer(Nadam())
    model.compile(optimizer, "mse")
    assert model.optimizer is optimizer
