"""The table of a search, and that a training does not care about it."""

from __future__ import annotations

import typing

import pytest

from nadam_suite.config import (
    TrainConfig,
    TunerConfig,
    apply_overrides,
    fingerprint,
    load_config,
    save_config,
)
from nadam_suite.errors import ConfigError
from nadam_suite.experiment.folder import RunFolder
from nadam_suite.tuner.ranges import PARTS, SPACES, TUNABLE

pytestmark = pytest.mark.once

# Tables with a fault; then what the message must say.
FAULTS = {
    "kind": ({"kind": "halton"}, ["`tuner.kind`", "'halton'", "'quasi_random'"]),
    "no trials": ({"trials": 0}, ["`tuner.trials`", ">= 1", "=0"]),
    "preset": ({"preset": "keras"}, ["`tuner.preset`", "'keras'", "'finetune'"]),
    "misspelt": ({"trails": 3}, ["Unknown key `tuner.trails`", "Did you mean `trials`?"]),
    "nothing tuned": ({"tune": []}, ["`tuner.tune`", "at least one", "for all"]),
    "tuned twice": ({"tune": ["epsilon", "epsilon"]}, ["`tuner.tune`", "different names"]),
    "no schedule": ({"schedules": []}, ["`tuner.schedules`", "at least one"]),
    "unknown name": ({"tune": ["lr"]}, ["`tuner.tune.0`", "'learning_rate'", "'lr'"]),
    "other schedule": (
        {"schedules": ["cosine", "noam"]},
        ["`tuner.schedules.1`", "'wsd'", "'noam'"],
    ),
    "two rules": (
        {"budget": 30, "tune": ["epsilon"]},
        ["`tuner.budget`", "`tuner.tune`", "=30", "Remove one"],
    ),
    "trials of hyperband": (
        {"kind": "hyperband", "trials": 9},
        ["`tuner.trials`", "left out", "'grid'", "=9"],
    ),
    "factor of others": ({"factor": 3}, ["`tuner.factor`", "quasi_random", "'hyperband'"]),
    "iterations of others": ({"kind": "grid", "iterations": 2}, ["`tuner.iterations`", "grid"]),
    "sampler of a grid": ({"kind": "grid", "sampler": "sobol"}, ["`tuner.sampler`", "'sobol'"]),
    "small factor": ({"kind": "hyperband", "factor": 1}, ["`tuner.factor`", ">= 2"]),
    "unclear objective": (
        {"objective": "val_cosine_similarity"},
        ["`tuner.mode`", "'val_cosine_similarity'", "which way is best"],
    ),
    "seed": ({"seed": -1}, ["`tuner.seed`", ">= 0"]),
}


def _config(**values):
    return TrainConfig(model="digits", data="digits", **values)


@pytest.mark.parametrize("case", FAULTS)
def test_fault_names_key_value_and_remedy(case):
    """One sentence for one fault."""
    table, expected = FAULTS[case]
    with pytest.raises(ConfigError) as caught:
        _config(tuner=table)
    assert len(caught.value.faults) == 1
    for text in expected:
        assert text in str(caught.value)


def test_a_wrong_kind_does_not_hide_other_faults():
    """Values that are no text at all are told like any other."""
    with pytest.raises(ConfigError) as caught:
        _config(tuner={"kind": 3, "objective": 4, "factor": 1})
    keys = {fault.split("`")[1] for fault in caught.value.faults}
    assert keys == {"tuner.kind", "tuner.objective", "tuner.factor"}


@pytest.mark.parametrize("name", ["a.toml", "a.json"])
def test_table_survives_a_file(tmp_path, name):
    """Every key comes back from either format."""
    table = {
        "kind": "hyperband",
        "trials": None,
        "preset": "wide",
        "budget": None,
        "tune": ["learning_rate", "epsilon"],
        "schedules": ["cosine", "wsd"],
        "objective": "val_top_accuracy",
        "mode": "max",
        "seed": 7,
        "sampler": "sobol",
        "points": "none",
        "factor": 4,
        "iterations": 2,
    }
    config = _config(tuner=table)
    save_config(config, tmp_path / name)
    assert load_config(tmp_path / name) == config
    assert config.tuner.to_dict() == table
    assert not [key for key in TunerConfig.model_fields if key not in table]


@pytest.mark.parametrize(
    ("objective", "mode", "direction"),
    [
        ("val_loss", None, "min"),
        ("loss", None, "min"),
        ("val_accuracy", None, "max"),
        ("val_top_k_categorical_accuracy", None, "max"),
        ("val_raw_mean_absolute_error", None, "min"),
        ("val_accuracy_loss", None, "min"),
        ("val_loss", "max", "max"),
        ("val_similarity", "max", "max"),
    ],
)
def test_direction_by_name_or_mode(objective, mode, direction):
    """The mode decides; without one, the last word of the name that is known."""
    assert TunerConfig(objective=objective, mode=mode).direction == direction


def test_names_are_those_of_the_spaces():
    """What can be tuned, the schedules and the presets are all that the spaces know."""
    fields = TunerConfig.model_fields
    assert _words(fields["tune"].annotation) == set(TUNABLE)
    assert _words(fields["schedules"].annotation) == set(PARTS)
    assert _words(fields["preset"].annotation) == set(SPACES)


def _words(annotation):
    if isinstance(annotation, str):
        return {annotation}
    return {word for part in typing.get_args(annotation) for word in _words(part)}


def test_number_of_trials():
    """Sampled kinds have thirty by default; a grid and hyperband end by themselves."""
    kinds = ("quasi_random", "random", "bayesian", "grid", "hyperband")
    assert [TunerConfig(kind=kind).max_trials() for kind in kinds] == [30, 30, 30, None, None]
    assert TunerConfig(kind="grid", trials=5).max_trials() == 5


def test_one_name_stands_for_a_list():
    """So it is typed on a command line."""
    assert TunerConfig(tune="epsilon", schedules="wsd").to_dict()["tune"] == ["epsilon"]


@pytest.mark.parametrize("value", ["none", '"none"'])
def test_no_points_on_the_command_line(value):
    """Both ways to write it mean the same."""
    table = apply_overrides({"model": "digits", "data": "digits"}, [f"tuner.points={value}"])
    assert TrainConfig.from_dict(table).tuner.points == "none"


def test_configs_from_before_keep_their_fingerprints():
    """The key is left out of it while it has its default."""
    table = _config().to_dict()
    _config().make_lasting(table)
    assert "tuner" not in table
    assert fingerprint(_config(tuner={})) != fingerprint(_config())


def test_a_run_goes_on_whatever_its_search_would_be(tmp_path):
    """The table changes nothing of what is trained; the given one is taken over."""
    folder = RunFolder(tmp_path / "run")
    known = {"backend": "torch"}
    folder.create(_config(tuner={"trials": 3, "tune": ["epsilon"]}), known)
    for table in (None, {"trials": 5}, {"kind": "grid"}):
        given = _config(tuner=table)
        assert folder.check_same(given, known) == given
