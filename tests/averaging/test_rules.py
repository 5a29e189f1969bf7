"""The rules as pure functions: their profiles are those of the sources, for any lengths."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite.averaging import EMA, SWA, PowerEMA, Window, named_rules
from nadam_suite.averaging.power import exponent
from nadam_suite.errors import ArgumentError
from nadam_suite.schedules import TrainingPlan
from tests.averaging.cases import KINDS
from tests.reference import averages as twins

pytestmark = pytest.mark.once

# Powers of two in steps that float64 tells apart: each update's share can be read off the average.
UPDATES = 30


def profile_of(twin, updates):
    """The shares that a twin gives to each update: its average of unit vectors."""
    average = twin(list(np.eye(updates)))[-1]
    return np.zeros(updates) if average is None else average


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("updates", [1, 2, 5, 6, 7, UPDATES])
def test_profile_is_that_of_the_twin(kind, updates):
    """The share of every update, to float64's rounding."""
    average, expected = KINDS[kind]
    for ending, rule in average.rules().items():
        found = rule.profile(updates)
        np.testing.assert_allclose(found, profile_of(expected[ending], updates), atol=1e-14)
        assert found.sum() == pytest.approx(float(rule.times(updates) > 0), abs=1e-12)


@given(
    half_life=st.floats(0.5, 1e4),
    every=st.integers(1, 40),
    times=st.integers(2, 40),
    warmup=st.sampled_from(["inverse", "power", None]),
)
def test_the_age_of_an_average_does_not_depend_on_update_every(half_life, every, times, warmup):
    """What n updates at once keep is the product of what each of them keeps."""
    updates = every * times
    coarse = EMA(half_life=half_life, warmup=warmup, update_every=every).rules()[""]
    momentum = 2.0 ** (-1.0 / half_life)
    first = np.arange(1, updates + 1) <= every
    kept = np.array([twins.decay_at(j, momentum, warmup) for j in range(1, updates + 1)])
    rest = np.prod(np.where(first, 1.0, kept))  # of the first weights that were taken in
    assert coarse.profile(updates)[every - 1] == pytest.approx(rest, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("updates", [1000, 4000])
@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.25])
def test_a_power_average_has_its_width(sigma, updates):
    """The standard deviation of the profile is sigma_rel of its length, whatever update_every."""
    times = np.arange(1, updates + 1) / updates
    for every in (1, 10):
        profile = PowerEMA(sigma, update_every=every).rules()[f"{sigma:g}"].profile(updates)
        mean = profile @ times
        width = np.sqrt(profile @ (times - mean) ** 2)
        assert width == pytest.approx(sigma, rel=0.02)
        gamma = exponent(sigma)
        assert mean == pytest.approx((gamma + 1) / (gamma + 2), rel=0.01)


def test_half_of_an_average_has_gone_after_its_half_life():
    """By definition."""
    profile = EMA(half_life=100, warmup=None).rules()[""].profile(401)
    assert profile[301:].sum() == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_json_round_trip(kind):
    """An average is what its config says, through Keras' serialization too."""
    average = KINDS[kind][0]
    data = json.loads(json.dumps(keras.saving.serialize_keras_object(average)))
    assert keras.saving.deserialize_keras_object(data) == average
    assert type(average).from_config(average.get_config()) == average
    assert eval(repr(average), {"__builtins__": {}}, _names()) == average  # noqa: S307 - our own


def _names():
    return {kind.__name__: kind for kind in (EMA, PowerEMA, SWA, Window)}


def test_durations_are_resolved_in_real_updates():
    """A plan with accumulation has a quarter of the updates, and a half-life in epochs follows."""
    plan = TrainingPlan.from_data(1000, batch_size=50, epochs=10, accumulation=4)
    average = EMA(half_life="2ep", start="10%", update_every="100ex")
    assert not average.is_resolved
    assert average.resolved(plan) == EMA(half_life=10, start=5, update_every=1)
    assert SWA(0.75, every="1ep").resolved(plan) == SWA(38, every=5)
    assert SWA().start == SWA(start=0.75).start == "75%"
    assert Window(3, "1ep", start=0.5).resolved(plan) == Window(3, 5, start=25)
    assert PowerEMA(update_every="1ep").resolved(plan) == PowerEMA(update_every=5)
    assert average.resolved(plan).is_resolved


def test_a_duration_that_is_not_resolved_names_the_fix():
    """The rules need numbers."""
    for average in (EMA(half_life="2ep"), SWA(), Window(3), PowerEMA(update_every="1ep")):
        with pytest.raises(ArgumentError, match=r"\.resolved\(TrainingPlan\.from_data"):
            average.rules()


def test_names():
    """An average alone has the name of its kind; widths follow the name."""
    assert list(named_rules(EMA())) == ["ema"]
    assert list(named_rules(SWA(1, 1))) == ["swa"]
    assert list(named_rules(Window(2, 1))) == ["window"]
    assert list(named_rules(PowerEMA())) == ["power_0.05", "power_0.1"]
    assert list(named_rules({"x": EMA(), "y": PowerEMA(0.2)})) == ["x", "y_0.2"]
    assert named_rules(None) == {}


REFUSED = [
    (EMA, {"momentum": 1.5}, "momentum"),
    (EMA, {"momentum": -0.1}, "momentum"),
    (EMA, {"momentum": "0.9"}, "momentum"),
    (EMA, {"momentum": True}, "momentum"),
    (EMA, {"half_life": 0}, "half_life"),
    (EMA, {"half_life": "0ep"}, "half_life"),
    (EMA, {"half_life": "two"}, "half_life"),
    (EMA, {"momentum": 0.9, "half_life": 5}, "half_life"),
    (EMA, {"warmup": "linear"}, "warmup"),
    (EMA, {"warmup": 3}, "warmup"),
    (EMA, {"start": -1}, "start"),
    (EMA, {"start": 0.5}, "start"),
    (EMA, {"update_every": 0}, "update_every"),
    (EMA, {"update_every": 2.5}, "update_every"),
    (PowerEMA, {"sigma_rel": 0.3}, "sigma_rel"),
    (PowerEMA, {"sigma_rel": (0.1, 0.1)}, "sigma_rel"),
    (PowerEMA, {"sigma_rel": (0.1, 0.10000001)}, "sigma_rel"),  # their names would be the same
    (PowerEMA, {"sigma_rel": ()}, "sigma_rel"),
    (PowerEMA, {"sigma_rel": "0.1"}, "sigma_rel"),
    (PowerEMA, {"update_every": 0}, "update_every"),
    (SWA, {"start": 1.5}, "start"),
    (SWA, {"every": 0}, "every"),
    (Window, {"k": 0}, "k"),
    (Window, {"k": 2.0}, "k"),
    (Window, {"k": 2, "every": -1}, "every"),
    (Window, {"k": 2, "start": "150%"}, "start"),
]


@pytest.mark.parametrize(("kind", "arguments", "name"), REFUSED)
def test_bad_arguments_are_refused(kind, arguments, name):
    """The message names the argument, the value and a remedy."""
    with pytest.raises((ValueError, TypeError)) as caught:
        kind(**arguments)
    message = str(caught.value)
    assert f"`{name}`" in message
    assert "Received: " in message
    assert message.rstrip().endswith(".")
