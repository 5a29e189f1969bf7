"""get_config gives back what was typed, in JSON, and a copy made from it trains the same."""

from __future__ import annotations

import copy
import inspect
import json

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st

from nadam_suite import Nadam, ParameterRule
from tests.optimizers.driver import assert_paths_close, make_variables, record
from tests.reference.gradients import gradient_list, start_values

EVERYTHING = {
    "learning_rate": 0.003,
    "beta_1": 0.85,
    "beta_2": 0.98,
    "epsilon": 1e-5,
    "weight_decay": 0.07,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": 1.5,
    "use_ema": True,
    "ema_momentum": 0.95,
    "ema_overwrite_frequency": 4,
    "loss_scale_factor": 8.0,
    "gradient_accumulation_steps": 2,
    "name": "mine",
    "momentum_decay": 0.004,
    "parameter_rules": [ParameterRule("w1", 1, 0.5, 0.0)],
    "schedule_step": "update",
    "slot_dtype": "float32",
    "weight_decay_mode": "corrected",
    "max_learning_rate": 0.004,
}


def test_config_keys_are_the_constructors_parameters():
    """Nothing is missing from the config and nothing else is in it."""
    parameters = [n for n in inspect.signature(Nadam.__init__).parameters if n != "self"]
    assert (
        set(Nadam().get_config())
        == set(parameters)
        == {
            *EVERYTHING,
            "averaging",  # not together with use_ema
            "lazy_embeddings",  # not together with accumulation
        }
    )


def test_every_argument_survives_json():
    """Each argument, none at its default, is the same after config, JSON and config again."""
    config = Nadam(**EVERYTHING).get_config()
    for name, value in EVERYTHING.items():
        if name != "parameter_rules":
            assert config[name] == value, name
    back = Nadam.from_config(json.loads(json.dumps(config)))
    assert back.get_config() == config
    start, gradients = start_values(), gradient_list(12)
    path = record(Nadam(**EVERYTHING), start, gradients)
    assert_paths_close(record(back, start, gradients), path, rtol=0.0)


@hypothesis.given(
    rate=st.floats(0, 10, allow_nan=False),
    beta=st.floats(0, 1, exclude_max=True),
    decay=st.floats(0, 1),
)
def test_typed_floats_come_back_bit_for_bit(rate, beta, decay):
    """K33: no float of the config has gone through float32."""
    config = Nadam(rate, beta_1=beta, weight_decay=decay).get_config()
    assert (config["learning_rate"], config["beta_1"], config["weight_decay"]) == (
        rate,
        beta,
        decay,
    )


@pytest.mark.parametrize("value", [1e-3, np.float32(1e-3), np.float64(1e-3)])
def test_the_rate_that_was_typed_comes_back(value):
    """K33: 1e-3 is 0.001 in the config, before and after build and after training."""
    optimizer = Nadam(value)
    assert optimizer.get_config()["learning_rate"] == 0.001
    record(optimizer, [np.ones(2)], [[np.ones(2)]] * 2)
    assert optimizer.get_config()["learning_rate"] == 0.001
    assert isinstance(optimizer.get_config()["learning_rate"], float)


def test_a_rate_that_was_changed_is_in_the_config():
    """An assigned rate replaces the typed one; an assigned float comes back as it was typed."""
    optimizer = Nadam(0.1)
    optimizer.build(make_variables([np.ones(2)]))
    optimizer.learning_rate = 3e-4
    assert optimizer.get_config()["learning_rate"] == 3e-4
    optimizer.learning_rate.assign(0.25)
    assert optimizer.get_config()["learning_rate"] == 0.25


@pytest.mark.parametrize(
    "make",
    [
        lambda: Nadam(**EVERYTHING),
        lambda: Nadam(keras.optimizers.schedules.CosineDecay(0.1, 100)),
        lambda: Nadam(weight_decay=keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)),
        lambda: Nadam(beta_1=keras.optimizers.schedules.PolynomialDecay(0.8, 10, 0.9)),
    ],
    ids=["everything", "rate schedule", "decay schedule", "beta schedule"],
)
def test_from_config_leaves_its_argument_alone(make):
    """K30: from_config and deserialize do not change the dict; what it built gives it again."""
    config = make().get_config()
    before = copy.deepcopy(config)
    assert Nadam.from_config(config).get_config() == before
    assert config == before
    whole = keras.saving.serialize_keras_object(make())
    before = copy.deepcopy(whole)
    assert isinstance(keras.saving.deserialize_keras_object(whole), Nadam)
    assert whole == before


def test_the_registered_name_is_public():
    """K31: every backend writes the same module and class name."""
    whole = keras.optimizers.serialize(Nadam(name="n"))
    assert whole["class_name"] == "Nadam"
    assert whole["registered_name"] == "nadam_suite>Nadam"
    assert not whole["module"].startswith("keras.src")
    assert isinstance(keras.optimizers.deserialize(whole), Nadam)


def test_the_config_of_a_stock_nadam_is_accepted():
    """What keras.optimizers.Nadam().get_config() gives builds ours, with the same numbers."""
    stock = keras.optimizers.Nadam(0.004, weight_decay=0.1, clipnorm=1.0, name="n")
    ours = Nadam.from_config(stock.get_config())
    assert (ours.weight_decay, ours.clipnorm, ours.name) == (0.1, 1.0, "n")


def test_replace_changes_what_is_named_and_keeps_the_rest():
    """replace() gives a new optimizer with the state and with all other arguments."""
    optimizer = Nadam(**EVERYTHING)
    variables = make_variables([np.ones(2)], names=["w1"])
    for _ in range(4):
        optimizer.apply([keras.ops.ones(2)], variables)
    other = optimizer.replace(weight_decay=0.5)
    expected = {**optimizer.get_config(), "weight_decay": 0.5}
    assert other.get_config() == expected
    assert int(other.iterations) == int(optimizer.iterations) == 2
    assert optimizer.weight_decay == 0.07
    with pytest.raises(TypeError, match="weight_deca"):
        optimizer.replace(weight_deca=0.5)
