"""`best.toml`: what it holds, and when it is replaced."""

from __future__ import annotations

import dataclasses

import keras_tuner
import pytest

from nadam_suite.config import TrainConfig, load_config, save_config
from nadam_suite.errors import DataFileError
from nadam_suite.tuner.best_config import write_best
from nadam_suite.tuner.runs import RunHyperModel
from nadam_suite.tuner.search_record import CONFIGURED, POINT, SearchRecord, TrialRecord
from tests.tuner.recorded import RATE, changed, record

pytestmark = pytest.mark.once

BASE = {"model": "digits", "data": "digits", "epochs": 4, "name": "mine"}
TUNED = {"tune": ["learning_rate", "warmup", "averaging"], "schedules": ["cosine", "wsd"]}
VALUES = {
    "cosine": {"learning_rate": 3e-3, "schedule": "cosine", "warmup": 0.05, "averaging": "none"},
    "wsd and an average": {
        "learning_rate": 1e-3,
        "schedule": "wsd",
        "warmup": 0.125,
        "averaging": "ema",
        "averaging_half_life": 0.02,
    },
}


@pytest.fixture
def searched(tmp_path):
    """A search of three trials that are runs, the second of which is the best."""
    found = record(lambda v, r: r.random(), 3, (RATE,))
    places = {f"_{t.id}": {"folder": tmp_path / f"trial_{t.id}"} for t in found.trials}
    places["_01"]["score"] = -1.0
    found = dataclasses.replace(changed(found, **places), folder=tmp_path)
    for number, trial in enumerate(found.trials):
        (trial.folder / "run").mkdir(parents=True)
        config = TrainConfig(
            model="digits",
            data="digits",
            name="mine",
            output="elsewhere",
            seed=number,
            optimizer={"learning_rate": trial.values["rate"]},
            tuner={"trials": 5},
        )
        save_config(config, trial.folder / "run" / "config.toml")
    return found


def test_the_best_trial_s_config_is_written(searched):
    """As a config that trains what the trial trained: not where, nor how it was found."""
    best = write_best(searched)
    assert best.done == "wrote"
    assert best.path == searched.folder / "best.toml"
    config = load_config(best.path)
    assert (config.seed, config.name) == (1, "mine-best")
    assert config.optimizer.learning_rate == searched.trials[1].values["rate"]
    assert (config.tuner, config.output) == (None, None)
    assert f"Wrote {best.path}, the config of the best trial 01." in str(best)
    assert f"nadam-suite train {best.path}" in str(best)


def test_the_file_of_another_trial_is_replaced_and_an_edited_one_is_not(searched):
    """Not even for a comment, unless that is asked for."""
    path = write_best(searched).path
    again = write_best(searched)
    assert again.done == "kept"
    assert str(again).startswith("Kept ")
    first = path.read_bytes()
    other = changed(searched, _01={"score": 9.0})
    replaced = write_best(other)
    assert str(replaced).startswith(f"Replaced {path}, the config of the best trial ")
    assert path.read_bytes() != first
    path.write_bytes(first + b"# mine\n")
    left = write_best(other)
    assert path.read_bytes() == first + b"# mine\n"
    assert str(left).startswith(f"{path} was edited, and stays as it is")
    assert str(left).endswith(f"\n  nadam-suite report {searched.folder} --force")
    assert write_best(other, force=True).done == "replaced"
    assert load_config(path).seed == int(left.trial)


def test_what_is_no_config_is_left_and_what_cannot_be_written_is_told(searched, tmp_path):
    """A file of somebody else counts as edited."""
    path = searched.folder / "best.toml"
    path.write_text("learning_rate = [")
    assert write_best(searched).done == "left"
    assert path.read_text() == "learning_rate = ["
    elsewhere = write_best(searched, tmp_path / "new")
    assert write_best(searched, tmp_path / "new").done == "kept"
    elsewhere.path.write_text("mine")
    command = f"nadam-suite report {searched.folder} --force --output {tmp_path / 'new'}"
    assert str(write_best(searched, tmp_path / "new")).endswith(f"\n  {command}")
    with pytest.raises(DataFileError, match=r"best\.toml' must be one that can be read and writt"):
        write_best(searched, path)


