"""bfloat16 moments are rounded at random: unbiased, alike everywhere, and the same on resuming."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from tests.optimizers.driver import BACKEND, Loop, make_variables, state_by_name, to_float64
from tests.reference.gradients import gradient_list, start_values
from tests.reference.rounding import random_bits, rounded, rounded_moments

SHAPES = [(), (3,), (4, 5), (2, 3, 4), (0, 3)]
# With betas of zero the moments are the gradient and its square, whatever came before.
LAST = {"beta_1": 0.0, "beta_2": 0.0, "slot_dtype": "bfloat16"}
WAYS = {"compiled": {}, "eager": {"compiled": False}}
if BACKEND == "tensorflow":
    WAYS["XLA"] = {"jit_compile": True}


def moments(optimizer):
    """Momentum and velocity of each variable, in float64."""
    return [
        tuple(to_float64(moment) for moment in (slot.momentum, slot.velocity))
        for slot in optimizer._layout.slots
    ]


def stored(gradients, *, iteration=0, steps=1, **options):
    """The moments that each step stores of given gradients, of `iteration` and those after it."""
    optimizer = Nadam(0.0, **LAST)
    variables = make_variables([np.zeros(np.shape(g)) for g in gradients])
    optimizer.build(variables)
    optimizer._iterations.assign(iteration)
    loop = Loop(optimizer, variables, **options)
    for _ in range(steps):
        loop.step(gradients)
        loop.write_back()
        yield moments(optimizer)


def assert_stored(found, gradients, iteration=0):
    """Compare with the twin, to the bit."""
    singles = [np.asarray(g, "float32") for g in gradients]
    for index, (pair, g) in enumerate(zip(found, singles, strict=True)):
        expected = rounded_moments(g, g * g, iteration, index)
        for actual, wanted in zip(pair, expected, strict=True):
            np.testing.assert_array_equal(actual, wanted.astype("float64"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shapes", [SHAPES, [(4, 5)] * 6], ids=["shapes", "stack"])
def test_moments_are_rounded_as_the_twin_rounds(way, shapes):
    """Each element of each variable has its own bits at each step, the same on all backends."""
    generator = np.random.default_rng(0)
    gradients = [generator.normal(size=shape).astype("float32") for shape in shapes]
    path = stored(gradients, iteration=123_456_789, steps=3, **WAYS[way])
    for step, found in enumerate(path):
        assert_stored(found, gradients, 123_456_789 + step)


def test_large_variables_are_rounded_as_the_twin_rounds():
    """Blocks and fused updates know the positions of their elements."""
    generator = np.random.default_rng(0)
    gradients = [generator.normal(size=shape).astype("float32") for shape in [(1100, 1000), (7,)]]
    (((m, v), _),) = stored(gradients, iteration=5)
    expected = rounded_moments(gradients[0], gradients[0] ** 2, 5, 0)
    for actual, wanted in zip((m, v), expected, strict=True):
        # A fused kernel may be off by a bit of float32 before it rounds.
        assert np.mean(actual != wanted.astype("float64")) < 1e-3


@pytest.mark.parametrize("way", WAYS)
def test_odd_numbers_stay_what_they_are(way):
    """Zeros, infinities, NaN and what bfloat16 can hold are not moved; signs are kept."""
    g = np.array([0.0, -0.0, np.inf, -np.inf, 1.0, -1.5, 2.0**-60, 3.0**-40], "float32")
    odd = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000], "uint32").view("float32")
    for ((m, v),) in stored([np.concatenate([g, odd])], iteration=3, **WAYS[way]):
        np.testing.assert_array_equal(m[:7], g[:7].astype("float64"))
        np.testing.assert_array_equal(v[:7], (g[:7] ** 2).astype("float64"))
        assert 0 < m[7] < 1e-18
        assert np.isnan(m[8:]).all()
        assert np.isnan(v[8:]).all()


def test_rounding_is_unbiased():
    """Over many steps the mean of what is stored is the number; nearest would be off by 1e-3."""
    generator = np.random.default_rng(1)
    g = generator.uniform(0.5, 2.0, size=(64,)).astype("float32")
    optimizer = Nadam(0.0, **LAST)
    loop = Loop(optimizer, make_variables([np.zeros(64)]))
    draws = []
    for _ in range(400):
        loop.step([g])
        loop.write_back()
        draws.append(moments(optimizer)[0])
    for values, exact in zip(zip(*draws, strict=True), (g, g * g), strict=True):
        error = (np.mean(values, axis=0) - exact) / (exact * 2.0**-7)  # in units of a last bit
        spread = np.sqrt(0.25 / 400)
        assert np.abs(error).max() < 4.5 * spread
        assert np.abs(error.mean()) < 4.5 * spread / 8


@pytest.mark.once
def test_bits_are_independent_of_step_variable_and_element():
    """Neighbours in each direction, and the two moments, have bits that do not correlate."""
    elements = np.arange(4096)
    columns = {(t, i): random_bits(t, i, elements) for t in range(4) for i in range(4)}
    low, high = np.array([columns[t, 0] for t in range(4)], "float64").swapaxes(0, 1)
    pairs = {
        "moments": (low[0], high[0]),
        "steps": (low[0], low[1]),
        "elements": (low[0][:-1], low[0][1:]),
        "variables": (low[0], np.asarray(columns[0, 1][0], "float64")),
    }
    for name, (a, b) in pairs.items():
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.06, name
    for bits in (low[0], high[3]):
        counts = np.histogram(bits, bins=16, range=(0, 2**16))[0]
        assert np.sum((counts - 256) ** 2 / 256) < 45  # chi squared of 15 degrees, 1e-4


def test_velocity_follows_float32_where_rounding_to_nearest_stands_still():
    """With beta_2=0.999 an update is less than half of a last bit of v, and yet counts."""
    g, steps = np.full(600, 0.04, "float32"), 600
    optimizer = Nadam(1e-4, slot_dtype="bfloat16")
    loop = Loop(optimizer, make_variables([np.ones(600)]))
    for _ in range(steps):
        loop.step([g])
    loop.write_back()
    expected = (1.0 - 0.999**steps) * 0.04**2
    assert np.mean(moments(optimizer)[0][1]) == pytest.approx(expected, rel=0.02)
    v = np.float32(0)
    for _ in range(steps):  # what rounding to nearest would give
        v = rounded(v + np.float32(0.001) * (g[0] ** 2 - v), 0x8000).astype("float32")
    assert v < 0.7 * expected


def test_a_resumed_training_has_the_same_bits(tmp_path):
    """The bits depend on the saved counter alone: saved, loaded and gone on is as never stopped."""
    start, gradients = start_values(), gradient_list(12)

    def half(optimizer, variables, rows):
        loop = Loop(optimizer, variables)
        return loop.run(rows)

    whole = Nadam(0.01, slot_dtype="bfloat16")
    path = half(whole, make_variables(start), gradients)
    first = Nadam(0.01, slot_dtype="bfloat16")
    variables = make_variables(start)
    half(first, variables, gradients[:5])
    store: dict = {}
    first.save_own_variables(store)
    second = Nadam(0.01, slot_dtype="bfloat16")
    again = make_variables([to_float64(v) for v in variables])
    second.build(again)
    second.load_own_variables(store)
    resumed = half(second, again, gradients[5:])
    for row, wanted in zip(resumed, path[5:], strict=True):
        for a, b in zip(row, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    for name, array in state_by_name(whole).items():
        np.testing.assert_array_equal(state_by_name(second)[name], array, err_msg=name)


@pytest.mark.parametrize("slot_dtype", [None, "float32", "float16"])
def test_other_types_are_rounded_to_nearest(slot_dtype):
    """Only bfloat16 has so few bits that v stands still."""
    g = np.random.default_rng(0).normal(size=50).astype("float32")
    optimizer = Nadam(0.0, beta_1=0.0, beta_2=0.0, slot_dtype=slot_dtype)
    loop = Loop(optimizer, make_variables([np.zeros(50)]))
    loop.step([g])
    loop.write_back()
    np.testing.assert_array_equal(
        moments(optimizer)[0][0], g.astype(slot_dtype or "float32").astype("float64")
    )


def test_bfloat16_variables_and_moments_train():
    """Variables, moments and gradients all in bfloat16 are rounded alike."""
    optimizer = Nadam(0.0, **LAST)
    g = np.random.default_rng(0).normal(size=20).astype("bfloat16").astype("float32")
    loop = Loop(optimizer, make_variables([np.zeros(20)], "bfloat16"))
    loop.step([g])
    loop.write_back()
    assert keras.backend.standardize_dtype(optimizer._layout.slots[0].velocity.dtype) == "bfloat16"
    assert_stored(moments(optimizer), [g])
