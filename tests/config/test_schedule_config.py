"""ScheduleConfig: every kind of schedule, from its table to the object and back."""

from __future__ import annotations

import inspect
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nadam_suite import Nadam, schedules
from nadam_suite.config import NadamConfig, ScheduleConfig, load_config, save_config
from nadam_suite.config.build import build_schedule
from nadam_suite.config.schedule_kinds import KEYS, KINDS, REQUIRED
from nadam_suite.schedules import (
    Constant,
    CosineRestarts,
    Cyclical,
    Joined,
    Linear,
    Noam,
    OneCycle,
    OneCycleMomentum,
    Piecewise,
    Polynomial,
    Scaled,
    TrainingPlan,
    WarmupCosine,
    WarmupExponential,
    WarmupInverseSqrt,
    WarmupLinear,
    WarmupPolynomial,
    WarmupStableDecay,
    WithCooldown,
    sample,
)
from tests.config import strategies

pytestmark = pytest.mark.once

PLAN = TrainingPlan.from_data(1000, batch_size=50, epochs=10, accumulation=4)  # 200 steps

# A table in the units of users, and the schedule that it means in a training of 200 steps.
MEANINGS = [
    ({"kind": "constant", "warmup": "5%"}, Constant(0.5, 10)),
    (
        {"kind": "linear", "warmup": 7, "start": 0.1, "end": 0.2},
        WarmupLinear(0.5, 200, 7, 0.2, 0.1),
    ),
    ({"warmup": "1ep", "total": "50%"}, WarmupCosine(0.5, 100, 20)),
    ({"kind": "polynomial", "power": 2}, WarmupPolynomial(0.5, 200, power=2.0)),
    ({"kind": "exponential", "total": "5ep"}, WarmupExponential(0.5, 100)),
    (
        {"kind": "exponential", "decay_rate": 0.5, "decay_every": "2ep", "staircase": True},
        WarmupExponential(0.5, 200, decay_rate=0.5, decay_steps=40, staircase=True),
    ),
    ({"kind": "inverse_sqrt", "warmup": "10%"}, WarmupInverseSqrt(0.5, 20)),
    ({"kind": "inverse_sqrt", "timescale": "500ex"}, WarmupInverseSqrt(0.5, timescale=10)),
    ({"kind": "noam", "d_model": 64, "warmup": "10%"}, Noam(64, 20, 0.5)),
    ({"kind": "wsd", "cooldown": "20%"}, WarmupStableDecay(0.5, 200, 40)),
    (
        {"kind": "wsd", "cooldown": "1ep", "shape": "exponential", "warmup": 5, "end": 0.1},
        WarmupStableDecay(0.5, 200, 20, "exponential", 5, 0.1),
    ),
    (
        {"kind": "wsd", "cooldown": "50%", "warmup": "50%"},
        WarmupStableDecay(0.5, 200, 100, warmup_steps=100),
    ),
    ({"kind": "one_cycle"}, OneCycle(0.5, 200)),
    (
        {"kind": "one_cycle", "warmup": "40%", "cooldown": "20%", "anneal": "linear"},
        OneCycle(0.5, 200, 80, anneal="linear", cooldown_steps=40),
    ),
    (
        {"kind": "one_cycle", "div_factor": 10, "final_div_factor": 100},
        OneCycle(0.5, 200, 60, 10.0, 100.0),
    ),
    ({"kind": "cyclical", "step_size": "2ep"}, Cyclical(0.0, 0.5, 40)),
    (
        {
            "kind": "cyclical",
            "base": 0.1,
            "step_size": 3,
            "step_size_down": "5%",
            "mode": "exp_range",
        }
        | {"gamma": 0.9},
        Cyclical(0.1, 0.5, 3, 10, "exp_range", 0.9),
    ),
    ({"kind": "cosine_restarts", "first_period": "1ep"}, CosineRestarts(0.5, 20)),
    (
        {"kind": "cosine_restarts", "first_period": 5, "t_mul": 1, "m_mul": 0.5, "end": 0.1}
        | {"cycles": 3},
        CosineRestarts(0.5, 5, 1.0, 0.5, 0.1, 3),
    ),
    (
        {"kind": "piecewise", "points": [[0, 1.0], ["50%", 0.5]], "interpolation": "cosine"},
        Scaled(Piecewise([(0, 1.0), (100, 0.5)], "cosine"), 0.5),
    ),
    (
        {"kind": "piecewise", "points": [[0, 1.0]], "factor": 0.5},
        Scaled(Piecewise([(0, 1.0)]), 0.25),
    ),
    (
        {"kind": "joined", "parts": [{"kind": "constant"}, {}], "boundaries": ["25%"]},
        Joined([Constant(0.5), WarmupCosine(0.5, 150)], [50]),
    ),
    ({"kind": "constant", "factor": 0.5}, Scaled(Constant(0.5), 0.5)),
    (
        {"kind": "constant", "cooldown": "10%"},
        WithCooldown(Constant(0.5), 200, 20),
    ),
    (
        {"kind": "inverse_sqrt", "cooldown": "10%", "total": "50%", "warmup": "10%", "factor": 2}
        | {"cooldown_shape": "linear", "cooldown_end": 0.1},
        Scaled(WithCooldown(WarmupInverseSqrt(0.5, 10), 100, 10, 0.1, "linear"), 2.0),
    ),
]


