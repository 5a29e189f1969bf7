"""Training plans and durations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules import (
    TrainingPlan,
    format_duration,
    parse_duration,
    resolve_duration,
)

PLAN = TrainingPlan.from_data(1000, batch_size=64, epochs=10)  # 16 batches an epoch, the last of 40

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        (0, 0),
        (500, 500),
        (np.int64(7), 7),
        ("5%", 8),
        ("100%", 160),
        ("0%", 0),
        ("0.001%", 1),  # positive, so not nothing
        ("12.5 %", 20),
        ("1.5625%", 3),  # 2.5 steps, halves up
        ("1ep", 16),
        ("3ep", 48),
        ("0.5ep", 8),
        ("1000ex", 16),
        ("1001ex", 17),
        ("64ex", 1),
        ("65ex", 2),
        ("2999ex", 48),
    ],
)
def test_durations_resolve_to_batches(duration, steps):
    """Every way to write a duration gives its number of batches."""
    assert PLAN.resolve(duration) == steps


@pytest.mark.parametrize(
    ("duration", "steps"), [(7, 7), ("5%", 2), ("100%", 40), ("1ep", 4), ("1ex", 1), ("3ep", 12)]
)
def test_durations_resolve_to_updates(duration, steps):
    """With accumulation, relative durations shrink by the window; counted steps stay."""
    plan = TrainingPlan.from_data(1000, 64, 10, accumulation=4)
    assert plan.resolve(duration, of="updates") == steps


def test_a_plan_counts_incomplete_batches_unless_told_otherwise():
    """Keras trains on the last batch, too; a pipeline that drops it has one batch less."""
    assert (PLAN.steps_per_epoch, PLAN.total_steps, PLAN.total_updates) == (16, 160, 160)
    dropped = TrainingPlan.from_data(1000, 64, 10, drop_remainder=True)
    assert dropped.steps_per_epoch == 15
    assert dropped.resolve("999ex") == 15  # never more than the epoch has


def test_a_window_cut_by_an_epoch_goes_on_in_the_next():
    """Updates are counted over the whole training: 2 epochs of 5 batches make 3 windows of 3."""
    plan = TrainingPlan(steps_per_epoch=5, epochs=2, accumulation=3)
    assert plan.total_updates == 3


def test_a_stream_without_a_known_length_resolves_examples_by_its_batch_size():
    """Without the number of examples, batches are taken for full ones."""
    assert TrainingPlan(100, 1, batch_size=32).resolve("65ex") == 3


@given(st.integers(1, 10**6), st.integers(1, 512), st.integers(1, 50), st.integers(1, 8))
def test_the_whole_plan_is_all_its_epochs_and_a_hundred_percent(examples, size, epochs, window):
    """100 %, all epochs and all examples are the same number of steps."""
    plan = TrainingPlan.from_data(examples, size, epochs, window)
    for text in ("100%", f"{epochs}ep", f"{epochs * examples}ex"):
        assert plan.resolve(text) == plan.total_steps
    updates = plan.resolve("100%", of="updates")
    assert updates == max(plan.total_steps // window, 1)


def test_a_percentage_can_refer_to_a_given_whole():
    """Without a plan, a percentage of a given length resolves, and epochs do not."""
    assert resolve_duration("10%", whole=1234) == 123
    with pytest.raises(ArgumentError, match=r"`warmup`.*3ep.*TrainingPlan\.from_data"):
        resolve_duration("3ep", whole=1234, name="warmup")


def test_durations_have_one_normal_form():
    """Spaces do not count; the number's digits stay as typed."""
    assert format_duration(" 5 %") == "5%"
    assert format_duration("0.50ep") == "0.50ep"
    assert parse_duration("0.1%").number * 1000 == 100  # exact, unlike a float


@pytest.mark.parametrize(
    ("duration", "error", "remedy"),
    [
        (0.05, ArgumentTypeError, '"5%"'),
        (500.0, ArgumentTypeError, "500 without"),
        (float("inf"), ArgumentTypeError, "finite"),
        (True, ArgumentTypeError, "instance"),
        (None, ArgumentTypeError, "instance"),
        (-1, ArgumentError, "at least 0"),
        ("5", ArgumentError, "5 without quotes"),
        ("5 percent", ArgumentError, "instance"),
        ("-5%", ArgumentError, "instance"),
        ("101%", ArgumentError, "more epochs"),
        ("1.5ex", ArgumentError, '"2ex"'),
        ("1e3ex", ArgumentError, "instance"),
        ("", ArgumentError, "instance"),
        ("٣ep", ArgumentError, "instance"),
    ],
)
def test_bad_durations_are_refused_with_value_and_remedy(duration, error, remedy):
    """A malformed duration is refused, and the message says how to write it."""
    with pytest.raises(error) as caught:
        PLAN.resolve(duration, name="warmup")
    assert f"Received: warmup={duration!r}" in str(caught.value)
    assert remedy in str(caught.value).split("Received: ")[1]


def test_examples_need_a_plan_that_knows_them():
    """A plan without a batch size says which constructor has one."""
    with pytest.raises(ArgumentError, match=r'warmup="10ex".*from_data'):
        TrainingPlan(10, 1).resolve("10ex", name="warmup")


@pytest.mark.parametrize(
    ("arguments", "error", "received"),
    [
        ((0, 1), ArgumentError, "steps_per_epoch=0"),
        ((1, 0), ArgumentError, "epochs=0"),
        ((1.0, 1), ArgumentTypeError, "steps_per_epoch=1.0"),
        ((1, 1, 0), ArgumentError, "accumulation=0"),
        ((1, 1, None), ArgumentTypeError, "accumulation=None"),
        ((1, 1, 1, 0), ArgumentError, "batch_size=0"),
    ],
)
def test_bad_plans_are_refused(arguments, error, received):
    """Every field is checked."""
    with pytest.raises(error, match=received):
        TrainingPlan(*arguments)


def test_a_batch_larger_than_the_data_cannot_be_dropped():
    """A plan without a single step is refused."""
    with pytest.raises(ArgumentError, match="batch_size=64, examples=10"):
        TrainingPlan.from_data(10, 64, 1, drop_remainder=True)


def test_resolve_knows_batches_and_updates_alone():
    """Another unit of steps is refused."""
    with pytest.raises(ArgumentError, match="of='epochs'"):
        PLAN.resolve("5%", of="epochs")


def test_a_plan_is_frozen_and_hashable():
    """A plan cannot change under a config that refers to it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAN.epochs = 3
    assert hash(PLAN) == hash(TrainingPlan.from_data(1000, 64, 10))
