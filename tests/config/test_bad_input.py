"""Bad input: every fault is named with its key, its value and a remedy, and nothing is written."""

from __future__ import annotations

import difflib
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nadam_suite.config import (
    NadamConfig,
    ParameterRuleConfig,
    ScheduleConfig,
    TrainConfig,
    apply_overrides,
    load_config,
    save_config,
)
from nadam_suite.errors import ConfigError, DataFileError, NadamSuiteError

pytestmark = pytest.mark.once

TRAIN = {"model": "digits", "data": "digits"}

# table, the key that the message names, the value it shows, a word of its remedy
OPTIMIZERS = [
    ({"lerning_rate": 1e-3}, "lerning_rate", "0.001", "`learning_rate`"),
    ({"lr": 1e-3}, "lr", "0.001", "`learning_rate`"),
    ({"eps": 1e-3}, "eps", "0.001", "`epsilon`"),
    ({"Beta-1": 0.5}, "Beta-1", "0.5", "`beta_1`"),
    ({"qqqqqq": None}, "qqqqqq", "None", "Known keys"),
    ({"learning_rate": "fast"}, "learning_rate", "'fast'", "Write a number."),
    ({"learning_rate": "1e-3"}, "learning_rate", "'1e-3'", "without quotes"),
    ({"learning_rate": -1e-3}, "learning_rate", "-0.001", "Raise"),
    ({"learning_rate": math.nan}, "learning_rate", "nan", "NaN"),
    ({"learning_rate": math.inf}, "learning_rate", "inf", "Infinity"),
    ({"learning_rate": True}, "learning_rate", "True", "a number, not true"),
    ({"learning_rate": None}, "learning_rate", "None", "Write a number."),
    ({"learning_rate": [1e-3]}, "learning_rate", "[0.001]", "without brackets"),
    ({"learning_rate": {"warmup": 3}}, "learning_rate.peak", "{'warmup': 3}", "Add"),
    ({"learning_rate": {"peak": 1, "warmup": 0.05}}, "learning_rate.warmup", "0.05", '"5%"'),
    ({"learning_rate": {"peak": 1, "warmup": "5"}}, "learning_rate.warmup", "'5'", "without"),
    ({"learning_rate": {"peak": 1, "total": "9km"}}, "learning_rate.total", "'9km'", '"5%"'),
    ({"learning_rate": {"peak": 1, "kind": "cos"}}, "learning_rate.kind", "'cos'", "Choose"),
    ({"learning_rate": {"peak": 1, "edn": 0}}, "learning_rate.edn", "0", "`end`"),
    (
        {"learning_rate": {"peak": 1, "kind": "constant", "end": 0.1}},
        "learning_rate.end",
        "0.1",
        "cosine",
    ),
    ({"beta_1": 1.0}, "beta_1", "1.0", "Lower"),
    ({"beta_2": -0.1}, "beta_2", "-0.1", "Raise"),
    ({"epsilon": 0}, "epsilon", "0", "Raise"),
    ({"weight_decay": "1%"}, "weight_decay", "'1%'", "Write a number."),
    ({"clipnorm": 0.0}, "clipnorm", "0.0", "Raise"),
    ({"clipnorm": 1.0, "clipvalue": 2.0}, "clipvalue", "2.0", "all but one"),
    ({"use_ema": "yes"}, "use_ema", "'yes'", "Write true or false."),
    ({"use_ema": "true"}, "use_ema", "'true'", "without quotes"),
    ({"use_ema": 1}, "use_ema", "1", "Write true or false."),
    ({"ema_momentum": 1.5}, "ema_momentum", "1.5", "Lower"),
    ({"ema_overwrite_frequency": 0}, "ema_overwrite_frequency", "0", "Raise"),
    ({"loss_scale_factor": -2}, "loss_scale_factor", "-2", "Raise"),
    ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps", "1", "Raise"),
    ({"gradient_accumulation_steps": 2.0}, "gradient_accumulation_steps", "2.0", "decimal"),
    ({"name": ""}, "name", "''", "Leave"),
    ({"name": 3}, "name", "3", "quotes"),
    ({"name": "a/b"}, "name", "'a/b'", '"-"'),
    ({"momentum_decay": -1}, "momentum_decay", "-1", "Raise"),
    ({"parameter_rules": "bias"}, "parameter_rules", "'bias'", "brackets"),
    ({"parameter_rules": [3]}, "parameter_rules.0", "3", "table"),
    ({"parameter_rules": [{"match": "("}]}, "parameter_rules.0.match", "'('", "backslash"),
    ({"parameter_rules": [{}, {"mach": "a"}]}, "parameter_rules.1.mach", "'a'", "`match`"),
    ({"parameter_rules": [{"max_ndim": -1}]}, "parameter_rules.0.max_ndim", "-1", "Raise"),
    ({"schedule_step": "epoch"}, "schedule_step", "'epoch'", "Choose"),
    ({"slot_dtype": "int8"}, "slot_dtype", "'int8'", "Choose"),
    ({"lazy_embeddings": 1}, "lazy_embeddings", "1", "Write true or false."),
    (
        {"lazy_embeddings": True, "gradient_accumulation_steps": 2},
        "lazy_embeddings",
        "True",
        "Remove one of them",
    ),
    ({"schema_version": 3}, "schema_version", "3", "pip install --upgrade nadam-suite"),
    ({"schema_version": "2"}, "schema_version", "'2'", "Leave"),
    ({"preset": "vti"}, "preset", "'vti'", "'vit'"),
    ({"lr": 1, "learning_rate": 2, "schema_version": 1}, "lr", "1", "one of them"),
    ({"decay": 1e-4, "schema_version": 1}, "decay", "0.0001", "schedule"),
]

