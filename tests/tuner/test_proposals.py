"""Points of the unit cube and of grids, over spaces with conditions that may grow."""

from __future__ import annotations

import contextlib
import itertools
import math

import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras_tuner.engine.hyperparameters import Fixed
from scipy.stats import qmc

from nadam_suite.errors import ArgumentError
from nadam_suite.tuner.proposals import (
    SAMPLERS,
    PseudoRandom,
    QuasiRandom,
    completed,
    coordinates,
    grid,
    grid_values,
    is_active,
    sampler_of,
    values_at,
)

pytestmark = pytest.mark.once

SEEDS = st.integers(0, 2**31 - 1)
RANGES = (
    lambda hp, name: hp.Float(name, 1e-4, 1e-1, sampling="log", default=1e-3),
    lambda hp, name: hp.Float(name, -1.0, 2.0, step=0.5, default=0.5),
    lambda hp, name: hp.Int(name, 1, 4, default=2),
    lambda hp, name: hp.Int(name, 1, 64, step=4, sampling="log"),
    lambda hp, name: hp.Int(name, 1, 1000, sampling="log"),
    lambda hp, name: hp.Choice(name, [0.1, 0.2]),
    lambda hp, name: hp.Fixed(name, "same"),
)


@st.composite
def spaces(draw, most=4):
    """A few ranges, some of them in scopes of a choice or a switch, or in both."""
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["a", "b", "c"], default=draw(st.sampled_from("abc")))
    for number in range(draw(st.integers(0, most))):
        kinds = draw(st.sampled_from([None, ["a"], ["b", "c"]]))
        with contextlib.ExitStack() as scopes:
            if kinds is not None:
                scopes.enter_context(hp.conditional_scope("kind", kinds))
            name = f"x{draw(st.integers(0, 1))}" if kinds else f"y{number}"
            if draw(st.booleans()):  # one name may be in several scopes, of which one is active
                hp.Boolean(f"{kinds}", default=draw(st.booleans()))
                scopes.enter_context(hp.conditional_scope(f"{kinds}", [True]))
                name += "-switched"
            draw(st.sampled_from(RANGES))(hp, name)
    return hp


def active_names(hp, values):
    """Names that keras-tuner itself takes to be active."""
    hp = hp.copy()
    hp.values = dict(values)
    return {entry.name for entry in hp.space if hp.is_active(entry)}


@pytest.mark.parametrize("sampler", ["halton", "sobol"])
@given(seed=SEEDS, index=st.integers(0, 300), few=st.integers(0, 9), more=st.integers(0, 9))
def test_a_point_does_not_depend_on_how_many_dimensions_follow(sampler, seed, index, few, more):
    """A space may grow, and no point moves."""
    sequence = QuasiRandom(seed, sampler)
    point = sequence.point(index, few + more)
    assert point.shape == (few + more,)
    assert ((point >= 0) & (point < 1)).all()
    np.testing.assert_array_equal(point[:few], sequence.point(index, few))
    np.testing.assert_array_equal(point, QuasiRandom(seed, sampler).point(index, few + more))


