"""nadam() and nadamw(): flat keywords to a ready optimizer."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest

from nadam_suite.averaging import EMA, SWA, PowerEMA, Window
from nadam_suite.config import NadamConfig
from nadam_suite.config.schedule_kinds import KINDS
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.optimizers.factory import nadam, nadamw
from nadam_suite.optimizers.nadam import Nadam
from nadam_suite.optimizers.named_schedules import NAMED
from nadam_suite.optimizers.parameter_rules import ParameterRule, no_decay
from nadam_suite.optimizers.presets import PRESETS
from nadam_suite.schedules import (
    Constant,
    OneCycle,
    TrainingPlan,
    WarmupCosine,
    WarmupExponential,
    WarmupInverseSqrt,
    WarmupLinear,
    WarmupPolynomial,
    WarmupStableDecay,
)

PLAN = TrainingPlan.from_data(1000, batch_size=50, epochs=10)
PLAN4 = TrainingPlan.from_data(1000, batch_size=50, epochs=10, accumulation=4)


def config_of(optimizer):
    """An optimizer's config without its counted name."""
    return {key: value for key, value in optimizer.get_config().items() if key != "name"}


def schedule_of(optimizer):
    """The class name and the arguments of an optimizer's schedule."""
    serialized = optimizer.get_config()["learning_rate"]
    return serialized["class_name"], serialized["config"]


def test_without_keywords_it_is_nadam_by_default():
    """nadam() has the defaults of Nadam, every one."""
    assert config_of(nadam()) == config_of(Nadam())
    assert config_of(nadam(3e-4)) == config_of(Nadam(3e-4))


def test_nadamw_decays_all_but_biases_and_norms():
    """nadamw() differs from nadam() in the decay and its exclusions alone."""
    expected = Nadam(weight_decay=0.004, parameter_rules=no_decay())
    assert config_of(nadamw()) == config_of(expected)
    assert config_of(nadamw(weight_decay=0.1, no_decay=False)) == config_of(Nadam(weight_decay=0.1))


def test_exclusions_hold_in_training():
    """A kernel decays, a bias does not: gradients of zero move the one alone."""
    optimizer = nadamw(0.1, weight_decay=0.5)
    kernel = keras.Variable(np.ones((2, 2), "float32"))
    bias = keras.Variable(np.ones(2, "float32"))
    optimizer.apply([np.zeros((2, 2), "float32"), np.zeros(2, "float32")], [kernel, bias])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(kernel), np.full((2, 2), 0.95), rtol=1e-6)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(bias), np.ones(2))


@pytest.mark.parametrize("make", [nadam, nadamw])
def test_every_other_argument_passes_through(make):
    """Any argument of Nadam arrives as it was given."""
    given = {
        "beta_1": 0.8,
        "beta_2": 0.98,
        "epsilon": 1e-5,
        "weight_decay": 0.3,
        "global_clipnorm": 2.0,
        "use_ema": True,
        "ema_momentum": 0.9,
        "ema_overwrite_frequency": 3,
        "loss_scale_factor": 8.0,
        "gradient_accumulation_steps": 2,
        "name": "mine",
        "momentum_decay": None,
        "parameter_rules": [ParameterRule("head", learning_rate=2.0)],
        "schedule_step": "update",
        "slot_dtype": "bfloat16",
        "weight_decay_mode": "independent",
        "max_learning_rate": 0.6,
    }
    assert make(0.5, no_decay=False, **given).get_config() == Nadam(0.5, **given).get_config()
    left = inspect.signature(Nadam).parameters.keys() - given.keys()
    assert left == {"learning_rate", "clipnorm", "clipvalue", "averaging", "lazy_embeddings"}