@pytest.mark.parametrize(("table", "expected"), MEANINGS)
def test_a_table_means_a_schedule(table, expected):
    """Around a learning rate of 0.5, resolved and built, a table is this object."""
    config = ScheduleConfig.from_dict(table).around(0.5).resolve(PLAN)
    assert repr(build_schedule(config)) == repr(expected)
    assert config.resolve() == config


def test_every_kind_is_among_the_meanings():
    """The table above leaves out the twin for beta_1 alone, and uses every key."""
    kinds = {table.get("kind", "cosine") for table, _ in MEANINGS}
    assert kinds == KINDS.keys() - {"one_cycle_momentum"} == set(strategies.FOR_RATES)
    keys = {key for table, _ in MEANINGS for key in table} - {"kind"}
    assert keys == KEYS - {"peak", "base_momentum", "max_momentum"}


def test_the_twin_for_beta_1_is_resolved_likewise():
    """A one-cycle of the momentum has the phases of the learning rate's."""
    config = NadamConfig(
        learning_rate={"kind": "one_cycle", "peak": 0.1, "cooldown": "20%"},
        beta_1={"kind": "one_cycle_momentum", "cooldown": "20%", "max_momentum": 0.9},
    )
    optimizer = config.build(PLAN)
    assert repr(optimizer.beta_1) == repr(OneCycleMomentum(200, 60, 0.85, 0.9, cooldown_steps=40))
    assert NadamConfig.from_optimizer(optimizer) == config.resolve(PLAN)


@pytest.mark.parametrize("name", KINDS)
def test_defaults_are_those_of_the_class(name):
    """A default of a kind is its class' own, but for those that only a config can name."""
    kind = KINDS[name]
    parameters = inspect.signature(kind.make).parameters
    assert {kind.argument(key) for key in kind.defaults} == parameters.keys()
    others = {("total", None), ("peak", None), ("warmup", "30%"), ("base", 0.0)}
    for key, default in kind.defaults.items():
        own = parameters[kind.argument(key)].default
        if (key, default) not in others:
            assert default == (REQUIRED if own is inspect.Parameter.empty else own), key


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=20)
def test_every_kind_survives_files_and_optimizers(tmp_path_factory, name, data):
    """JSON, TOML and the built schedule give back a config that equals the first, bit by bit."""
    strategy = strategies.schedules([name], 0.9, resolved=True)
    config = ScheduleConfig.from_dict(data.draw(strategy))
    folder = tmp_path_factory.mktemp("files")
    for suffix in (".json", ".toml"):
        save_config(config, folder / f"schedule{suffix}")
        again = load_config(folder / f"schedule{suffix}", kind=ScheduleConfig)
        assert repr(again) == repr(config)
    assert config.resolve() == config
    if name != "noam":
        optimizer = NadamConfig(beta_1=config).build()
        assert NadamConfig.from_optimizer(optimizer).beta_1 == config
    if name in strategies.FOR_RATES:
        config = NadamConfig(learning_rate=config, weight_decay=config)
        assert NadamConfig.from_optimizer(config.build()) == config


