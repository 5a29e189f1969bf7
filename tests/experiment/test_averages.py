"""Runs with averages: evaluated, kept, finalized once, and exact through every interruption."""

from __future__ import annotations

import csv
import json
import zipfile

import keras
import numpy as np
import pytest

from nadam_suite.averaging import show_raw, shown
from nadam_suite.averaging.posthoc_files import list_snapshots
from nadam_suite.callbacks import TrainingState
from nadam_suite.callbacks.snapshot import read
from nadam_suite.config import load_config
from nadam_suite.experiment import branch_cooldown, find_part
from nadam_suite.experiment.checkpoints import take_averages_back
from nadam_suite.experiment.folder import RunFolder
from nadam_suite.experiment.own_callbacks import average_files
from tests.experiment.comparing import assert_same
from tests.experiment.small_runs import OWN, WSD, Stop, config, contents, no_pictures, train

pytestmark = pytest.mark.once

__all__ = ["no_pictures"]  # a fixture that every test of this file uses

# Averages of every kind, one of them with a start that the runs pass; files, and the best epoch.
OPTIONS = {
    "optimizer": {
        "use_ema": False,
        "averaging": {
            "fast": {"half_life": 4, "start": 2},
            "tail": {"kind": "window", "k": 2, "every": 2},
            "mean": {"kind": "swa", "start": 4, "every": 1},
            "p": {"kind": "power_ema"},
        },
    },
    "callbacks": [
        {"kind": "average_snapshots", "count": 12},
        {"kind": "average_checkpoint", "save_best_only": True},
        {"kind": "early_stopping", "patience": 30, "restore_best_weights": True},
    ],
}
PLAIN = {"optimizer": {"use_ema": False, "averaging": {"half_life": "1ep"}}}
FILES = ("checkpoint.keras", "checkpoint.fast.keras")


def weights(path):
    """What a model file holds of numbers."""
    with zipfile.ZipFile(path) as archive:
        return archive.read("model.weights.h5")


def arrays(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]


