"""Bad schedules: every fault is named at once, with its key, its value and a remedy."""

from __future__ import annotations

import pytest

from nadam_suite.config import NadamConfig, ScheduleConfig, TrainConfig
from nadam_suite.errors import ConfigError
from nadam_suite.schedules import TrainingPlan

pytestmark = pytest.mark.once

PLAN = TrainingPlan.from_data(1000, batch_size=50, epochs=10)  # 200 steps

# table with a peak of 0.5, the key that the message names, the value it shows, its remedy
TABLES = [
    ({"kind": "cos"}, "kind", "'cos'", "Choose one"),
    ({"power": 2.0}, "power", "2.0", 'kind = "polynomial"'),
    ({"kind": "linear", "decay_rate": 0.5}, "decay_rate", "0.5", 'kind = "exponential"'),
    ({"kind": "constant", "total": 9}, "total", "9", "add a `cooldown`"),
    ({"kind": "constant", "end": 0.1}, "end", "0.1", '"linear", "cosine"'),
    ({"kind": "noam", "d_model": 8, "warmup": 9, "start": 0.1}, "start", "0.1", '"wsd"'),
    ({"shape": "linear"}, "shape", "'linear'", 'kind = "wsd"'),
    ({"cooldown": 9, "shape": "linear"}, "shape", "'linear'", "Write `cooldown_shape`"),
    ({"kind": "constant", "cooldown": 9, "end": 0.1}, "end", "0.1", "Write `cooldown_end`"),
    ({"cooldown_end": 0.1}, "cooldown_end", "0.1", "add `cooldown`"),
    (
        {"kind": "wsd", "cooldown": 9, "cooldown_shape": "linear"},
        "cooldown_shape",
        "'li",
        "`shape`",
    ),
    ({"kind": "wsd", "cooldown": 9, "cooldown_end": 1}, "cooldown_end", "1", "Write `end`"),
    ({"kind": "one_cycle", "cooldown_shape": "linear"}, "cooldown_shape", "'l", "`anneal`"),
    ({"kind": "one_cycle", "start": 0.1}, "start", "0.1", '"cosine"'),
    ({"kind": "wsd"}, "cooldown", "kind='wsd' without it", 'cooldown = "20%"'),
    ({"kind": "wsd", "cooldown": None}, "cooldown", "kind='wsd' without it", 'cooldown = "20%"'),
    ({"kind": "wsd", "cooldown": 0}, "cooldown", "0", "Lengthen"),
    ({"kind": "constant", "cooldown": "0%"}, "cooldown", "'0%'", "Lengthen"),
    ({"kind": "wsd", "cooldown": 9, "shape": "exponential"}, "end", "0.0", "another shape"),
    (
        {"kind": "wsd", "cooldown": 9, "shape": "exponential", "end": 0.6},
        "end",
        "0.6",
        "Lower",
    ),
    ({"cooldown": 9, "cooldown_shape": "exponential"}, "cooldown_end", "0.0", "another shape"),
    ({"kind": "wsd", "cooldown": 9, "shape": "sqrt"}, "shape", "'sqrt'", "Choose one"),
    ({"kind": "exponential", "end": 0.6}, "end", "0.6", "Lower"),
    ({"kind": "exponential", "decay_rate": 1.5}, "decay_rate", "1.5", "Lower"),
    ({"kind": "exponential", "decay_every": 0}, "decay_every", "0", "Lengthen"),
    ({"kind": "exponential", "decay_every": 0.1}, "decay_every", "0.1", '"10%"'),
    ({"kind": "exponential", "staircase": 1}, "staircase", "1", "true or false"),
    ({"kind": "polynomial", "power": 0}, "power", "0", "Raise"),
    ({"total": 0}, "total", "0", "Lengthen"),
    ({"kind": "inverse_sqrt", "timescale": "0ep"}, "timescale", "'0ep'", "Lengthen"),
    ({"kind": "noam", "warmup": 9}, "d_model", "kind='noam' without it", "d_model = 512"),
    ({"kind": "noam", "d_model": 9}, "warmup", "kind='noam' without it", "warmup = 4000"),
    ({"kind": "noam", "d_model": 0, "warmup": 9}, "d_model", "0", "Raise"),
    ({"kind": "noam", "d_model": 9, "warmup": 0}, "warmup", "0", "Lengthen"),
    ({"kind": "one_cycle", "div_factor": 0.5}, "div_factor", "0.5", "Raise"),
    ({"kind": "one_cycle", "anneal": "cos"}, "anneal", "'cos'", "Choose one"),
    ({"kind": "cyclical"}, "step_size", "kind='cyclical' without it", 'step_size = "4ep"'),
    ({"kind": "cyclical", "step_size": 3, "gamma": 0.5}, "gamma", "0.5", 'mode = "exp_range"'),
    ({"kind": "cyclical", "step_size": 3, "mode": "up"}, "mode", "'up'", "Choose one"),
    ({"kind": "cyclical", "step_size": 3, "base_lr": 1}, "base_lr", "1", "`base`"),
    ({"kind": "cosine_restarts"}, "first_period", "without it", 'first_period = "10ep"'),
    ({"kind": "cosine_restarts", "first_period": 9, "end": 0.6}, "end", "0.6", "Lower"),
    ({"kind": "cosine_restarts", "first_period": 9, "t_mul": 1.001}, "t_mul", "1.001", "equal"),
    ({"kind": "cosine_restarts", "first_period": 9, "t_mul": 0.5}, "t_mul", "0.5", "Raise"),
    ({"kind": "cosine_restarts", "first_period": 9, "cycles": 0}, "cycles", "0", "Raise"),
    ({"factor": -1}, "factor", "-1", "Raise"),
    ({"schedules": []}, "schedules", "[]", "`parts`"),
    ({"max_lr": 1.0}, "max_lr", "1.0", "`peak`"),
]

