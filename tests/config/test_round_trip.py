"""Configs survive every way out and back in, to the last bit."""

from __future__ import annotations

import copy
import json
import pickle
import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nadam_suite.config import NadamConfig, TrainConfig, fingerprint, load_config, save_config
from tests.config.strategies import (
    CONFIGS,
    NADAM_CONFIGS,
    NUMBER,
    OPTIMIZER_TABLES,
    RESOLVED_CONFIGS,
    TRAIN_TABLES,
)

pytestmark = pytest.mark.once


# Tables that a training may have or not.
TABLES = ("logging", "loss_scale", "schedule", "tuner")


def bits(number):
    """The bits of a float."""
    return struct.pack("<d", number)


def assert_holds(found, typed):
    """A table has every key and value that was typed, and of a list each table."""
    if not isinstance(typed, dict):
        assert found == typed
        return
    for key, value in typed.items():
        if key == "parts":
            for part, own in zip(found[key], value, strict=True):
                assert_holds(part, own)
        elif isinstance(value, dict):
            assert_holds(found[key], value)
        else:
            assert found.get(key) == value


@given(CONFIGS)
def test_dict_and_json_give_the_config_back(config):
    """Through a dict, JSON text, a pickle and a deep copy, a config equals itself."""
    kind = type(config)
    assert kind.from_dict(config.to_dict()) == config
    assert kind.from_dict(json.loads(config.to_json())) == config
    assert kind.model_validate_json(config.to_json()) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.deepcopy(config) == config


@pytest.mark.parametrize("suffix", [".json", ".toml"])
@given(config=CONFIGS)
@settings(max_examples=40)
def test_files_give_the_config_back(tmp_path_factory, suffix, config):
    """Through a file of either format, a config and its fingerprint stay the same."""
    path = tmp_path_factory.mktemp("files") / f"config{suffix}"
    save_config(config, path)
    again = load_config(path, kind=type(config))
    assert again == config
    assert fingerprint(again) == fingerprint(config)


@given(NUMBER)
def test_floats_come_back_bit_for_bit(tmp_path_factory, number):
    """A typed float has the same bits in the config, in JSON and in TOML."""
    config = NadamConfig(learning_rate=number)
    path = tmp_path_factory.mktemp("files") / "config.toml"
    save_config(config, path)
    found = [
        config.learning_rate,
        json.loads(config.to_json())["learning_rate"],
        load_config(path).learning_rate,
    ]
    assert [bits(value) for value in found] == [bits(number + 0.0)] * 3


@given(TRAIN_TABLES)
def test_what_was_typed_is_in_the_config(table):
    """Every typed value is in the config's dict, and the table itself is left as it is."""
    typed = copy.deepcopy(table)
    found = TrainConfig.from_dict(table).to_dict()
    assert table == typed
    inner = {"optimizer", "callbacks", "distribution", *TABLES}
    for key in table.keys() - inner:
        assert found[key] == typed[key]
    tables = {"weight_decay", "beta_1", "averaging"}
    for key in typed["optimizer"].keys() - {"parameter_rules", *tables}:
        assert found["optimizer"][key] == typed["optimizer"][key]
    for key in tables & typed["optimizer"].keys():
        assert_holds(found["optimizer"][key], typed["optimizer"][key])
    for key in TABLES:
        assert_holds(found[key], typed.get(key))
    for key, value in typed.get("distribution", {}).items():
        assert found["distribution"][key] == value


@given(NADAM_CONFIGS, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_count(config, random):
    """Shuffled keys make an equal config of equal fingerprint."""
    items = list(config.to_dict().items())
    random.shuffle(items)
    again = NadamConfig.from_dict(dict(items))
    assert (again, fingerprint(again)) == (config, fingerprint(config))


def test_the_digits_that_were_typed_come_back():
    """No float32 stands between a config and what was typed."""
    config = NadamConfig(learning_rate=0.00190834618600756, beta_2=0.998898321921855)
    assert repr(config.to_dict()["learning_rate"]) == "0.00190834618600756"
    assert "0.998898321921855" in config.to_json()


def test_ints_become_the_floats_that_they_equal():
    """An int where a float is expected makes the config that the float makes."""
    config = NadamConfig(learning_rate=1, weight_decay=0, parameter_rules=[{"learning_rate": 2}])
    same = NadamConfig(
        learning_rate=1.0, weight_decay=-0.0, parameter_rules=[{"learning_rate": 2.0}]
    )
    assert config == same
    assert fingerprint(config) == fingerprint(same)
    assert isinstance(config.learning_rate, float)


def test_a_fingerprint_is_the_same_in_another_process():
    """Neither the hash seed nor the process enters into a fingerprint."""
    code = (
        "from nadam_suite.config import NadamConfig, fingerprint;"
        "print(fingerprint(NadamConfig.preset('finetune', name='é')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.split()[-1] == fingerprint(NadamConfig.preset("finetune", name="é"))


@given(OPTIMIZER_TABLES, st.data())
def test_different_settings_have_different_fingerprints(table, data):
    """A change of any one number changes the fingerprint."""
    config = NadamConfig.from_dict(table)
    value = data.draw(st.floats(0.0, 0.9).filter(lambda v: v != config.beta_1))
    assert fingerprint(config.replace(beta_1=value)) != fingerprint(config)


@given(config=RESOLVED_CONFIGS)
@settings(max_examples=25)
def test_config_to_optimizer_to_config_is_the_identity(config):
    """Building an optimizer and asking it for its settings gives the config again."""
    optimizer = config.build()
    assert NadamConfig.from_optimizer(optimizer) == config
    again = type(optimizer).from_config(optimizer.get_config())
    assert NadamConfig.from_optimizer(again) == config
