"""When the scale grows and falls: against a twin in plain Python, step by step."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.precision.scale_rule import ScaleNumbers, ScaleRule
from tests.reference.loss_scale import LossScaleTwin

LARGEST = 2**31 - 1


def start(rule):
    """What a rule remembers before the first step."""
    ops = keras.ops
    return ScaleNumbers(
        ops.convert_to_tensor(rule.initial_scale, dtype="float32"),
        ops.convert_to_tensor(0, dtype="int32"),
        ops.convert_to_tensor(rule.start(), dtype="int32"),
    )


def plain(numbers):
    """The same as Python numbers."""
    scale, counter, counters = (
        keras.ops.convert_to_numpy(x)
        for x in (numbers.scale, numbers.step_counter, numbers.counters)
    )
    assert (scale.dtype, counter.dtype, counters.dtype) == ("float32", "int32", "int32")
    return float(scale), int(counter), [int(n) for n in counters]


@st.composite
def rules(draw):
    """Settings near the corners: short intervals, narrow ranges, odd factors."""
    low = draw(st.sampled_from([2.0**-14, float(np.float32(0.3)), 1.0]))
    high = draw(st.sampled_from([low, 8.0, 1000.0, 2.0**24, 2.0**127]))
    return {
        "initial_scale": draw(st.floats(low, high, width=32) if low < high else st.just(low)),
        "growth_steps": draw(st.integers(1, 4)),
        "growth_factor": draw(st.sampled_from([1.0, 1.5, 2.0, 1e10])),
        "backoff_factor": draw(st.sampled_from([1.0, 0.5, 0.7, 1e-9])),
        "hysteresis": draw(st.integers(1, 3)),
        "min_scale": low,
        "max_scale": high,
        "dynamic": draw(st.booleans()),
    }


@given(rules(), st.lists(st.booleans(), max_size=30))
def test_any_sequence_of_steps(settings, steps):
    """After each step all numbers are the twin's, the scale to the bit."""
    rule, twin = ScaleRule(**settings), LossScaleTwin(**settings)
    numbers = start(rule)
    for finite in steps:
        numbers = rule.after_finite(numbers) if finite else rule.after_skip(numbers)
        twin.step(finite)
        assert plain(numbers) == twin.state()


def test_the_twin_by_hand():
    """Two finite steps double the scale, the second skip since then halves it."""
    twin = LossScaleTwin(8.0, growth_steps=2, hysteresis=2, min_scale=4.0, max_scale=16.0)
    seen = []
    for finite in (True, True, True, True, False, False, False, True, True):
        twin.step(finite)
        seen.append((float(twin.scale), twin.finite_in_a_row, twin.hysteresis_left))
    assert seen == [
        (8.0, 1, 2),
        (16.0, 0, 2),
        (16.0, 1, 2),
        (16.0, 0, 2),
        (16.0, 0, 1),
        (8.0, 0, 0),
        (4.0, 0, 0),
        (4.0, 1, 0),
        (8.0, 0, 2),
    ]
    assert (twin.skips, twin.growths, twin.consecutive_skips) == (3, 2, 0)


def test_counters_that_are_full_stay_full():
    """No counter turns negative after 2^31 - 1 steps."""
    rule = ScaleRule(growth_steps=1)
    full = keras.ops.convert_to_tensor([1, LARGEST, LARGEST, LARGEST], dtype="int32")
    numbers = ScaleNumbers(start(rule).scale, start(rule).step_counter, full)
    assert plain(rule.after_skip(numbers))[2] == [0, LARGEST, LARGEST, LARGEST]
    assert plain(rule.after_finite(numbers))[2] == [1, 0, LARGEST, LARGEST]


def test_a_shorter_interval_than_before_grows_at_once():
    """A state of a training with a longer interval does not count past the new one for ever."""
    rule = ScaleRule(8.0, growth_steps=3)
    counter = keras.ops.convert_to_tensor(100, dtype="int32")
    numbers = ScaleNumbers(start(rule).scale, counter, start(rule).counters)
    assert plain(rule.after_finite(numbers))[:2] == (16.0, 0)


@pytest.mark.parametrize(
    ("saved", "wanted"), [(0.0, 2.0**-14), (np.inf, 2.0**24), (np.nan, 2.0**15), (64.0, 64.0)]
)
def test_dead_scales_of_saved_states_come_to_life(saved, wanted):
    """A scale that ran to zero or infinity elsewhere goes on from the nearest that is allowed."""
    assert ScaleRule().within_range(saved) == wanted
    assert ScaleRule(3.0, dynamic=False).within_range(saved) == 3.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("initial_scale", 0.0),
        ("initial_scale", float("inf")),
        ("initial_scale", float("nan")),
        ("growth_factor", 0.5),
        ("backoff_factor", 0.0),
        ("backoff_factor", 1.5),
        ("hysteresis", 0),
        ("growth_steps", 0),
        ("growth_steps", 2**31),
        ("min_scale", 0.0),
        ("max_scale", float("inf")),
        ("max_scale", 1.0),
        ("min_scale", 2.0**16),
    ],
)
def test_values_out_of_range(name, value):
    """Each is refused by name, with what was received."""
    shown = {"growth_steps": "dynamic_growth_steps"}.get(name, name)
    with pytest.raises(ArgumentError, match=f"{shown}={value!r}"):
        ScaleRule(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("initial_scale", "big"), ("hysteresis", True), ("growth_steps", None), ("dynamic", 1)],
)
def test_values_of_wrong_types(name, value):
    """A bool is no number and a number no bool."""
    with pytest.raises(ArgumentTypeError, match="Received: "):
        ScaleRule(**{name: value})


def test_a_fixed_scale_needs_no_range():
    """What lies beyond floor and ceiling can be held fixed."""
    assert ScaleRule(2.0**30, dynamic=False).initial_scale == 2.0**30
