"""A cooldown that is branched from a state ends like a run that was planned to cool down there."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest

from nadam_suite.callbacks.snapshot import read
from nadam_suite.config import ScheduleConfig, TrainConfig, load_config
from nadam_suite.errors import ConfigError, DataFileError, RunFolderError
from nadam_suite.experiment import branch_cooldown
from nadam_suite.experiment.cooldown import Cooldown, cooled
from nadam_suite.experiment.lengths import values_of
from tests.experiment.comparing import assert_same
from tests.experiment.small_runs import Stop, config, contents, damage, no_pictures, train

pytestmark = pytest.mark.once

__all__ = ["no_pictures"]  # a fixture that every test of this file uses

LONG = {"kind": "wsd", "warmup": 2, "cooldown": "1ep"}


def branch(checkpoint, output, *, stop=None, **options):
    """Branch a cooldown; `stop` is the epoch whose first batch interrupts."""
    keras.utils.clear_session(free_memory=False)
    watch = [Stop(stop)] if stop is not None else []
    return branch_cooldown(checkpoint, output=output, callbacks=watch, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four epochs with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("stable") / "run"
    train(folder, 4, LONG, checkpoint_every=1)
    return folder


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A run that was planned to cool down over its third and fourth epoch, linearly."""
    folder = tmp_path_factory.mktemp("planned") / "run"
    train(folder, 4, {**LONG, "cooldown": "2ep", "shape": "linear", "end": 0.01})
    return folder


@pytest.fixture
def stable(run, tmp_path):
    """The checkpoint of the second epoch, alone: what it needs is with it."""
    return shutil.copytree(run / "checkpoints" / "2", tmp_path / "2")


def test_a_branch_ends_like_a_planned_run(run, stable, planned, tmp_path):
    """With its numbers, its whole history, and the origin written down."""
    told, before = [], contents(run)
    options = {"cooldown": "2ep", "shape": "linear", "end": 0.01, "tell": told.append}
    result = branch(stable, tmp_path / "run", **options)
    assert (result.epochs, result.resumed_from) == (4, 2)
    assert_same(tmp_path / "run", planned)
    assert any(f"from {stable} into" in line and "epoch 2 to 4" in line for line in told)
    origin = json.loads((tmp_path / "run" / "origin.json").read_text())
    assert origin["checkpoint"] == str(stable)
    assert (origin["epoch"], origin["step"], origin["run"]) == (2, 6, "run")
    own, expected = (load_config(f / "config.toml") for f in (tmp_path / "run", planned))
    assert own.name == "run-cooldown-2"
    assert own.replace(name="run", output=None, checkpoint_every=None) == expected
    assert contents(run) == before


def test_an_interrupted_branch_goes_on(stable, planned, tmp_path):
    """By the same call, or like any run by the config in its folder."""
    options = {"cooldown": "2ep", "shape": "linear", "end": 0.01, "resume": True}
    folder = tmp_path / "run"
    for epoch in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            branch(stable, folder, stop=epoch, **options)
    assert branch(stable, folder, **options).resumed_from == 3
    assert_same(folder, planned)
    assert branch(stable, folder, **options).already_finished


