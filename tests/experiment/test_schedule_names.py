"""Each schedule by its name in a config file: the history holds the rates of the formula."""

from __future__ import annotations

import csv

import keras
import numpy as np
import pytest

from nadam_suite.config import load_config
from nadam_suite.config.build import build_schedule
from nadam_suite.config.schedule_kinds import KINDS
from nadam_suite.experiment import run_training
from nadam_suite.schedules import sample
from tests.reference.schedules import twin

pytestmark = pytest.mark.once  # K36's cells have each backend's history

EPOCHS, STEPS = 40, 4  # of 32 of 128 images

# Lines of TOML for each kind, in the units of users.
KEYS = {
    "constant": 'warmup = "10%"',
    "linear": 'warmup = "2ep"\nend = 1e-4',
    "cosine": 'warmup = "256ex"',
    "polynomial": 'power = 2\ntotal = "75%"',
    "exponential": 'decay_rate = 0.5\ndecay_every = "5ep"\nstaircase = true',
    "inverse_sqrt": 'warmup = "10%"\ncooldown = "20%"\ncooldown_shape = "linear"',
    "noam": 'd_model = 16\nwarmup = "25%"',
    "wsd": 'warmup = 5\ncooldown = "20%"',
    "one_cycle": 'cooldown = "10%"',
    "one_cycle_momentum": 'cooldown = "10%"',
    "cyclical": 'base = 1e-4\nstep_size = "3ep"\nmode = "triangular2"',
    "cosine_restarts": 'first_period = "5ep"\nend = 1e-5\nm_mul = 0.5\nfactor = 0.5',
    "piecewise": 'points = [[0, 0.1], ["10%", 1.0], ["35ep", 0.25]]\ninterpolation = "cosine"',
    "joined": (
        'boundaries = ["25%"]\nparts = [{ kind = "constant", warmup = "50%" }, '
        '{ kind = "wsd", peak = 2e-3, cooldown = "40%", end = 1e-4 }]'
    ),
}


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch):
    """Leave out the picture of each run, which takes a second and is tested elsewhere."""
    monkeypatch.setattr("nadam_suite.experiment.run.plot_curves", lambda *arguments: None)


def read(folder, kind, extra=""):
    """The config of a training that is scheduled by one kind, read from a file."""
    table = "optimizer.beta_1" if kind == "one_cycle_momentum" else "schedule"
    path = folder / "training.toml"
    path.write_text(
        f"""
model = "digits"
data = "digits"
epochs = {EPOCHS}
batch_size = 32
model_options = {{ width = 2 }}
data_options = {{ train_examples = {STEPS * 32} }}

[optimizer]
learning_rate = 3e-3
{extra}

[{table}]
kind = "{kind}"
{KEYS[kind]}
"""
    )
    return load_config(path)


def history(result, name):
    """A column of a run's history.csv, which is that of the result."""
    with (result.folder / "history.csv").open() as file:
        column = [float(row[name]) for row in csv.DictReader(file)]
    assert column == [row[name] for row in result.history]
    return np.array(column)


def counters(window, schedule_step):
    """What the schedules have counted at the last update of each epoch."""
    found = []
    for epoch in range(EPOCHS):
        updates = STEPS * (epoch + 1) // window
        found.append(updates - 1 if schedule_step == "update" else updates * window - 1)
    return found


def check(config, folder, name, window=1, schedule_step="batch"):
    """Train, and compare the history with the schedule and with its twin in float64."""
    resolved = config.resolve(config.plan(STEPS * 32)).full_optimizer()
    schedule = build_schedule(getattr(resolved, name))
    result = run_training(config, output=folder / "run")
    found, counted = history(result, name), counters(window, schedule_step)
    np.testing.assert_allclose(found, sample(schedule, np.array(counted)), rtol=1e-6)
    np.testing.assert_allclose(found, [twin(schedule, count) for count in counted], rtol=1e-6)
    assert len(set(found)) > 4


def test_every_kind_has_its_lines():
    """No kind that a config may name is left out below."""
    assert KEYS.keys() == KINDS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KEYS)
def test_the_history_holds_the_rates_of_the_schedule(tmp_path, kind):
    """Of every epoch it holds what the optimizer used at its last step."""
    name = "beta_1" if kind == "one_cycle_momentum" else "learning_rate"
    check(read(tmp_path, kind), tmp_path, name)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "schedule_step"), [("wsd", "batch"), ("joined", "update")])
def test_it_does_so_under_accumulation(tmp_path, kind, schedule_step):
    """With windows of 3 batches that epochs of 4 cut, it is the epoch's last real update."""
    extra = f'gradient_accumulation_steps = 3\nschedule_step = "{schedule_step}"'
    check(read(tmp_path, kind, extra), tmp_path, "learning_rate", 3, schedule_step)


def test_a_plateau_scales_what_a_schedule_says(tmp_path):
    """A callback of the config lowers the rate of a schedule, which goes on its course."""
    plateau = (
        '{kind = "plateau_scale", monitor = "loss", min_delta = 1e9, patience = 1, factor = 0.5}'
    )
    path = tmp_path / "training.toml"
    read(tmp_path, "polynomial")
    config = load_config(path, ["epochs=4", f"callbacks=[{plateau}]"])
    schedule = config.build_optimizer(config.plan(STEPS * 32)).get_config()["learning_rate"]
    schedule = keras.saving.deserialize_keras_object(schedule)
    result = run_training(config, output=tmp_path / "run")
    scales = np.array([1.0, 1.0, 0.5, 0.25])
    expected = scales * sample(schedule, np.array([3, 7, 11, 15]))
    np.testing.assert_allclose(history(result, "learning_rate"), expected, rtol=1e-6)
