"""Every schedule against its formula in float64, compiled and not, at its corners and elsewhere."""

from __future__ import annotations

import inspect
import json

import keras
import numpy as np
import pytest

from nadam_suite import schedules as s
from nadam_suite.schedules.base import Schedule
from tests.reference.schedules import twin
from tests.schedules.cases import CASES, IDS, compiled, evaluated, landmarks

CLASSES = {getattr(s, name) for name in s.__all__ if inspect.isclass(getattr(s, name))}
CLASSES -= {s.TrainingPlan}


def test_every_class_is_among_the_cases():
    """A schedule that is added to the package is tested with the others."""
    assert {type(case) for case in CASES} == CLASSES
    assert all(issubclass(kind, Schedule) for kind in CLASSES)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_values_are_those_of_the_formula(case):
    """At every landmark the value is the float64 formula's, to 1e-6, outside compiled functions."""
    steps = landmarks()
    expected = [twin(case, int(step)) for step in steps]
    np.testing.assert_allclose(evaluated(case, steps), expected, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_compiled_values_are_those_of_the_formula(case):
    """The same holds inside a compiled function, whose step is an argument."""
    steps = landmarks()
    expected = [twin(case, int(step)) for step in steps]
    np.testing.assert_allclose(compiled(case)(steps), expected, rtol=1e-6, atol=1e-30)


def test_a_graph_without_xla_gives_the_formula_too(backend):
    """TensorFlow's own graphs agree with the formulas, scalar by scalar."""
    if backend != "tensorflow":
        pytest.skip("only TensorFlow has graphs without XLA")
    for case in CASES:
        function = compiled(case, xla=False)
        for step in landmarks(number=0):
            expected = twin(case, int(step))
            np.testing.assert_allclose(function(step), expected, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_scalars_of_any_integer_type_are_alike(case):
    """A Python int, a tensor and a variable of int32 or int64 give the array's value."""
    steps = [0, 1, 99, 100, 101, 999, 1000, 2000]
    expected = evaluated(case, steps)
    for step, value in zip(steps, expected, strict=True):
        variable = keras.Variable(step, dtype="int", trainable=False)
        tensor = keras.ops.convert_to_tensor(step, dtype="int32")
        for given in (step, tensor, variable):
            found = case(given)
            assert keras.backend.standardize_dtype(found.dtype) == "float32"
            np.testing.assert_allclose(keras.ops.convert_to_numpy(found), value, rtol=2e-7)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_last_value_is_kept_for_ever(case):
    """At steps up to 2**31 - 1, and at larger Python ints, a schedule with an end is at its end."""
    if case.last_step > 10**6:
        pytest.skip("has no end")
    steps = [case.last_step, case.last_step + 1, 2**30, 2**31 - 1]
    found = evaluated(case, steps)
    assert len(set(found)) == 1
    assert float(keras.ops.convert_to_numpy(case(10**15))) == found[0]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_highest_value_is_known(case):
    """`highest` is the largest value that the schedule takes, or, where joined, an upper bound."""
    found = evaluated(case, np.arange(3000)).max()
    highest = np.float32(case.highest)
    assert found <= highest * (1 + 1e-6)
    if not isinstance(case, s.WithCooldown | s.OneCycleMomentum):
        np.testing.assert_allclose(found, highest, rtol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_configs_are_json_and_make_equal_schedules(case):
    """get_config has the constructor's arguments; through JSON and back every bit is the same."""
    config = case.get_config()
    assert list(config) == list(inspect.signature(type(case)).parameters)
    text = json.dumps(keras.saving.serialize_keras_object(case))
    assert f"nadam_suite>{type(case).__name__}" in text
    loaded = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(loaded) is type(case)
    assert loaded.get_config() == config
    before = json.dumps(config)
    again = type(case).from_config(config)
    assert json.dumps(config) == before
    steps = landmarks(number=20)
    np.testing.assert_array_equal(evaluated(again, steps), evaluated(case, steps))
    assert repr(again) == repr(case)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_whole_numbers_may_be_typed_as_ints(case):
    """K28: each number that is whole gives the same schedule as an int and as a float."""
    config = case.get_config()
    as_ints = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in config.items()
    }
    again = type(case).from_config(as_ints)
    steps = landmarks(number=10)
    np.testing.assert_array_equal(evaluated(again, steps), evaluated(case, steps))


def test_float64_values_under_that_floatx(backend):
    """With floatx float64 the values have its digits, through tables and powers too."""
    if backend == "jax":
        pytest.skip("JAX has no float64 without its x64 switch")
    keras.config.set_floatx("float64")
    steps = landmarks(number=30)
    for case in CASES:
        expected = [twin(case, int(step)) for step in steps]
        np.testing.assert_allclose(evaluated(case, steps), expected, rtol=1e-12, atol=1e-30)
