"""Schedules with a warm-up against formulas written down again in float64."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules import Constant, WarmupCosine, WarmupLinear

DECAYS = [WarmupCosine, WarmupLinear]


def constant_twin(step, value, warmup_steps, start):
    """The value of `Constant`, step by step in Python floats."""
    if step < warmup_steps:
        return start + (value - start) * step / warmup_steps
    return value


def decay_twin(kind, step, peak, total_steps, warmup_steps, end, start):
    """The value of a decaying schedule as its docstring has it, in Python floats."""
    if step < warmup_steps:
        return start + (peak - start) * step / warmup_steps
    done = min(step - warmup_steps, total_steps - warmup_steps) / (total_steps - warmup_steps)
    if kind is WarmupLinear:
        return peak + (end - peak) * done
    return end + (peak - end) * 0.5 * (1.0 + math.cos(math.pi * done))


def values(schedule, steps):
    """The schedule at many integer steps, one call each, as float64."""
    return np.array([float(keras.ops.convert_to_numpy(schedule(int(s)))) for s in steps])


@pytest.mark.parametrize("kind", DECAYS)
@pytest.mark.parametrize(
    ("peak", "total", "warm", "end", "start"),
    [
        (1e-3, 1000, 100, 0.0, 0.0),
        (0.00190834618600756, 777, 0, 1e-5, 0.0),
        (2.0, 10, 9, 0.5, 0.25),
        (0.0, 10, 3, 0.1, 0.2),
        (1e-8, 5_000_000, 250_000, 1e-9, 0.0),
    ],
)
def test_decays_equal_their_formulas_at_the_landmarks(kind, peak, total, warm, end, start):
    """Start, warm-up, peak, middle, last steps and beyond equal the float64 formula."""
    schedule = kind(peak, total, warm, end, start)
    middle = (warm + total) // 2
    steps = [0, 1, warm // 2, max(warm - 1, 0), warm, warm + 1, middle, total - 1, total, 9 * total]
    expected = [decay_twin(kind, s, peak, total, warm, end, start) for s in steps]
    np.testing.assert_allclose(values(schedule, steps), expected, rtol=1e-6, atol=1e-30)


def test_constant_equals_its_formula():
    """A constant warms up on a straight line and then stays."""
    steps = [0, 1, 3, 6, 7, 8, 10**6]
    expected = [constant_twin(s, 0.3, 7, 0.1) for s in steps]
    np.testing.assert_allclose(values(Constant(0.3, 7, 0.1), steps), expected, rtol=1e-6)
    np.testing.assert_array_equal(values(Constant(0.3), [0, 5]), np.float32([0.3, 0.3]))


@pytest.mark.parametrize("kind", DECAYS)
def test_first_peak_and_last_values_are_exact(kind):
    """Step 0, the peak and everything from the last step on are the typed values, to the bit."""
    schedule = kind(0.1, 1000, 37, end=0.03, start=0.007)
    found = values(schedule, [0, 37, 1000, 1001, 2**31 - 1, 10**15])
    np.testing.assert_array_equal(found, np.float32([0.007, 0.1, 0.03, 0.03, 0.03, 0.03]))


@pytest.mark.parametrize("kind", DECAYS)
@given(
    peak=st.floats(1e-9, 10.0),
    end=st.floats(0.0, 10.0),
    start=st.floats(0.0, 10.0),
    total=st.integers(1, 2**31 - 1),
    data=st.data(),
)
def test_values_follow_the_formula_and_stay_in_range(kind, peak, end, start, total, data):
    """Any schedule lies between its landmarks, and on its formula, at any step."""
    warm = data.draw(st.integers(0, total - 1))
    step = data.draw(st.integers(0, 2 * total))
    found = values(kind(peak, total, warm, end, start), [step])[0]
    expected = decay_twin(kind, step, peak, total, warm, end, start)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-7 * max(peak, end, start))
    low, high = min(peak, end, start), max(peak, end, start)
    assert np.float32(low) <= found <= np.float32(high)


@given(st.floats(1e-6, 1.0), st.floats(0.0, 1e-6), st.integers(2, 60))
def test_a_warm_up_never_falls(peak, start, warm):
    """Every step of a warm-up is at least as high as the one before, and the peak the highest."""
    found = values(WarmupCosine(peak, 100, warm, start=start), range(warm + 1))
    assert (np.diff(found) >= 0).all()
    assert found[-1] == np.float32(peak)


def test_a_warm_up_never_rises_above_its_peak():
    """A last step whose float32 sum rounds to above the peak is the peak at most."""
    peak = 0.39503220973931275
    schedule = Constant(peak, warmup_steps=2521, start=0.39502965579432503)
    assert values(schedule, [2520])[0] <= np.float32(peak)


def test_the_cosine_keeps_its_digits_near_the_end():
    """The last steps are right to float32, where one plus a float32 cosine has lost its digits."""
    schedule = WarmupCosine(1.0, 100_000)
    steps = [99_990, 99_999]
    expected = [math.sin(math.pi / 2 * (100_000 - s) / 100_000) ** 2 for s in steps]
    np.testing.assert_allclose(values(schedule, steps), expected, rtol=1e-6)


def test_steps_past_2_24_are_told_apart():
    """Neighbouring steps past 2**24, which float32 merges, have values of their own."""
    start = 2**24
    schedule = WarmupLinear(1.0, start + 16, warmup_steps=start)
    found = values(schedule, range(start, start + 17))
    np.testing.assert_allclose(found, 1.0 - np.arange(17) / 16, rtol=1e-6)


@pytest.mark.parametrize("kind", DECAYS)
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "int8"])
def test_integer_tensors_and_variables_work_like_ints(kind, dtype):
    """A tensor or a variable of any integer type gives what the int gives, in float32."""
    schedule = kind(1e-2, 1000, 20)
    expected = values(schedule, [100])
    if keras.backend.backend() == "jax" and dtype == "int64":
        pytest.skip("JAX has no int64 without its x64 switch")
    tensor = keras.ops.convert_to_tensor(100, dtype=dtype)
    found = schedule(tensor)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found), expected[0])
    variable = keras.Variable(100, dtype=dtype, trainable=False)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(schedule(variable)), expected[0])


def test_an_array_of_steps_gives_an_array_of_values():
    """A whole curve comes from one call, equal to the calls one by one."""
    schedule = WarmupCosine(1e-2, 50, 7, end=1e-4)
    steps = np.arange(60)
    found = keras.ops.convert_to_numpy(schedule(steps))
    np.testing.assert_allclose(found, values(schedule, steps), rtol=1e-6)


def test_negative_steps_count_as_step_zero():
    """A counter that has not started gives the first value."""
    schedule = WarmupLinear(1.0, 10, 5, start=0.25)
    np.testing.assert_array_equal(values(schedule, [-7]), [0.25])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(schedule(np.array([-7]))), [0.25])
    tensor = keras.ops.convert_to_tensor(-7, dtype="int32")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(schedule(tensor)), 0.25)


@pytest.mark.parametrize("kind", DECAYS)
def test_a_decay_to_its_peak_is_constant(kind):
    """Between two equal values nothing moves, not even by a rounding."""
    found = keras.ops.convert_to_numpy(kind(0.3, 1000, end=0.3)(np.arange(1001)))
    np.testing.assert_array_equal(found, np.full(1001, np.float32(0.3)))


@pytest.mark.parametrize("schedule", [WarmupCosine(1e-2, 100, 7), Constant(1e-2, 7)])
def test_a_compiled_function_gives_the_same_values(schedule, backend):
    """Traced with the step as an argument, once, a schedule gives what it gives eagerly."""
    traces = []

    def call(step):
        traces.append(1)
        return schedule(step)

    if backend == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(call, input_signature=[tf.TensorSpec((), tf.int64)])
        make = tf.constant
    elif backend == "jax":
        import jax
        import jax.numpy as jnp

        compiled, make = jax.jit(call), jnp.asarray
    else:
        import torch

        compiled, make = call, torch.tensor
    steps = [0, 3, 7, 50, 100, 500]
    found = [float(compiled(make(np.int64(s) if backend == "tensorflow" else s))) for s in steps]
    np.testing.assert_allclose(found, values(schedule, steps), rtol=1e-6)
    assert len(traces) == (len(steps) if backend == "torch" else 1)


def test_floatx_float64_gives_float64_values(backend):
    """Under that floatx the values have the digits of float64."""
    if backend == "jax":
        pytest.skip("JAX has no float64 without its x64 switch")
    keras.config.set_floatx("float64")
    schedule = WarmupCosine(0.1, 1000, 100)
    expected = [decay_twin(WarmupCosine, s, 0.1, 1000, 100, 0.0, 0.0) for s in (33, 617)]
    np.testing.assert_allclose(values(schedule, [33, 617]), expected, rtol=1e-14)


def test_half_precision_floatx_leaves_the_values_in_float32():
    """A schedule's value is not rounded to bfloat16, under which a warm-up would have gaps."""
    keras.config.set_floatx("bfloat16")
    assert values(WarmupLinear(1.0, 1000, 500), [123])[0] == np.float32(123 / 500)


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(1, 2, 0.25),
        WarmupCosine(0.1, 7, 3, 0.01, 0.001),
        WarmupLinear(np.float32(0.1), np.int64(7), 3, 0.01, 0.001),
    ],
)
def test_configs_hold_the_constructors_arguments_as_typed(schedule):
    """get_config has every constructor argument, JSON has it, and what comes back is equal."""
    import inspect
    import json

    config = schedule.get_config()
    assert list(config) == list(inspect.signature(type(schedule)).parameters)
    assert json.loads(json.dumps(config)) == config
    again = type(schedule).from_config(config)
    assert again.get_config() == config
    assert 0.1 in config.values() or config["value"] == 1.0
    serialized = keras.saving.serialize_keras_object(schedule)
    assert serialized["registered_name"] == f"nadam_suite>{type(schedule).__name__}"
    loaded = keras.saving.deserialize_keras_object(serialized)
    np.testing.assert_array_equal(values(loaded, range(9)), values(schedule, range(9)))
    assert repr(loaded) == repr(schedule)


