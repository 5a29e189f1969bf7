"""The hypermodel: what it builds, which points it knows, and what it refuses."""

from __future__ import annotations

import dataclasses
from functools import partial

import keras
import keras_tuner
import pytest

from nadam_suite import Nadam, NadamConfig
from nadam_suite.callbacks import EvaluateAverage
from nadam_suite.errors import ArgumentError, ArgumentTypeError, ConfigError
from nadam_suite.precision import DynamicLossScaleOptimizer
from nadam_suite.schedules import TrainingPlan
from nadam_suite.tuner.points import published_points
from nadam_suite.tuner.ranges import PARTS, SPACES, TUNABLE
from nadam_suite.tuner.spaces import nadam_space
from tests.tuner.lines import AVERAGED, PLAN, X, Y, hypermodel_of, line, point


@pytest.mark.parametrize("space", sorted(SPACES))
def test_it_builds_the_model_with_the_configs_optimizer(space):
    """The model has the optimizer of the trial's config, with lengths in steps of the whole."""
    hypermodel = hypermodel_of(space=space, tune=tuple(TUNABLE), schedule=tuple(PARTS))
    hp = point(hypermodel, accumulation=4, schedule="wsd", warmup=0.1, **AVERAGED)
    model, config = hypermodel.build(hp), hypermodel.config(hp)
    assert NadamConfig.from_optimizer(model.optimizer) == config
    rate = config.learning_rate
    assert (rate.total, rate.warmup, rate.cooldown) == (20, 2, 4)
    assert config.averaging.half_life == 1  # a tenth of five updates of four batches
    unresolved = nadam_space(hp, space, tune=tuple(TUNABLE), schedule=tuple(PARTS))
    assert config == unresolved.resolve(dataclasses.replace(PLAN, accumulation=4))


def test_the_function_may_declare_its_own_hyperparameters():
    """A width of the model stands beside the optimizer's settings."""

    def wide(hp, optimizer):
        model = keras.Sequential([keras.Input((3,))])
        model.add(keras.layers.Dense(hp.Int("units", 1, 64, default=5)))
        model.compile(optimizer, loss="mse")
        return model

    hypermodel = hypermodel_of(wide, budget=3, prefix="optimizer/")
    hp = point(hypermodel, units=7)
    assert list(hp.values) == ["optimizer/learning_rate", "units"]
    assert hypermodel.build(hp).output_shape == (None, 7)
    assert [each.values["units"] for each in hypermodel.points(hp)] == [5] * 6


def test_a_function_may_be_the_space():
    """It returns the config, and says by itself how long it accumulates."""

    def space(hp):
        rate = hp.Float("rate", 1e-4, 1e-1, sampling="log", default=1e-2)
        return NadamConfig(
            learning_rate={"kind": "cosine", "peak": rate, "warmup": "10%"},
            gradient_accumulation_steps=2,
            averaging={"half_life": "1ep"},
        )

    hypermodel = hypermodel_of(space=space)
    hp = point(hypermodel, rate=0.05)
    config = hypermodel.config(hp)
    assert (config.learning_rate.peak, config.learning_rate.warmup) == (0.05, 2)
    assert config.averaging.half_life == 3  # five batches, of two each
    assert [each.name for each in hypermodel.points(hp)] == ["default"]


def uncompiled(hp, optimizer):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])


def compiled_with_another(hp, optimizer):
    return line(hp, Nadam(0.1))


@pytest.mark.parametrize("build_model", [uncompiled, compiled_with_another])
def test_a_model_without_the_optimizer_is_refused(build_model):
    """A trial would train by other settings than it is given."""
    hypermodel = hypermodel_of(build_model)
    with pytest.raises(ArgumentError, match=r"compiled with the optimizer.*model\.compile\(optimi"):
        hypermodel.build(keras_tuner.HyperParameters())


def test_what_is_no_model_is_refused():
    """The message names the function's argument."""
    hypermodel = hypermodel_of(lambda hp, optimizer: optimizer)
    with pytest.raises(ArgumentTypeError, match=r"`build_model` must return a keras\.Model"):
        hypermodel.build(keras_tuner.HyperParameters())