def test_another_cooldown_in_the_same_folder_is_refused(stable, tmp_path):
    """A branch goes on as it began, and a run that is no branch is left alone."""
    with pytest.raises(KeyboardInterrupt):
        branch(stable, tmp_path / "run", cooldown="2ep", stop=2)
    before = contents(tmp_path)
    with pytest.raises(RunFolderError, match="must not exist yet"):
        branch(stable, tmp_path / "run", cooldown="2ep")
    with pytest.raises(RunFolderError, match=r"(?s)schedule\.cooldown: 6 -> 3"):
        branch(stable, tmp_path / "run", cooldown="1ep", resume=True)
    with pytest.raises(RunFolderError, match="holds another run"):
        branch(stable, stable, cooldown="1ep", resume=True)
    assert contents(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_number_becomes_a_schedule(tmp_path, precision):
    """The optimizer of a number holds other variables than that of a schedule, wrapped or not."""
    train(tmp_path / "run", 2, None, precision=precision)
    branch(tmp_path / "run", tmp_path / "branch", cooldown="2ep")
    schedule = {"kind": "constant", "cooldown": "2ep"}
    train(tmp_path / "planned", 4, schedule, precision=precision)
    assert_same(tmp_path / "branch", tmp_path / "planned")


@pytest.mark.slow
def test_a_rate_that_was_lowered_goes_on_from_there(tmp_path):
    """What a plateau has made of a number becomes the scale of the schedule."""
    plateau = {"kind": "plateau_scale", "monitor": "loss", "patience": 1, "factor": 0.5}
    options = {"callbacks": [{**plateau, "min_delta": 1e9, "min_scale": 0.5}]}
    train(tmp_path / "run", 3, None, **options)
    result = branch(tmp_path / "run", tmp_path / "branch", cooldown="2ep", shape="linear")
    rates = [row["learning_rate"] for row in result.history]
    expected = [0.05, 0.05, 0.025, 0.025 * 4 / 6, 0.025 / 6]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


@pytest.mark.slow
def test_a_callback_that_set_the_rate_is_left_out(tmp_path):
    """The rate goes down from where it has brought it; other callbacks keep what they remember."""
    plateau = {"kind": "reduce_lr_on_plateau", "monitor": "loss", "patience": 1, "factor": 0.5}
    stop = {"kind": "early_stopping", "monitor": "loss", "restore_best_weights": True}
    options = {"callbacks": [{**plateau, "min_delta": 1e9, "min_lr": 0.025}, stop]}
    train(tmp_path / "run", 3, None, **options)
    result = branch(tmp_path / "run", tmp_path / "branch", cooldown="1ep", shape="linear")
    assert result.history[-1]["learning_rate"] == pytest.approx(0.025 / 3)
    kept = read(tmp_path / "branch" / "checkpoints" / "3" / "state" / "training_state.npz")
    assert [e["kind"] for e in kept.header["callbacks"]] == [
        "HyperparameterLogger",
        "EvaluateAverage",
        "EarlyStopping",
        "EMAFinalization",
    ]
    assert kept.arrays["callback_2/best_weights"]


@pytest.mark.slow
@pytest.mark.parametrize("schedule_step", ["batch", "update"])
def test_windows_that_go_on(tmp_path, schedule_step):
    """An accumulation window that the branch cuts is continued in it."""
    schedule = {"kind": "inverse_sqrt", "warmup": 1}
    optimizer = {"gradient_accumulation_steps": 2, "schedule_step": schedule_step}
    train(tmp_path / "run", 3, schedule, optimizer=optimizer)
    branch(tmp_path / "run", tmp_path / "branch", cooldown="2ep")
    total, steps = (7, 3) if schedule_step == "update" else (15, 6)
    schedule |= {"cooldown": steps, "total": total}
    train(tmp_path / "planned", 5, schedule, optimizer=optimizer)
    assert_same(tmp_path / "branch", tmp_path / "planned")


@pytest.mark.slow
def test_an_early_stopped_run_can_cool_down(tmp_path):
    """What ended it does not end its cooldown before that has begun."""
    stop = {"kind": "early_stopping", "monitor": "loss", "patience": 2, "min_delta": 1e9}
    assert train(tmp_path / "run", 9, None, callbacks=[stop]).epochs == 3
    assert branch(tmp_path / "run", tmp_path / "branch", cooldown="2ep").epochs == 5


@pytest.mark.slow
def test_a_branch_is_extended_like_a_run(stable, planned, tmp_path):
    """It has kept the state from which it was branched."""
    folder = tmp_path / "run"
    branch(stable, folder, cooldown="1ep")
    own = load_config(folder / "config.toml")
    options = {"schedule": own.schedule, "name": own.name, "resume": True}
    assert train(folder, 3, extend="1ep", **options).epochs == 4
    train(tmp_path / "planned", 4, LONG)
    assert_same(folder, tmp_path / "planned")


def test_a_state_in_the_cooldown_is_refused(run, tmp_path):
    """The message names the checkpoint before it."""
    kept = run / "checkpoints" / "3"
    with pytest.raises(ConfigError, match=rf"began at step 9. Pass '{kept}'"):
        branch(run, tmp_path / "run", cooldown="1ep")
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_state_is_refused(run, tmp_path):
    """Neither a folder that is no run nor one that is not there can be branched from."""
    for path in (run / "state", tmp_path / "none"):
        with pytest.raises(RunFolderError, match=rf"--cooldown-from='{path}'. Check the path"):
            branch(path, tmp_path / "run", cooldown="1ep")


def test_the_config_must_be_that_of_the_run(run, stable, tmp_path):
    """Only its cooldown may be another one."""
    given = config(4, {**LONG, "cooldown": "2ep", "shape": "linear"})
    with pytest.raises(KeyboardInterrupt):
        branch(run / "checkpoints" / "2", tmp_path / "run", config=given, stop=2)
    assert load_config(tmp_path / "run" / "config.toml").schedule.cooldown == 3
    other = config(4, LONG, optimizer={"beta_2": 0.9})
    with pytest.raises(
        RunFolderError, match=r"(?s)optimizer\.beta_2: 0.999 -> 0.9.*leave NAME out"
    ):
        branch(stable, tmp_path / "other", config=other)


def test_a_damaged_state_is_refused(stable, tmp_path):
    """The message has the file, and there is no folder afterwards."""
    path = damage(stable)
    with pytest.raises(DataFileError, match=rf"{path}' cannot be read"):
        branch(stable, tmp_path / "run", cooldown="1ep")
    assert not (tmp_path / "run").exists()


def test_the_state_may_not_go_on_while_it_is_read(stable, tmp_path, monkeypatch):
    """A run that is still training should be branched from one of its checkpoints."""
    monkeypatch.setattr("nadam_suite.experiment.branch.epoch_of", lambda source: 1)
    with pytest.raises(RunFolderError, match="went on from epoch 1 to 2"):
        branch(stable, tmp_path / "run", cooldown="1ep")
    assert not (tmp_path / "run").exists()


def plan_of(schedule, epochs=10, **changes):
    """A resolved config of epochs of four batches, and its plan."""
    given = TrainConfig(
        model="digits", data="digits", batch_size=10, epochs=epochs, schedule=schedule, **changes
    )
    plan = given.plan(40)
    return given.resolve(plan), plan


@pytest.mark.parametrize(
    ("length", "epochs"), [("2ep", 8), ("80ex", 8), (8, 8), ("25%", 8), ("50%", 12), (None, 9)]
)
def test_lengths_of_a_cooldown(tmp_path, length, epochs):
    """A percentage is one of the whole, and the default the length that the run has."""
    own, plan = plan_of({**LONG, "cooldown": "3ep"})
    found = cooled(own, plan, 6, Cooldown(length), tmp_path)
    assert (found.epochs, found.schedule.total) == (epochs, 4 * epochs)
    assert found.schedule.total - found.schedule.cooldown == 24


@pytest.mark.parametrize("length", ["1.5ep", 7, "30ex", "30%", "0ep", 0])
def test_lengths_that_make_no_epochs_are_refused(tmp_path, length):
    """The message has the value and one that would do."""
    own, plan = plan_of(LONG)
    shown = rf"schedule\.cooldown={length!r}\. Write for instance schedule\.cooldown=\dep"
    with pytest.raises(ConfigError, match=rf"whole epochs, of 4 batches.*{shown}"):
        cooled(own, plan, 6, Cooldown(length), tmp_path)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Cooldown(None), "`schedule.cooldown` is missing"),
        (Cooldown("ten"), r"schedule\.cooldown.*'ten'"),
        (Cooldown(1.5), r"schedule\.cooldown.*1\.5"),
        (Cooldown("1ep", shape="round"), r"cooldown_shape.*'round'"),
        (Cooldown("1ep", end=-1.0), r"cooldown_end.*-1\.0"),
        (Cooldown("1ep", end=0.5), r"must go down.*0\.001 after epoch 6 and of 0\.5 at the end"),
    ],
)
def test_what_no_cooldown_can_be_is_refused(tmp_path, wanted, message):
    """Each message names the value."""
    with pytest.raises(ConfigError, match=message):
        cooled(*plan_of(None), 6, wanted, tmp_path)


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "constant", "warmup": 3},
        {"kind": "inverse_sqrt", "warmup": 3},
        {"kind": "noam", "warmup": 8, "d_model": 16},
        {"kind": "cosine", "warmup": "10%", "end": 0.1},
        {"kind": "polynomial", "cooldown": "10%", "factor": 0.5},
        {"kind": "one_cycle"},
        {"kind": "cyclical", "step_size": 7, "base": 0.5},
        {"kind": "joined", "parts": [{"kind": "constant"}, {"kind": "linear"}], "boundaries": [9]},
        {"kind": "wsd", "warmup": "7ep", "cooldown": "1ep", "shape": "linear", "end": 0.001},
    ],
    ids=lambda table: table["kind"],
)
def test_any_schedule_can_be_cut_short(tmp_path, schedule):
    """What was trained stays as it was; from the epoch on it goes down, and ends at its end."""
    own, plan = plan_of(schedule, optimizer={"learning_rate": 0.25})
    found = cooled(own, plan, 6, Cooldown("2ep"), tmp_path)
    before, after = (values_of(c.full_optimizer().learning_rate, range(33)) for c in (own, found))
    np.testing.assert_array_equal(after[:25], before[:25])
    assert (np.diff(after[24:]) < 0).all()
    assert after[32] == np.float32(schedule.get("end", 0.0) if schedule["kind"] == "wsd" else 0.0)
    assert found == TrainConfig.from_dict(found.to_dict())


def test_other_cooldowns_go_with_it(tmp_path):
    """A schedule that has a cooldown goes down with the rate, another one goes on."""
    optimizer = {
        "weight_decay": {"kind": "wsd", "peak": 0.1, "cooldown": "1ep"},
        "beta_1": {"kind": "linear", "peak": 0.9, "end": 0.5},
    }
    own, plan = plan_of({**LONG, "shape": "cosine"}, optimizer=optimizer)
    found = cooled(own, plan, 6, Cooldown("2ep"), tmp_path)
    assert found.optimizer.weight_decay == own.optimizer.weight_decay.replace(total=32, cooldown=8)
    assert found.optimizer.beta_1 == own.optimizer.beta_1
    assert found.schedule.shape == "cosine"


def test_a_rate_that_is_a_schedule_itself(tmp_path):
    """It is changed where it stands."""
    rate = ScheduleConfig(peak=0.1, kind="wsd", cooldown="1ep")
    own, plan = plan_of(None, optimizer={"learning_rate": rate})
    found = cooled(own, plan, 6, Cooldown(), tmp_path)
    assert found.schedule is None
    assert (found.optimizer.learning_rate.total, found.epochs) == (28, 7)
