"""NadamConfig: from settings to the optimizer and back."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest

from nadam_suite.config import NadamConfig, ParameterRuleConfig, ScheduleConfig
from nadam_suite.errors import ConfigError, NadamSuiteError, SettingError
from nadam_suite.optimizers.nadam import Nadam
from nadam_suite.optimizers.parameter_rules import ParameterRule, no_decay
from nadam_suite.schedules import OneCycleMomentum, Scaled, TrainingPlan, WarmupCosine

PLAN = TrainingPlan.from_data(1000, batch_size=50, epochs=10, accumulation=4)

EVERY_KEY_CHANGED = {
    "learning_rate": {
        "kind": "linear",
        "peak": 0.02,
        "warmup": 7,
        "total": 90,
        "start": 1e-5,
        "end": 1e-4,
    },
    "beta_1": 0.8,
    "beta_2": 0.98,
    "epsilon": 1e-8,
    "weight_decay": 0.03,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": 1.5,
    "use_ema": True,
    "ema_momentum": 0.9,
    "ema_overwrite_frequency": 5,
    "loss_scale_factor": 128.0,
    "gradient_accumulation_steps": 4,
    "name": "mine",
    "momentum_decay": 0.004,
    "parameter_rules": [
        {"match": "bias$", "max_ndim": 1, "learning_rate": 2.0, "weight_decay": 0.0}
    ],
    "schedule_step": "update",
    "slot_dtype": "bfloat16",
    "weight_decay_mode": "corrected",
    "max_learning_rate": 0.04,
    "averaging": None,  # not together with use_ema; it has tests of its own
    "lazy_embeddings": False,  # not together with accumulation
    "schema_version": 2,
}


def test_the_keys_are_the_optimizers_arguments_with_their_defaults():
    """Every argument of Nadam is a key of the same default, the name excepted."""
    arguments = inspect.signature(Nadam).parameters
    defaults = NadamConfig().to_dict()
    assert [*arguments, "schema_version"] == list(defaults)
    for name, parameter in arguments.items():
        expected = {"name": "nadam", "parameter_rules": []}.get(name, parameter.default)
        assert defaults[name] == expected


def test_the_sample_above_changes_every_key():
    """The tests below see every key: what others exclude excepted, none has its default."""
    defaults = NadamConfig().to_dict()
    same = {key for key in defaults if EVERY_KEY_CHANGED[key] == defaults[key]}
    assert same == {"clipnorm", "clipvalue", "averaging", "lazy_embeddings", "schema_version"}


def test_lazy_embeddings_reach_the_optimizer_and_come_back():
    """The key that accumulation excludes is a setting like the others."""
    config = NadamConfig(lazy_embeddings=True)
    assert config.build().lazy_embeddings is True
    assert NadamConfig.from_optimizer(config.build()) == config


def test_every_key_reaches_the_optimizer_and_comes_back():
    """The built optimizer has every setting, as typed, and gives the config back."""
    config = NadamConfig.from_dict(EVERY_KEY_CHANGED)
    optimizer = config.build()
    found = optimizer.get_config()
    schedule = found.pop("learning_rate")["config"]
    rate = EVERY_KEY_CHANGED["learning_rate"]
    assert schedule == {
        "peak": rate["peak"],
        "total_steps": rate["total"],
        "warmup_steps": rate["warmup"],
        "end": rate["end"],
        "start": rate["start"],
    }
    skipped = ("learning_rate", "schema_version")
    assert found == {k: v for k, v in EVERY_KEY_CHANGED.items() if k not in skipped}
    assert NadamConfig.from_optimizer(optimizer).to_dict() == EVERY_KEY_CHANGED


@pytest.mark.parametrize("clip", ["clipnorm", "clipvalue"])
def test_the_other_clips_reach_the_optimizer(clip):
    """Each kind of clip goes there and back."""
    config = NadamConfig(**{clip: 0.7})
    assert getattr(config.build(), clip) == 0.7
    assert NadamConfig.from_optimizer(config.build()) == config


def test_a_built_optimizer_trains_like_one_made_by_hand():
    """The config's optimizer takes the same steps as the one with the same arguments."""
    made = NadamConfig.preset("algoperf-current").build(PLAN)
    hand = Nadam(
        WarmupCosine(0.00190834618600756, 200, 20),
        beta_1=1.0 - 0.09090652249,
        beta_2=0.998898321921855,
        epsilon=1e-8,
        weight_decay=0.08121616522670176,
        momentum_decay=None,
    )
    ends = []
    for optimizer in (made, hand):
        weight = keras.Variable(np.linspace(-1.0, 1.0, 6, dtype="float32"))
        for step in range(30):
            gradient = np.sin(np.arange(6) + step).astype("float32")
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
        ends.append(keras.ops.convert_to_numpy(weight))
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.abs(ends[0] - np.linspace(-1.0, 1.0, 6)).max() > 1e-3


