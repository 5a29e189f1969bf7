"""The table of a loss scale, and which settings go together with one."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from nadam_suite.config import (
    LossScaleConfig,
    TrainConfig,
    apply_overrides,
    fingerprint,
    load_config,
    save_config,
)
from nadam_suite.errors import ConfigError
from nadam_suite.precision import DynamicLossScaleOptimizer
from nadam_suite.precision.scale_rule import ScaleRule

pytestmark = pytest.mark.once
UNSCALED = ("float32", "mixed_bfloat16", "bfloat16")


def _config(**values):
    return TrainConfig(model="digits", data="digits", **values)


def _scaled(**table):
    return _config(precision="mixed_float16", loss_scale=table)


def test_keys_and_defaults_are_those_of_the_optimizer():
    """The table is complete, and leaving it out changes nothing."""
    signature = inspect.signature(DynamicLossScaleOptimizer.__init__)
    defaults = {
        name: p.default
        for name, p in signature.parameters.items()
        if p.default is not p.empty and name != "name"
    }
    assert LossScaleConfig().options() == defaults
    assert len(defaults) == len(dataclasses.fields(ScaleRule)) + 1


@pytest.mark.parametrize("name", ["a.toml", "a.json"])
@pytest.mark.parametrize("limit", [None, 7])
def test_table_survives_a_file(tmp_path, name, limit):
    """No limit is a choice of its own, for which TOML has the word "none"."""
    table = {
        "initial_scale": 1024.0,
        "dynamic_growth_steps": 10,
        "growth_factor": 4.0,
        "backoff_factor": 0.25,
        "hysteresis": 2,
        "min_scale": 1.0,
        "max_scale": 65536.0,
        "dynamic": False,
        "max_consecutive_skips": limit,
    }
    config = _config(precision="mixed_float16", skip_nonfinite=True, loss_scale=table)
    save_config(config, tmp_path / name)
    assert load_config(tmp_path / name) == config
    assert config.loss_scale.to_dict() == table


@pytest.mark.parametrize("value", ["none", "None"])
def test_no_limit_on_the_command_line(value):
    """Both ways to write it mean the same."""
    changes = ["precision=mixed_float16", f"loss_scale.max_consecutive_skips={value}"]
    table = apply_overrides({"model": "digits", "data": "digits"}, changes)
    assert TrainConfig.from_dict(table).loss_scale.max_consecutive_skips is None


def test_configs_from_before_keep_their_fingerprints():
    """Both keys are left out while they have their defaults; other values count."""
    plain = _config(precision="mixed_float16")
    table = plain.to_dict()
    plain.make_lasting(table)
    assert not {"loss_scale", "skip_nonfinite"} & table.keys()
    prints = {fingerprint(c) for c in (plain, _scaled(), _config(skip_nonfinite=True))}
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"initial_scale": 0}, r"`loss_scale.initial_scale` must be a number > 0"),
        ({"initial_scale": 1e39}, r"`loss_scale.initial_scale` must be a number < 3.4e\+38"),
        ({"max_scale": float("inf")}, r"`loss_scale.max_scale` must be a "),
        ({"min_scale": "1"}, r"`loss_scale.min_scale` must be a number. Received.*quotes"),
        ({"growth_factor": 0.5}, r"`loss_scale.growth_factor` must be a number >= 1"),
        ({"backoff_factor": 1.5}, r"`loss_scale.backoff_factor` must be a number <= 1"),
        ({"backoff_factor": 0}, r"`loss_scale.backoff_factor` must be a number > 0"),
        ({"hysteresis": 0}, r"`loss_scale.hysteresis` must be a number >= 1"),
        ({"dynamic_growth_steps": 2**31}, r"`loss_scale.dynamic_growth_steps` must be .* < 2"),
        ({"dynamic_growth_steps": None}, r"`loss_scale.dynamic_growth_steps` must be an integer"),
        ({"max_consecutive_skips": 0}, r"`loss_scale.max_consecutive_skips` must be a number >= 1"),
        ({"dynamic": "yes"}, r"`loss_scale.dynamic` must be true or false"),
        ({"growth_interval": 5}, r"Unknown key `loss_scale.growth_interval`"),
        ({"init_scale": 5}, r"`loss_scale.init_scale`.*Did you mean `initial_scale`"),
        ({"initial_scale": 2.0**30}, r"`loss_scale.initial_scale` must be a number from min_scale"),
        ({"initial_scale": 4, "min_scale": 8}, r"Widen .*`loss_scale.dynamic` to false"),
    ],
    ids=str,
)
def test_faults_are_named(table, expected):
    """Each fault names its key, the value and the remedy."""
    with pytest.raises(ConfigError, match=expected):
        _scaled(**table)


def test_a_scale_that_stays_may_be_any():
    """The range is that of a scale that changes."""
    assert _scaled(initial_scale=2.0**30, dynamic=False).loss_scale.initial_scale == 2.0**30


@pytest.mark.parametrize("precision", UNSCALED)
def test_a_loss_that_is_not_scaled_has_no_settings_for_it(precision):
    """With skipped steps the limit alone means something; what has its default does no harm."""
    with pytest.raises(ConfigError, match=rf"`loss_scale` must be left out.*{precision}") as caught:
        _config(precision=precision, loss_scale={"hysteresis": 2})
    assert "`skip_nonfinite` to true" in str(caught.value)
    with pytest.raises(ConfigError, match=r"`loss_scale.hysteresis` must be left out") as caught:
        _config(
            precision=precision,
            skip_nonfinite=True,
            loss_scale={"hysteresis": 2, "max_consecutive_skips": 3},
        )
    assert len(caught.value.faults) == 1
    kept = _config(
        precision=precision, skip_nonfinite=True, loss_scale={"max_consecutive_skips": 3}
    )
    assert TrainConfig.from_dict(kept.to_dict()) == kept


def test_a_precision_that_does_not_exist_is_one_fault():
    """It is not said to need no loss scale."""
    with pytest.raises(ConfigError) as caught:
        _config(precision="float8", loss_scale={"hysteresis": 2})
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"precision": "mixed_float16"}, "loss_scale.initial_scale` to it"),
        ({"skip_nonfinite": True}, "Remove one of the two"),
        ({"skip_nonfinite": True, "precision": "mixed_float16"}, "loss_scale.initial_scale` to it"),
    ],
)
def test_a_factor_that_would_be_dropped_is_refused(values, remedy):
    """K10: `loss_scale_factor` of the optimizer, inside of a loss scale."""
    with pytest.raises(ConfigError, match=r"`optimizer.loss_scale_factor` must be left") as caught:
        _config(optimizer={"loss_scale_factor": 8.0}, **values)
    assert remedy in str(caught.value)
    _config(optimizer={"loss_scale_factor": 8.0})


def test_what_is_no_flag_is_refused():
    """The key is named."""
    with pytest.raises(ConfigError, match="`skip_nonfinite` must be true or false"):
        _config(skip_nonfinite=1)
