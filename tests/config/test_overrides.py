"""Overrides as one writes them on a command line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite.config import NadamConfig, TrainConfig, apply_overrides
from nadam_suite.config.overrides import parse_value
from nadam_suite.errors import ConfigError

pytestmark = pytest.mark.once

TABLE = {
    "model": "digits",
    "optimizer": {"learning_rate": 1e-3, "weight_decay": 0.01},
    "callbacks": [{"kind": "early_stopping", "patience": 5}],
}


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("epochs=3", ["epochs"], 3),
        (" epochs = 3 ", ["epochs"], 3),
        ("optimizer.learning_rate=3e-4", ["optimizer", "learning_rate"], 3e-4),
        ("optimizer.new.deep=true", ["optimizer", "new", "deep"], True),
        ("schedule.warmup=5%", ["schedule", "warmup"], "5%"),
        ('schedule={kind="linear", warmup=3}', ["schedule"], {"kind": "linear", "warmup": 3}),
        ("callbacks.0.patience=9", ["callbacks", 0, "patience"], 9),
        ("callbacks.0={kind='x'}", ["callbacks", 0], {"kind": "x"}),
        ("callbacks=[]", ["callbacks"], []),
        ("output=a=b", ["output"], "a=b"),
        ("output=C:\\new", ["output"], "C:\\new"),
        ('output=""', ["output"], ""),
        ("optimizer.momentum_decay=none", ["optimizer", "momentum_decay"], None),
        ('name="none"', ["name"], "none"),
        ("optimizer.use_ema=True", ["optimizer", "use_ema"], True),
        ("seed=1_000", ["seed"], 1000),
        ("name=1 # x", ["name"], 1),
        ("name=a\nb=3", ["name"], "a\nb=3"),
        ("name=1\nb=3", ["name"], "1\nb=3"),
        ("data-options.x=1", ["data-options", "x"], 1),
    ],
)
def test_an_override_sets_its_key_alone(override, key, value):
    """The value is typed as in TOML, or a string; every other key stays."""
    found = apply_overrides(TABLE, [override])
    inner = found
    for part in key:
        inner = inner[part]
    assert inner == value
    assert type(inner) is type(value)
    untouched = TABLE.keys() - {key[0]}
    assert {k: found[k] for k in untouched} == {k: TABLE[k] for k in untouched}
    assert found.keys() == TABLE.keys() | {key[0]}


def test_a_tilde_removes():
    """A removed key gets its default when the config is made."""
    found = apply_overrides(TABLE, ["~optimizer.weight_decay", "~callbacks.0", "~model"])
    assert found == {"optimizer": {"learning_rate": 1e-3}, "callbacks": []}


def test_later_overrides_go_over_earlier_ones():
    """The order counts, and the argument is left as it is."""
    found = apply_overrides(TABLE, ["a=1", "a=2", "b.c=1", "b={d=2}", "~a"])
    assert found["b"] == {"d": 2}
    assert "a" not in found
    assert "a" not in TABLE


def test_one_override_may_be_a_plain_string():
    """A string is one override, not a sequence of letters."""
    assert apply_overrides({}, "a=1") == {"a": 1}


def test_all_faults_of_all_overrides_are_listed():
    """Three bad overrides, three sentences."""
    with pytest.raises(ConfigError) as caught:
        apply_overrides(TABLE, ["a", "~b", "epochs=3", "=1"])
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["epochs:", "3"], "epochs=3"),
        (["epochs", "3"], "epochs=3"),
        (["epochs", "=", "3"], "epochs=3"),
        (["epochs", "=3"], "epochs=3"),
        (["epochs=", "3"], "epochs=3"),
        (["epochs:3"], "epochs=3"),
        (["epochs: 3"], "epochs=3"),
        (["epochs==3"], "epochs=3"),
        (["name:", "a b"], "'name=a b'"),
    ],
)
def test_what_was_meant_is_told(words, meant):
    """Once, with what was received and the word to write; what stands behind is applied."""
    with pytest.raises(ConfigError) as caught:
        apply_overrides(TABLE, ["seed=1", *words, "seed=2", "~nothing"])
    first, last = caught.value.faults
    assert f"Received: {' '.join(map(repr, words))}. Write {meant}." in first
    assert "~nothing" in last


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("epochs:", "Write epochs=VALUE to set it, or ~epochs"),
        ("epochs", "Write epochs=VALUE to set it, or ~epochs"),
        ("3", "Write key=VALUE to set it, or ~key"),
        ("epochs==", "Write epochs=VALUE."),
    ],
)
def test_a_word_without_a_value_is_told_alone(word, remedy):
    """The words beside it are other changes."""
    with pytest.raises(ConfigError) as caught:
        apply_overrides(TABLE, [word, "epochs=3", word])
    assert len(caught.value.faults) == 2
    assert all(remedy in fault for fault in caught.value.faults)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_survives_the_command_line(number):
    """The shortest repr of a float is read back bit for bit."""
    assert parse_value(repr(number)) == number
    assert isinstance(parse_value(repr(number)), float)


def is_plain(value):
    """Whether a value is one that JSON has."""
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    return value is None or isinstance(value, (str, int, float))


@given(st.text() | st.dates().map(str) | st.datetimes().map(str) | st.times().map("[{}]".format))
def test_any_text_has_a_plain_value(text):
    """No text makes the parser fail; a date, which JSON has not, is its text."""
    assert is_plain(parse_value(text))


@given(st.text("ab.-_ é~0", max_size=6), st.text(max_size=20))
def test_any_override_is_applied_or_refused(key, value):
    """A key of words with a value is set; anything else is a ConfigError and nothing else."""
    override = f"{key}={value}"
    fits = value.strip() and not value.strip().startswith("=")
    if re.fullmatch(r" *[ab\-_0]+(\.[ab\-_0]+)* *", key) and fits:
        found = apply_overrides({}, [override])
        for part in key.strip().split("."):
            found = found[part]
        assert repr(found) == repr(parse_value(value))
    else:
        with pytest.raises(ConfigError, match="Received: "):
            apply_overrides({}, [override])


def test_a_preset_can_be_chosen_on_the_command_line():
    """optimizer.preset is the base of what the table says, and of later overrides."""
    table = {"model": "digits", "data": "digits", "optimizer": {"weight_decay": 0.5}}
    found = TrainConfig.from_dict(
        apply_overrides(table, ["optimizer.preset=torch", "optimizer.beta_1=0.8"])
    )
    assert found.optimizer == NadamConfig.preset("torch", weight_decay=0.5, beta_1=0.8)