# tables that take no peak
OTHERS = [
    ({"kind": "piecewise", "peak": 1.0, "points": [[0, 1.0]]}, "peak", "1.0", '"cosine"'),
    ({"kind": "piecewise"}, "points", "kind='piecewise' without it", "points = [[0, 1.0]"),
    ({"kind": "piecewise", "points": []}, "points", "[]", "Add points"),
    ({"kind": "piecewise", "points": [1, 2]}, "points", "[1, 2]", "Write for instance [[0"),
    ({"kind": "piecewise", "points": [[0, 1, 2]]}, "points", "[[0, 1, 2]]", "[[0, 1.0]"),
    ({"kind": "piecewise", "points": "none"}, "points", "'none'", "[[0, 1.0]"),
    ({"kind": "piecewise", "points": [[1, 1.0]]}, "points.0.0", "1", "in front"),
    ({"kind": "piecewise", "points": [["1%", 1.0]]}, "points.0.0", "'1%'", "in front"),
    ({"kind": "piecewise", "points": [[0, -1.0]]}, "points.0.1", "-1.0", "Raise"),
    ({"kind": "piecewise", "points": [[0, 1.0], [0.5, 1]]}, "points.1.0", "0.5", '"50%"'),
    ({"kind": "piecewise", "points": [[0, 1], [9, 1], [9, 0]]}, "points.2.0", "9", "in order"),
    ({"kind": "joined", "boundaries": []}, "parts", "without it", "parts = [{kind"),
    ({"kind": "joined", "parts": [{"peak": 1.0}]}, "boundaries", "without it", '["50%"]'),
    ({"kind": "joined", "parts": [], "boundaries": []}, "parts", "[]", "Add parts"),
    ({"kind": "joined", "parts": 3, "boundaries": []}, "parts", "3", "brackets"),
    ({"kind": "joined", "parts": [3], "boundaries": []}, "parts.0", "3", "table"),
    (
        {"kind": "joined", "parts": [{"peak": 1.0}], "boundaries": [3]},
        "boundaries",
        "[3]",
        "Add or remove",
    ),
    (
        {"kind": "joined", "parts": [{"peak": 1.0}, {"peak": 1.0}], "boundaries": [0]},
        "boundaries.0",
        "0",
        "in order",
    ),
    (
        {"kind": "joined", "parts": [{"peak": 1.0, "power": 2}], "boundaries": []},
        "parts.0.power",
        "2",
        'kind = "polynomial"',
    ),
    (
        {"kind": "joined", "parts": [{"peak": 1.0, "pwr": 2}], "boundaries": []},
        "parts.0.pwr",
        "2",
        "`power`",
    ),
    (
        {"kind": "one_cycle_momentum", "base_momentum": 0.9, "max_momentum": 0.8},
        "base_momentum",
        "0.9",
        "Lower",
    ),
    ({"kind": "one_cycle_momentum", "max_momentum": 1}, "max_momentum", "1", "Lower"),
    ({"kind": "one_cycle_momentum", "peak": 0.5}, "peak", "0.5", '"one_cycle"'),
]