@pytest.mark.parametrize(
    "schedule",
    [
        Scaled(Scaled(Constant(0.5, 3), 0.5), 0.25),
        WithCooldown(Scaled(WarmupCosine(1.0, 30), 0.5), 30, 5),
        WithCooldown(WarmupCosine(1.0, 40), 30, 5),
        WithCooldown(WarmupCosine(1.0, 30), 30, 5, 0.1),
        WithCooldown(WithCooldown(Constant(1.0), 20, 5, 0.5), 30, 5),
        WithCooldown(OneCycle(1.0, 30), 30, 5),
        Joined([Joined([Constant(0.5), Constant(1.0)], [3]), Scaled(Constant(0.25), 0.5)], [9]),
        Linear(0.25, 0.75, 20),
        Polynomial(0.75, 0.25, 20, 2.0),
        Linear(0.75, 0.0, 20),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_wrapped_schedules_and_ramps_come_back_as_equal_ones(schedule):
    """What no kind of its own stands for is written as another schedule of the same values."""
    config = NadamConfig.from_optimizer(Nadam(schedule))
    again = config.build()
    assert NadamConfig.from_optimizer(again) == config
    learned = keras.saving.deserialize_keras_object(again.get_config()["learning_rate"])
    np.testing.assert_array_equal(sample(learned, 50), sample(schedule, 50))
    assert learned.highest == schedule.highest


def test_every_schedule_of_the_package_has_a_kind():
    """None of the public classes is without a place in a config."""
    names = {
        name
        for name in schedules.__all__
        if isinstance(thing := getattr(schedules, name), type)
        and issubclass(thing, keras.optimizers.schedules.LearningRateSchedule)
    }
    made = {kind.make.__name__ for kind in KINDS.values()}
    assert names == made | {"Scaled", "WithCooldown", "Linear", "Polynomial"}


def test_a_part_counts_its_own_steps():
    """Within a part percentages are those of the part; boundaries are those of the training."""
    config = ScheduleConfig(
        kind="joined",
        peak=None,
        parts=[
            {"peak": 1.0, "warmup": "10%", "total": "50%"},
            {"kind": "wsd", "peak": 1.0, "warmup": "10%", "cooldown": "20%"},
            {"kind": "piecewise", "points": [[0, 1.0], ["50%", 0.0]]},
        ],
        boundaries=["20%", 140],
    ).resolve(PLAN)
    first, second, third = config.parts
    assert config.boundaries == (40, 140)
    assert (first.warmup, first.total) == (2, 20)
    assert (second.warmup, second.cooldown, second.total) == (10, 20, 100)
    assert third.points == ((0, 1.0), (30, 0.0))


def test_parts_that_are_never_reached_do_no_harm():
    """A short trial of a long training keeps the boundaries that were given in steps."""
    parts = [{"kind": "constant", "peak": 1.0}, {"kind": "constant", "peak": 0.5, "warmup": 3}]
    config = ScheduleConfig(kind="joined", parts=parts, boundaries=[500])
    assert config.resolve(PLAN) == config


def test_lengths_count_what_schedules_count():
    """With schedule_step="update" and a window of 4 all lengths are updates."""
    config = NadamConfig(
        learning_rate={"kind": "cosine_restarts", "peak": 1.0, "first_period": "2ep"},
        weight_decay={"kind": "wsd", "peak": 0.1, "cooldown": "20%", "warmup": "400ex"},
        beta_1={"kind": "piecewise", "points": [[0, 0.9], ["50%", 0.8], ["8ep", 0.5]]},
        gradient_accumulation_steps=4,
    )
    batches = config.resolve(PLAN)
    assert batches.learning_rate.first_period == 40
    decay = batches.weight_decay
    assert (decay.total, decay.cooldown, decay.warmup) == (200, 40, 8)
    assert [step for step, _ in batches.beta_1.points] == [0, 100, 160]
    updates = config.replace(schedule_step="update").resolve(PLAN)
    assert updates.learning_rate.first_period == 10
    decay = updates.weight_decay
    assert (decay.total, decay.cooldown, decay.warmup) == (50, 10, 2)
    assert [step for step, _ in updates.beta_1.points] == [0, 25, 40]


def test_multiplying_leaves_lengths_and_ratios():
    """All values of a course are multiplied, and nothing else is."""
    config = ScheduleConfig(
        kind="joined",
        parts=[
            {"kind": "cyclical", "peak": 1.0, "base": 0.5, "step_size": 8, "factor": 3},
            {"kind": "piecewise", "points": [[0, 1.0], [9, 2.0]]},
        ],
        boundaries=[5],
        cooldown=7,
        total=90,
        cooldown_end=0.25,
    )
    doubled = build_schedule(config.times(2.0))
    np.testing.assert_array_equal(sample(doubled, 99), 2 * sample(build_schedule(config), 99))
    parts = config.times(2.0, around=True).parts
    assert parts[0].peak == 2.0
    assert parts[1] == config.parts[1]


def test_only_keys_that_a_kind_uses_are_written():
    """A table has its kind's keys with their values, and is shown without those that have none."""
    assert json.loads(ScheduleConfig(kind="constant").to_json()) == {
        "kind": "constant",
        "peak": None,
        "warmup": 0,
        "start": 0.0,
    }
    assert repr(ScheduleConfig(kind="noam", d_model=8, warmup=3)) == (
        "ScheduleConfig(kind='noam', warmup=3, d_model=8)"
    )


def test_what_means_nothing_is_nothing():
    """Zeros and None under keys of another kind, as older files have them, are left out."""
    old = {"kind": "constant", "peak": 1.0, "warmup": 3, "total": None, "start": 0.0, "end": 0.0}
    assert ScheduleConfig.from_dict(old) == ScheduleConfig(kind="constant", peak=1.0, warmup=3)
