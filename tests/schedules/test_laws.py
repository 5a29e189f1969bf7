"""Laws that every schedule keeps, whatever its arguments: range, order, joins, exact ends."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite import schedules as s
from tests.reference.schedules import twin
from tests.schedules.cases import evaluated


def _not_subnormal(value):
    """Processors may take numbers below float32's smallest normal one for zero."""
    return value if value > 1e-9 else 0.0


VALUE = st.floats(0.0, 10.0).map(_not_subnormal)
MOMENTUM = st.floats(0.0, 0.999).map(_not_subnormal)
POSITIVE = st.floats(1e-6, 10.0)
STEPS = st.integers(1, 2**31 - 1)
SHAPES = st.sampled_from(["1-sqrt", "linear", "cosine"])
ANNEAL = st.sampled_from(["cosine", "linear"])


@st.composite
def parts(draw, number):
    """So many lengths, each at least one, and a total that is at least their sum."""
    total = draw(st.integers(number, 2**31 - 1))
    cuts = sorted(draw(st.sets(st.integers(1, total), min_size=number, max_size=number)))
    lengths = [b - a for a, b in zip([0, *cuts], cuts, strict=False)]
    return total, lengths


@st.composite
def decays(draw):
    """A schedule with a warm-up, a peak and an end."""
    total, [warm] = draw(parts(1).filter(lambda p: p[1][0] < p[0]))
    peak, end, start = draw(POSITIVE), draw(VALUE), draw(VALUE)
    kind = draw(st.sampled_from([s.WarmupCosine, s.WarmupLinear, s.WarmupPolynomial]))
    options = {"power": draw(st.floats(0.25, 4.0))} if kind is s.WarmupPolynomial else {}
    return kind(peak, total, warm, end, start, **options)


@st.composite
def stable_decays(draw):
    """Warm-up, stable phase and cooldown of any lengths."""
    total, [warm, cooldown] = draw(parts(2))
    peak, end, start = draw(POSITIVE), draw(VALUE), draw(VALUE)
    return s.WarmupStableDecay(peak, total, cooldown, draw(SHAPES), warm, end, start)


@st.composite
def cycles(draw):
    """One cycle of the learning rate, or of the momentum."""
    total, [warm, cooldown] = draw(parts(2).filter(lambda p: sum(p[1]) < p[0]))
    cooldown *= draw(st.booleans())
    if draw(st.booleans()):
        low, high = sorted(draw(st.lists(MOMENTUM, min_size=2, max_size=2)))
        return s.OneCycleMomentum(total, warm, low, high, draw(ANNEAL), cooldown)
    return s.OneCycle(draw(POSITIVE), total, warm, anneal=draw(ANNEAL), cooldown_steps=cooldown)


@st.composite
def ways(draw):
    """A way through up to six points."""
    steps = sorted(draw(st.sets(STEPS, max_size=5)))
    values = draw(st.lists(VALUE, min_size=len(steps) + 1, max_size=len(steps) + 1))
    points = list(zip([0, *steps], values, strict=True))
    return s.Piecewise(points, draw(st.sampled_from(["linear", "cosine", "constant"])))


@st.composite
def endless(draw):
    """Schedules that go on for ever."""
    peak, start, warm = draw(POSITIVE), draw(VALUE), draw(st.integers(0, 2**31 - 1))
    size = draw(st.integers(1, 2**31 - 1))
    return draw(
        st.sampled_from(
            [
                s.Constant(peak, warm, start),
                s.WarmupInverseSqrt(peak, warm, start, draw(st.none() | STEPS)),
                s.Noam(draw(st.integers(1, 4096)), max(warm, 1), peak),
                s.Cyclical(start, peak, size, draw(st.none() | st.integers(1, 2**30))),
                s.Cyclical(start, peak, size, mode="triangular2"),
                s.Cyclical(start, peak, size, mode="exp_range", gamma=draw(st.floats(0.5, 1.0))),
                s.CosineRestarts(peak, size, draw(st.sampled_from([1.0, 1.5, 2.0])), 0.9),
            ]
        )
    )


SCHEDULES = st.one_of(decays(), stable_decays(), cycles(), ways(), endless())
EVERY = st.one_of(
    SCHEDULES,
    st.builds(s.Scaled, SCHEDULES, VALUE),
    st.builds(lambda a, b, step: s.Joined([a, b], [step]), SCHEDULES, SCHEDULES, STEPS),
    st.builds(
        lambda inner, lengths, end, shape: s.WithCooldown(
            inner, lengths[0], lengths[1][0], end, shape
        ),
        SCHEDULES,
        parts(1),
        VALUE,
        SHAPES,
    ),
)


@given(EVERY, st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=8))
def test_values_follow_the_formula_at_any_step(schedule, steps):
    """Up to step 2**31 - 1 the value is the formula's, and never above the highest."""
    found = evaluated(schedule, np.array(steps))
    expected = np.array([twin(schedule, step) for step in steps])
    scale = max(schedule.highest, 1e-12)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6 * scale)
    assert (found >= 0.0).all()
    assert (found <= np.float32(schedule.highest) * np.float32(1 + 2**-22)).all()


@given(EVERY)
def test_json_round_trips_keep_every_bit(schedule):
    """Through JSON text and back the config is equal, floats to the last bit."""
    text = json.dumps(keras.saving.serialize_keras_object(schedule))
    loaded = keras.saving.deserialize_keras_object(json.loads(text))
    assert json.dumps(keras.saving.serialize_keras_object(loaded)) == text
    assert loaded.get_config() == schedule.get_config()


