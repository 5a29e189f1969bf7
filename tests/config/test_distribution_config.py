"""The table that says on which devices a training runs."""

from __future__ import annotations

import pytest

from nadam_suite.config import DistributionConfig, TrainConfig, load_config, save_config
from nadam_suite.errors import ConfigError

pytestmark = pytest.mark.once


def _config(**values):
    return TrainConfig(model="digits", data="digits", **values)


def test_files_without_the_table_load(tmp_path):
    """Configs from before this table are trained on what is there."""
    path = tmp_path / "old.toml"
    path.write_text('model = "digits"\ndata = "digits"\nschema_version = 2\n')
    assert load_config(path).distribution == DistributionConfig(strategy="auto")


@pytest.mark.parametrize("name", ["a.toml", "a.json"])
def test_table_survives_a_file(tmp_path, name):
    """Names of devices and the rule come back from both kinds of file."""
    table = {
        "strategy": "model_parallel",
        "devices": ["cpu:0", "cpu:1"],
        "model_devices": 2,
        "scale_learning_rate": "linear",
        "base_batch_size": 8,
    }
    config = _config(distribution=table)
    save_config(config, tmp_path / name)
    assert load_config(tmp_path / name) == config
    assert config.distribution.to_dict() == table


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"strategy": "mirored"}, r"`distribution.strategy` must be one of .*'mirored'"),
        ({"devices": 0}, r"`distribution.devices` must be an integer >= 1.*devices=0"),
        ({"devices": True}, r"`distribution.devices` must be an integer >= 1"),
        ({"devices": []}, r"`distribution.devices` must be .* list of different names"),
        ({"devices": ["cpu:0", "cpu:0"]}, r"`distribution.devices` must be .*different names"),
        ({"base_batch_size": 8}, r"`distribution.scale_learning_rate` must be \"sqrt\" or"),
        ({"model_devices": 2}, r"`distribution.model_devices` must be left out unless"),
        ({"stategy": "none"}, r"`distribution.stategy`.*Did you mean `strategy`"),
    ],
)
def test_faults_are_named(table, expected):
    """Each fault names its key, the value and the remedy."""
    with pytest.raises(ConfigError, match=expected):
        _config(distribution=table)


def test_bare_none_on_the_command_line(tmp_path):
    """`none` is None there, and means what the word means in these keys."""
    path = tmp_path / "a.toml"
    save_config(_config(distribution={"strategy": "mirrored", "devices": 2}), path)
    changes = ["distribution.strategy=none", "distribution.devices=none"]
    assert load_config(path, changes).distribution.strategy == "none"
    assert DistributionConfig(scale_learning_rate="none").scale_learning_rate is None


def test_scaling_multiplies_the_whole_course():
    """Rate, start and end are multiplied; lengths stay, and nothing is left to scale again."""
    scaled = _config(
        optimizer={"learning_rate": 1e-3},
        schedule={"warmup": "5%", "start": 1e-5, "end": 1e-6},
        distribution={"scale_learning_rate": "sqrt", "base_batch_size": 8, "devices": 2},
    ).scaled(2.0)
    assert scaled.optimizer.learning_rate == 2e-3
    assert (scaled.schedule.start, scaled.schedule.end) == (2e-5, 2e-6)
    assert (scaled.schedule.warmup, scaled.schedule.peak) == ("5%", None)
    assert scaled.distribution == DistributionConfig(devices=2)


def test_scaling_a_schedule_of_the_optimizer():
    """A learning rate that is a schedule itself is multiplied as a whole."""
    rate = {"kind": "linear", "peak": 0.5, "total": 10, "end": 0.25}
    scaled = _config(optimizer={"learning_rate": rate}).scaled(0.5).optimizer.learning_rate
    assert (scaled.peak, scaled.end, scaled.total) == (0.25, 0.125, 10)