TRAININGS = [
    ({"model": None}, "model", "None", "quotes"),
    ({"model": "a b"}, "model", "'a b'", "digits"),
    ({"data": "os.system('ls')"}, "data", "\"os.system('ls')\"", "digits"),
    ({"name": "../up"}, "name", "'../up'", "Remove"),
    ({"epochs": 0}, "epochs", "0", "Raise"),
    ({"epochs": 1.5}, "epochs", "1.5", "decimal"),
    ({"epoch": 3}, "epoch", "3", "`epochs`"),
    ({"batch_size": [32]}, "batch_size", "[32]", "without brackets"),
    ({"batch_size": True}, "batch_size", "True", "a number, not true"),
    ({"name": ["a"]}, "name", "['a']", "Write one string."),
    ({"batch_size": "64"}, "batch_size", "'64'", "quotes"),
    ({"seed": -1}, "seed", "-1", "Raise"),
    ({"seed": 2**32}, "seed", "4294967296", "Lower"),
    ({"precision": "float16"}, "precision", "'float16'", "Choose"),
    ({"backend": "jax"}, "backend", "'jax'", "Known keys"),
    ({"optimizer": 3}, "optimizer", "3", "table"),
    ({"optimizer": {"wieght_decay": 1}}, "optimizer.wieght_decay", "1", "`weight_decay`"),
    ({"optimizer": {"preset": "addam"}}, "optimizer.preset", "'addam'", "list_presets"),
    ({"optimizer": {"schema_version": 9}}, "optimizer.schema_version", "9", "Upgrade"),
    ({"schedule": "cosine"}, "schedule", "'cosine'", "table"),
    ({"schedule": {"peak": 1.0}}, "schedule.peak", "1.0", "`optimizer.learning_rate`"),
    ({"schedule": {"warm_up": 3}}, "schedule.warm_up", "3", "`warmup`"),
    ({"model_options": [1]}, "model_options", "[1]", "table"),
    ({"model_options": {"a": None}}, "model_options", "{'a': None}", "Replace"),
    ({"data_options": {"a": math.nan}}, "data_options", "{'a': nan}", "Replace"),
    ({"data_options": {"a": {1}}}, "data_options", "{'a': {1}}", "Replace"),
    ({"callbacks": {}}, "callbacks", "{}", "brackets"),
    ({"callbacks": [{"patience": 3}]}, "callbacks.0", "{'patience': 3}", "kind"),
    ({"callbacks": [{"kind": "early_stoping"}]}, "callbacks.0", "early_stoping", "kind"),
    (
        {"callbacks": [{"kind": "early_stopping", "patients": 3}]},
        "callbacks.0.patients",
        "3",
        "`patience`",
    ),
    (
        {"callbacks": [{"kind": "terminate_on_nan", "patience": 3}]},
        "callbacks.0.patience",
        "3",
        "Known keys: kind.",
    ),
    ({"output": ""}, "output", "''", "Leave"),
    (
        {"schedule": {}, "optimizer": {"learning_rate": {"peak": 1.0}}},
        "schedule",
        "{}",
        "Remove",
    ),
]