def test_there_is_no_best_config_where_trials_are_no_runs(searched, tmp_path):
    """Or where none has ended well; another folder may be named."""
    assert write_best(dataclasses.replace(searched, trials=())) is None
    (searched.trials[1].folder / "run" / "config.toml").unlink()
    assert write_best(searched) is None
    elsewhere = write_best(changed(searched, _01={"score": 9.0}), tmp_path / "new")
    assert elsewhere.path == tmp_path / "new" / "best.toml"
    assert elsewhere.path.exists()


def ended(folder, values, origin=None, **settings):
    """A search of one trial, as its folder is after it: its own config, and the run's in steps."""
    search = TrainConfig(**{**BASE, "tuner": TUNED, **settings})
    hp = keras_tuner.HyperParameters()
    hp.values = {**values, **({POINT: CONFIGURED} if origin == CONFIGURED else {})}
    asked = RunHyperModel(search).trial_config(hp).replace(seed=7)
    run = asked.resolve(asked.plan(examples=640))
    place = folder / "trial_0"
    (place / "run").mkdir(parents=True)
    save_config(search, folder / "search.toml")
    save_config(run, place / "run" / "config.toml")
    trial = TrialRecord("0", place, values, "COMPLETED", 0.5, origin=origin)
    return SearchRecord(folder, "val_loss", "min", (), (trial,)), asked, run


@pytest.mark.parametrize("case", VALUES)
def test_lengths_are_those_of_the_search(tmp_path, case):
    """A longer training stretches the schedule, and one as long is the trial's, step for step."""
    found, asked, run = ended(tmp_path, VALUES[case])
    best = load_config(write_best(found).path, kind=TrainConfig)
    assert best == asked.replace(name="mine-best")
    assert best.optimizer.learning_rate.total is None
    assert str(best.optimizer.learning_rate.warmup).endswith("%")
    assert best.resolve(best.plan(examples=640)) == run.replace(name="mine-best")
    longer = best.replace(epochs=12)
    whole = longer.plan(examples=640)
    assert longer.resolve(whole).optimizer.learning_rate.total == whole.total_steps


def test_the_config_as_it_is_keeps_its_own_lengths(tmp_path):
    """Of any kind, in steps where it has steps."""
    schedule = {"kind": "piecewise", "points": [[0, 0.0], [5, 1.0], ["50%", 0.1]]}
    found, _, run = ended(tmp_path, {"learning_rate": 1e-3}, CONFIGURED, schedule=schedule)
    best = load_config(write_best(found).path, kind=TrainConfig)
    assert [list(pair) for pair in best.schedule.points] == schedule["points"]
    assert best.resolve(best.plan(examples=640)) == run.replace(name="mine-best")


def test_what_a_run_has_changed_by_itself_stays(tmp_path):
    """A learning rate that was scaled for the batch size is that of the run."""
    found, _, run = ended(tmp_path, VALUES["cosine"])
    save_config(run.scaled(2.0), found.trials[0].folder / "run" / "config.toml", overwrite=True)
    best = load_config(write_best(found).path, kind=TrainConfig).optimizer.learning_rate
    assert (best.factor or 1.0) * best.peak == 6e-3
    assert (best.warmup, best.total) == ("5%", None)


def test_a_file_with_lengths_in_steps_is_the_search_s_own(tmp_path):
    """Searches wrote such ones before."""
    found, _, run = ended(tmp_path, VALUES["cosine"])
    save_config(run.replace(name="mine-best"), tmp_path / "best.toml")
    assert write_best(found).done == "replaced"
