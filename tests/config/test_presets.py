"""Presets: published values, digit by digit."""

from __future__ import annotations

import numpy as np
import pytest

from nadam_suite.config import NadamConfig, ScheduleConfig, list_presets
from nadam_suite.errors import ArgumentError, ConfigError
from nadam_suite.optimizers.presets import PRESETS, get_preset
from nadam_suite.schedules import TrainingPlan

pytestmark = pytest.mark.once

# learning rate, beta_1, beta_2, epsilon, weight decay, momentum decay, warm-up
PUBLISHED = {
    "keras": (1e-3, 0.9, 0.999, 1e-7, None, 1.0, None),
    "torch": (2e-3, 0.9, 0.999, 1e-8, None, 0.004, None),
    "optax": (1e-3, 0.9, 0.999, 1e-8, None, None, None),
    "algoperf-v05": (
        0.0017486387539278373,
        0.93266073836,
        0.9955159689799007,
        1e-8,
        0.08121616522670176,
        None,
        "2%",
    ),
    "algoperf-current": (
        0.00190834618600756,
        0.90909347751,
        0.998898321921855,
        1e-8,
        0.08121616522670176,
        None,
        "10%",
    ),
    "algoperf-resnet": (
        0.004126541534675243,
        0.99219690167,
        0.9966054696718922,
        1e-8,
        0.05371805022820654,
        None,
        "5%",
    ),
    "vit": (
        0.0008445074561975979,
        0.88957581535,
        0.9978504782314613,
        1e-8,
        0.08135402759553023,
        None,
        "5%",
    ),
    "finetune": (5e-5, 0.9, 0.999, 1e-6, 0.01, None, "10%"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_values(name):
    """Every digit of every value is the published one."""
    rate, beta_1, beta_2, epsilon, decay, momentum_decay, warmup = PUBLISHED[name]
    config = NadamConfig.preset(name)
    if warmup is None:
        assert config.learning_rate == rate
    else:
        kind = "linear" if name == "finetune" else "cosine"
        assert config.learning_rate == ScheduleConfig(kind=kind, peak=rate, warmup=warmup, end=0.0)
    np.testing.assert_allclose(config.beta_1, beta_1, rtol=1e-15)
    found = (config.beta_2, config.epsilon, config.weight_decay, config.momentum_decay)
    assert found == (beta_2, epsilon, decay, momentum_decay)


def test_only_finetuning_spares_biases_and_norms():
    """The AlgoPerf submissions decay every variable, and so do their presets."""
    sparing = [name for name in PRESETS if NadamConfig.preset(name).parameter_rules]
    assert sparing == ["finetune"]
    assert NadamConfig.preset("finetune").build(TrainingPlan(9, 9)).parameter_rules


def test_every_preset_is_listed_with_its_source():
    """The list has one row per preset, in order, and every row says where it comes from."""
    rows = list_presets()
    assert [row.name for row in rows] == list(PUBLISHED)
    for row in rows:
        assert row.description.endswith(".")
        assert row.source.endswith(".")
    assert len({row.source for row in rows}) == len(rows)


def test_changes_go_over_the_preset():
    """Keys replace the preset's; a table changes keys within it; None removes."""
    config = NadamConfig.preset("vit", learning_rate={"peak": 1.0}, weight_decay=None)
    assert config.learning_rate == ScheduleConfig(peak=1.0, warmup="5%")
    assert config.weight_decay is None
    assert NadamConfig.preset("vit", learning_rate=1.0).learning_rate == 1.0
    assert NadamConfig.from_dict({"preset": "vit", "weight_decay": "none"}).weight_decay is None


def test_presets_are_read_only():
    """Nobody can change a preset for everybody else."""
    with pytest.raises(TypeError):
        PRESETS["keras"].arguments["beta_1"] = 0.5


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("vti", "'vit'"), ("algoperf", "'algoperf-v05'"), ("adam", "list_presets"), (3, "list_pre")],
)
def test_unknown_presets_are_refused_with_the_nearest(name, remedy):
    """A misspelt preset is an error that lists all, and names the nearest."""
    with pytest.raises(ConfigError) as caught:
        NadamConfig.preset(name, beta_1=3)
    assert f"preset={name!r}" in caught.value.faults[0]
    assert remedy in caught.value.faults[0].split("Received")[1]
    assert "beta_1=3" in caught.value.faults[1]
    with pytest.raises(ArgumentError, match="preset="):
        get_preset(name)