# overrides of {"epochs": 3, "optimizer": {"beta_1": 0.9}, "callbacks": [{"kind": "a"}]}
OVERRIDES = [
    ("epochs", "epochs", "'epochs'", "VALUE"),
    ("epochs=", "epochs", "'epochs='", '""'),
    ("=3", "key=value", "'=3'", "optimizer.learning_rate=3e-4"),
    ("a..b=3", "key=value", "'a..b=3'", "optimizer.learning_rate=3e-4"),
    ("epo chs=3", "key=value", "'epo chs=3'", "optimizer.learning_rate=3e-4"),
    ("", "key=value", "''", "VALUE"),
    ("~epochs=3", "~key", "'~epochs=3'", "~weight_decay"),
    ("~epoch", "epoch", "~epoch", "`epochs`"),
    ("~optimizer.beta_2", "optimizer.beta_2", "~optimizer.beta_2", "`beta_1`"),
    ("~optimiser.beta_1", "optimiser", "~optimiser.beta_1", "`optimizer`"),
    ("epochs.x=1", "epochs.x", "epochs=3", "epochs={x = ...}"),
    ("~epochs.x", "epochs.x", "epochs=3", "table"),
    ("callbacks.1.kind=3", "callbacks.1", "'1'", "number"),
    ("callbacks.kind=3", "callbacks.kind", "'kind'", "number"),
    ("~callbacks.-1", "callbacks.-1", "'-1'", "number"),
    (3, "string", "3", "key=value"),
]


def check(text, key, value, remedy):
    """One fault names the key, shows the value after "Received", and ends in the remedy."""
    assert key in text
    _, received, rest = text.partition("Received: ")
    assert received, text
    assert value in rest
    assert remedy in rest
    assert len(text) < 700  # one screen


@pytest.mark.parametrize(("table", "key", "value", "remedy"), OPTIMIZERS)
def test_bad_optimizer_settings_are_refused(table, key, value, remedy):
    """A table with one fault gives one sentence, with key, value and remedy."""
    with pytest.raises(ConfigError) as caught:
        NadamConfig.from_dict(table)
    assert len(caught.value.faults) == 1
    check(caught.value.faults[0], f"`{key}`", value, remedy)


@pytest.mark.parametrize(("table", "key", "value", "remedy"), TRAININGS)
def test_bad_training_settings_are_refused(table, key, value, remedy):
    """The same for a whole training, with dotted keys."""
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict({**TRAIN, **table})
    assert len(caught.value.faults) == 1
    check(caught.value.faults[0], f"`{key}`", value, remedy)


@pytest.mark.parametrize(("override", "key", "value", "remedy"), OVERRIDES)
def test_bad_overrides_are_refused(override, key, value, remedy):
    """An override with a fault changes nothing, and says how to write it."""
    table = {"epochs": 3, "optimizer": {"beta_1": 0.9}, "callbacks": [{"kind": "a"}]}
    with pytest.raises(ConfigError) as caught:
        apply_overrides(table, ["seed=1", override])
    assert len(caught.value.faults) == 1
    check(caught.value.faults[0], key, value, remedy)
    assert table == {"epochs": 3, "optimizer": {"beta_1": 0.9}, "callbacks": [{"kind": "a"}]}


# file name, bytes, the error, words of its message
FILES = [
    ("a.toml", b"epochs = \n", ConfigError, ["a.toml", "TOML", "line 1, column 10", "Correct"]),
    ("a.toml", b"a = 1\na = 2\n", ConfigError, ["a.toml", "TOML", "line 2", "Correct"]),
    ("a.toml", b"x = [1,\n2", ConfigError, ["a.toml", "TOML", "line 2", "Correct"]),
    ("a.toml", b"beta_1 = nan", ConfigError, ["a.toml", "`beta_1`", "nan", "NaN"]),
    ("a.toml", b"\xff\xfe\x00", DataFileError, ["a.toml", "UTF-8", "byte 0", "Save"]),
    ("a.json", b'{"epochs": 3,}', ConfigError, ["a.json", "JSON", "line 1, column", "Correct"]),
    ("a.json", b'{\n"epochs": \n', ConfigError, ["a.json", "JSON", "line 3, column 1", "Correct"]),
    ("a.json", b'{"beta_1": NaN}', ConfigError, ["a.json", "NaN", "finite"]),
    ("a.json", b'{"beta_1": 1, "beta_1": 2}', ConfigError, ["a.json", "`beta_1`", "1", "Remove"]),
    ("a.json", b"[1, 2]", ConfigError, ["a.json", "[1, 2]", "braces"]),
    ("a.json", b"", ConfigError, ["a.json", "line 1, column 1", "Correct"]),
    ("a.json", b"[" * 100_000, ConfigError, ["a.json", "nested", "Flatten"]),
    ("a.json", b'{"schema_version": 99}', ConfigError, ["a.json", "99", "Upgrade"]),
    ("a.json", b'{"lerning_rate": 1}', ConfigError, ["a.json", "`lerning_rate`", "Did you mean"]),
    ("a.yaml", b"a: 1", DataFileError, ["a.yaml", ".json or .toml", "a.toml"]),
]