def check(error, key, value, remedy):
    """There is one fault; it names the key, shows the value, and ends in the remedy."""
    assert len(error.faults) == 1, error
    text = error.faults[0]
    assert f"`{key}`" in text
    _, received, rest = text.partition("Received: ")
    assert received, text
    assert value in rest
    assert remedy in rest
    assert len(text) < 700


@pytest.mark.parametrize(
    ("table", "key", "value", "remedy"),
    [({"peak": 0.5, **table}, *others) for table, *others in TABLES] + OTHERS,
)
def test_a_bad_table_is_refused_as_it_is(table, key, value, remedy):
    """A table with one fault gives one sentence, with key, value and remedy."""
    with pytest.raises(ConfigError) as caught:
        ScheduleConfig.from_dict(table)
    check(caught.value, key, value, remedy)


@pytest.mark.parametrize("place", ["learning_rate", "weight_decay", "beta_1"])
@pytest.mark.parametrize(("table", "key", "value", "remedy"), TABLES)
def test_a_bad_table_is_refused_wherever_it_stands(place, table, key, value, remedy):
    """The same within an optimizer, with dotted keys."""
    with pytest.raises(ConfigError) as caught:
        NadamConfig.from_dict({place: {"peak": 0.5, **table}})
    check(caught.value, f"{place}.{key}", value, remedy)


@pytest.mark.parametrize(("table", "key", "value", "remedy"), TABLES)
def test_a_bad_table_is_refused_around_a_learning_rate(table, key, value, remedy):
    """The same in a training, where the optimizer's learning rate is the peak."""
    values = {"model": "digits", "data": "digits", "optimizer": {"learning_rate": 0.5}}
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict({**values, "schedule": table})
    check(caught.value, f"schedule.{key}", value, remedy)


# optimizer tables
OPTIMIZERS = [
    ({"weight_decay": {"warmup": 3}}, "weight_decay.peak", "{'warmup': 3}", "highest weight decay"),
    ({"beta_1": {"kind": "constant"}}, "beta_1.peak", "{'kind': 'constant'}", "highest beta_1"),
    ({"beta_1": {"value": 0.5, "peak": 0.5}}, "beta_1.value", "0.5", "`peak`"),
    ({"beta_1": {"peak": 1.0}}, "beta_1.peak", "1.0", "Lower"),
    ({"beta_1": {"peak": 0.5, "end": 1.5}}, "beta_1.end", "1.5", "Lower"),
    ({"beta_1": {"peak": 0.6, "factor": 2}}, "beta_1.peak", "0.6", "Lower"),
    ({"beta_1": {"peak": -0.6}}, "beta_1.peak", "-0.6", "Raise"),
    (
        {"beta_1": {"kind": "piecewise", "points": [[0, 0.5], [9, 1.0]]}},
        "beta_1.points.1.1",
        "1.0",
        "Lower",
    ),
    (
        {"beta_1": {"kind": "joined", "parts": [{"peak": 1.0}], "boundaries": []}},
        "beta_1.parts.0.peak",
        "1.0",
        "Lower",
    ),
    (
        {"learning_rate": {"kind": "joined", "parts": [{"kind": "constant"}], "boundaries": []}},
        "learning_rate.parts.0.peak",
        "{'kind': 'constant'}",
        "highest learning rate",
    ),
    (
        {"learning_rate": {"kind": "one_cycle_momentum"}},
        "learning_rate.kind",
        "'one_cycle_momentum'",
        '"one_cycle"',
    ),
    (
        {"weight_decay": {"kind": "one_cycle_momentum"}},
        "weight_decay.kind",
        "'one_cycle_momentum'",
        '"one_cycle"',
    ),
    ({"weight_decay_mode": "adam"}, "weight_decay_mode", "'adam'", "Choose one"),
    ({"max_learning_rate": 1.0}, "max_learning_rate", "1.0", '"corrected"'),
    ({"max_learning_rate": 0, "weight_decay_mode": "corrected"}, "max_learning_rate", "0", "Raise"),
]


