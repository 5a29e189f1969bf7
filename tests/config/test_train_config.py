"""TrainConfig: a whole training as settings."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest

from nadam_suite.callbacks import PlateauScale
from nadam_suite.config import CALLBACKS, NadamConfig, ScheduleConfig, TrainConfig, load_config
from nadam_suite.errors import ConfigError
from nadam_suite.schedules import WarmupCosine, sample

TABLE = {
    "model": "digits",
    "data": "package.module:function",
    "optimizer": {"learning_rate": 3e-3, "weight_decay": 0.01},
    "schedule": {"kind": "cosine", "warmup": "5%"},
    "epochs": 10,
    "batch_size": 64,
    "callbacks": [{"kind": "terminate_on_nan"}, {"kind": "early_stopping", "patience": 3}],
}


def make(**changes):
    """The config of the table above with some keys changed."""
    return TrainConfig.from_dict({**TABLE, **changes})


def test_the_optimizers_learning_rate_is_the_schedules_peak():
    """The schedule stands around the optimizer's rate, and resolves against the data."""
    config = make()
    optimizer = config.build_optimizer(config.plan(examples=1000))
    schedule = optimizer.get_config()["learning_rate"]["config"]
    assert schedule == WarmupCosine(3e-3, 160, 8).get_config()
    assert optimizer.weight_decay == 0.01


def test_without_a_schedule_the_rate_stays_a_number():
    """Neither no schedule nor a constant one without warm-up takes the rate from callbacks."""
    for schedule in (None, {"kind": "constant"}):
        config = make(schedule=schedule)
        assert config.full_optimizer() == config.optimizer
        assert config.build_optimizer().get_config()["learning_rate"] == 3e-3


def test_a_constant_schedule_may_warm_up():
    """A warm-up alone needs a plan for its percentage, and has no total."""
    config = make(schedule={"kind": "constant", "warmup": "5%"})
    rate = config.resolve(config.plan(1000)).schedule
    assert rate == ScheduleConfig(kind="constant", warmup=8)


def test_a_resolved_config_builds_the_same_without_a_plan():
    """What a run folder keeps stands on its own."""
    config = make()
    resolved = config.resolve(config.plan(1000))
    assert resolved.schedule == ScheduleConfig(warmup=8, total=160)
    one, other = resolved.build_optimizer(), config.build_optimizer(config.plan(1000))
    assert one.get_config() == other.get_config()
    own = make(schedule=None, optimizer={"learning_rate": {"peak": 1.0, "warmup": "1ep"}})
    assert own.resolve(own.plan(1000)).optimizer.learning_rate.warmup == 16


def test_a_plan_knows_the_accumulation():
    """The plan's updates are those of the optimizer."""
    config = make(optimizer={"gradient_accumulation_steps": 4, "schedule_step": "update"})
    plan = config.plan(1000)
    assert plan.accumulation == 4
    assert config.resolve(plan).schedule == ScheduleConfig(warmup=2, total=40)


def test_a_preset_is_the_base_of_the_keys_beside_it():
    """A preset in the optimizer's table is expanded when the config is made, not kept."""
    config = make(optimizer={"preset": "torch", "beta_1": 0.8})
    assert config.optimizer == NadamConfig.preset("torch", beta_1=0.8)
    assert "preset" not in config.to_dict()["optimizer"]


def test_the_defaults_are_those_of_fit():
    """One epoch of batches of 32 in float32 with seed 0, the default optimizer, no callbacks."""
    config = TrainConfig(model="digits", data="digits")
    expected = {
        "name": "run",
        "model_options": {},
        "data_options": {},
        "schedule": None,
        "epochs": 1,
        "batch_size": 32,
        "seed": 0,
        "precision": "float32",
        "callbacks": [],
        "output": None,
        "checkpoint_every": None,
        "schema_version": 2,
    }
    found = config.to_dict()
    assert {key: found[key] for key in expected} == expected
    assert config.optimizer == NadamConfig()


def test_options_are_a_copy():
    """A mapping that is changed afterwards does not change the config."""
    options = {"units": [1, 2]}
    config = make(model_options=options)
    options["units"].append(3)
    assert config.model_options == {"units": [1, 2]}


def test_callbacks_have_their_kinds_options():
    """Each table becomes the settings of its kind, with that kind's defaults."""
    callbacks = make().callbacks
    assert [type(callback) for callback in callbacks] == [
        CALLBACKS["terminate_on_nan"],
        CALLBACKS["early_stopping"],
    ]
    assert callbacks[1].options()["patience"] == 3
    assert callbacks[1].options()["monitor"] == "val_loss"
    assert "kind" not in callbacks[1].options()


@pytest.mark.parametrize(
    ("kind", "callback"),
    [
        ("early_stopping", keras.callbacks.EarlyStopping),
        ("plateau_scale", PlateauScale),
        ("reduce_lr_on_plateau", keras.callbacks.ReduceLROnPlateau),
        ("terminate_on_nan", keras.callbacks.TerminateOnNaN),
    ],
)
def test_options_are_keywords_of_the_callback(kind, callback):
    """Every kind's options, all of them, make the callback that it names."""
    assert list(CALLBACKS) == sorted(CALLBACKS)
    options = CALLBACKS[kind](kind=kind).options()
    assert callback(**options) is not None
    if callback is PlateauScale:
        defaults = inspect.signature(callback).parameters
        assert options == {name: defaults[name].default for name in defaults}