def test_durations_resolve_against_the_plan_when_the_optimizer_is_built():
    """A relative config, resolved, is what its optimizer gives back."""
    config = NadamConfig(learning_rate={"peak": 1e-3, "warmup": "2ep", "total": "50%"})
    resolved = config.resolve(PLAN)
    assert (resolved.learning_rate.warmup, resolved.learning_rate.total) == (40, 100)
    assert NadamConfig.from_optimizer(config.build(PLAN)) == resolved
    assert resolved.resolve() == resolved


def test_a_warmups_percentage_is_one_of_the_schedule():
    """10 % of a schedule over half the training are 10 steps of 100, not 20 of 200."""
    rate = {"peak": 1e-3, "warmup": "10%", "total": "50%"}
    assert NadamConfig(learning_rate=rate).resolve(PLAN).learning_rate.warmup == 10


def test_schedules_that_count_updates_resolve_to_updates():
    """With schedule_step="update" and a window of 4, 200 batches are 50 updates."""
    config = NadamConfig(
        learning_rate={"peak": 1e-3, "warmup": "1ep"},
        schedule_step="update",
        gradient_accumulation_steps=4,
    )
    rate = config.resolve(PLAN).learning_rate
    assert (rate.warmup, rate.total) == (5, 50)
    with pytest.raises(ConfigError, match=r"accumulation=4.*Received: .*=None.*agree"):
        config.replace(gradient_accumulation_steps=None).build(PLAN)


def test_a_relative_config_without_a_plan_says_what_to_pass():
    """Building names the key, and the constructor of a plan."""
    config = NadamConfig(learning_rate={"peak": 1e-3})
    with pytest.raises(ConfigError, match=r"`learning_rate\.total`.*TrainingPlan\.from_data"):
        config.build()
    config = NadamConfig(learning_rate={"peak": 1e-3, "warmup": "1ep", "total": 9})
    with pytest.raises(ConfigError, match=r"`learning_rate\.warmup`.*TrainingPlan\.from_data"):
        config.build()
    config = NadamConfig(learning_rate={"peak": 1.0, "warmup": "10%", "total": 90})
    assert config.resolve().learning_rate.warmup == 9


def test_a_warm_up_that_fills_its_schedule_is_refused_when_resolved():
    """A warm-up as long as the training leaves no decay."""
    config = NadamConfig(learning_rate={"peak": 1e-3, "warmup": "10ep"})
    with pytest.raises(ConfigError, match=r"learning_rate\.warmup='10ep'.*200 steps.*Shorten"):
        config.build(PLAN)


def test_parameter_rules_come_as_objects_tables_or_nested():
    """Rules as an optimizer takes them make the config that tables make."""
    objects = NadamConfig(parameter_rules=(no_decay("embedding"), ParameterRule("head")))
    tables = NadamConfig(
        parameter_rules=[
            {"max_ndim": 1, "weight_decay": 0.0},
            ParameterRuleConfig(match="embedding", weight_decay=0.0),
            {"match": "head"},
        ]
    )
    assert objects == tables
    assert NadamConfig(parameter_rules=ParameterRule("head")).parameter_rules[0].match == "head"
    assert objects.build().parameter_rules == (*no_decay("embedding"), ParameterRule("head"))


def test_numpy_scalars_are_the_numbers_that_were_typed():
    """np.float32(0.001) is 0.001, not the float64 nearest to the float32."""
    config = NadamConfig(learning_rate=np.float32(0.001), beta_2=np.float64(0.5))
    assert repr(config.learning_rate) == "0.001"
    assert type(config.beta_2) is float
    assert NadamConfig(ema_overwrite_frequency=None).ema_overwrite_frequency is None