@pytest.mark.parametrize(("sampler", "engine"), [("halton", qmc.Halton), ("sobol", qmc.Sobol)])
def test_points_are_scipys(sampler, engine):
    """All of the sequence, over the ends of the blocks in which it is made."""
    dimensions = 3 if sampler == "halton" else 256
    expected = engine(dimensions, seed=np.random.default_rng(5)).random(256)[:200, :3]
    found = [QuasiRandom(5, sampler).point(index, 3) for index in range(200)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("sampler", ["halton", "sobol"])
@pytest.mark.parametrize("seed", [0, 1])
def test_points_cover_the_cube_more_evenly_than_random_ones(sampler, seed):
    """Their discrepancy is less than half of that of independent points."""
    even, random = (
        qmc.discrepancy([sequence.point(index, 4) for index in range(64)])
        for sequence in (QuasiRandom(seed, sampler), PseudoRandom(seed))
    )
    assert even < random / 2


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_seeds_make_different_sequences(sampler):
    """0 is one as any other, and indices differ as well."""
    points = {
        tuple(sampler_of(sampler, seed).point(index, 3)) for seed in range(4) for index in range(4)
    }
    assert len(points) == 16


@given(seed=SEEDS, index=st.integers(0, 10**6), few=st.integers(0, 9), more=st.integers(0, 9))
def test_random_points_are_a_function_of_seed_and_index(seed, index, few, more):
    """With more dimensions the first ones stay."""
    point = PseudoRandom(seed).point(index, few + more)
    np.testing.assert_array_equal(point[:few], PseudoRandom(seed).point(index, few))
    assert not more or not np.array_equal(point, PseudoRandom(seed + 1).point(index, few + more))


def test_samplers_that_are_not_there_are_refused():
    """With the nearest name, and with what to use beyond Sobol's dimensions."""
    with pytest.raises(ArgumentError, match=r"Received: sampler='hallton'. Did you mean 'halton'"):
        sampler_of("hallton", 0)
    with pytest.raises(ArgumentError, match=r"'halton' or 'sobol'. Received: sampler='random'"):
        QuasiRandom(0, "random")
    with pytest.raises(ArgumentError, match=r"a space of 257. Use sampler='halton'"):
        QuasiRandom(0, "sobol").point(0, 257)
    assert QuasiRandom(0, "halton").point(0, 257).shape == (257,)


@given(hp=spaces(), data=st.data())
def test_values_are_those_of_stock_and_only_what_is_active_has_some(hp, data):
    """Each coordinate keeps its meaning, whatever is inactive before it."""
    entries = coordinates(hp.space)
    unit = st.floats(0, 1, exclude_max=True)
    point = data.draw(st.lists(unit, min_size=len(entries), max_size=len(entries)))
    values = values_at(hp.space, point)
    assert set(values) == active_names(hp, values)
    for entry, x in zip(entries, point, strict=True):
        same = [other for other in hp.space if other.name == entry.name]
        if is_active(entry, values) and len(same) == 1:
            assert values[entry.name] == entry.prob_to_value(x)
    grown = hp.copy()
    grown.Float("later", 0.0, 1.0)
    longer = values_at(grown.space, [*point, 0.5])
    assert longer == {**values, "later": 0.5}


@given(hp=spaces())
def test_the_default_point_is_that_of_the_space(hp):
    """As keras-tuner has it before any trial; and it can be tried again by its values."""
    values = completed(hp.space)
    assert set(values) == active_names(hp, values)
    expected = keras_tuner.HyperParameters()
    expected.merge(hp)
    for name, value in values.items():
        assert value in {entry.default for entry in hp.space if entry.name == name}
    assert completed(hp.space, values) == values


def test_points_outside_of_the_space_are_refused():
    """By name or by value, with what there is."""
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", 1e-4, 1e-2)
    hp.Choice("schedule", ["cosine", "wsd"])
    with hp.conditional_scope("schedule", ["wsd"]):
        hp.Int("cooldown", 1, 5)
    for values, said in (
        ({"learning_rat": 1e-3}, "learning_rat=0.001. Did you mean `learning_rate`"),
        ({"x": 1}, "x=1. It has: cooldown, learning_rate, schedule"),
        ({"learning_rate": 1.0}, r"from 0.0001 to 0.01. Received: learning_rate=1.0"),
        ({"learning_rate": True}, r"learning_rate=True"),
        ({"schedule": "linear"}, "one of 'cosine', 'wsd'. Received: schedule='linear'"),
    ):
        with pytest.raises(ArgumentError, match=f"`points`.*{said}"):
            completed(hp.space, values)
    assert completed(hp.space, {"cooldown": 99}) == {"learning_rate": 1e-4, "schedule": "cosine"}


def brute_force(hp, values_per_range):
    """Every combination of values of every name, without those that are the same when active."""
    lists = [grid_values(entry, values_per_range) for entry in hp.space]
    found = [completed(hp.space)]
    for combination in itertools.product(*lists):
        values = {}
        for entry, value in zip(hp.space, combination, strict=True):
            if is_active(entry, values):
                values[entry.name] = value
        if values not in found:
            found.append(values)
    return found


@given(hp=spaces(most=3), number=st.integers(2, 4))
def test_a_grid_has_each_combination_once_and_the_default_first(hp, number):
    """What is inactive does not multiply it."""
    found = list(grid(hp.space, number))
    assert found[0] == completed(hp.space)
    assert found == brute_force(hp, number)
    for values in found:
        assert set(values) == active_names(hp, values)


def ours(declare):
    """The values on a grid of 4, for one range."""
    hp = keras_tuner.HyperParameters()
    declare(hp)
    return grid_values(hp.space[0], 4)


@pytest.mark.parametrize(
    ("declare", "expected"),
    [
        (lambda hp: hp.Float("x", 1e-4, 1e-1, sampling="log"), [1e-4, 1e-3, 1e-2, 1e-1]),
        (lambda hp: hp.Float("x", 0.0, 3.0), [0.0, 1.0, 2.0, 3.0]),
        (lambda hp: hp.Float("x", 0.0, 0.3, step=0.1), [0.0, 0.1, 0.2, 0.3]),
        (lambda hp: hp.Float("x", 2.0, 2.0), [2.0]),
        (lambda hp: hp.Float("x", 1.0, 100.0, step=10, sampling="log"), [1.0, 10.0, 100.0]),
        (lambda hp: hp.Float("x", 1.0, 4.0, step=2, sampling="reverse_log"), [1.0, 3.0, 4.0]),
        (lambda hp: hp.Int("x", 2, 7), [2, 3, 4, 5, 6, 7]),
        (lambda hp: hp.Int("x", 2, 8, step=5), [2, 7]),
        (lambda hp: hp.Int("x", 1, 64, sampling="log", step=4), [1, 4, 16, 64]),
        (lambda hp: hp.Int("x", 1, 2, sampling="log"), [1, 2]),
        (lambda hp: hp.Choice("x", ["b", "a", "b"]), ["b", "a"]),
        (lambda hp: hp.Boolean("x"), [True, False]),
        (lambda hp: hp.Fixed("x", 3), [3]),
    ],
)
def test_values_of_one_range(declare, expected):
    """Both ends, in its own scale, all steps, and integers as integers."""
    found = ours(declare)
    assert found == pytest.approx(expected) if isinstance(found[0], float) else found == expected
    assert {type(value) for value in found} == {type(value) for value in expected}
    assert (found[0], found[-1]) == (expected[0], expected[-1])


def test_stock_leaves_out_the_ends_of_a_range_and_a_last_step():
    """Ten inner values in no order; and steps of 0.1 from 0 to 1 end at 0.9."""
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Float("share", 0.0, 1.0, step=0.1)
    rates, shares = (list(entry.values) for entry in hp.space)
    assert min(rates) > 1e-4
    assert max(rates) < 1e-1
    assert max(shares) < 0.95
    assert max(grid_values(hp.space[1], 5)) == 1.0
    assert math.isclose(grid_values(hp.space[0], 5)[2], math.sqrt(1e-4 * 1e-1))


def test_fixed_values_have_no_coordinate():
    """They would make the cube larger for nothing."""
    hp = keras_tuner.HyperParameters()
    hp.Fixed("layers", 2)
    hp.Int("units", 1, 2)
    assert [entry.name for entry in coordinates(hp.space)] == ["units"]
    assert isinstance(hp.space[0], Fixed)
    assert values_at(hp.space, [0.9]) == {"layers": 2, "units": 2}
