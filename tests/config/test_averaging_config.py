"""Averages of an optimizer as settings: tables, files, durations and faults."""

from __future__ import annotations

import inspect

import pytest

from nadam_suite.averaging import EMA, SWA, PowerEMA, Window
from nadam_suite.config import (
    AveragingConfig,
    NadamConfig,
    TrainConfig,
    apply_overrides,
    fingerprint,
    load_config,
    save_config,
)
from nadam_suite.config.averaging_config import AVERAGES
from nadam_suite.config.named_averages import running_names
from nadam_suite.errors import ConfigError
from nadam_suite.schedules import TrainingPlan

pytestmark = pytest.mark.once

PLAN = TrainingPlan.from_data(1000, batch_size=50, epochs=10, accumulation=4)  # 50 updates

# What may stand at `averaging`, and what the optimizer has with the plan above.
FORMS = [
    ("ema", EMA()),
    ({}, EMA()),
    ({"momentum": 0.9, "warmup": "none"}, EMA(0.9, warmup=None)),
    ({"half_life": "2ep", "warmup": None}, EMA(half_life=10, warmup=None)),
    ({"half_life": 2.5, "start": "10%", "update_every": 3}, EMA(None, 2.5, "inverse", 5, 3)),
    ({"half_life": "400ex"}, EMA(half_life=2)),
    ({"kind": "power_ema", "sigma_rel": 0.2}, PowerEMA(0.2)),
    ({"kind": "power_ema", "update_every": "1ep"}, PowerEMA(update_every=5)),
    ("swa", SWA(38, 5)),
    ({"kind": "swa", "start": 0.5, "every": 1}, SWA(25, 1)),
    ({"kind": "window", "k": 3}, Window(3, 5)),
    (EMA(half_life="1ep", warmup="power"), EMA(half_life=5, warmup="power")),
    ({"a": "ema", "b": "swa"}, {"a": EMA(), "b": SWA(38, 5)}),
    ({"a": {"half_life": "1ep"}, "p": PowerEMA()}, {"a": EMA(half_life=5), "p": PowerEMA()}),
]


def make(averaging, **changes):
    return NadamConfig(averaging=averaging, gradient_accumulation_steps=4, **changes)


@pytest.mark.parametrize(("typed", "expected"), FORMS)
def test_every_form_reaches_the_optimizer_and_comes_back(typed, expected):
    """Durations are in real updates; the built optimizer gives the resolved config back."""
    config = make(typed)
    optimizer = config.build(PLAN)
    found = dict(optimizer.averaging) if isinstance(expected, dict) else optimizer.averaging
    assert found == expected
    assert NadamConfig.from_optimizer(optimizer) == config.resolve(PLAN)
    assert config.resolve(PLAN).resolve() == config.resolve(PLAN)


@pytest.mark.parametrize("suffix", [".json", ".toml"])
@pytest.mark.parametrize(("typed", "expected"), FORMS)
def test_files_keep_what_was_typed(tmp_path, suffix, typed, expected):
    """Durations stay relative in a file, no warm-up stays none, and names keep their order."""
    config = make(typed)
    save_config(config, tmp_path / f"config{suffix}")
    again = load_config(tmp_path / f"config{suffix}")
    assert again == config
    assert fingerprint(again) == fingerprint(config)
    assert again.build(PLAN).average_names == config.build(PLAN).average_names


def test_the_keys_are_the_arguments_of_the_classes_with_their_defaults():
    """Each kind has the keys of its class; a table shows no others."""
    assert set(AVERAGES.values()) == {EMA, PowerEMA, SWA, Window}
    for kind, average in AVERAGES.items():
        required = {"k": 4} if kind == "window" else {}
        table = AveragingConfig(kind=kind, **required).to_dict()
        parameters = inspect.signature(average).parameters
        assert set(table) == {"kind", *parameters}
        for name, parameter in parameters.items():
            default = parameter.default
            expected = list(default) if isinstance(default, tuple) else default
            assert table[name] == required.get(name, expected)