def test_a_stock_optimizer_has_settings_too():
    """A stock Nadam's float32 learning rate comes back as typed."""
    stock = keras.optimizers.Nadam(1e-3, beta_1=0.8, weight_decay=0.01, name="stock")
    found = NadamConfig.from_optimizer(stock)
    assert found == NadamConfig(learning_rate=1e-3, beta_1=0.8, weight_decay=0.01, name="stock")


@keras.saving.register_keras_serializable(package="nadam_suite_tests")
def halved():
    """A callable learning rate that serializes."""
    return 5e-4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (keras.optimizers.Adam, ("a Nadam", "nadam()")),
        (
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(1e-3)),
            ("a Nadam", "inner_optimizer"),
        ),
        (lambda: Nadam(halved), ("learning_rate", "halved", "get_config()")),
        (
            lambda: Nadam(keras.optimizers.schedules.ExponentialDecay(1e-3, 9, 0.5)),
            ("WarmupCosine", "ExponentialDecay", "get_config()"),
        ),
        (
            lambda: Nadam(weight_decay=keras.optimizers.schedules.CosineDecay(1e-2, 9)),
            ("`weight_decay` must be a number or a schedule", "CosineDecay", "get_config()"),
        ),
        (
            lambda: Nadam(Scaled(keras.optimizers.schedules.CosineDecay(1e-2, 9), 0.5)),
            ("`learning_rate.schedule`", "CosineDecay", "get_config()"),
        ),
        (
            lambda: Nadam(beta_2=WarmupCosine(0.5, 9)),
            ("`beta_2` must be a number", "WarmupCosine", "get_config()"),
        ),
        (
            lambda: Nadam(OneCycleMomentum(9)),
            ("`learning_rate.kind`", "one_cycle_momentum", "twin"),
        ),
        (lambda: None, ("a Nadam", "None")),
    ],
)
def test_what_a_config_cannot_hold_is_refused(make, words):
    """Another optimizer, or one with a callable, is refused with the way out."""
    with pytest.raises(ConfigError) as caught:
        NadamConfig.from_optimizer(make())
    for word in words:
        assert word in str(caught.value)


def test_configs_are_frozen():
    """Assignment and deletion are refused, with the method that makes a new config."""
    config = NadamConfig()
    with pytest.raises(SettingError, match=r"beta_1=0\.5.*config\.replace"):
        config.beta_1 = 0.5
    with pytest.raises(SettingError, match=r"del beta_1.*config\.replace"):
        del config.beta_1
    assert config == NadamConfig()
    assert hash(config) == hash(NadamConfig())


def test_replace_merges_tables_and_replaces_values():
    """A mapping changes keys within a table; anything else takes its place."""
    config = NadamConfig(learning_rate={"peak": 1e-3, "warmup": "5%"})
    assert config.replace(learning_rate={"peak": 2.0}).learning_rate == ScheduleConfig(
        peak=2.0, warmup="5%"
    )
    assert config.replace(learning_rate=0.5).learning_rate == 0.5
    assert config.replace(learning_rate=ScheduleConfig(peak=1.0)).learning_rate.warmup == 0
    assert config.model_copy(update={"beta_1": 0.5}) == config.replace(beta_1=0.5)
    with pytest.raises(ConfigError, match="beta_1=2"):
        config.model_copy(update={"beta_1": 2})


def test_pydantics_own_error_never_escapes():
    """Every way to make a config raises an error of this package, which is a ValueError, too."""
    for make in (
        lambda: NadamConfig(beta_1=2),
        lambda: NadamConfig.from_dict({"beta_1": 2}),
        lambda: NadamConfig.model_validate({"beta_1": 2}),
        lambda: NadamConfig.model_validate_json('{"beta_1": 2}'),
        lambda: NadamConfig().replace(beta_1=2),
        lambda: ScheduleConfig(warmup="x"),
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        assert isinstance(caught.value, NadamSuiteError)
        assert isinstance(caught.value, ValueError)
        assert "pydantic" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_the_json_schema_names_every_key():
    """The schema that editors use has all keys and refuses others."""
    schema = NadamConfig.model_json_schema()
    assert list(schema["properties"]) == list(NadamConfig.model_fields)
    assert schema["additionalProperties"] is False