def assert_same_averages(folder, expected):
    """The files of the best epoch, and the snapshots that both runs took, are the same."""
    for name in FILES:
        assert weights(folder / name) == weights(expected / name)
    ours, theirs = (
        {s.time: s.file for s in list_snapshots(f / "snapshots")} for f in (folder, expected)
    )
    common = ours.keys() & theirs.keys()
    assert len(common) >= 6
    assert max(common) == max(ours) == max(theirs)
    for time in common:
        assert ours[time].read_bytes() == theirs[time].read_bytes()


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """A run of six epochs, without interruption."""
    folder = tmp_path_factory.mktemp("longer") / "run"
    train(folder, 6, **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run of two epochs with one average, and its result."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    return train(folder, 2, None, **PLAIN)


def test_the_final_model_has_the_averages_and_beside_them_the_raw_weights(plain):
    """Its metrics are those of the last validation; the raw ones are those of the last state."""
    assert plain.average == "ema"
    row = plain.history[-1]
    assert plain.metrics["validation"]["loss"] == pytest.approx(row["val_loss"], rel=1e-6)
    assert row["val_raw_loss"] != pytest.approx(row["val_loss"], rel=1e-3)
    model = keras.saving.load_model(plain.folder / "model.keras")
    data = find_part("data", f"{OWN}:points", {})().validation
    assert model.evaluate(*data, verbose=0)[0] == pytest.approx(row["val_loss"], rel=1e-5)
    assert shown(model) == "ema"
    show_raw(model)
    assert model.evaluate(*data, verbose=0)[0] == pytest.approx(row["val_raw_loss"], rel=1e-5)
    state = read(TrainingState(plain.folder / "state").path).arrays["model"]
    saved_weights = [array for array in state if array.dtype.kind == "f"]
    for raw, saved in zip(arrays(model), saved_weights, strict=True):
        np.testing.assert_array_equal(raw, saved)


def test_history_and_result_tell_both(plain):
    """Averages under val_*, raw weights under val_raw_*, and which average the model has."""
    rows = list(csv.DictReader((plain.folder / "history.csv").read_text().splitlines()))
    assert {"val_loss", "val_mae", "val_raw_loss", "val_raw_mae"} <= rows[0].keys()
    assert json.loads((plain.folder / "result.json").read_text())["average"] == "ema"
    again = train(plain.folder, 2, None, resume=True, **PLAIN)
    assert (again.already_finished, again.average) == (True, "ema")


def test_tensorboard_has_a_curve_of_the_raw_weights(plain):
    """Under the name of the metric, in a folder of its own."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for split, name in (("validation", "val_loss"), ("validation_raw", "val_raw_loss")):
        events = EventAccumulator(str(plain.folder / "tensorboard" / split)).Reload()
        values = [event.value for event in events.Scalars("epoch_loss")]
        assert values == pytest.approx([row[name] for row in plain.history])


def test_averages_that_are_not_used_leave_the_run_as_it_is(tmp_path, plain):
    """They do not change the training; raw weights are validated and are the final model."""
    result = train(tmp_path / "run", 2, None, use_averages=False, **PLAIN)
    assert result.average is None
    assert "val_raw_loss" not in result.history[0]
    for row, other in zip(result.history, plain.history, strict=True):
        assert row["val_loss"] == other["val_raw_loss"]
        assert row["loss"] == other["loss"]


@pytest.mark.slow
def test_an_interrupted_run_ends_like_one_that_was_not(longer, tmp_path):
    """After the first epoch, and within the cooldown; the best epoch so far is remembered."""
    for stop in (1, 5):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", 6, stop=stop, resume=True, **OPTIONS)
    train(tmp_path / "run", 6, resume=True, **OPTIONS)
    assert_same(tmp_path / "run", longer)
    assert_same_averages(tmp_path / "run", longer)


@pytest.mark.slow
def test_a_finished_run_can_be_extended(longer, tmp_path):
    """It goes back behind its finalization and its cooldown; what was averaged since is gone."""
    folder = tmp_path / "run"
    short = train(folder, 4, **OPTIONS)
    before = contents(folder)
    with pytest.raises(KeyboardInterrupt):
        train(folder, 4, resume=True, extend="2ep", stop=3, **OPTIONS)
    for name in FILES:
        assert weights(folder / name) == weights(folder / "checkpoints" / "3" / name)
    assert train(folder, 4, resume=True, **OPTIONS).resumed_from == 3
    assert_same(folder, longer)
    assert_same_averages(folder, longer)
    times = {snapshot.time for snapshot in list_snapshots(folder / "snapshots")}
    assert not times & {10, 13, 16}  # 10 of the shorter run's cooldown; 13, 16 of no plan
    kept = contents(folder / "before-extension-1")
    assert {name: data for name, data in before.items() if "checkpoints" not in name} == kept
    assert short.average == "fast"
    assert {name for name in FILES if (folder / "checkpoints" / "5" / name).exists()} == {*FILES}


def test_a_finished_run_without_a_cooldown_is_extended_from_its_raw_weights(tmp_path, plain):
    """The state that it ended with is not the final model."""
    folder = tmp_path / "run"
    train(folder, 1, None, **PLAIN)
    train(folder, 1, None, resume=True, extend="1ep", **PLAIN)
    assert_same(folder, plain.folder)


@pytest.mark.slow
def test_a_branch_takes_averages_and_snapshots_along(tmp_path):
    """Those from before it begins; it ends like a run that was planned to cool down there."""
    train(tmp_path / "run", 6, checkpoint_every=1, **OPTIONS)
    output, source = tmp_path / "branch", tmp_path / "run" / "checkpoints" / "4"
    options = {"cooldown": "2ep", "output": output, "resume": True}
    keras.utils.clear_session(free_memory=False)
    with pytest.raises(KeyboardInterrupt):
        branch_cooldown(source, callbacks=[Stop(4)], **options)
    for name in FILES:
        assert weights(output / name) == weights(source / name)
    assert max(snapshot.time for snapshot in list_snapshots(output / "snapshots")) == 12
    keras.utils.clear_session(free_memory=False)
    branch_cooldown(source, **options)
    train(tmp_path / "planned", 6, {**WSD, "cooldown": "2ep"}, **OPTIONS)
    assert_same(output, tmp_path / "planned")
    assert_same_averages(output, tmp_path / "planned")


def test_averages_come_back_from_a_checkpoint(tmp_path):
    """What the callback has saved since is replaced, or taken away; the rest stays."""
    callbacks = [{"kind": "average_checkpoint", "path": "best-{epoch}.keras"}]
    own = config(1, None, PLAIN["optimizer"], callbacks=callbacks)
    folder = RunFolder(tmp_path / "run")
    folder.create(own, {})
    for name in ("best-1.keras", "best-2.keras", "best-2.ema.keras", "model.keras"):
        (folder.path / name).write_text("new")
    take_averages_back(folder, 3)
    assert (folder.path / "best-2.keras").exists()
    kept = RunFolder(folder.checkpoints / "3")
    folder.checkpoints.mkdir()
    kept.create(own, {})
    for name in ("best-1.keras", "best-1.ema.keras"):
        (kept.path / name).write_text("old")
    take_averages_back(folder, 3)
    found = {path.name: path.read_text() for path in folder.path.glob("*.keras")}
    assert found == {"best-1.keras": "old", "best-1.ema.keras": "old", "model.keras": "new"}


def test_the_best_averages_after_early_stopping(tmp_path):
    """Those of the epoch with the best metric are the final model, also when resumed."""
    stop = {"kind": "early_stopping", "patience": 2, "restore_best_weights": True, "mode": "max"}
    options = {
        **PLAIN,
        "callbacks": [stop, {"kind": "average_checkpoint", "path": "{epoch}.keras"}],
    }
    folder = tmp_path / "run"
    for epoch in (1, None):
        if epoch:
            with pytest.raises(KeyboardInterrupt):
                train(folder, 9, None, stop=epoch, **options)
            continue
        result = train(folder, 9, None, resume=True, **options)
    losses = [row["val_loss"] for row in result.history]
    best = int(np.argmax(losses))
    assert (result.epochs, result.average) == (best + 3, "ema")
    assert result.metrics["validation"]["loss"] == pytest.approx(losses[best], rel=1e-6)
    assert len(average_files(load_config(folder / "config.toml"), folder)) == 2 * result.epochs


def test_statistics_are_those_of_the_averages(tmp_path):
    """Batch normalization is recalibrated for each validation and at the end, alike."""
    options = {**PLAIN, "model": f"{OWN}:normalized"}
    result = train(tmp_path / "run", 2, None, **options)
    loss = result.history[-1]["val_loss"]
    assert result.metrics["validation"]["loss"] == pytest.approx(loss, rel=1e-6)
    keep = [{"kind": "evaluate_average", "batch_norm": "keep"}]
    kept = train(tmp_path / "kept", 2, None, **options, callbacks=keep)
    assert kept.history[-1]["val_loss"] != pytest.approx(loss, rel=1e-3)
    assert kept.history[-1]["val_raw_loss"] == result.history[-1]["val_raw_loss"]


def test_files_lie_where_the_config_says(tmp_path):
    """Relative paths in the run's folder, whatever it is called; absolute ones as they are."""
    elsewhere = tmp_path / "elsewhere"
    options = {
        "optimizer": {"use_ema": False, "averaging": "power_ema"},
        "callbacks": [
            {"kind": "average_snapshots", "folder": str(elsewhere), "every": 1},
            {
                "kind": "average_checkpoint",
                "path": "kept/{epoch:02d}.keras",
                "average_path": "kept/best-{epoch}.keras",
            },
        ],
    }
    folder = tmp_path / "run {1}"
    train(folder, 2, None, **options)
    names = ["kept/01.keras", "kept/02.keras", "kept/best-1.keras", "kept/best-2.keras"]
    assert average_files(load_config(folder / "config.toml"), folder) == names
    assert [s.time for s in list_snapshots(elsewhere)] == [1, 2, 3, 4, 5, 6]
    assert not (folder / "snapshots").exists()


def test_files_of_averages_are_found_by_their_names(tmp_path):
    """Those of the callback, of any epoch; not the final model, nor what is half-written."""
    found = ["checkpoint.fast.keras", "checkpoint.keras", "e1.keras", "e2.fast.keras"]
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (*found, "model.keras", "other.keras", ".checkpoint.tmp.keras", "../e3.keras"):
        (folder / name).touch()
    paths = [{}, {"path": "e{epoch}.keras"}, {"path": "../e{epoch}.keras"}]
    tables = [{"kind": "average_checkpoint", **path} for path in paths]
    optimizer = {"use_ema": False, "averaging": {"fast": "ema"}}
    own = config(1, None, optimizer, callbacks=tables)
    assert average_files(own, folder) == found


def test_a_run_from_before_averages_of_use_ema_were_evaluated_goes_on(tmp_path, monkeypatch):
    """As it began: its state knows no callbacks for them, and its end is that of `use_ema`."""
    options = {"optimizer": {"use_ema": True}}
    with monkeypatch.context() as patch:
        patch.setattr("nadam_suite.config.train_config.averages_are_used", lambda values: False)
        train(tmp_path / "whole", 3, **options)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", 3, stop=2, **options)
    result = train(tmp_path / "run", 3, resume=True, **options)
    assert result.resumed_from == 2
    assert "val_raw_loss" not in result.history[-1]
    assert_same(tmp_path / "run", tmp_path / "whole")
