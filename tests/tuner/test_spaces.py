"""Spaces: every point of each is a valid config, and means what its hyperparameters say."""

from __future__ import annotations

import math
from functools import partial

import keras
import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite.config import NadamConfig
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules import TrainingPlan
from nadam_suite.tuner.points import published_points
from nadam_suite.tuner.ranges import PARTS, SPACES, TUNABLE, Options, Range, get_space
from nadam_suite.tuner.spaces import budget_rule, fixed_values, nadam_space
from tests.tuner.spacing import OPTIONS, PROBABILITY, active, at, declared, drawn

EVERYTHING = {"tune": tuple(TUNABLE), "schedule": tuple(PARTS)}
STEPS = st.integers(2, 5000)


def plan_for(config: NadamConfig, steps: int) -> TrainingPlan:
    """A training of so many batches, but at least one update."""
    window = config.gradient_accumulation_steps or 1
    return TrainingPlan(max(steps, window), 1, window)


@given(st.data(), OPTIONS, STEPS)
def test_every_point_of_every_space_is_a_valid_config(data, options, steps):
    """Any values, the ends included, make a config that goes through a file and builds."""
    space = partial(nadam_space, **options)
    hp = drawn(data, declared(space))
    config = space(hp)
    assert NadamConfig.from_dict(config.to_dict()) == config
    plan = plan_for(config, steps)
    optimizer = config.build(plan)
    assert NadamConfig.from_optimizer(optimizer) == config.resolve(plan)


@given(st.data(), OPTIONS)
def test_steps_stay_finite_anywhere_in_a_space(data, options):
    """Settings at any point, the ends included, keep weights finite."""
    space = partial(nadam_space, **options)
    config = space(drawn(data, declared(space)))
    weight = keras.Variable(np.array([1.0, -2.0, 1e-3], "float32"))
    optimizer = config.build(plan_for(config, 20))
    for scale in (1.0, 1e4, 0.0, 1e-12, 1.0, 1.0, 1.0, 1.0, 1.0):
        optimizer.apply([np.array([0.5, -3.0, 1e-6], "float32") * np.float32(scale)], [weight])
    assert np.isfinite(keras.ops.convert_to_numpy(weight)).all()


@given(st.data(), OPTIONS)
def test_only_active_hyperparameters_have_values(data, options):
    """What depends on another choice has no value, and a second declaration changes nothing."""
    space = partial(nadam_space, **options)
    hp = drawn(data, declared(space))
    before = dict(hp.values)
    names = [parameter.name for parameter in hp.space]
    assert space(hp) == space(hp)
    assert hp.values == before
    assert set(hp.values) == active(hp)
    assert [parameter.name for parameter in hp.space] == names
    assert len(names) == len(set(names)), "each name once, so that it has one meaning"


@given(st.data(), OPTIONS)
def test_hyperparameters_are_those_that_are_tuned(data, options):
    """Their names begin with the prefix, and belong to what was asked for."""
    preset = get_space(options["preset"])
    names = {parameter.name for parameter in declared(partial(nadam_space, **options)).space}
    prefix = options.get("prefix", "")
    wanted = options.get("tune") or (
        budget_rule(options["budget"]) if "budget" in options else preset.tune
    )
    kinds = options["schedule"]
    expected = {name for what in wanted for name in TUNABLE[what]}
    if "decay" not in preset.parameters:
        expected.discard("decay")
    if all("warmup" in PARTS[kind] for kind in kinds):
        expected -= {"warmup"}
    if "schedule" in wanted:
        expected |= {f"{kind}/{key}" for kind in kinds for key in PARTS[kind]}
    if len(kinds) > 1:
        expected |= {"schedule"}
    assert names == {prefix + name for name in expected}