def test_names_are_those_of_the_optimizer():
    """Alone, an average is called like its kind; power averages end in their widths."""
    for typed, _ in FORMS:
        config = make(typed).resolve(PLAN)
        assert running_names(config.averaging) == config.build().average_names


def test_overrides_change_single_keys():
    """A key of one average, of one of several, and back to none."""
    table = {"averaging": {"half_life": "1ep"}}
    for override, expected in (
        ("averaging.half_life=2ep", AveragingConfig(half_life="2ep")),
        ("averaging.warmup=none", AveragingConfig(half_life="1ep", warmup=None)),
        ("averaging=swa", AveragingConfig(kind="swa")),
        ("~averaging", None),
    ):
        changed = NadamConfig.from_dict(apply_overrides(table, [override]))
        assert changed.averaging == expected
    several = apply_overrides({}, ["averaging.fast.half_life=9", "averaging.tail.kind=swa"])
    assert list(NadamConfig.from_dict(several).averaging) == ["fast", "tail"]
    config = NadamConfig(averaging={"fast": {"half_life": 9}})
    assert config.replace(averaging={"fast": {"warmup": None}}).averaging["fast"].warmup is None


def test_a_config_without_averages_has_the_fingerprint_that_it_had():
    """The key came later, and changes nothing where it is not used."""
    table = NadamConfig().to_dict()
    assert table["averaging"] is None
    lasting = dict(table)
    NadamConfig().make_lasting(lasting)
    assert "averaging" not in lasting
    train = TrainConfig(model="digits", data="digits")
    lasting = train.to_dict()
    train.make_lasting(lasting)
    assert "use_averages" not in lasting


FAULTS = [
    (3, "averaging", "3", '{kind = "ema"'),
    ("emma", "averaging", "'emma'", '{kind = "ema"'),
    ({"kind": "em"}, "averaging.kind", "'em'", "Choose one"),
    ({"half_lif": 3}, "averaging.half_lif", "3", "`half_life`"),
    ({"kind": "swa", "half_life": 3}, "averaging.half_life", "3", 'kind = "ema"'),
    ({"every": 3}, "averaging.every", "3", 'kind = "swa" or "window"'),
    ({"momentum": 0.9, "half_life": 3}, "averaging.half_life", "0.9", "Remove one"),
    ({"kind": "window"}, "averaging.k", "kind='window'", "k = 5"),
    ({"kind": "window", "k": 0}, "averaging.k", "0", "Raise"),
    ({"momentum": 1.5}, "averaging.momentum", "1.5", "Lower"),
    ({"warmup": "linear"}, "averaging.warmup", "'linear'", "Choose one"),
    ({"half_life": 0}, "averaging.half_life", "0", "Lengthen"),
    ({"half_life": "0ep"}, "averaging.half_life", "'0ep'", "Lengthen"),
    ({"half_life": "long"}, "averaging.half_life", "'long'", '"2ep"'),
    ({"half_life": True}, "averaging.half_life", "True", '"2ep"'),
    ({"start": 2.5}, "averaging.start", "2.5", "without a decimal point"),
    ({"update_every": 0}, "averaging.update_every", "0", "Lengthen"),
    ({"kind": "power_ema", "sigma_rel": 0.3}, "averaging.sigma_rel", "0.3", "[0.05, 0.1]"),
    ({"kind": "power_ema", "sigma_rel": []}, "averaging.sigma_rel", "[]", "[0.05, 0.1]"),
    ({"kind": "power_ema", "sigma_rel": "wide"}, "averaging.sigma_rel", "'wide'", "[0.05, 0.1]"),
    ({"kind": "power_ema", "sigma_rel": [0.1, 0.1]}, "averaging.sigma_rel", "[0.1, 0.1]", "[0.05"),
    ({"kind": "power_ema", "sigma_rel": [0.1, 0.10000001]}, "averaging", "'power_0.1'", "width"),
    ({"a b": {}}, "averaging", "'a b'", "Rename"),
    ({"p": "power_ema", "p_0.1": {}}, "averaging", "'p_0.1'", "Rename"),
    ({"a": {"kind": "swa", "k": 3}}, "averaging.a.k", "3", 'kind = "window"'),
    ({"a": {"momentun": 0.9}}, "averaging.a.momentun", "0.9", "`momentum`"),
    ({"a": {}, "half_life": 3}, "averaging.half_life", "3", "table"),
    ({"kind": "ema", "a": {"kind": "ema"}}, "averaging.a", "{'kind'", "half_life"),
]