@pytest.mark.parametrize("make", [nadam, nadamw])
def test_averages(make):
    """By name, as objects, or several; durations are resolved against the plan in updates."""
    assert make(averaging="ema").averaging == EMA()
    assert make(averaging=Window(3, every=2)).averaging == Window(3, every=2)
    several = {"fast": EMA(half_life="2ep"), "tail": "swa", "p": "power_ema"}
    made = make(averaging=several, plan=PLAN4, gradient_accumulation_steps=4)
    assert dict(made.averaging) == {"fast": EMA(half_life=10), "tail": SWA(38, 5), "p": PowerEMA()}
    assert several["fast"] == EMA(half_life="2ep")
    again = Nadam.from_config(made.get_config()).averaging
    assert dict(make(averaging=made.get_config()["averaging"]).averaging) == dict(again)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"averaging": "emma"}, r"'ema', 'power_ema', 'swa'.*averaging='emma'.*Window\(k=5\)"),
        ({"averaging": {"a": "window"}}, r"averaging='window'.*Window\(k=5\)"),
        ({"averaging": "swa"}, r"`plan`.*start='75%'.*TrainingPlan\.from_data"),
        ({"averaging": EMA(half_life="1ep"), "plan": PLAN4}, r"accumulation=4, as averages count"),
        ({"averaging": EMA(), "use_ema": True}, "use_ema=False"),
    ],
)
def test_averages_that_cannot_be_are_refused(keywords, message):
    """A name that is none, a duration without a plan, another window, two kinds at once."""
    with pytest.raises(ArgumentError, match=message):
        nadam(**keywords)


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"schedule": "polynomial", "power": 2}, WarmupPolynomial(0.1, 200, power=2.0)),
        (
            {"schedule": "polynomial", "warmup": "1ep", "end": 0.01},
            WarmupPolynomial(0.1, 200, 20, 0.01),
        ),
        ({"schedule": "exponential"}, WarmupExponential(0.1, 200)),
        (
            {"schedule": "exponential", "decay_rate": 0.5, "total_steps": "50%", "start": 0.05},
            WarmupExponential(0.1, 100, start=0.05, decay_rate=0.5),
        ),
        ({"schedule": "inverse_sqrt", "warmup": "10%"}, WarmupInverseSqrt(0.1, 20)),
        ({"schedule": "wsd", "cooldown": "20%"}, WarmupStableDecay(0.1, 200, 40)),
        (
            {
                "schedule": "wsd",
                "cooldown": "1ep",
                "shape": "linear",
                "warmup": 5,
                "total_steps": 90,
            },
            WarmupStableDecay(0.1, 90, 20, "linear", 5),
        ),
        ({"schedule": "one_cycle"}, OneCycle(0.1, 200)),
        ({"schedule": "one_cycle", "warmup": "40%", "total_steps": 50}, OneCycle(0.1, 50, 20)),
    ],
)
@pytest.mark.parametrize("make", [nadam, nadamw])
def test_other_names_take_keywords_of_their_own(make, keywords, expected):
    """Each named schedule takes its lengths as durations, and what shapes it as it is."""
    made = make(0.1, plan=PLAN, **keywords)
    assert schedule_of(made) == (type(expected).__name__, expected.get_config())


def test_a_name_builds_what_a_config_of_that_kind_builds():
    """The names and the defaults of the factories are those of configs."""
    assert NAMED.keys() < KINDS.keys()
    for name, named in NAMED.items():
        assert named.make is KINDS[name].make
        keys = {"total_steps": "total"}
        assert {keys.get(key, key) for key in named.keywords} <= KINDS[name].defaults.keys()
        keywords = {"wsd": {"cooldown": "20%"}, "constant": {"warmup": "5%"}}.get(name, {})
        made = nadam(0.1, schedule=name, plan=PLAN, **keywords)
        config = NadamConfig(learning_rate={"kind": name, "peak": 0.1, **keywords})
        assert config_of(made) == config_of(config.build(PLAN))


@pytest.mark.parametrize(("kind", "schedule"), [("cosine", WarmupCosine), ("linear", WarmupLinear)])
def test_a_schedule_by_name_stands_around_the_rate(kind, schedule):
    """The keywords become the schedule's arguments, durations resolved."""
    made = nadam(0.1, schedule=kind, warmup="5%", plan=PLAN, start=0.01, end=0.02)
    assert schedule_of(made) == (schedule.__name__, schedule(0.1, 200, 10, 0.02, 0.01).get_config())
    made = nadam(schedule=kind, warmup="10%", total_steps=50)
    assert schedule_of(made) == (schedule.__name__, schedule(0.001, 50, 5).get_config())
    made = nadam(schedule=kind, warmup="1ep", total_steps="50%", plan=PLAN)
    assert schedule_of(made)[1] == schedule(0.001, 100, 20).get_config()


