"""A search without any training: a made-up objective, and clients that ask for trials."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from pathlib import Path

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner

from nadam_suite.tuner import durable
from nadam_suite.tuner.oracles import (
    BayesianOptimizationOracle,
    GridSearchOracle,
    HyperbandOracle,
    QuasiRandomOracle,
    RandomSearchOracle,
)
from nadam_suite.tuner.points import Enqueued

ORACLES = {
    "quasi_random": (QuasiRandomOracle, {"max_trials": 8, "sampler": "sobol"}),
    "random": (RandomSearchOracle, {"max_trials": 8}),
    "bayesian": (BayesianOptimizationOracle, {"max_trials": 7, "num_initial_points": 3}),
    "grid": (GridSearchOracle, {"max_trials": 8, "values_per_range": 2}),
    "hyperband": (HyperbandOracle, {"max_epochs": 4, "factor": 2}),
}
POINTS = (
    Enqueued("default", {}),
    Enqueued("ours", {"schedule": "wsd", "wsd/cooldown": 0.1, "decay": True}, ("units",)),
)


def space(highest=1e-1):
    """Two branches, one range on a log scale, one of integers."""
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", 1e-4, highest, sampling="log", default=1e-3)
    hp.Choice("schedule", ["cosine", "wsd"])
    with hp.conditional_scope("schedule", ["wsd"]):
        hp.Float("wsd/cooldown", 0.05, 0.5)
    hp.Boolean("decay")
    with hp.conditional_scope("decay", [True]):
        hp.Float("weight_decay", 1e-3, 1.0, sampling="log", default=0.1)
    hp.Int("units", 1, 8, default=4)
    hp.Fixed("layers", 2)
    return hp


def make(kind, folder, seed=7, name="search", verbose=0, **options):
    """An oracle of a kind in a folder, gone on with if there is something to go on with."""
    cls, own = ORACLES[kind]
    given = {"hyperparameters": space(), "points": POINTS, "max_retries_per_trial": 1}
    given |= {"max_consecutive_failed_trials": 99, **own, **options}
    oracle = cls("val_loss", seed=seed, **given)
    oracle.verbose = verbose
    BaseTuner(oracle, directory=str(folder), project_name=name)
    if (Path(folder) / name / "oracle.json").exists():
        oracle.reload()
    return oracle


def number(values, count):
    """A number below `count` that depends on the values alone, not on what Hyperband adds."""
    own = {name: value for name, value in values.items() if not name.startswith("tuner/")}
    text = json.dumps(sorted(own.items()))
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % count


def losses(values):
    """What each of two epochs measures; equal for some trials, so that there are ties."""
    rough = round(abs(values["learning_rate"] - 3e-3) * 30 + values["units"] / 8, 1)
    return [rough + 0.5, rough + (0.1 if values["decay"] else 0.0)]


def run(oracle, trial):
    """Run one trial: most end well, some diverge, some crash whenever they are tried."""
    values = trial.hyperparameters.values
    first = values.get("tuner/initial_epoch", 0)
    for epoch, loss in enumerate(losses(values)):
        oracle.update_trial(
            trial.trial_id, {"val_loss": loss, "loss": loss / 2}, step=first + epoch
        )
    fate = number(values, 6)
    trial.status = {0: "INVALID", 1: "FAILED"}.get(fate, "COMPLETED")
    trial.message = {0: "Traceback\nOSError: full", 1: "Diverged: val_loss is nan"}.get(fate)
    oracle.end_trial(trial)


def drive(oracle, tuner_ids=("tuner0",)):
    """Let clients take turns until each is told to stop."""
    left = list(tuner_ids)
    while left:
        running = [(one, oracle.create_trial(one)) for one in left]
        left = [one for one, trial in running if trial.status != "STOPPED"]
        for _, trial in running:
            if trial.status == "RUNNING":
                run(oracle, trial)
    return oracle


def told(oracle):
    """All that a search has found."""
    trials = {
        trial_id: {**trial.get_state(), "hyperparameters": trial.hyperparameters.get_config()}
        for trial_id, trial in oracle.trials.items()
    }
    state = oracle.get_state()
    return {
        "trials": trials,
        "best": [trial.trial_id for trial in oracle.get_best_trials(100)],
        "state": {name: value for name, value in state.items() if name != "display"},
    }


def on_disk(folder, name="search"):
    """The same as the files have it."""
    found = {
        path.relative_to(folder).as_posix(): json.loads(path.read_text())
        for path in sorted((Path(folder) / name).rglob("*.json"))
    }
    found[f"{name}/oracle.json"].pop("display")
    return found


class Killed(BaseException):
    """The process is gone."""


def snapshots(monkeypatch, folder):
    """Copy the folder before each write, half-written file included; return where the copies go."""
    copies = itertools.count()
    target = Path(f"{folder}-copies")
    whole = durable.replace_text

    def replace_text(path, text):
        copy = shutil.copytree(folder, target / str(next(copies)))
        half = copy / path.relative_to(folder).with_name(f".{path.name}.tmp")
        half.write_text(text[: len(text) // 2])
        whole(path, text)

    monkeypatch.setattr(durable, "replace_text", replace_text)
    return target


def kill_at(monkeypatch, write, *, after):
    """Let the process die at its n-th write, counted from 0, before or after the file is there."""
    writes = itertools.count()
    whole = durable.replace_text

    def replace_text(path, text):
        last = next(writes) == write
        if last and not after:
            raise Killed
        whole(path, text)
        if last:
            raise Killed

    monkeypatch.setattr(durable, "replace_text", replace_text)
