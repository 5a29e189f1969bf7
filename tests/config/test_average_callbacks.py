"""The callbacks by which a training uses its averages: which, in which order, with which faults."""

from __future__ import annotations

import inspect

import pytest

from nadam_suite import callbacks
from nadam_suite.config import CALLBACKS, TrainConfig, load_config, save_config
from nadam_suite.errors import ConfigError

pytestmark = pytest.mark.once

TWO = {"averaging": {"fast": "ema", "slow": {"half_life": "2ep"}}}
POWER = {"averaging": "power_ema"}
STOP = {"kind": "early_stopping", "restore_best_weights": True}
CLASSES = {
    "average_checkpoint": callbacks.AverageCheckpoint,
    "average_snapshots": callbacks.AverageSnapshots,
    "ema_finalization": callbacks.EMAFinalization,
    "evaluate_average": callbacks.EvaluateAverage,
}


def make(*tables, optimizer=None, **changes):
    optimizer = {"averaging": "ema"} if optimizer is None else optimizer
    return TrainConfig(
        model="digits", data="digits", optimizer=optimizer, callbacks=list(tables), **changes
    )


def kinds(config):
    return [callback.kind for callback in config.full_callbacks()]


def test_averages_are_used_unless_the_config_says_otherwise():
    """They are evaluated first and finalized last; without averages nothing is added."""
    assert kinds(make()) == ["evaluate_average", "ema_finalization"]
    assert kinds(make(STOP)) == ["evaluate_average", "early_stopping", "ema_finalization"]
    assert kinds(make(use_averages=False)) == []
    assert kinds(make(optimizer={})) == []
    assert kinds(make(optimizer={"use_ema": True})) == ["evaluate_average", "ema_finalization"]
    assert kinds(make(optimizer={"use_ema": True}, use_averages=False)) == []
    assert kinds(make(optimizer={"use_ema": True, "ema_overwrite_frequency": 2})) == []


def test_statistics_follow_by_default():
    """What is evaluated is what is finalized: the last averages, batch normalization with them."""
    first, last = make().full_callbacks()
    assert (first.name, first.batch_norm, first.also_raw) == (None, "recalibrate", True)
    assert (last.name, last.batch_norm, last.restore_best) == (None, "recalibrate", False)


def test_what_is_added_agrees_with_what_is_named():
    """One callback that names an average, or keeps the statistics, speaks for the others."""
    options = {"name": "slow", "batch_norm": "keep", "steps": 3}
    for kind in ("evaluate_average", "ema_finalization", "average_checkpoint"):
        full = make({"kind": kind, **options}, optimizer=TWO).full_callbacks()
        assert len(full) == (3 if kind == "average_checkpoint" else 2)
        for callback in full:
            assert {key: getattr(callback, key) for key in options} == options


def test_the_order_is_right_whatever_was_written():
    """Evaluation comes first, then the others as they stand, then files, and the finalization."""
    config = make(
        {"kind": "ema_finalization"},
        {"kind": "average_snapshots"},
        {"kind": "average_checkpoint"},
        STOP,
        {"kind": "plateau_scale"},
        {"kind": "evaluate_average"},
        optimizer={"averaging": "power_ema"},
    )
    assert kinds(config) == [
        "evaluate_average",
        "early_stopping",
        "plateau_scale",
        "average_snapshots",
        "average_checkpoint",
        "ema_finalization",
    ]


def test_the_best_averages_are_those_that_early_stopping_restores():
    """Its metric and mode are those of the finalization, unless that one is named."""
    last = make({**STOP, "monitor": "val_gap", "mode": "max"}).full_callbacks()[-1]
    assert (last.restore_best, last.monitor, last.mode) == (True, "val_gap", "max")
    last = make(STOP, {"kind": "ema_finalization"}).full_callbacks()[-1]
    assert not last.restore_best
    assert not make({"kind": "early_stopping"}).full_callbacks()[-1].restore_best


@pytest.mark.parametrize("kind", CLASSES)
def test_options_are_keywords_of_the_callback(kind):
    """Every option is an argument of the class; the data, and the length, are the run's."""
    config = CALLBACKS[kind](kind=kind)
    arguments = inspect.signature(CLASSES[kind]).parameters
    assert arguments.keys() - config.options().keys() <= {"data", "total"}
    for name, value in config.options().items():
        if name not in ("path", "folder", "batch_norm"):
            assert value == arguments[name].default