@pytest.mark.parametrize(("name", "data", "error", "words"), FILES)
def test_bad_files_are_refused(tmp_path, name, data, error, words):
    """A broken file is named with the place of the fault, and left as it is."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        load_config(path)
    assert isinstance(caught.value, NadamSuiteError)
    text = str(caught.value)
    for word in words:
        assert word in text
    assert len(text) < 700
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert path.read_bytes() == data


def test_a_missing_file_names_its_neighbour(tmp_path):
    """A misspelt file name is an error that names the file that was meant."""
    (tmp_path / "digits.toml").write_text("")
    with pytest.raises(DataFileError, match=r"digit\.toml.*Did you mean 'digits\.toml'"):
        load_config(tmp_path / "digit.toml")
    with pytest.raises(DataFileError, match="no folder"):
        load_config(tmp_path / "nowhere" / "digits.toml")
    with pytest.raises(DataFileError, match="must end in"):
        load_config(tmp_path)


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    """Reading and overwriting a folder fail as files, without a traceback of the system."""
    folder = tmp_path / "a.toml"
    folder.mkdir()
    with pytest.raises(DataFileError, match=r"a\.toml.*cannot be read"):
        load_config(folder)
    with pytest.raises(DataFileError, match=r"a\.toml.*cannot be written"):
        save_config(NadamConfig(), folder, overwrite=True)
    assert [p.name for p in tmp_path.rglob("*")] == ["a.toml"]


@pytest.mark.parametrize("kind", [NadamConfig, TrainConfig, ScheduleConfig, ParameterRuleConfig])
@given(st.data())
def test_a_misspelt_key_is_always_refused_and_the_nearest_named(kind, data):
    """One letter changed, dropped, doubled or swapped: refused, and a close key is suggested."""
    known = list(kind.model_fields)
    key = data.draw(st.sampled_from(known))
    place = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz_"))
    misspelt = data.draw(
        st.sampled_from(
            [
                key[:place] + letter + key[place + 1 :],
                key[:place] + key[place + 1 :],
                key[:place] + letter + key[place:],
                key[:place] + key[place : place + 2][::-1] + key[place + 2 :],
            ]
        )
    )
    assume(misspelt not in known and misspelt not in ("", "preset"))
    base = TRAIN if kind is TrainConfig else {}
    with pytest.raises(ConfigError) as caught:
        kind.from_dict({**base, misspelt: 1})
    assert len(caught.value.faults) == 1
    fault = caught.value.faults[0]
    assert f"Unknown key `{misspelt}`" in fault
    if difflib.SequenceMatcher(None, misspelt, key).ratio() > 0.8:
        assert "Did you mean" in fault


def test_all_faults_are_listed_at_once():
    """Unknown keys, wrong values, missing keys, presets and pairs of keys come in one error."""
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(
            {
                "model": "digits",
                "epochs": 0,
                "optimizer": {
                    "preset": "none such",
                    "beta_1": 2,
                    "clipnorm": 1.0,
                    "clipvalue": 1.0,
                    "nam": "x",
                },
                "schedule": {"kind": "constant", "total": 9, "peak": 1.0},
            },
            source="digits.toml",
        )
    text = str(caught.value)
    assert text.startswith("digits.toml: 8 faults:\n  - ")
    for key in (
        "`optimizer.preset`",
        "`data` is missing",
        "`epochs`",
        "`optimizer.beta_1`",
        "`optimizer.nam`",
        "`optimizer.clipnorm` and `optimizer.clipvalue`",
        "`schedule.total`",
        "`schedule.peak`",
    ):
        assert text.count(key) == 1, key


def test_positional_arguments_are_refused():
    """A config is made from keywords, or from a mapping by from_dict."""
    with pytest.raises(ConfigError, match=r"Received: \{'beta_1': 0.5\}.*from_dict"):
        NadamConfig({"beta_1": 0.5})
    with pytest.raises(ConfigError, match=r"Received: 3\. Pass a mapping"):
        NadamConfig.from_dict(3)
    with pytest.raises(ConfigError, match=r"Received: 1\. Quote"):
        NadamConfig.from_dict({1: 2})
    with pytest.raises(ConfigError, match=r"takes no options\. Received: strict"):
        NadamConfig.model_validate({}, strict=False)


def test_long_values_are_cut():
    """A huge value does not fill the screen."""
    with pytest.raises(ConfigError) as caught:
        NadamConfig(name=["x" * 10_000])
    assert len(str(caught.value)) < 300