def test_int_values_do_not_truncate_the_schedule():
    """Whole numbers typed as ints give what floats give, unlike in Keras' own schedules."""
    np.testing.assert_array_equal(
        values(WarmupLinear(1, 4, 2, 0, 0), range(5)), [0, 0.5, 1, 0.5, 0]
    )


BAD = [
    (WarmupCosine, {"peak": -1.0, "total_steps": 5}, ArgumentError, "peak=-1.0"),
    (WarmupCosine, {"peak": math.nan, "total_steps": 5}, ArgumentError, "peak=nan"),
    (WarmupCosine, {"peak": math.inf, "total_steps": 5}, ArgumentError, "peak=inf"),
    (WarmupCosine, {"peak": "1", "total_steps": 5}, ArgumentTypeError, "peak='1'"),
    (WarmupCosine, {"peak": True, "total_steps": 5}, ArgumentTypeError, "peak=True"),
    (WarmupLinear, {"peak": 1.0, "total_steps": 0}, ArgumentError, "total_steps=0"),
    (WarmupLinear, {"peak": 1.0, "total_steps": 5.0}, ArgumentTypeError, "total_steps=5.0"),
    (WarmupLinear, {"peak": 1.0, "total_steps": True}, ArgumentTypeError, "total_steps=True"),
    (WarmupLinear, {"peak": 1.0, "total_steps": 2**31}, ArgumentError, "total_steps=2147483648"),
    (WarmupLinear, {"peak": 1.0, "total_steps": 5, "warmup_steps": 5}, ArgumentError, "ps=5"),
    (WarmupLinear, {"peak": 1.0, "total_steps": 5, "warmup_steps": -1}, ArgumentError, "ps=-1"),
    (WarmupLinear, {"peak": 1.0, "total_steps": 5, "end": -0.1}, ArgumentError, "end=-0.1"),
    (WarmupLinear, {"peak": 1.0, "total_steps": 5, "start": None}, ArgumentTypeError, "start=None"),
    (Constant, {"value": None}, ArgumentTypeError, "value=None"),
    (Constant, {"value": 1.0, "warmup_steps": "5%"}, ArgumentTypeError, "warmup_steps='5%'"),
]


@pytest.mark.parametrize(("kind", "arguments", "error", "received"), BAD)
def test_bad_arguments_are_refused_with_value_and_remedy(kind, arguments, error, received):
    """The message names the argument, shows the value and ends in a remedy."""
    with pytest.raises(error) as caught:
        kind(**arguments)
    text = str(caught.value)
    assert text.startswith("Argument `")
    assert f"{received}" in text.split("Received: ")[1]
    assert len(text.split("Received: ")[1].split(". ")) >= 2
