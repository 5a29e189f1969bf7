"""Searches for the tests of what is read and reported: by formula, or of stock tuners."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from pathlib import Path

import keras_tuner
import numpy as np

from nadam_suite.tuner.search_record import Dimension, SearchRecord, TrialRecord

RATE = Dimension("rate", "float", "rate", low=1e-4, high=1e-1, sampling="log")
DECAY = Dimension("decay", "float", "decay", low=0.0, high=2.0)
WIDTH = Dimension("width", "int", "width", low=1, high=64, step=1)
KIND = Dimension("kind", "choice", "kind", values=("cosine", "linear", "wsd"))
FLAG = Dimension("flag", "boolean", "flag", values=(False, True))
COOLDOWN = Dimension("cooldown", "float", "cooldown", (("kind", ("wsd",)),), low=0.1, high=0.9)
ALL = (RATE, DECAY, WIDTH, KIND, FLAG, COOLDOWN)


def drawn(dimension, random):
    """A random value of a range, even in its own scale."""
    share = random.random()
    if dimension.sampling == "log":
        return float(dimension.low * (dimension.high / dimension.low) ** share)
    if dimension.kind == "float":
        return float(dimension.low + share * (dimension.high - dimension.low))
    if dimension.kind == "int":
        return int(random.integers(dimension.low, dimension.high + 1))
    return dimension.values[random.integers(len(dimension.values))]


def record(formula, count=24, dimensions=ALL, direction="min", seed=0):
    """A search of random values, whose scores are `formula(values, random)`."""
    random = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        values = {}
        for dimension in dimensions:
            value = drawn(dimension, random)
            if dimension.active(values):
                values[dimension.name] = value
        score = float(formula(values, random))
        name = f"{number:02}"
        trials.append(TrialRecord(name, Path(f"trial_{name}"), values, "COMPLETED", score))
    return SearchRecord(Path("searches/some"), "val_loss", direction, dimensions, tuple(trials))


def changed(found, **trials):
    """The record with other fields in some of its trials, by id after an underscore."""
    by_id = {name.removeprefix("_"): fields for name, fields in trials.items()}
    others = (dataclasses.replace(trial, **by_id.get(trial.id, {})) for trial in found.trials)
    return dataclasses.replace(found, trials=tuple(others))


def space():
    """Ranges of every type, one of them conditional, one fixed."""
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Choice("kind", ["cosine", "linear", "wsd"])
    with hp.conditional_scope("kind", ["wsd"]):
        hp.Float("cooldown", 0.1, 0.9)
    hp.Int("width", 1, 64)
    hp.Boolean("flag")
    hp.Fixed("fixed", 3)
    return hp


def formula(values):
    """The score that the searches here try to make small."""
    return (math.log10(values["rate"]) + 2.0) ** 2 + 0.1 * (values["kind"] == "wsd")


def stock(tuner, folder, run, *, objective="val_loss", name="search", hyperparameters=None, **more):
    """Search with a tuner of stock keras-tuner that trains nothing.

    Args:
        tuner: Its class, such as `keras_tuner.RandomSearch`.
        folder: Where to.
        run: Called with each trial's values; returns what `run_trial` may return.
        objective: The objective.
        name: Name of the project.
        hyperparameters: The space.
        more: Further options.

    Returns:
        The tuner, and the search's folder.
    """

    class Formula(tuner):
        def run_trial(self, trial, *args, **kwargs):
            return run(trial.hyperparameters.values)

    made = Formula(
        hypermodel=lambda hp: None,
        objective=objective,
        hyperparameters=hyperparameters or space(),
        seed=3,
        directory=str(folder),
        project_name=name,
        max_consecutive_failed_trials=99,
        **more,
    )
    with contextlib.suppress(KeyboardInterrupt):
        made.search(verbose=0)
    return made, Path(folder, name)