@pytest.mark.parametrize(("averaging", "key", "value", "remedy"), FAULTS)
def test_a_fault_is_one_sentence(averaging, key, value, remedy):
    """It names key, value and remedy, also within the config of a training."""
    with pytest.raises(ConfigError) as caught:
        NadamConfig(averaging=averaging)
    with pytest.raises(ConfigError) as within:
        TrainConfig(model="digits", data="digits", optimizer={"averaging": averaging})
    for error, name in ((caught.value, key), (within.value, f"optimizer.{key}")):
        assert len(error.faults) == 1, error
        assert f"`{name}`" in error.faults[0]
        received = error.faults[0].partition("Received: ")[2]
        assert value in received
        assert remedy in received


def test_all_faults_are_found_at_once():
    """Those of several averages, and those beside them."""
    with pytest.raises(ConfigError) as caught:
        NadamConfig(averaging={"a": {"momentum": 2, "warmp": 1}, "b": {"kind": "window"}}, lr=1)
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize("averaging", ["ema", {"a": "swa"}])
def test_only_one_kind_of_averages(averaging):
    """`use_ema` beside it is one fault, which says what its average is."""
    with pytest.raises(ConfigError, match=r"`use_ema` must be false") as caught:
        NadamConfig(use_ema=True, ema_momentum=0.9, averaging=averaging)
    assert len(caught.value.faults) == 1
    assert '{kind = "ema", momentum = 0.9, warmup = "none"}' in str(caught.value)


@pytest.mark.parametrize(
    ("averaging", "message"),
    [
        ("swa", r"`averaging\.start`.*TrainingPlan"),
        ({"a": {"half_life": "1ep"}}, r"`averaging\.a\.half_life`.*TrainingPlan"),
    ],
)
def test_a_relative_average_without_a_plan_says_what_to_pass(averaging, message):
    """The message has the key and the constructor of a plan."""
    with pytest.raises(ConfigError, match=message):
        NadamConfig(averaging=averaging).build()


@pytest.mark.parametrize(
    ("averaging", "key"),
    [
        ({"kind": "swa", "every": "20ep"}, "averaging.start"),
        ({"kind": "swa", "start": 0, "every": "11ep"}, "averaging.every"),
        ({"start": 50}, "averaging.start"),
        ({"a": {"update_every": 51}}, "averaging.a.update_every"),
        ({"a": {"kind": "window", "k": 9, "start": "100%", "every": 1}}, "averaging.a.start"),
    ],
)
def test_an_average_that_would_never_begin_is_refused(averaging, key):
    """It would be the raw weights under another name."""
    with pytest.raises(ConfigError, match=rf"`{key}` .*50 updates.*train longer") as caught:
        make(averaging).resolve(PLAN)
    assert len(caught.value.faults) == 1
    assert make({"start": 49}).resolve(PLAN).averaging.start == 49


def test_the_plan_must_have_the_optimizers_window():
    """Updates are counted, so a relative duration depends on it; a number does not."""
    config = NadamConfig(averaging={"half_life": "1ep"})
    with pytest.raises(ConfigError, match=r"accumulation=4, as averages count updates"):
        config.build(PLAN)
    assert NadamConfig(averaging={"half_life": 9}).build(PLAN).averaging.half_life == 9


def test_an_average_of_ones_own_is_no_setting():
    """An optimizer that has one is refused with the way out."""

    class Own(EMA):
        pass

    optimizer = NadamConfig().build().replace(averaging=Own())
    with pytest.raises(ConfigError, match=r"`averaging` must be one of EMA.*get_config\(\)"):
        NadamConfig.from_optimizer(optimizer)
