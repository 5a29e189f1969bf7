"""Schedules of every kind, the steps at which they are looked at, and compiled calls of them."""

from __future__ import annotations

import random

import keras
import numpy as np

from nadam_suite import schedules as s

W, T = 100, 1000

# Every class, with and without what is optional in it. W and T are a corner of most of them.
CASES = (
    s.Constant(0.3),
    s.Constant(0.003, W, 1e-4),
    s.Linear(0.1, 1e-5, T),
    s.Linear(1e-5, 0.3, T),
    s.Polynomial(0.3, 1e-5, T, power=2.0),
    s.Polynomial(0.0, 0.3, T, power=0.5),
    s.WarmupCosine(3e-3, T, W, end=1e-6, start=1e-5),
    s.WarmupCosine(3e-3, T),
    s.WarmupLinear(3e-3, T, W, end=1e-6, start=1e-5),
    s.WarmupPolynomial(3e-3, T, W, power=0.37),
    s.WarmupPolynomial(3e-3, T, W, end=1e-4, power=4.0),
    s.WarmupExponential(0.1, T, W, decay_rate=1e-4),
    s.WarmupExponential(0.1, T, decay_rate=1e-12),
    s.WarmupExponential(0.1, T, W, end=1e-3, start=0.05, decay_rate=0.96, decay_steps=7),
    s.WarmupExponential(0.1, T, W, decay_rate=0.5, decay_steps=90, staircase=True),
    s.WarmupInverseSqrt(0.01, W),
    s.WarmupInverseSqrt(0.01, timescale=T),
    s.Noam(512, W, scale=2.0),
    *(
        s.WarmupStableDecay(0.01, T, T // 5, shape, warmup_steps=W, end=1e-5)
        for shape in ("1-sqrt", "linear", "cosine", "exponential")
    ),
    s.WarmupStableDecay(0.01, T, T // 5),
    s.OneCycle(0.1, T, W),
    s.OneCycle(0.1, T),
    s.OneCycle(0.1, T, W, div_factor=10.0, final_div_factor=1e3, anneal="linear", cooldown_steps=W),
    s.OneCycleMomentum(T, W),
    s.OneCycleMomentum(T, W, base_momentum=0.8, anneal="linear", cooldown_steps=W),
    s.Cyclical(1e-4, 0.1, W),
    s.Cyclical(1e-4, 0.1, W, 150, mode="triangular2"),
    s.Cyclical(0.0, 0.1, W, mode="exp_range", gamma=0.9994),
    s.Cyclical(0.0, 0.1, W, mode="exp_range", gamma=0.97),
    s.Cyclical(0.95, 0.85, W, mode="exp_range", gamma=0.9994),
    s.CosineRestarts(0.1, W, t_mul=1.5, m_mul=0.8, end=1e-4),
    s.CosineRestarts(0.1, W, t_mul=1.0, m_mul=0.9),
    s.CosineRestarts(0.1, W, cycles=3),
    s.Piecewise([(0, 0.1), (W, 0.3), (500, 0.0), (T, 1e-3)]),
    s.Piecewise([(0, 0.1), (W, 0.3), (500, 0.0), (T, 1e-3)], "cosine"),
    s.Piecewise([(0, 0.1), (W, 0.3), (T, 0.2)], "constant"),
    s.WithCooldown(s.WarmupInverseSqrt(0.01, W), T, T // 5),
    s.WithCooldown(s.Constant(0.01), T, T // 5, 1e-3, "exponential"),
    s.WithCooldown(s.Noam(64, W), T, T // 5, 1e-5, "cosine"),
    s.Scaled(s.OneCycle(0.1, T), 0.37),
    s.Joined([s.OneCycle(0.1, W), s.WarmupCosine(0.1, T - W)], [W]),
)
IDS = [f"{index}-{type(case).__name__}" for index, case in enumerate(CASES)]


def landmarks(warmup: int = W, total: int = T, *, number: int = 200) -> np.ndarray:
    """Corners of a schedule, their neighbours, and random steps up to twice its length."""
    generator = random.Random(warmup + total)
    corners = [0, 1, warmup - 1, warmup, warmup + 1, total - 1, total, 2 * total]
    return np.array([*corners, *(generator.randrange(2 * total) for _ in range(number))])


def evaluated(schedule, steps):
    """The values at many steps, as float64, from one call outside of any compiled function."""
    return np.asarray(keras.ops.convert_to_numpy(schedule(np.asarray(steps))), "float64")


def compiled(schedule, *, xla: bool = True):
    """A compiled function of one integer tensor; PyTorch has none, there it is the call itself."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        function = tf.function(schedule, jit_compile=xla)
        return lambda steps: function(tf.constant(steps, "int64")).numpy().astype("float64")
    if keras.backend.backend() == "jax":
        import jax

        function = jax.jit(schedule.__call__)
        return lambda steps: np.asarray(function(np.asarray(steps, "int32")), "float64")
    import torch

    return lambda steps: schedule(torch.as_tensor(np.asarray(steps))).cpu().numpy().astype("f8")
