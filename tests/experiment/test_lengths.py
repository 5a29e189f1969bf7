"""What the length of a training decides in its config, and what may not be rewritten."""

from __future__ import annotations

import pytest

from nadam_suite.config import ScheduleConfig, TrainConfig
from nadam_suite.errors import ArgumentError, ConfigError
from nadam_suite.experiment.lengths import (
    check_same_so_far,
    counted,
    extended,
    first_of_cooldown,
    kept_after,
    longer_by,
    stable_epoch,
)
from nadam_suite.schedules import TrainingPlan

pytestmark = pytest.mark.once
WSD = {"kind": "wsd", "warmup": 2}


def resolved(schedule, examples=40, **changes):
    """A config of epochs of four batches, and its plan."""
    config = TrainConfig(model="digits", data="digits", batch_size=10, schedule=schedule, **changes)
    plan = config.plan(examples)
    return config.resolve(plan), plan


@pytest.mark.parametrize(
    ("duration", "epochs"), [("3ep", 3), ("50%", 5), ("40ex", 1), ("400ex", 10), (8, 2)]
)
def test_lengths_that_make_epochs(duration, epochs):
    """Each unit is resolved against the plan as it is."""
    plan = TrainingPlan.from_data(examples=40, batch_size=10, epochs=10)
    assert longer_by(duration, plan) == epochs


@pytest.mark.parametrize(("duration", "nearest"), [("2.75ep", "3ep"), (1, "1ep"), ("30ex", "1ep")])
def test_other_lengths_are_refused(duration, nearest):
    """The message names the nearest one."""
    plan = TrainingPlan.from_data(examples=40, batch_size=10, epochs=10)
    with pytest.raises(ArgumentError, match=f"whole epochs, of 4 batches.*Write {nearest}"):
        longer_by(duration, plan)


@pytest.mark.parametrize(
    ("cooldown", "epoch"), [("1ep", 9), (1, 9), (4, 9), (5, 8), ("100%", 0), ("95%", 0)]
)
def test_the_state_before_the_cooldown(cooldown, epoch):
    """It is that of the last epoch that ends before the cooldown, or where it begins."""
    config, plan = resolved({"kind": "wsd", "cooldown": cooldown}, epochs=10)
    assert stable_epoch(config, plan) == epoch
    assert kept_after(config, plan) == {epoch} - {0}


def test_the_state_before_a_cooldown_that_counts_updates():
    """After two epochs of 4 batches and windows of 3, two updates have been made."""
    optimizer = {"gradient_accumulation_steps": 3, "schedule_step": "update"}
    schedule = {"kind": "wsd", "cooldown": 2, "total": 4}
    config, plan = resolved(schedule, epochs=3, optimizer=optimizer)
    assert counted(config, plan, 2) == 2
    assert stable_epoch(config, plan) == 2


def test_the_first_cooldown_counts():
    """Of several schedules, that which goes down first decides."""
    optimizer = {"weight_decay": {"kind": "wsd", "peak": 0.1, "cooldown": "4ep"}}
    config, plan = resolved({**WSD, "cooldown": "2ep"}, epochs=10, optimizer=optimizer)
    assert stable_epoch(config, plan) == 6


@pytest.mark.parametrize(
    ("table", "first"),
    [
        ({"kind": "wsd", "total": 9, "cooldown": 2}, 7),
        ({"kind": "constant", "total": 9, "cooldown": 4}, 5),
        ({"kind": "constant"}, None),
        ({"kind": "one_cycle", "total": 9, "cooldown": 4, "warmup": 2}, None),
        (
            {
                "kind": "joined",
                "boundaries": [5],
                "parts": [{"kind": "cosine", "total": 5}, {**WSD, "total": 9, "cooldown": 3}],
            },
            11,
        ),
    ],
)
def test_where_a_cooldown_begins(table, first):
    """Cooldowns of a kind's own, those put around, and those of a last part."""
    assert first_of_cooldown(ScheduleConfig.from_dict(table)) == first


def test_regular_checkpoints():
    """They are kept besides the one before the cooldown."""
    config, plan = resolved({**WSD, "cooldown": "3ep"}, epochs=10, checkpoint_every=4)
    assert kept_after(config, plan) == {4, 7, 8}
    config, plan = resolved(None, epochs=10)
    assert kept_after(config, plan) == set()


def test_what_lasts_the_whole_training_lasts_longer():
    """A shorter total stays, and so do the lengths of warm-up and cooldown."""
    optimizer = {
        "weight_decay": {"kind": "linear", "peak": 0.1, "total": "50%"},
        "beta_1": {"kind": "wsd", "peak": 0.9, "cooldown": "10%"},
    }
    config, plan = resolved({**WSD, "cooldown": "2ep"}, epochs=10, optimizer=optimizer)
    longer = extended(config, plan, "10ep")
    assert longer.epochs == 20
    assert (longer.schedule.total, longer.schedule.cooldown, longer.schedule.warmup) == (80, 8, 2)
    assert longer.optimizer.weight_decay == config.optimizer.weight_decay
    assert (longer.optimizer.beta_1.total, longer.optimizer.beta_1.cooldown) == (80, 4)


def test_the_past_is_compared_value_by_value():
    """Up to the first step of another value, and no further."""
    before, plan = resolved({**WSD, "cooldown": "2ep"}, epochs=10)
    after = extended(before, plan, "1ep")
    check_same_so_far(before, after, plan, 8, "No.")
    with pytest.raises(ConfigError, match=r"36 steps.*'wsd', total=40 -> 44.*step 33 on\. No\."):
        check_same_so_far(before, after, plan, 9, "No.")


def test_numbers_and_schedules_are_compared():
    """A number is a constant schedule, in the type in which the optimizer holds it."""
    before, plan = resolved(None, epochs=2, optimizer={"learning_rate": 0.1})
    after = before.replace(schedule={"kind": "wsd", "total": 8, "cooldown": 4})
    check_same_so_far(before, after, plan, 1, "No.")
    with pytest.raises(ConfigError, match=r"kind='constant', which differs from step 5"):
        check_same_so_far(before, after, plan, 2, "No.")
