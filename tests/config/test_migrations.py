"""Configs of older versions load for ever."""

from __future__ import annotations

import copy

import pytest

from nadam_suite.config import NadamConfig, TrainConfig, load_config
from nadam_suite.config.migrations import CURRENT, MIGRATIONS, migrate
from nadam_suite.errors import ConfigError

pytestmark = pytest.mark.once

VERSION_1 = {
    "lr": 2e-3,
    "beta_1": 0.8,
    "schedule_decay": 0.004,
    "decay": 0.0,
    "schema_version": 1,
}


def test_an_optimizer_of_version_1_loads():
    """The spellings of Keras 2 become ours."""
    expected = NadamConfig(learning_rate=2e-3, beta_1=0.8, momentum_decay=0.004)
    assert NadamConfig.from_dict(VERSION_1) == expected


def test_a_training_of_version_1_loads(tmp_path):
    """A training's version speaks for its optimizer, too."""
    path = tmp_path / "old.toml"
    path.write_text(
        'model = "digits"\ndata = "digits"\nschema_version = 1\n[optimizer]\nlr = 0.5\n'
    )
    found = load_config(path)
    assert found == TrainConfig(model="digits", data="digits", optimizer={"learning_rate": 0.5})
    assert found.schema_version == CURRENT


def test_old_spellings_are_unknown_in_the_current_version():
    """Without its version an old key is a fault that names the new one."""
    with pytest.raises(ConfigError, match=r"Unknown key `lr`.*`learning_rate`"):
        NadamConfig.from_dict({"lr": 1e-3})
    with pytest.raises(ConfigError, match=r"`schedule_decay`.*`momentum_decay`"):
        NadamConfig.from_dict({"schedule_decay": 1e-3})


def test_there_is_a_migration_for_every_version_of_every_kind():
    """No version between the first and the current one is left out."""
    assert MIGRATIONS.keys() == {"optimizer", "train"}
    for steps in MIGRATIONS.values():
        assert sorted(steps) == list(range(1, CURRENT))


def test_migrations_leave_their_argument_as_it_is():
    """A migration is a pure function; the current version passes through unchanged."""
    table = {"optimizer": copy.deepcopy(VERSION_1), "schema_version": 1}
    typed = copy.deepcopy(table)
    migrate(table, "train")
    migrate(table["optimizer"], "optimizer")
    assert table == typed
    current = {"beta_1": 0.5, "schema_version": CURRENT}
    assert migrate(current, "optimizer") == current
    assert migrate({"beta_1": 0.5}, "optimizer") == {"beta_1": 0.5}


def test_what_has_no_equal_is_refused():
    """A learning rate that decays for ever, and a key under both names, need a decision."""
    with pytest.raises(ConfigError, match=r"`decay`.*Received: decay=0\.1.*schedule"):
        migrate({"decay": 0.1, "schema_version": 1}, "optimizer")
    with pytest.raises(ConfigError, match=r"`optimizer\.lr`.*both are given.*Remove"):
        TrainConfig.from_dict(
            {
                "model": "a",
                "data": "a",
                "schema_version": 1,
                "optimizer": {"lr": 1, "learning_rate": 2},
            }
        )


@pytest.mark.parametrize("version", [CURRENT + 1, 10**9])
def test_a_newer_version_says_to_upgrade(version):
    """A config of a newer package is refused, not guessed at."""
    with pytest.raises(ConfigError, match=rf"schema_version={version}.*Upgrade: pip install"):
        NadamConfig.from_dict({"schema_version": version, "future": 1, "preset": "keras"})


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, None])
def test_a_version_that_is_none_is_refused(version):
    """Only positive integers are versions."""
    with pytest.raises(ConfigError, match=r"schema_version=.*Leave it out"):
        NadamConfig.from_dict({"schema_version": version})
