"""nadam_suite.Nadam follows the float64 twin with every option, at every one of 1,000 steps."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from tests.optimizers.driver import assert_paths_close, assert_paths_close_in_norm, record
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory

STEPS = 1000


def linear(first: float, last: float, steps: int):
    """A straight line as a Keras schedule and as a function for the twin."""
    schedule = keras.optimizers.schedules.PolynomialDecay(first, steps, last, power=1.0)
    return schedule, lambda step: last + (first - last) * (1 - min(step, steps) / steps)


OPTIONS = {
    "defaults": {},
    "momentum_decay of the paper": {"momentum_decay": 0.004},
    "no momentum_decay": {"momentum_decay": None},
    "other betas and epsilon": {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-3},
    "beta_1 of zero": {"beta_1": 0.0},
    "weight_decay": {"weight_decay": 0.1, "learning_rate": 0.003},
    "clipnorm": {"clipnorm": 0.5},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.05},
    "use_ema": {"use_ema": True, "ema_momentum": 0.9},
    "ema overwrite": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 7},
    "accumulation": {"gradient_accumulation_steps": 4},
    "loss_scale_factor": {"loss_scale_factor": 128.0},
    "all at once": {
        "learning_rate": 0.003,
        "momentum_decay": 0.004,
        "weight_decay": 0.05,
        "global_clipnorm": 2.0,
        "use_ema": True,
        "ema_momentum": 0.95,
        "ema_overwrite_frequency": 5,
        "gradient_accumulation_steps": 3,
        "loss_scale_factor": 16.0,
    },
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_follows_the_twin(name):
    """Variables stay within 1e-5 of the float64 twin, compared at every step."""
    options, start = OPTIONS[name], start_values()
    gradients = gradient_list(STEPS)
    path = record(Nadam(**options), start, gradients)
    assert_paths_close(path, trajectory(start, gradients, **options), rtol=1e-5, atol=1e-5)


SCHEDULED = {
    "learning_rate": (0.001, 0.0001),
    "weight_decay": (0.5, 0.0),
    "beta_1": (0.5, 0.95),
    "beta_2": (0.9, 0.999),
}


@pytest.mark.parametrize("schedule_step", ["batch", "update"])
@pytest.mark.parametrize("accumulation", [None, 4])
@pytest.mark.parametrize("argument", SCHEDULED)
def test_schedules_follow_the_twin(argument, accumulation, schedule_step):
    """A schedule for any of the four is read at the counter that schedule_step names."""
    schedule, twin = linear(*SCHEDULED[argument], steps=150)
    common = {"gradient_accumulation_steps": accumulation, "schedule_step": schedule_step}
    start, gradients = start_values(), gradient_list(400)
    path = record(Nadam(**{argument: schedule}, **common), start, gradients)
    expected = trajectory(start, gradients, **{argument: twin}, **common)
    assert_paths_close(path, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("argument", SCHEDULED)
def test_the_two_schedule_steps_differ_under_accumulation(argument):
    """With accumulation the two counters give different trajectories, so the choice is real."""
    schedule, _ = linear(*SCHEDULED[argument], steps=50)
    start, gradients = start_values(), gradient_list(40)
    ends = [
        record(
            Nadam(**{argument: schedule}, gradient_accumulation_steps=4, schedule_step=step),
            start,
            gradients,
        )[-1][0]
        for step in ("batch", "update")
    ]
    assert np.max(np.abs(ends[0] - ends[1])) > 1e-5


STOCK = {
    "defaults": {},
    "betas": {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4, "learning_rate": 0.004},
    "weight_decay": {"weight_decay": 0.1},
    "clipnorm": {"clipnorm": 0.5},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.05},
    "use_ema": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 9},
    "accumulation": {"gradient_accumulation_steps": 4},
}


@pytest.mark.parametrize("name", STOCK)
def test_stock_nadam_is_followed_step_for_step(name):
    """Where stock Nadam keeps its documentation, ours is within 2e-6 of it at each of 200 steps."""
    start, gradients = start_values(), gradient_list(200, seed=3)
    stock = record(keras.optimizers.Nadam(**STOCK[name]), start, gradients)
    assert_paths_close_in_norm(record(Nadam(**STOCK[name]), start, gradients), stock, rtol=2e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e-8, 1e8, 1e15])
def test_extreme_gradients_follow_the_twin(scale):
    """Gradients from nothing to 1e15 neither overflow nor lose the update."""
    start = start_values()
    gradients = [[g * np.float32(scale) for g in row] for row in gradient_list(30)]
    gradients = [[g.astype("float32").astype("float64") for g in row] for row in gradients]
    expected = trajectory(start, gradients)
    assert_paths_close(record(Nadam(), start, gradients), expected, rtol=1e-5, atol=1e-6)


def test_an_empty_variable_is_no_obstacle():
    """A variable without elements trains beside others (a layer of zero units)."""
    start = [np.zeros((0, 3)), np.ones(2)]
    gradients = [[np.zeros((0, 3)), np.array([1.0, -2.0])]] * 5
    path = record(Nadam(global_clipnorm=1.0), start, gradients)
    expected = trajectory(start, gradients, global_clipnorm=1.0)
    assert_paths_close(path, expected, rtol=1e-5, atol=1e-6)