@pytest.mark.parametrize("preset", sorted(SPACES))
@given(st.data())
def test_each_hyperparameter_sets_its_key(preset, data):
    """The config says what the values say."""
    space = partial(nadam_space, preset=preset, **EVERYTHING)
    hp = drawn(data, declared(space))
    values, config = hp.values, space(hp)
    rate = config.learning_rate
    assert rate.peak == values["learning_rate"]
    assert config.beta_1 == 1.0 - values["one_minus_beta_1"]
    assert config.beta_2 == 1.0 - values["one_minus_beta_2"]
    assert config.epsilon == values["epsilon"]
    assert config.weight_decay == values.get("weight_decay")
    assert (config.weight_decay is None) == (values.get("decay", True) is False)
    assert rate.kind == values["schedule"]
    assert config.global_clipnorm == values.get("global_clipnorm")
    assert (config.global_clipnorm is not None) == values["clipping"]
    assert (config.averaging is not None) == (values["averaging"] == "ema")
    assert config.gradient_accumulation_steps == {1: None}.get(
        values["accumulation"], values["accumulation"]
    )
    lengths = {"warmup": values.get("warmup"), "cooldown": None}
    for key in PARTS[rate.kind]:
        value = values[f"{rate.kind}/{key}"]
        if key in lengths:
            lengths[key] = value
        else:
            assert getattr(rate, key) == value
    for key, share in lengths.items():
        if share is not None:
            assert share_of(getattr(rate, key)) == pytest.approx(share, abs=6e-7)
    if config.averaging is not None:
        half_life = values["averaging_half_life"]
        assert share_of(config.averaging.half_life) == pytest.approx(half_life, abs=6e-7)


def share_of(duration: str) -> float:
    """The share of the training that a percentage is."""
    assert duration.endswith("%")
    return float(duration[:-1]) / 100.0


@given(st.integers(1, 10**6))
def test_the_budget_rule_has_the_playbooks_steps(trials):
    """Fewer than 10: the rate; 10 to 24: beta_1 too; 25 to 49: epsilon too; then beta_2 too."""
    number = sum(trials >= least for least in (1, 10, 25, 50))
    assert budget_rule(trials) == ("learning_rate", "beta_1", "epsilon", "beta_2")[:number]


@pytest.mark.parametrize(
    ("trials", "last"),
    [(9, "learning_rate"), (10, "beta_1"), (24, "beta_1"), (25, "epsilon"), (50, "beta_2")],
)
def test_the_budget_rule_at_its_thresholds(trials, last):
    """The thresholds themselves belong to the larger list."""
    hp = declared(partial(nadam_space, budget=trials))
    assert budget_rule(trials)[-1] == last
    assert {p.name.removeprefix("one_minus_") for p in hp.space} == set(budget_rule(trials))


def test_a_budget_may_be_added_to():
    """The rule's list is a tuple to which more is added."""
    tune = (*budget_rule(5), "weight_decay", "averaging")
    hp = declared(partial(nadam_space, tune=tune))
    assert list(hp.values) == ["learning_rate", "weight_decay", "averaging"]


def test_the_published_space_has_the_published_ranges():
    """The space "algoperf" is that of tuning_search_space.json, number by number."""
    hp = declared(nadam_space)
    found = {p.name: (p.min_value, p.max_value, p.sampling) for p in hp.space}
    assert found == {
        "learning_rate": (1e-4, 1e-2, "log"),
        "one_minus_beta_1": (4e-3, 0.1, "log"),
        "weight_decay": (5e-3, 1.0, "log"),
    }
    config = nadam_space(hp)
    assert (config.beta_2, config.epsilon, config.learning_rate.warmup) == (0.999, 1e-8, "5%")


