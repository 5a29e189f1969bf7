"""Schedules against implementations that others wrote: PyTorch's schedulers, optax' schedules."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
import torch

from nadam_suite import schedules as s
from tests.schedules.cases import T, W, compiled, evaluated, landmarks

PEAK = 0.1
END = 2 * T


def torch_values(make, steps, key="lr", **settings):
    """Follow one of PyTorch's schedulers, which go step by step, and read it at these steps."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.NAdam([weight], lr=PEAK, **settings)
    scheduler = make(optimizer)
    seen = {}
    for step in range(max(steps) + 1):
        group = optimizer.param_groups[0]
        seen[step] = group["lr"] if key == "lr" else group["betas"][0]
        if step < max(steps):
            optimizer.step()
            scheduler.step()
    return [seen[step] for step in steps]


def _one_cycle(optimizer, **options):
    options = {"total_steps": T + 1, "pct_start": (W + 1) / (T + 1), **options}
    return _lr.OneCycleLR(optimizer, PEAK, **options)


def _warm_cosine(optimizer):
    warm = _lr.LinearLR(optimizer, start_factor=0.01, total_iters=W)
    cosine = _lr.CosineAnnealingLR(optimizer, T - W, eta_min=1e-4)
    return _lr.SequentialLR(optimizer, [warm, cosine], milestones=[W])


def _cyclic(optimizer, **options):
    options = {"step_size_up": W, "cycle_momentum": False, **options}
    return _lr.CyclicLR(optimizer, 1e-4, PEAK, **options)


def _cyclic_momentum(optimizer):
    options = {"cycle_momentum": True, "base_momentum": 0.8, "max_momentum": 0.9}
    return _lr.CyclicLR(optimizer, 1e-4, PEAK, step_size_up=W, **options)


_lr = torch.optim.lr_scheduler

# Our schedule, theirs, the last step at which the two mean the same, and what is read.
TORCH = {
    "constant": (
        s.Constant(PEAK, W, start=0.01),
        lambda o: _lr.LinearLR(o, start_factor=0.1, total_iters=W),
        END,
    ),
    "linear": (
        s.Linear(PEAK, 0.01, T),
        lambda o: _lr.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=T),
        END,
    ),
    "polynomial": (
        s.Polynomial(PEAK, 0.0, T, power=2.0),
        lambda o: _lr.PolynomialLR(o, total_iters=T, power=2.0),
        END,
    ),
    "warmup-polynomial": (
        s.WarmupPolynomial(PEAK, T, power=0.7),
        lambda o: _lr.PolynomialLR(o, total_iters=T, power=0.7),
        END,
    ),
    "exponential": (
        s.WarmupExponential(PEAK, END, decay_rate=0.99, decay_steps=1),
        lambda o: _lr.ExponentialLR(o, gamma=0.99),
        END,
    ),
    "staircase": (
        s.WarmupExponential(PEAK, END, decay_rate=0.5, decay_steps=W, staircase=True),
        lambda o: _lr.StepLR(o, step_size=W, gamma=0.5),
        END,
    ),
    # After its end theirs goes up again.
    "cosine": (
        s.WarmupCosine(PEAK, T, end=1e-4),
        lambda o: _lr.CosineAnnealingLR(o, T, eta_min=1e-4),
        T,
    ),
    "warmup-cosine": (s.WarmupCosine(PEAK, T, W, end=1e-4, start=1e-3), _warm_cosine, T),
    "restarts": (
        s.CosineRestarts(PEAK, W, t_mul=2.0, end=1e-4),
        lambda o: _lr.CosineAnnealingWarmRestarts(o, W, T_mult=2, eta_min=1e-4),
        END,
    ),
    "restarts-alike": (
        s.CosineRestarts(PEAK, W, t_mul=1.0),
        lambda o: _lr.CosineAnnealingWarmRestarts(o, W),
        END,
    ),
    # Theirs refuses to go on after its end.
    "one-cycle": (s.OneCycle(PEAK, T, W), _one_cycle, T),
    "one-cycle-linear": (
        s.OneCycle(PEAK, T, W, div_factor=10.0, final_div_factor=100.0, anneal="linear"),
        lambda o: _one_cycle(o, div_factor=10, final_div_factor=100, anneal_strategy="linear"),
        T,
    ),
    "one-cycle-three": (
        s.OneCycle(PEAK, T, W, cooldown_steps=T - 2 * W),
        lambda o: _one_cycle(o, three_phase=True),
        T,
    ),
    "triangular": (s.Cyclical(1e-4, PEAK, W), _cyclic, END),
    "triangular2": (
        s.Cyclical(1e-4, PEAK, W, 150, mode="triangular2"),
        lambda o: _cyclic(o, step_size_down=150, mode="triangular2"),
        END,
    ),
    "exp-range": (
        s.Cyclical(1e-4, PEAK, W, mode="exp_range", gamma=0.999),
        lambda o: _cyclic(o, mode="exp_range", gamma=0.999),
        END,
    ),
    "multi-step": (
        s.Piecewise([(0, PEAK), (W, 0.1 * PEAK), (T, 0.01 * PEAK)], "constant"),
        lambda o: _lr.MultiStepLR(o, milestones=[W, T]),
        END,
    ),
}
TORCH_MOMENTUM = {
    "one-cycle": (s.OneCycleMomentum(T, W), _one_cycle, T),
    "one-cycle-three": (
        s.OneCycleMomentum(T, W, cooldown_steps=T - 2 * W),
        lambda o: _one_cycle(o, three_phase=True),
        T,
    ),
    "one-cycle-linear": (
        s.OneCycleMomentum(T, W, 0.7, 0.9, anneal="linear"),
        lambda o: _one_cycle(o, base_momentum=0.7, max_momentum=0.9, anneal_strategy="linear"),
        T,
    ),
    "cyclical": (s.Cyclical(0.9, 0.8, W), _cyclic_momentum, END),
}