def test_under_half_precision_the_optimizer_has_our_loss_scale():
    """`compile()` leaves it alone, and a trial trains."""
    keras.config.set_dtype_policy("mixed_float16")
    hypermodel = hypermodel_of(tune=("averaging",))
    hp = point(hypermodel, **AVERAGED)
    model = hypermodel.build(hp)
    assert type(model.optimizer) is DynamicLossScaleOptimizer
    assert NadamConfig.from_optimizer(model.optimizer.inner_optimizer) == hypermodel.config(hp)
    assert isinstance(hypermodel.arguments(model, X, Y)["callbacks"][0], EvaluateAverage)


def test_a_wrapped_optimizer_is_the_optimizer():
    """A function may put something around it."""

    def wrapped(hp, optimizer):
        return line(hp, DynamicLossScaleOptimizer(optimizer))

    hypermodel = hypermodel_of(wrapped)
    model = hypermodel.build(keras_tuner.HyperParameters())
    assert isinstance(model.optimizer.inner_optimizer, Nadam)


WRONG = [
    (ArgumentTypeError, {"build_model": 3}, "`build_model` must be a function"),
    (ArgumentTypeError, {"plan": 3}, "`plan` must be a TrainingPlan"),
    (ArgumentError, {"space": "algoperff"}, "`space` must be one of.*Did you mean 'algoperf'"),
    (ArgumentError, {"tune": ("lr",)}, "`tune`.*'learning_rate'"),
    (ArgumentError, {"budget": 0}, "`budget`"),
    (ArgumentError, {"space": nadam_space, "budget": 9}, "`budget` must be left out where `space`"),
    (ArgumentError, {"space": nadam_space, "tune": ("epsilon",)}, "`tune` must be left out"),
    (ArgumentError, {"space": nadam_space, "schedule": ("wsd",)}, "`schedule` must be left out"),
    (ConfigError, {"plan": TrainingPlan(1, 1)}, "shorter than the schedule"),
]


@pytest.mark.parametrize(("error", "options", "message"), WRONG)
def test_wrong_arguments_are_refused_at_once(error, options, message):
    """Before anything is built or trained."""
    with pytest.raises(error, match=message):
        hypermodel_of(**options)


def test_a_space_without_a_config_is_refused():
    """A function that only declares has forgotten its `return`."""
    hypermodel = hypermodel_of(space=lambda hp: None)
    with pytest.raises(ArgumentTypeError, match="`space` must be a function that returns a NadamC"):
        hypermodel.build(keras_tuner.HyperParameters())


@pytest.mark.parametrize("space", sorted(SPACES))
def test_points_name_what_the_space_holds_otherwise(space):
    """What the space holds fixed at the point's own value is not called changed."""
    hypermodel = hypermodel_of(space=space, tune=("learning_rate",))
    found = hypermodel.points(point(hypermodel))
    assert found[0].name == f"centre of preset {space}"
    published = {each.name: each for each in published_points(space)}
    for each in found[1:]:
        assert "epsilon" not in each.changed
        assert ("schedule" in each.changed) == (space == "finetune")
        assert each.values["learning_rate"] == published[each.name].values["learning_rate"]
    alike = hypermodel_of(space="finetune", tune=("learning_rate",), schedule=("linear",))
    assert [each.changed for each in alike.points(point(alike))] == [()] * 3


def test_points_of_a_function_are_those_that_its_names_have():
    """A space of one's own that uses `nadam_space` has the published points too."""
    hypermodel = hypermodel_of(space=partial(nadam_space, preset="wide", tune=("epsilon",)))
    assert [each.name for each in hypermodel.points(point(hypermodel))] == ["default"]
    hypermodel = hypermodel_of(space=partial(nadam_space, prefix="o/"), prefix="o/")
    names = [each.name for each in hypermodel.points(point(hypermodel))]
    assert names[:2] == ["default", "algoperf-1"]
