"""Points of spaces for the tests: drawn by hypothesis, with ends, and with only active values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras_tuner
from hypothesis import strategies as st

from nadam_suite.config import NadamConfig
from nadam_suite.tuner.ranges import PARTS, SPACES, TUNABLE

PRESETS = st.sampled_from(sorted(SPACES))
SCHEDULES = st.lists(st.sampled_from(sorted(PARTS)), min_size=1, max_size=4, unique=True)
TUNED = st.lists(st.sampled_from(sorted(TUNABLE)), min_size=1, unique=True)

# What `nadam_space` takes, of any preset, and of what is tuned and in which way that is said.
OPTIONS = st.fixed_dictionaries(
    {"preset": PRESETS, "schedule": SCHEDULES},
    optional={"prefix": st.sampled_from(["", "optimizer/", "a "])},
).flatmap(
    lambda options: st.one_of(st.just({}), st.fixed_dictionaries({"tune": TUNED}), budgets()).map(
        lambda tuned: {**options, **tuned}
    )
)
PROBABILITY = st.floats(0.0, 1.0) | st.sampled_from([0.0, 1.0])


def budgets() -> st.SearchStrategy[dict[str, int]]:
    """Budgets on either side of every threshold of the rule."""
    return st.fixed_dictionaries({"budget": st.integers(1, 99)})


def declared(
    space: Callable[[keras_tuner.HyperParameters], NadamConfig],
) -> keras_tuner.HyperParameters:
    """The hyperparameters that a space has declared; one call declares all of its scopes."""
    hp = keras_tuner.HyperParameters()
    space(hp)
    return hp


def at(
    hp: keras_tuner.HyperParameters, probability: Callable[[str], float]
) -> keras_tuner.HyperParameters:
    """The same space at the point that a probability for each name gives, parents first."""
    point = hp.copy()
    point.values = {}
    for parameter in point.space:
        if point.is_active(parameter):
            value = parameter.prob_to_value(probability(parameter.name))
            point.values[parameter.name] = value
    return point


def drawn(data: Any, hp: keras_tuner.HyperParameters) -> keras_tuner.HyperParameters:
    """The same space at a point that hypothesis draws."""
    return at(hp, lambda name: data.draw(PROBABILITY, name))


def active(hp: keras_tuner.HyperParameters) -> set[str]:
    """Names of the hyperparameters that are active at the point where `hp` is."""
    return {parameter.name for parameter in hp.space if hp.is_active(parameter)}