_peaks = {"init_value": 1e-3, "peak_value": PEAK}
OPTAX = {
    "constant": (
        s.Constant(PEAK, W, start=1e-3),
        optax.schedules.warmup_constant_schedule(1e-3, PEAK, W),
    ),
    "linear": (s.Linear(PEAK, 1e-3, T), optax.schedules.linear_schedule(PEAK, 1e-3, T)),
    "polynomial": (
        s.Polynomial(PEAK, 1e-3, T, power=3.0),
        optax.schedules.polynomial_schedule(PEAK, 1e-3, 3.0, T),
    ),
    "warmup-cosine": (
        s.WarmupCosine(PEAK, T, W, end=1e-4, start=1e-3),
        optax.schedules.warmup_cosine_decay_schedule(
            **_peaks, warmup_steps=W, decay_steps=T, end_value=1e-4
        ),
    ),
    "warmup-exponential": (
        s.WarmupExponential(PEAK, END + 1, W, 1e-3, 1e-3, decay_rate=0.9, decay_steps=30),
        optax.schedules.warmup_exponential_decay_schedule(
            **_peaks, warmup_steps=W, transition_steps=30, decay_rate=0.9, end_value=1e-3
        ),
    ),
    "staircase": (
        s.WarmupExponential(PEAK, END + 1, decay_rate=0.9, decay_steps=30, staircase=True),
        optax.schedules.exponential_decay(PEAK, 30, 0.9, staircase=True),
    ),
    "one-cycle": (s.OneCycle(PEAK, T), optax.schedules.cosine_onecycle_schedule(T, PEAK)),
    "one-cycle-linear": (
        s.OneCycle(PEAK, T, cooldown_steps=150, anneal="linear"),
        optax.schedules.linear_onecycle_schedule(T, PEAK, pct_final=0.85),
    ),
    "piecewise": (
        s.Piecewise([(0, PEAK), (W, 0.5 * PEAK), (T, 0.05 * PEAK)], "constant"),
        optax.schedules.piecewise_constant_schedule(PEAK, {W: 0.5, T: 0.1}),
    ),
    "piecewise-linear": (
        s.Piecewise([(0, PEAK), (W, 0.5 * PEAK), (T, PEAK)]),
        optax.schedules.piecewise_interpolate_schedule("linear", PEAK, {W: 0.5, T: 2.0}),
    ),
    "piecewise-cosine": (
        s.Piecewise([(0, PEAK), (W, 0.5 * PEAK), (T, PEAK)], "cosine"),
        optax.schedules.piecewise_interpolate_schedule("cosine", PEAK, {W: 0.5, T: 2.0}),
    ),
    "joined": (
        s.Joined([s.WarmupCosine(PEAK, T), s.Linear(PEAK, 1e-3, W)], [T]),
        optax.schedules.join_schedules(
            [
                optax.schedules.cosine_decay_schedule(PEAK, T),
                optax.schedules.linear_schedule(PEAK, 1e-3, W),
            ],
            [T],
        ),
    ),
    "restarts": (
        s.Joined([s.WarmupCosine(PEAK, 400, W), s.WarmupCosine(PEAK, 600, W)], [400]),
        optax.schedules.sgdr_schedule(
            [
                {"init_value": 0.0, "peak_value": PEAK, "warmup_steps": W, "decay_steps": n}
                for n in (400, 600)
            ]
        ),
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_learning_rates_are_those_of_pytorch(name):
    """Compiled and not, at every landmark, to 1e-6."""
    ours, theirs, last = TORCH[name]
    steps = landmarks()
    steps = steps[steps <= last]
    expected = torch_values(theirs, steps)
    np.testing.assert_allclose(evaluated(ours, steps), expected, rtol=1e-6, atol=1e-16)
    np.testing.assert_allclose(compiled(ours)(steps), expected, rtol=1e-6, atol=1e-16)


@pytest.mark.parametrize("name", TORCH_MOMENTUM)
def test_momenta_are_those_of_pytorch(name):
    """So are the momenta that go the other way round."""
    ours, theirs, last = TORCH_MOMENTUM[name]
    steps = landmarks()
    steps = steps[steps <= last]
    expected = torch_values(theirs, steps, "momentum")
    np.testing.assert_allclose(evaluated(ours, steps), expected, rtol=1e-6)
    np.testing.assert_allclose(compiled(ours)(steps), expected, rtol=1e-6)


@pytest.mark.parametrize("name", OPTAX)
def test_values_are_those_of_optax(name):
    """Compiled and not, at every landmark, to 1e-6; theirs are computed in float64."""
    ours, theirs = OPTAX[name]
    steps = landmarks()
    with jax.enable_x64(True):
        expected = [float(theirs(np.int64(step))) for step in steps]
    np.testing.assert_allclose(evaluated(ours, steps), expected, rtol=1e-6, atol=1e-16)
    np.testing.assert_allclose(compiled(ours)(steps), expected, rtol=1e-6, atol=1e-16)