@pytest.mark.parametrize(("table", "key", "value", "remedy"), OPTIMIZERS)
def test_bad_schedules_of_an_optimizer_are_refused(table, key, value, remedy):
    """A peak is missing, `beta_1` reaches 1, or a schedule is none for this argument."""
    with pytest.raises(ConfigError) as caught:
        NadamConfig.from_dict(table)
    check(caught.value, key, value, remedy)


def test_the_twin_for_beta_1_is_none_around_a_learning_rate():
    """In a training's schedule, a part of it included, a momentum is refused."""
    for table, key in (
        ({"kind": "one_cycle_momentum"}, "schedule.kind"),
        (
            {"kind": "joined", "parts": [{"kind": "one_cycle_momentum"}], "boundaries": []},
            "schedule.parts.0.kind",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            TrainConfig.from_dict({"model": "digits", "data": "digits", "schedule": table})
        check(caught.value, key, "'one_cycle_momentum'", '"one_cycle"')


# tables that do not fit a training of 200 steps
LENGTHS = [
    ({"warmup": "10ep"}, "warmup", "'10ep'", "200 steps long"),
    ({"warmup": 9, "total": "2%"}, "warmup", "9", "Shorten"),
    ({"kind": "wsd", "warmup": "50%", "cooldown": "60%"}, "cooldown", "'60%'", "120 steps long"),
    ({"kind": "one_cycle", "cooldown": "70%"}, "cooldown", "'70%'", "140 steps long"),
    ({"kind": "one_cycle", "warmup": "100%"}, "warmup", "'100%'", "Shorten"),
    ({"cooldown": "11ep"}, "cooldown", "'11ep'", "220 steps long"),
    ({"kind": "constant", "cooldown": 9, "total": 8}, "cooldown", "9", "9 steps long"),
]


@pytest.mark.parametrize(("table", "key", "value", "remedy"), LENGTHS)
def test_phases_that_do_not_fit_are_refused(table, key, value, remedy):
    """When lengths are known, phases that leave each other no room are a fault."""
    with pytest.raises(ConfigError) as caught:
        ScheduleConfig(peak=1.0, **table).resolve(PLAN, key="rate")
    check(caught.value, f"rate.{key}", value, remedy)


def test_points_and_parts_that_do_not_fit_are_refused():
    """Points of different units in a wrong order, and a part that begins after the end."""
    for table, key, value, remedy in (
        ({"kind": "piecewise", "points": [[0, 1], ["50%", 1], [99, 1]]}, "points.2.0", "99", "99"),
        (
            {"kind": "joined", "parts": [{"peak": 1}, {"peak": 1}, {"peak": 1}]}
            | {"boundaries": ["50%", "1ep"]},
            "boundaries.1",
            "'1ep'",
            "step 20",
        ),
        (
            {"kind": "joined", "parts": [{"peak": 1}, {"peak": 1}], "boundaries": [200]},
            "boundaries.0",
            "200",
            "earlier",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            ScheduleConfig.from_dict(table).resolve(PLAN)
        check(caught.value, f"schedule.{key}", value, remedy)


def test_all_schedules_are_resolved_at_once():
    """What cannot be resolved in one schedule does not hide what cannot in another."""
    config = TrainConfig(
        model="digits",
        data="digits",
        schedule={"warmup": "10ep"},
        optimizer={
            "weight_decay": {"peak": 1.0, "total": 9, "warmup": 9},
            "beta_1": {"kind": "wsd", "peak": 0.5, "cooldown": "20ep"},
        },
    )
    with pytest.raises(ConfigError) as caught:
        config.resolve(PLAN)
    keys = [fault.split("`")[1] for fault in caught.value.faults]
    assert keys == ["optimizer.weight_decay.warmup", "optimizer.beta_1.cooldown", "schedule.warmup"]


def test_what_only_the_built_schedule_knows_is_refused_when_built():
    """A momentum that reaches 1, and a decay relative to a learning rate of 0."""
    steep = {"kind": "one_cycle", "peak": 0.9, "div_factor": 1, "final_div_factor": 0.5}
    with pytest.raises(ConfigError, match=r"`beta_1` must be .*stays below 1.*reaches 1\.8"):
        NadamConfig(beta_1=steep).build(PLAN)
    config = NadamConfig(learning_rate=0.0, weight_decay_mode="corrected")
    with pytest.raises(ConfigError, match=r"`max_learning_rate` must be given"):
        config.build()
