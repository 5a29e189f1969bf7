"""What a run logs beside its metrics: norms by layer, TensorBoard's curves and hyperparameters."""

from __future__ import annotations

import csv

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2

from nadam_suite.errors import DataFileError
from nadam_suite.experiment import branch_cooldown
from nadam_suite.experiment.norm_record import NORMS, read_norms
from nadam_suite.experiment.report import read_run
from nadam_suite.experiment.sessions import read_sessions
from tests.experiment.small_runs import no_pictures, train
from tests.tuner.test_hparams import Table

pytestmark = pytest.mark.once

__all__ = ["no_pictures"]  # a fixture that every test of this file uses

AVERAGED = {"use_ema": False, "averaging": "ema"}
HALF = {"precision": "mixed_float16", "loss_scale": {"initial_scale": 1024.0}}
SHARED = ("learning_rate", "weight_decay", "beta_1", "momentum", "gradient_norm")
OURS = ("update_norm", "update_ratio")
SCALES = ("loss_scale", "skipped_steps", "loss_scale_growths")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three epochs in half precision with averages; its result."""
    return train(tmp_path_factory.mktemp("whole") / "run", 3, optimizer=AVERAGED, **HALF)


def curve(folder, split, tag):
    events = EventAccumulator(str(folder / "tensorboard" / split)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_tensorboard_has_a_curve_of_everything_that_is_logged(whole):
    """Schedules, norms, loss scale, metrics raw and averaged: with the history's numbers."""
    rows = whole.history
    for name in (*SHARED, *OURS, *SCALES, "loss", "mae"):
        expected = [(row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in rows]
        assert curve(whole.folder, "train", f"epoch_{name}") == expected
    for split, prefix in (("validation", "val_"), ("validation_raw", "val_raw_")):
        expected = [(row["epoch"], pytest.approx(row[f"{prefix}loss"], rel=1e-6)) for row in rows]
        assert curve(whole.folder, split, "epoch_loss") == expected


def test_layers_have_curves_and_a_file_of_their_own(whole):
    """The file has what TensorBoard has, and together they are what the history has."""
    norms = read_norms(whole.folder / NORMS)
    assert [(each.epoch, each.step) for each in norms] == [(0, 3), (1, 6), (2, 9)]
    assert len(norms[0].layers) == 2
    for layer in norms[0].layers:
        for tag, name in (("update_norm", "update"), ("gradient_norm", "gradient")):
            expected = [
                (n.epoch, pytest.approx(getattr(n.layers[layer], name), rel=1e-6)) for n in norms
            ]
            assert curve(whole.folder, "train", f"{tag}/{layer}") == expected
    for each, row in zip(norms, whole.history, strict=True):
        assert each.total.update == pytest.approx(row["update_norm"])
        assert each.total.ratio == pytest.approx(row["update_ratio"])


def test_tensorboard_has_the_hyperparameters(whole):
    """Those of the config, with the session that has ended well."""
    (group,) = Table(whole.folder / "tensorboard").groups().values()
    assert group.hparams["optimizer.learning_rate"].number_value == 0.05
    assert group.hparams["schedule.kind"].string_value == "wsd"
    assert group.hparams["precision"].string_value == "mixed_float16"
    assert [each.status for each in group.sessions] == [api_pb2.STATUS_SUCCESS]


def test_a_resumed_run_has_the_same_norms(whole, tmp_path):
    """Whatever a process wrote that was then killed is dropped, also in TensorBoard."""
    folder, options = tmp_path / "run", {"optimizer": AVERAGED, **HALF}
    with pytest.raises(KeyboardInterrupt):
        train(folder, 3, stop=1, **options)
    path = folder / NORMS
    path.write_text(path.read_text() + "1,6,left,1.0,1.0,1.0\n")
    resumed = train(folder, 3, resume=True, **options)
    assert resumed.history == whole.history
    assert path.read_text() == (whole.folder / NORMS).read_text()
    assert len(curve(folder, "train", "epoch_update_norm")) == 3
    sessions = read_sessions(folder)
    assert [each["status"] for each in sessions] == ["interrupted", "finished"]
    assert [[epoch for epoch, _ in each["epochs"]] for each in sessions] == [[0], [1, 2]]
    assert "Resumed: 2 processes have trained it." in read_run(folder).remarks()


def test_it_can_be_switched_off_and_on(tmp_path):
    """Without it nothing is written; a run may go on with it, as it changes nothing else."""
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(folder, 2, stop=1, logging={"norms": False})
    assert not (folder / NORMS).exists()
    logging = {"norms_every": 2, "norms_per": "variable"}
    train(folder, 2, resume=True, logging=logging)
    norms = read_norms(folder / NORMS)
    assert [(each.epoch, each.step) for each in norms] == [(1, 4), (1, 6)]
    assert len(norms[0].layers) == 4
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["update_norm"]) for row in rows] == [False, True]
    name = next(iter(norms[0].layers))
    assert [step for step, _ in curve(folder, "train", f"update_norm/{name}")] == [4, 6]


def test_a_branch_goes_on_with_the_norms_of_its_run(tmp_path):
    """Of the epochs before it."""
    train(tmp_path / "run", 3, checkpoint_every=1)
    branch_cooldown(tmp_path / "run" / "checkpoints" / "2", cooldown="1ep", output=tmp_path / "b")
    run, branch = (read_norms(tmp_path / name / NORMS) for name in ("run", "b"))
    assert [each.epoch for each in branch] == [0, 1, 2]
    assert branch[:2] == run[:2]


def test_a_damaged_file_of_norms_is_refused(tmp_path):
    """By its name, with the remedy."""
    (tmp_path / NORMS).write_text("epoch,step,layer\nx,y,z\n")
    with pytest.raises(DataFileError, match=r"norms\.csv.*Delete it"):
        read_norms(tmp_path / NORMS)