def test_a_constant_rate_may_warm_up():
    """A warm-up alone is a schedule; without one the rate stays settable."""
    assert schedule_of(nadam(0.1, warmup=7)) == ("Constant", Constant(0.1, 7).get_config())
    assert schedule_of(nadam(0.1, warmup="5%", plan=PLAN))[1] == Constant(0.1, 10).get_config()
    optimizer = nadam(0.1, schedule="constant", warmup=0)
    optimizer.learning_rate = 0.2
    assert optimizer.get_config()["learning_rate"] == 0.2


def test_schedules_that_count_updates_resolve_to_updates():
    """With a window of 4 and schedule_step="update", 200 batches are 50 updates."""
    plan = TrainingPlan.from_data(1000, 50, 10, accumulation=4)
    window = {"schedule_step": "update", "gradient_accumulation_steps": 4}
    made = nadam(1.0, schedule="cosine", warmup="2ep", plan=plan, **window)
    assert schedule_of(made)[1] == WarmupCosine(1.0, 50, 10).get_config()
    with pytest.raises(ArgumentError, match=r"accumulation=1.*gradient_accumulation_steps=4"):
        nadam(1.0, schedule="cosine", plan=PLAN, **window)


def test_a_schedule_object_or_a_callable_is_taken_as_it_is():
    """What Nadam takes as a learning rate, the factories take."""
    schedule = WarmupLinear(0.1, 9)
    assert schedule_of(nadam(schedule)) == ("WarmupLinear", schedule.get_config())
    assert nadam(lambda: 0.25).learning_rate == 0.25
    assert schedule_of(nadam(schedule, preset="vit"))[0] == "WarmupLinear"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_presets_optimizer_is_that_of_its_config(preset):
    """The factory and NadamConfig.preset make equal optimizers."""
    config = NadamConfig.preset(preset)
    assert config_of(nadam(preset=preset, plan=PLAN)) == config_of(config.build(PLAN))


def test_keywords_go_over_a_preset():
    """A rate keeps the preset's course; a kind of schedule keeps its warm-up; constant drops it."""
    made = nadam(0.5, preset="algoperf-current", plan=PLAN, beta_1=0.7)
    assert schedule_of(made) == ("WarmupCosine", WarmupCosine(0.5, 200, 20).get_config())
    assert (made.beta_1, made.beta_2) == (0.7, 0.998898321921855)
    made = nadam(preset="vit", schedule="linear", plan=PLAN, end=1e-5)
    expected = WarmupLinear(0.0008445074561975979, 200, 10, 1e-5).get_config()
    assert schedule_of(made) == ("WarmupLinear", expected)
    made = nadam(preset="vit", schedule="wsd", cooldown="20%", plan=PLAN)
    expected = WarmupStableDecay(0.0008445074561975979, 200, 40, warmup_steps=10).get_config()
    assert schedule_of(made) == ("WarmupStableDecay", expected)
    made = nadam(0.1, preset="vit", schedule="inverse_sqrt", plan=PLAN)
    assert schedule_of(made)[1] == WarmupInverseSqrt(0.1, 10).get_config()
    made = nadam(preset="vit", schedule="constant", weight_decay=None)
    assert made.get_config()["learning_rate"] == 0.0008445074561975979
    assert made.weight_decay is None


def test_nadamw_over_a_preset():
    """A preset's own decay and exclusions stay; one without a decay gets nadamw's."""
    vit = nadamw(preset="vit", plan=PLAN)
    assert (vit.weight_decay, vit.parameter_rules) == (0.08135402759553023, ())
    assert nadamw(preset="vit", plan=PLAN, no_decay=True).parameter_rules == no_decay()
    torch = nadamw(preset="torch")
    assert (torch.weight_decay, torch.parameter_rules) == (0.004, no_decay())
    assert nadamw(preset="finetune", plan=PLAN).parameter_rules == no_decay()
    assert nadamw(preset="finetune", plan=PLAN, weight_decay=0.5).weight_decay == 0.5


