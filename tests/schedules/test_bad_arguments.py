"""Schedules refuse what cannot be meant, with the argument, the value and a remedy."""

from __future__ import annotations

import math

import keras
import pytest

from nadam_suite import schedules as s
from nadam_suite.errors import ArgumentError, ArgumentTypeError

WSD = {"peak": 1.0, "total_steps": 10, "cooldown_steps": 4}
CYCLE = {"peak": 1.0, "total_steps": 10}
RESTARTS = {"peak": 1.0, "first_period": 5}

BAD = [
    (s.Linear, {"start": -1.0, "end": 0.0, "total_steps": 5}, ArgumentError, "start=-1.0"),
    (s.Linear, {"start": 1.0, "end": 0.0, "total_steps": "5%"}, ArgumentTypeError, "steps='5%'"),
    (s.Polynomial, {"start": 1, "end": 0, "total_steps": 5, "power": 0}, ArgumentError, "power=0"),
    (s.WarmupPolynomial, {"peak": 1.0, "total_steps": 5, "power": math.nan}, ArgumentError, "nan"),
    (s.WarmupExponential, {**CYCLE, "decay_rate": 1.5}, ArgumentError, "decay_rate=1.5"),
    (s.WarmupExponential, {**CYCLE, "decay_rate": 0.0}, ArgumentError, "decay_rate=0.0"),
    (s.WarmupExponential, {**CYCLE, "decay_steps": 0}, ArgumentError, "decay_steps=0"),
    (s.WarmupExponential, {**CYCLE, "staircase": 1}, ArgumentTypeError, "staircase=1"),
    (s.WarmupExponential, {**CYCLE, "end": 2.0}, ArgumentError, "end=2.0"),
    (s.WarmupInverseSqrt, {"peak": 1.0, "timescale": 0}, ArgumentError, "timescale=0"),
    (s.Noam, {"d_model": 0, "warmup_steps": 5}, ArgumentError, "d_model=0"),
    (s.Noam, {"d_model": 64, "warmup_steps": 0}, ArgumentError, "warmup_steps=0"),
    (s.WarmupStableDecay, {**WSD, "cooldown_steps": 0}, ArgumentError, "cooldown_steps=0"),
    (s.WarmupStableDecay, {**WSD, "warmup_steps": 7}, ArgumentError, "cooldown_steps=4"),
    (s.WarmupStableDecay, {**WSD, "shape": "root"}, ArgumentError, "shape='root'"),
    (s.WarmupStableDecay, {**WSD, "shape": None}, ArgumentTypeError, "shape=None"),
    (s.WarmupStableDecay, {**WSD, "shape": "exponential"}, ArgumentError, "end=0.0"),
    (
        s.WarmupStableDecay,
        {**WSD, "shape": "exponential", "end": 2.0},
        ArgumentError,
        "peak=1.0, end=2.0",
    ),
    (s.OneCycle, {**CYCLE, "warmup_steps": 10}, ArgumentError, "warmup_steps=10"),
    (s.OneCycle, {**CYCLE, "cooldown_steps": 7}, ArgumentError, "warmup_steps=3"),
    (s.OneCycle, {**CYCLE, "div_factor": 0.5}, ArgumentError, "div_factor=0.5"),
    (s.OneCycle, {**CYCLE, "final_div_factor": 0.0}, ArgumentError, "final_div_factor=0.0"),
    (s.OneCycle, {**CYCLE, "anneal": "cos"}, ArgumentError, "anneal='cos'"),
    (s.OneCycleMomentum, {"total_steps": 9, "base_momentum": 0.96}, ArgumentError, "m=0.96"),
    (s.OneCycleMomentum, {"total_steps": 9, "max_momentum": 1.0}, ArgumentError, "um=1.0"),
    (s.Cyclical, {"base": 0.0, "peak": 1.0, "step_size": 0}, ArgumentError, "step_size=0"),
    (
        s.Cyclical,
        {"base": 0.0, "peak": 1.0, "step_size": 4, "mode": "saw"},
        ArgumentError,
        "mode='saw'",
    ),
    (
        s.Cyclical,
        {"base": 0.0, "peak": 1.0, "step_size": 4, "gamma": 0.9},
        ArgumentError,
        "gamma=0.9",
    ),
    (s.CosineRestarts, {**RESTARTS, "t_mul": 0.5}, ArgumentError, "t_mul=0.5"),
    (s.CosineRestarts, {**RESTARTS, "t_mul": 1.001}, ArgumentError, "t_mul=1.001"),
    (s.CosineRestarts, {**RESTARTS, "m_mul": 1.5}, ArgumentError, "m_mul=1.5"),
    (s.CosineRestarts, {**RESTARTS, "end": 2.0}, ArgumentError, "peak=1.0"),
    (s.CosineRestarts, {**RESTARTS, "cycles": 0}, ArgumentError, "cycles=0"),
    (s.Piecewise, {"points": []}, ArgumentError, "points=[]"),
    (s.Piecewise, {"points": [(1, 0.5)]}, ArgumentError, "points=[(1, 0.5)]"),
    (s.Piecewise, {"points": [(0, 0.5), (0, 0.6)]}, ArgumentError, "0 after 0"),
    (s.Piecewise, {"points": [(0, -0.5)]}, ArgumentError, "points[0][1]=-0.5"),
    (s.Piecewise, {"points": [0.5]}, ArgumentTypeError, "points[0]=0.5"),
    (s.Piecewise, {"points": {0: 0.5}}, ArgumentTypeError, "points={0: 0.5}"),
    (
        s.Piecewise,
        {"points": [(0, 0.5)], "interpolation": "spline"},
        ArgumentError,
        "interpolation='spline'",
    ),
    (s.Joined, {"schedules": [], "boundaries": []}, ArgumentError, "0 boundaries, 0 schedules"),
    (s.Joined, {"schedules": [0.5], "boundaries": []}, ArgumentTypeError, "schedules[0]=0.5"),
    (
        s.Joined,
        {"schedules": [s.Constant(1.0)] * 3, "boundaries": [9, 4]},
        ArgumentError,
        "4 after 9",
    ),
    (
        s.Joined,
        {"schedules": [s.Constant(1.0)] * 2, "boundaries": [2.5]},
        ArgumentTypeError,
        "boundaries[0]=2.5",
    ),
    (s.Scaled, {"schedule": 0.5, "factor": 2.0}, ArgumentTypeError, "schedule=0.5"),
    (s.Scaled, {"schedule": s.Constant(1.0), "factor": -1.0}, ArgumentError, "factor=-1.0"),
    (
        s.WithCooldown,
        {"schedule": s.Constant(1.0), "total_steps": 5, "cooldown_steps": 6},
        ArgumentError,
        "cooldown_steps=6",
    ),
    (
        s.WithCooldown,
        {
            "schedule": s.Constant(1.0),
            "total_steps": 5,
            "cooldown_steps": 2,
            "shape": "exponential",
        },
        ArgumentError,
        "end=0.0",
    ),
]