@pytest.mark.parametrize("preset", sorted(SPACES))
def test_rates_of_decay_are_even_in_their_distance_to_one(preset):
    """The middle of a space is the geometric mean of the distances, never a reverse_log's."""
    space = partial(nadam_space, preset=preset, **EVERYTHING)
    hp = declared(space)
    assert not [p.name for p in hp.space if getattr(p, "sampling", "") == "reverse_log"]
    ends = {p.name: (p.min_value, p.max_value) for p in hp.space if hasattr(p, "min_value")}
    config = space(at(hp, lambda name: 0.5))
    for beta, name in (("beta_1", "one_minus_beta_1"), ("beta_2", "one_minus_beta_2")):
        low, high = ends[name]
        assert 1.0 - getattr(config, beta) == pytest.approx(math.sqrt(low * high))


@pytest.mark.parametrize("preset", sorted(SPACES))
def test_defaults_lie_within_their_ranges_and_all_have_sources(preset):
    """No default at or beyond an end where it could only go one way, unless it means none."""
    for name, parameter in SPACES[preset].parameters.items():
        assert parameter.source, name
        if isinstance(parameter, Range):
            assert parameter.low < parameter.default < parameter.high, name
        if isinstance(parameter, Options):
            assert parameter.default in parameter.values, name
    assert set(SPACES[preset].parameters) >= {
        name for names in TUNABLE.values() for name in names if name != "decay"
    }
    assert set(SPACES[preset].tune) <= set(TUNABLE)


@pytest.mark.parametrize(
    ("preset", "schedule", "same"),
    [("wide", "cosine", "algoperf-current"), ("finetune", "linear", "finetune")],
)
def test_default_points_are_published_settings(preset, schedule, same):
    """What is tried first is the preset of the optimizer that has the name."""
    config = declared_config(preset=preset, schedule=(schedule,))
    assert config == NadamConfig.preset(same)


def declared_config(**options: object) -> NadamConfig:
    return nadam_space(keras_tuner.HyperParameters(), **options)


@pytest.mark.parametrize("preset", sorted(SPACES))
def test_what_is_not_tuned_has_the_default_of_what_is(preset):
    """The default point is the same config however much of it is tuned."""
    least = declared_config(preset=preset, tune=("learning_rate",))
    assert declared_config(preset=preset, tune=tuple(TUNABLE)) == least
    fixed = fixed_values(get_space(preset))
    hp = declared(partial(nadam_space, preset=preset, **EVERYTHING))
    assert {n: v for n, v in hp.values.items() if n != "schedule"}.items() <= fixed.items()


@pytest.mark.parametrize("kind", sorted(PARTS))
def test_a_kind_alone_needs_no_choice(kind):
    """One kind makes no hyperparameter `schedule`, and its parts stand in no scope."""
    space = partial(nadam_space, tune=("schedule", "warmup"), schedule=(kind,))
    hp = declared(space)
    names = [] if "warmup" in PARTS[kind] else ["warmup"]
    assert [p.name for p in hp.space] == names + [f"{kind}/{key}" for key in PARTS[kind]]
    assert not any(p.conditions for p in hp.space)
    assert space(hp).learning_rate.kind == kind


def test_what_depends_on_a_choice_stands_in_its_scope():
    """Each is active where the choice that it depends on is made, and nowhere else."""
    hp = declared(partial(nadam_space, preset="wide", **EVERYTHING))
    found = {
        p.name: [(condition.name, condition.values) for condition in p.conditions]
        for p in hp.space
        if p.conditions
    }
    assert found == {
        "weight_decay": [("decay", [True])],
        "warmup": [("schedule", [kind for kind in PARTS if kind != "one_cycle"])],
        "polynomial/power": [("schedule", ["polynomial"])],
        "exponential/decay_rate": [("schedule", ["exponential"])],
        "wsd/cooldown": [("schedule", ["wsd"])],
        "one_cycle/warmup": [("schedule", ["one_cycle"])],
        "global_clipnorm": [("clipping", [True])],
        "averaging_half_life": [("averaging", ["ema"])],
    }
    hp = declared(partial(nadam_space, tune=("warmup",), schedule=("cosine", "wsd")))
    assert not hp.space[-1].conditions, "all kinds have it"