def test_files_keep_them(tmp_path):
    """Through TOML, the intervals of snapshots as they were typed."""
    config = make(
        {"kind": "average_snapshots", "every": "1ep", "folder": "kept"},
        {"kind": "average_checkpoint", "path": "{epoch}.keras", "save_best_only": True},
        optimizer={"averaging": "power_ema"},
        use_averages=True,
    )
    save_config(config, tmp_path / "config.toml")
    assert load_config(tmp_path / "config.toml") == config
    assert config.callbacks[0].every == "1ep"


def test_intervals_are_resolved_in_real_updates():
    """As those of the averages themselves."""
    optimizer = {"averaging": "power_ema", "gradient_accumulation_steps": 2}
    config = make({"kind": "average_snapshots", "every": "1ep"}, optimizer=optimizer, epochs=2)
    resolved = config.resolve(config.plan(examples=640))
    assert resolved.callbacks[0].every == 10
    with pytest.raises(ConfigError, match=r"`callbacks\.0\.every`.*TrainingPlan"):
        config.resolve()


FAULTS = [
    ([{"kind": "average_checkpoint"}], {}, "callbacks.0.kind", "optimizer.averaging"),
    ([{"kind": "evaluate_average"}], {}, "callbacks.0.kind", "optimizer.averaging"),
    ([{"kind": "ema_finalization", "name": "slw"}], TWO, "callbacks.0.name", "'slow'"),
    ([{"kind": "ema_finalization", "name": "other"}], TWO, "callbacks.0.name", "the first"),
    ([{"kind": "average_snapshots"}], TWO, "callbacks.0.kind", "averaging.kind"),
    ([STOP, *[{"kind": "evaluate_average"}] * 2], None, "callbacks.2.kind", "Remove it"),
    ([{"kind": "average_checkpoint", "path": "x.h5"}], None, "callbacks.0.path", "best.keras"),
    ([{"kind": "average_snapshots", "every": 0}], POWER, "callbacks.0.every", "Lengthen"),
    ([{"kind": "evaluate_average", "nam": "a"}], None, "callbacks.0.nam", "`name`"),
    ([{"kind": "evaluate_average", "batch_norm": "no"}], None, "callbacks.0.batch_norm", "Choose"),
    ([{**STOP, "monitor": "val_gap"}], None, "callbacks.0.mode", "Choose the one"),
    (
        [
            {"kind": "evaluate_average"},
            {"kind": "ema_finalization", "name": "slow"} | {"restore_best": True},
        ],
        TWO,
        "callbacks.1.name",
        "evaluate_average",
    ),
    (
        [
            {"kind": "evaluate_average"},
            {"kind": "average_checkpoint", "save_best_only": True, "batch_norm": "keep"},
        ],
        None,
        "callbacks.1.batch_norm",
        "evaluate_average",
    ),
]


@pytest.mark.parametrize(("tables", "optimizer", "key", "remedy"), FAULTS)
def test_a_fault_is_one_sentence(tables, optimizer, key, remedy):
    """It names the key and the remedy."""
    with pytest.raises(ConfigError) as caught:
        make(*tables, optimizer=optimizer)
    assert len(caught.value.faults) == 1, caught.value
    text = caught.value.faults[0]
    assert f"`{key}`" in text
    assert remedy in text.partition("Received: ")[2]


def test_the_best_by_a_metric_that_nobody_evaluates_is_refused():
    """Without the evaluation of averages, val_* is the metric of the raw weights."""
    best = {"kind": "ema_finalization", "restore_best": True}
    with pytest.raises(ConfigError, match=r"`callbacks\.0\.monitor`.*evaluate_average"):
        make(best, use_averages=False)
    assert make({**best, "monitor": "loss"}, use_averages=False)
    assert make({**best, "monitor": "val_raw_loss"}, use_averages=False)
    assert make(best, {"kind": "evaluate_average"}, use_averages=False)
    assert make(best, {"kind": "evaluate_average"}, optimizer={"use_ema": True})


def test_faults_elsewhere_are_told_once():
    """A wrong average, or a wrong callback, does not hide or repeat the others."""
    with pytest.raises(ConfigError) as caught:
        make(
            {"kind": "ema_finalization", "restore_best": "yes"},
            {"kind": "no_such_kind"},
            "text",
            optimizer={"averaging": {"half_lif": 3}},
        )
    assert len(caught.value.faults) == 4