def test_a_plateau_callback_needs_a_rate_that_it_can_set():
    """K35: with a schedule it would raise in mid-training, so it is refused here."""
    plateau = [{"kind": "reduce_lr_on_plateau"}]
    assert make(schedule=None, callbacks=plateau)
    assert make(schedule={"kind": "constant"}, callbacks=plateau)
    for schedule, rate in (({"warmup": 3}, 1e-3), (None, {"peak": 1.0, "total": 9})):
        with pytest.raises(
            ConfigError, match=r"callbacks\.0\.kind.*schedule decides.*plateau_scale"
        ):
            make(schedule=schedule, optimizer={"learning_rate": rate}, callbacks=plateau)
        scale = [{"kind": "plateau_scale"}]
        assert make(schedule=schedule, optimizer={"learning_rate": rate}, callbacks=scale)


def test_a_plateau_needs_to_know_which_way_is_better():
    """A metric whose name does not tell is refused here, and not when the training starts."""
    callback = {"kind": "plateau_scale", "monitor": "val_top", "mode": "max"}
    assert make(callbacks=[callback])
    with pytest.raises(
        ConfigError, match=r"`callbacks\.0\.mode` must be \"min\" or \"max\".*'auto'"
    ):
        make(callbacks=[{**callback, "mode": "auto"}])


@pytest.mark.parametrize(
    "schedule",
    [
        {"warmup": 3, "start": 1e-5, "end": 1e-4},
        {"kind": "constant", "factor": 0.5, "cooldown": "10%", "cooldown_end": 1e-5},
        {"kind": "cyclical", "base": 1e-4, "step_size": "1ep"},
        {"kind": "piecewise", "points": [[0, 0.5], ["50%", 1.0]], "cooldown": 9},
        {
            "kind": "joined",
            "parts": [
                {"kind": "constant"},
                {"peak": 2e-3, "end": 1e-4},
                {"kind": "piecewise", "points": [[0, 1.0]], "factor": 0.5},
            ],
            "boundaries": ["20%", "50%"],
        },
    ],
)
def test_scaling_multiplies_every_value_of_the_learning_rate(schedule):
    """The whole course is multiplied, also in a table of the optimizer's, and nothing else."""
    optimizer = {
        "weight_decay": {"kind": "wsd", "peak": 0.01, "cooldown": 9},
        "weight_decay_mode": "independent",
        "max_learning_rate": 4e-3,
        "learning_rate": 3e-3,
    }
    config = make(schedule=schedule, optimizer=optimizer)
    plan = config.plan(1000)
    own = make(schedule=None, optimizer=config.full_optimizer())
    expected = 4.0 * sample(config.build_optimizer(plan)._learning_rate, plan.total_steps)
    for one in (config, own):
        scaled = one.scaled(4.0)
        found = scaled.build_optimizer(plan)
        np.testing.assert_allclose(
            sample(found._learning_rate, plan.total_steps), expected, rtol=1e-6
        )
        assert found.max_learning_rate == 16e-3
        assert scaled.optimizer.weight_decay == config.optimizer.weight_decay
        assert sum(key.endswith("lr") for key in scaled.to_dict()) == 0


def test_every_schedule_is_resolved():
    """Weight decay and beta_1 are resolved with the schedule, and without one."""
    momentum = {"kind": "one_cycle_momentum", "total": "1ep"}
    optimizer = {"weight_decay": {"peak": 0.1, "warmup": "5%"}, "beta_1": momentum}
    for schedule in (None, {"kind": "constant"}, {"kind": "wsd", "cooldown": "20%"}):
        config = make(schedule=schedule, optimizer=optimizer)
        resolved = config.resolve(config.plan(1000))
        assert resolved.optimizer.weight_decay.warmup == 8
        assert (resolved.optimizer.beta_1.total, resolved.optimizer.beta_1.warmup) == (16, 5)
        assert resolved.resolve() == resolved
        if schedule and schedule["kind"] == "wsd":
            assert resolved.schedule == ScheduleConfig(kind="wsd", total=160, cooldown=32)


def test_a_constant_with_a_factor_is_a_schedule():
    """What multiplies the rate, or brings it down, is not dropped as a constant is."""
    for table, last in (({"factor": 0.5}, 1.5e-3), ({"cooldown": "10%"}, 0.0)):
        config = make(schedule={"kind": "constant", **table})
        optimizer = config.build_optimizer(config.plan(1000))
        assert sample(optimizer._learning_rate, 161)[-1] == pytest.approx(last)


def test_overrides_choose_another_schedule(tmp_path):
    """On the command line a kind and its keys are enough."""
    path = tmp_path / "training.toml"
    path.write_text('model = "digits"\ndata = "digits"\n[schedule]\nwarmup = "5%"\n')
    config = load_config(path, ["schedule.kind=wsd", "schedule.cooldown=20%"])
    assert config.schedule == ScheduleConfig(kind="wsd", warmup="5%", cooldown="20%")
    config = load_config(path, ['schedule={kind="piecewise", points=[[0, 1.0], ["50%", 0.1]]}'])
    assert config.schedule.points == ((0, 1.0), ("50%", 0.1))