def test_two_prefixes_share_hyperparameters_without_touching():
    """A second space in the same hyperparameters is a space of its own."""
    hp = keras_tuner.HyperParameters()
    for prefix in ("a/", "b/"):
        nadam_space(hp, "wide", prefix=prefix, **EVERYTHING)
    hp.values["a/learning_rate"], hp.values["b/decay"] = 1e-4, False
    first = nadam_space(hp, "wide", prefix="a/", **EVERYTHING)
    second = nadam_space(hp, "wide", prefix="b/", **EVERYTHING)
    assert (first.learning_rate.peak, second.weight_decay) == (1e-4, None)
    assert second.learning_rate.peak == published_points()[0].values["learning_rate"]
    assert first.weight_decay is not None


@given(st.data(), OPTIONS)
def test_a_space_survives_the_way_to_a_worker(data, options):
    """A point that went through gRPC's messages and through JSON makes the same config."""
    space = partial(nadam_space, **options)
    hp = drawn(data, declared(space))
    expected = space(hp)
    assert space(keras_tuner.HyperParameters.from_proto(hp.to_proto())) == expected
    assert space(keras_tuner.HyperParameters.from_config(hp.get_config())) == expected


@given(PROBABILITY)
def test_numpy_numbers_are_as_good(probability):
    """Oracles that propose NumPy's numbers get the same config."""
    space = partial(nadam_space, preset="wide", **EVERYTHING)
    hp = at(declared(space), lambda name: probability)
    expected = space(hp)
    hp.values = {
        name: np.float64(value) if isinstance(value, float) else value
        for name, value in hp.values.items()
    }
    assert space(hp) == expected


WRONG = [
    ({"preset": "algoperff"}, "`preset`.*Did you mean 'algoperf'"),
    ({"preset": None}, "`preset` must be one of 'algoperf', 'wide', 'finetune'"),
    ({"budget": 0}, "`budget` must be an integer >= 1.*budget=0"),
    ({"budget": 30, "tune": ("epsilon",)}, r"Only one of `budget` and `tune`.*budget_rule\(30\)"),
    ({"tune": ()}, "`tune` must hold names.*Name at least one"),
    ({"tune": ("lr", "beta_1")}, "`tune`.*Did you mean 'learning_rate'"),
    ({"tune": ("one_minus_beta_2", "decay")}, "`tune`.*mean 'beta_2' and 'weight_decay'"),
    ({"tune": ("?", 3)}, "`tune`.*Name at least one"),
    ({"schedule": ()}, "`schedule` must hold names.*Name at least one"),
    ({"schedule": ("cosin",)}, "`schedule`.*Did you mean 'cosine'"),
    ({"schedule": ("noam",)}, "`schedule` must hold names out of 'constant'"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_arguments_are_refused_by_name(options, message):
    """Each error names the argument, what was received, and the nearest name."""
    hp = keras_tuner.HyperParameters()
    with pytest.raises(ArgumentError, match=message) as caught:
        nadam_space(hp, **options)
    assert "Received: " in str(caught.value)
    assert not hp.values, "nothing is declared before the arguments are checked"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 2.5}, "`budget`"),
        ({"tune": "epsilon"}, "`tune` must be a list of names"),
        ({"schedule": "cosine"}, "`schedule` must be a list of names"),
        ({"schedule": None}, "`schedule` must be a list of names"),
        ({"prefix": None}, "`prefix` must be a string"),
    ],
)
def test_arguments_of_another_type_are_refused_by_name(options, message):
    """A string is no list of names, and a number no prefix."""
    with pytest.raises(ArgumentTypeError, match=message):
        nadam_space(keras_tuner.HyperParameters(), **options)


@pytest.mark.parametrize("trials", [0, -1])
def test_a_budget_of_nothing_is_refused(trials):
    """The rule itself refuses it too."""
    with pytest.raises(ArgumentError, match="`trials` must be an integer >= 1"):
        budget_rule(trials)
