"""Schedules written down again, one step at a time, in Python's integers and float64.

Each function takes the step and the constructor's arguments by the names they have there. The
formulas are those of the papers and projects that the docstrings of `nadam_suite.schedules` name.
"""

from __future__ import annotations

import itertools
import math

COOLDOWN_PARTS = {
    "1-sqrt": lambda x: 1.0 - math.sqrt(x),
    "linear": lambda x: 1.0 - x,
    "cosine": lambda x: math.cos(0.5 * math.pi * x) ** 2,  # (1 + cos(pi x)) / 2, digits near zero
}


def _warm(t, start, peak, warmup):
    return start + (peak - start) * t / warmup


def constant(t, value, warmup_steps=0, start=0.0):
    return _warm(t, start, value, warmup_steps) if t < warmup_steps else value


def linear(t, start, end, total_steps):
    return start + (end - start) * min(t, total_steps) / total_steps


def polynomial(t, start, end, total_steps, power=1.0):
    return end + (start - end) * (1.0 - min(t, total_steps) / total_steps) ** power


def _decay(t, peak, total, warmup, end, start, part):
    if t < warmup:
        return _warm(t, start, peak, warmup)
    x = (min(t, total) - warmup) / (total - warmup)
    return end + (peak - end) * part(x)


def warmup_cosine(t, peak, total_steps, warmup_steps=0, end=0.0, start=0.0):
    part = COOLDOWN_PARTS["cosine"]
    return _decay(t, peak, total_steps, warmup_steps, end, start, part)


def warmup_linear(t, peak, total_steps, warmup_steps=0, end=0.0, start=0.0):
    return _decay(t, peak, total_steps, warmup_steps, end, start, lambda x: 1.0 - x)


def warmup_polynomial(t, peak, total_steps, warmup_steps=0, end=0.0, start=0.0, power=1.0):
    part = lambda x: (1.0 - x) ** power  # noqa: E731
    return _decay(t, peak, total_steps, warmup_steps, end, start, part)


def warmup_exponential(
    t,
    peak,
    total_steps,
    warmup_steps=0,
    end=0.0,
    start=0.0,
    decay_rate=0.1,
    decay_steps=None,
    staircase=False,
):
    if t < warmup_steps:
        return _warm(t, start, peak, warmup_steps)
    per = decay_steps or total_steps - warmup_steps
    exponent = (min(t, total_steps) - warmup_steps) / per
    return max(end, peak * decay_rate ** (math.floor(exponent) if staircase else exponent))


def warmup_inverse_sqrt(t, peak, warmup_steps=0, start=0.0, timescale=None):
    if t < warmup_steps:
        return _warm(t, start, peak, warmup_steps)
    scale = timescale or warmup_steps or 10_000
    return peak * math.sqrt(scale / (t + scale - warmup_steps))


def noam(t, d_model, warmup_steps, scale=1.0):
    number = t + 1
    return scale * d_model**-0.5 * min(number**-0.5, number * warmup_steps**-1.5)


def warmup_stable_decay(
    t, peak, total_steps, cooldown_steps, shape="1-sqrt", warmup_steps=0, end=0.0, start=0.0
):
    if t < warmup_steps:
        return _warm(t, start, peak, warmup_steps)
    x = max(min(t, total_steps) - (total_steps - cooldown_steps), 0) / cooldown_steps
    if shape == "exponential":
        return peak * (end / peak) ** x
    return end + (peak - end) * COOLDOWN_PARTS[shape](x)


def _way(t, points, anneal):
    """The value on a way through points, straight or along half cosines."""
    for (a, before), (b, after) in itertools.pairwise(points):
        if a <= t < b:
            x, y = (t - a) / (b - a), (b - t) / (b - a)
            if anneal == "cosine":
                x, y = math.sin(0.5 * math.pi * x) ** 2, math.sin(0.5 * math.pi * y) ** 2
            return before if anneal == "constant" else before * y + after * x
    return points[-1][1]


def one_cycle(
    t,
    peak,
    total_steps,
    warmup_steps=None,
    div_factor=25.0,
    final_div_factor=1e4,
    anneal="cosine",
    cooldown_steps=0,
):
    warm = int(0.3 * total_steps) if warmup_steps is None else warmup_steps
    first = peak / div_factor
    points = [(0, first), (warm, peak), (total_steps - cooldown_steps, first)]
    if not cooldown_steps:
        points.pop()
    return _way(t, [*points, (total_steps, first / final_div_factor)], anneal)


def one_cycle_momentum(
    t,
    total_steps,
    warmup_steps=None,
    base_momentum=0.85,
    max_momentum=0.95,
    anneal="cosine",
    cooldown_steps=0,
):
    warm = int(0.3 * total_steps) if warmup_steps is None else warmup_steps
    last = total_steps - cooldown_steps
    return _way(t, [(0, max_momentum), (warm, base_momentum), (last, max_momentum)], anneal)


def cyclical(t, base, peak, step_size, step_size_down=None, mode="triangular", gamma=1.0):
    down = step_size_down or step_size
    cycle, position = divmod(t, step_size + down)
    height = position / step_size if position <= step_size else (step_size + down - position) / down
    scale = {"triangular": 1.0, "triangular2": 2.0**-cycle, "exp_range": gamma**t}[mode]
    return base + (peak - base) * height * scale


def cosine_restarts(t, peak, first_period, t_mul=2.0, m_mul=1.0, end=0.0, cycles=None):
    first, period, length = 0, 0, first_period
    while t >= first + length:
        first, period = first + length, period + 1
        length = math.floor(first_period * t_mul**period + 0.5)
        if period == cycles:
            return end
    x = (t - first) / length
    return end + (peak - end) * m_mul**period * math.cos(0.5 * math.pi * x) ** 2


def piecewise(t, points, interpolation="linear"):
    return _way(t, list(points), interpolation)


TWINS = {
    "Constant": constant,
    "CosineRestarts": cosine_restarts,
    "Cyclical": cyclical,
    "Linear": linear,
    "Noam": noam,
    "OneCycle": one_cycle,
    "OneCycleMomentum": one_cycle_momentum,
    "Piecewise": piecewise,
    "Polynomial": polynomial,
    "WarmupCosine": warmup_cosine,
    "WarmupExponential": warmup_exponential,
    "WarmupInverseSqrt": warmup_inverse_sqrt,
    "WarmupLinear": warmup_linear,
    "WarmupPolynomial": warmup_polynomial,
    "WarmupStableDecay": warmup_stable_decay,
}


def twin(schedule, t):
    """The float64 value of a schedule at a step: of its twin with its own config."""
    name = type(schedule).__name__
    if name == "Joined":
        starts = [0, *schedule.boundaries]
        index = sum(t >= start for start in starts) - 1
        return twin(schedule.schedules[index], t - starts[index])
    if name == "Scaled":
        return schedule.factor * twin(schedule.schedule, t)
    if name == "WithCooldown":
        first = schedule.total_steps - schedule.cooldown_steps
        before = twin(schedule.schedule, min(t, first))
        x = min(max(t - first, 0) / schedule.cooldown_steps, 1.0)
        if schedule.shape == "exponential":
            return before * (schedule.end / before) ** x
        return schedule.end + (before - schedule.end) * COOLDOWN_PARTS[schedule.shape](x)
    return TWINS[name](t, **schedule.get_config())
