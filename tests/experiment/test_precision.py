"""Runs in half precision: their loss scale is told, kept and ended where it is stuck."""

from __future__ import annotations

import csv
import math

import keras
import numpy as np
import pytest

from nadam_suite.config import save_config
from nadam_suite.errors import NonFiniteError, RunFolderError
from tests.cli.running import run
from tests.experiment.comparing import assert_same
from tests.experiment.small_runs import OWN, config, no_pictures, train

pytestmark = pytest.mark.once

__all__ = ["no_pictures"]  # a fixture that every test of this file uses

TOLD = ("loss_scale", "skipped_steps", "loss_scale_growths")
SPOILT = {"data": f"{OWN}:spoilt_points"}
# Too large a scale at first, so that steps are skipped; then it grows.
HALF = {
    "precision": "mixed_float16",
    "loss_scale": {"initial_scale": 2.0**20, "max_scale": 2.0**20, "dynamic_growth_steps": 4},
}
GUARDED = {"skip_nonfinite": True, **SPOILT}
STUCK = "steps in a row were skipped"


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run of four epochs in mixed_float16; its result."""
    return train(tmp_path_factory.mktemp("half") / "run", 4, **HALF)


def test_every_epoch_tells_scale_and_skipped_steps(half):
    """In the history, in its file, and in TensorBoard's."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = half.history
    assert rows[0]["skipped_steps"] > 0
    assert sum(row["loss_scale_growths"] for row in rows) > 0
    scale = 2.0**20
    for row in rows:
        scale *= 2.0 ** (row["loss_scale_growths"] - row["skipped_steps"])
        assert row["loss_scale"] == scale
    with (half.folder / "history.csv").open() as file:
        written = list(csv.DictReader(file))
    events = EventAccumulator(str(half.folder / "tensorboard" / "train")).Reload()
    for name in TOLD:
        assert [float(row[name]) for row in written] == [row[name] for row in rows]
        assert [p.value for p in events.Scalars(f"epoch_{name}")] == [row[name] for row in rows]


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_scale_and_counters(half, tmp_path):
    """Interrupted between skips and growths, it ends with the very same numbers."""
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", 4, stop=epoch, resume=True, **HALF)
    train(tmp_path / "run", 4, resume=True, **HALF)
    assert_same(tmp_path / "run", half.folder)


@pytest.mark.slow
def test_the_limit_of_skips_may_change_and_the_rest_may_not(tmp_path, monkeypatch):
    """The error's own advice can be followed in a resumed run."""
    monkeypatch.setenv("SPOILT", "1")
    options = {**SPOILT, "precision": "mixed_float16"}
    with pytest.raises(NonFiniteError, match=STUCK):
        train(tmp_path / "run", 2, loss_scale={"max_consecutive_skips": 2}, **options)
    changed = {"max_consecutive_skips": None, "hysteresis": 2}
    with pytest.raises(RunFolderError, match=r"(?s) 1 diff.*loss_scale\.hysteresis: 1 -> 2"):
        train(tmp_path / "run", 2, loss_scale=changed, resume=True, **options)
    del changed["hysteresis"]
    result = train(tmp_path / "run", 2, loss_scale=changed, resume=True, **options)
    assert [row["skipped_steps"] for row in result.history] == [3, 3]


@pytest.mark.slow
def test_skipped_steps_without_a_scale(tmp_path, monkeypatch):
    """`skip_nonfinite` in float32: bad batches change nothing, and are told of."""
    monkeypatch.setenv("SPOILT", "0.4")
    result = train(tmp_path / "run", 4, **GUARDED)
    assert sum(row["skipped_steps"] for row in result.history) > 0
    assert not {"loss_scale", "loss_scale_growths"} & result.history[0].keys()
    assert math.isfinite(result.metrics["validation"]["loss"])


@pytest.mark.slow
def test_without_it_there_is_nothing_to_tell(tmp_path):
    """Runs in full precision have the history that they had."""
    assert not set(TOLD) & train(tmp_path / "run", 2).history[0].keys()


@pytest.mark.slow
def test_a_layer_in_half_precision_is_enough(tmp_path):
    """The loss is scaled for the whole model, though the precision of the run is float32."""
    result = train(tmp_path / "run", 2, model=f"{OWN}:partly_half")
    assert result.history[0]["loss_scale"] == 2.0**15


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [GUARDED, {"precision": "mixed_float16", **SPOILT}], ids=["float32", "half"]
)
def test_a_stuck_run_ends_and_goes_on_when_its_cause_is_gone(tmp_path, monkeypatch, options):
    """No epoch that only skips is kept: it then ends as the run that was never stuck."""
    limited = {**options, "loss_scale": {"max_consecutive_skips": 3}}
    train(tmp_path / "whole", 4, **limited)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", 4, stop=2, **limited)
    monkeypatch.setenv("SPOILT", "1")
    with pytest.raises(NonFiniteError, match=STUCK):
        train(tmp_path / "run", 4, resume=True, **limited)
    monkeypatch.delenv("SPOILT")
    assert train(tmp_path / "run", 4, resume=True, **limited).resumed_from == 2
    assert_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_the_command_says_why_it_is_stuck(tmp_path, monkeypatch, capsys):
    """Status 1, in the form of every error, and `--resume` goes on."""
    monkeypatch.chdir(tmp_path)
    table = {"loss_scale": {"max_consecutive_skips": 3}, "name": "own", **GUARDED}
    save_config(config(2, optimizer={"use_ema": False}, **table), "own.toml")
    monkeypatch.setenv("SPOILT", "1")
    stuck = run(capsys, "train", "own.toml", "--output", "run")
    assert stuck.status == 1
    assert stuck.errors.startswith("Error: ")
    assert STUCK in stuck.errors
    assert "dense/kernel (8 of 8 entries)" in stuck.errors or "kernel" in stuck.errors
    assert "Traceback" not in stuck.errors
    monkeypatch.delenv("SPOILT")
    done = run(capsys, "train", "own.toml", "--output", "run", "--resume")
    assert done.status == 0, done.errors
    assert "skipped_steps 0" in done.output


def test_the_policy_of_a_run_scales_the_loss_of_its_model(half):
    """The saved model has the wrapper with the config's settings."""
    model = keras.saving.load_model(half.folder / "model.keras")
    settings = model.optimizer.get_config()
    assert settings["dynamic_growth_steps"] == 4
    np.testing.assert_array_equal(settings["initial_scale"], 2.0**20)