@given(EVERY, st.integers(0, 2**31 - 1))
def test_integers_of_either_width_are_alike(schedule, step):
    """A step as int32, int64 or a Python int gives the same bits."""
    values = {
        float(keras.ops.convert_to_numpy(schedule(given)))
        for given in (step, np.array(step, "int32"), np.array(step, "int64"))
    }
    if keras.backend.backend() != "jax":
        tensor = keras.ops.convert_to_tensor(step, dtype="int64")
        values.add(float(keras.ops.convert_to_numpy(schedule(tensor))))
    assert len(values) == 1


@given(decays() | stable_decays())
def test_first_peak_and_last_values_are_exact(schedule):
    """Step 0, the end of the warm-up and everything from the last step on are the typed values."""
    warm, total = schedule.warmup_steps, schedule.total_steps
    first = schedule.start if warm else schedule.peak
    found = evaluated(schedule, np.array([0, warm, total, 2**31 - 1]))
    expected = [first, schedule.peak, schedule.end, schedule.end]
    np.testing.assert_array_equal(found, np.array(expected, "float32").astype("float64"))


@given(cycles() | ways())
def test_corners_of_a_way_are_exact(schedule):
    """Points, and the corners of a cycle, are the typed values."""
    if isinstance(schedule, s.Piecewise):
        corners = dict(schedule.points)
    else:
        low = getattr(schedule, "base_momentum", None)
        top = schedule.peak if low is None else low
        corners = {schedule.warmup_steps: top}
    steps = np.array(list(corners))
    expected = np.array(list(corners.values()), "float32").astype("float64")
    np.testing.assert_array_equal(evaluated(schedule, steps), expected)


@given(decays() | stable_decays(), st.data())
def test_a_warm_up_is_monotone(schedule, data):
    """From step to step of the warm-up the value never turns back."""
    warm = schedule.warmup_steps
    first = data.draw(st.integers(0, max(warm - 40, 0)))
    found = evaluated(schedule, np.arange(first, min(first + 40, warm) + 1))
    steps = np.diff(found)
    assert (steps >= 0).all() if schedule.start <= schedule.peak else (steps <= 0).all()


@given(decays() | stable_decays() | cycles(), st.data())
def test_nothing_jumps_at_a_join(schedule, data):
    """Across any step, corners too, the value changes by what the phase's slope allows."""
    cooldown = getattr(schedule, "cooldown_steps", 0)
    total, warm = schedule.total_steps, schedule.warmup_steps
    joins = [step for step in (warm, total - cooldown, total) if step >= 1]
    step = data.draw(st.sampled_from(joins))
    before, at, after = evaluated(schedule, np.array([step - 1, step, step + 1]))
    expected = [twin(schedule, step + offset) for offset in (-1, 0, 1)]
    tolerance = 2e-6 * schedule.highest
    assert abs((at - before) - (expected[1] - expected[0])) <= tolerance
    assert abs((after - at) - (expected[2] - expected[1])) <= tolerance


@pytest.mark.parametrize("shape", ["1-sqrt", "linear", "cosine", "exponential"])
def test_a_cooldown_never_rises(shape):
    """Each of its shapes falls all the way, in a schedule of its own and around another one."""
    own = s.WarmupStableDecay(0.3, 5000, 3000, shape, warmup_steps=1000, end=1e-4)
    around = s.WithCooldown(s.WarmupInverseSqrt(0.3, 100), 5000, 3000, 1e-4, shape)
    for schedule in (own, around):
        found = evaluated(schedule, np.arange(2000, 5002))
        assert (np.diff(found) <= 0.0).all()
        assert found[-1] == found[-2] == np.float32(1e-4)


def test_steps_past_2_24_are_told_apart_by_every_schedule():
    """Neighbouring steps past 2**24, which float32 merges, have values of their own."""
    start = 2**24
    around = np.arange(start, start + 16)
    for schedule in (
        s.WarmupStableDecay(1.0, start + 16, 16, "linear"),
        s.Piecewise([(0, 1.0), (start, 1.0), (start + 16, 0.0)]),
        s.Cyclical(0.0, 1.0, 16),
        s.CosineRestarts(1.0, 16, t_mul=1.0),
        s.OneCycle(1.0, start + 16, start),
        s.Joined([s.Constant(1.0), s.Linear(1.0, 0.0, 16)], [start]),
        s.WithCooldown(s.Constant(1.0), start + 16, 16),
    ):
        expected = [twin(schedule, int(step)) for step in around]
        found = evaluated(schedule, around)
        assert len(set(found)) == len(set(np.float32(expected))) > 8
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_a_cycle_may_be_longer_than_a_counter():
    """Two halves of 2**30 and more do not fit an int32 together; no step sees the second cycle."""
    for up, down in ((2**30, None), (2**31 - 1, 2**31 - 1), (5, 2**31 - 1)):
        schedule = s.Cyclical(0.0, 1.0, up, down)
        steps = np.array([0, 1, up - 1, up, min(up + 7, 2**31 - 1), 2**31 - 1])
        expected = [twin(schedule, step) for step in steps.tolist()]
        np.testing.assert_allclose(evaluated(schedule, steps), expected, rtol=1e-6, atol=1e-9)