@pytest.mark.parametrize(("kind", "arguments", "error", "received"), BAD)
def test_bad_arguments_are_refused_with_value_and_remedy(kind, arguments, error, received):
    """The message names the argument, shows the value and ends in a remedy."""
    with pytest.raises(error) as caught:
        kind(**arguments)
    text = str(caught.value)
    assert text.startswith("Argument")
    assert received in text.split("Received: ")[1]
    assert len(text.split("Received: ")[1].split(". ")) >= 2


def test_keras_own_schedules_can_be_composed():
    """A foreign schedule may be joined, scaled and cooled down; its highest value is not known."""
    foreign = keras.optimizers.schedules.ExponentialDecay(1.0, 10, 0.5)
    scaled = s.Scaled(foreign, 0.5)
    joined = s.Joined([s.Constant(1.0), foreign], [10])
    cooled = s.WithCooldown(foreign, 20, 10)
    assert scaled.highest is joined.highest is cooled.highest is None
    found = [float(keras.ops.convert_to_numpy(v)) for v in (scaled(10), joined(20), cooled(20))]
    assert found == pytest.approx([0.25, 0.5, 0.0], rel=1e-6)
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(joined))
    assert loaded.get_config() == joined.get_config()
    assert s.sample(foreign, 3) == pytest.approx([1.0, 0.5**0.1, 0.5**0.2], rel=1e-6)


def test_periods_may_grow_at_any_pace():
    """A second period that is longer than any counter lasts to its end."""
    schedule = s.CosineRestarts(1.0, 50, t_mul=1e308)
    found = [float(keras.ops.convert_to_numpy(schedule(step))) for step in (50, 2**30)]
    assert found == pytest.approx([1.0, 0.5], rel=1e-6)