def test_no_decay_takes_patterns():
    """Patterns are excluded beside biases and norms, after the rules that were given."""
    own = ParameterRule("head", learning_rate=2.0)
    assert nadamw(no_decay="embed").parameter_rules == no_decay("embed")
    found = nadam(no_decay=("a", "b"), parameter_rules=own).parameter_rules
    assert found == (own, *no_decay("a", "b"))


BAD = [
    ({"schedule": "cosin"}, ArgumentError, "schedule='cosin'", "learning rate itself"),
    ({"schedule": "cosine"}, ArgumentError, "total_steps=None, plan=None", "TrainingPlan"),
    ({"total_steps": 9}, ArgumentError, "total_steps=9", "cosine"),
    ({"end": 0.1}, ArgumentError, "end=0.1", "cosine"),
    ({"schedule": "cyclical"}, ArgumentError, "schedule='cyclical'", "learning rate itself"),
    ({"schedule": ["cosine"]}, ArgumentError, "schedule=['cosine']", "learning rate itself"),
    ({"schedule": "wsd", "total_steps": 9}, ArgumentError, "cooldown=None", '"20%"'),
    ({"schedule": "cosine", "power": 2, "total_steps": 9}, ArgumentError, "power=2", "polynomial"),
    ({"schedule": "linear", "cooldown": 2, "total_steps": 9}, ArgumentError, "cooldown=2", "wsd"),
    ({"schedule": "one_cycle", "end": 0.1, "total_steps": 9}, ArgumentError, "end=0.1", "cosine"),
    ({"schedule": "inverse_sqrt", "total_steps": 9}, ArgumentError, "total_steps=9", "one_cycle"),
    ({"power": 2, "decay_rate": 0.5}, ArgumentError, "power=2, decay_rate=0.5", "Leave them out"),
    ({"learning_rate": Constant(1.0), "start": 0.1}, ArgumentError, "start=0.1", "peak"),
    ({"schedule": "polynomial", "power": 0, "total_steps": 9}, ArgumentError, "power=0", "Pass"),
    ({"schedule": "wsd", "cooldown": 0.2, "total_steps": 9}, ArgumentTypeError, "=0.2", '"20%"'),
    ({"warmup": "5%"}, ArgumentError, "warmup='5%'", "TrainingPlan"),
    ({"warmup": 0.05}, ArgumentTypeError, "warmup=0.05", '"5%"'),
    ({"warmup": 9, "total_steps": 9, "schedule": "linear"}, ArgumentError, "ps=9", "Shorten"),
    ({"learning_rate": Constant(1.0), "warmup": 3}, ArgumentError, "warmup=3", "peak"),
    ({"learning_rate": lambda: 1.0, "schedule": "cosine"}, ArgumentError, "'cosine'", "peak"),
    ({"learning_rate": "fast"}, ArgumentTypeError, "learning_rate='fast'", "Pass"),
    ({"learning_rate": -1.0}, ArgumentError, "learning_rate=-1.0", "Pass"),
    ({"preset": "vti"}, ArgumentError, "preset='vti'", "list_presets"),
    ({"no_decay": 3}, ArgumentTypeError, "no_decay=3", "parameter_rules"),
    ({"wieght_decay": 3}, ArgumentTypeError, "wieght_decay=3", "`weight_decay`"),
    ({"warmup_steps": 3}, ArgumentTypeError, "warmup_steps=3", "`warmup`"),
    ({"beta_1": 2}, ArgumentError, "beta_1=2", "Pass"),
]


@pytest.mark.parametrize("make", [nadam, nadamw])
@pytest.mark.parametrize(("arguments", "error", "received", "remedy"), BAD)
def test_bad_keywords_are_refused(make, arguments, error, received, remedy):
    """The message shows the keyword with its value, and a remedy."""
    with pytest.raises(error) as caught:
        make(**arguments)
    _, _, rest = str(caught.value).partition("Received: ")
    assert received in rest
    assert remedy in rest
