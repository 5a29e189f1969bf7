"""Cells about the points that a search tries: their spread, their seed, and the first one."""

from __future__ import annotations

import importlib.metadata
import math
import re

import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.harness import scratch
from nadam_suite.doctor.probes.searching import quiet, random_tuner

__all__ = ["CELLS"]


def _spread(subject: Subject) -> Observation:
    """Compare the sampled 1 - beta_1 with what is uniform in its logarithm."""
    import keras_tuner

    search, lowest, highest = subject.search(), math.inf, -math.inf
    momenta = []
    for seed in range(400):
        hp = keras_tuner.HyperParameters()
        search.beta_1(hp)
        (space,) = [entry for entry in hp.space if "beta_1" in entry.name]
        hp.values[space.name] = space.random_sample(seed + 1)
        momenta.append(math.log(1.0 - search.beta_1(hp)))
        ends = []
        for end in (space.min_value, space.max_value):
            hp.values[space.name] = end
            ends.append(math.log(1.0 - search.beta_1(hp)))
        lowest, highest = min(lowest, *ends), max(highest, *ends)
    places = np.sort((np.array(momenta) - lowest) / (highest - lowest))
    distance = float(np.abs(places - (np.arange(400) + 0.5) / 400).max())
    # Kolmogorov and Smirnov: a uniform sample is farther off once in ten thousand times.
    return Observation(distance < 0.11, f"largest distance from log-uniform {distance:.2f}")


@quiet
def _seed(subject: Subject) -> Observation:
    found = []
    for _ in range(3):
        with scratch() as folder:
            tuner = random_tuner(subject, folder, max_trials=3, seed=0)
            tuner.oracle.verbose = 0
            trials = [tuner.oracle.create_trial(f"tuner{index}") for index in range(3)]
        found.append([trial.hyperparameters.values["learning_rate"] for trial in trials])
    same = all(values == found[0] for values in found)
    return Observation(same, f"last of three rates: {', '.join(f'{v[-1]:.3g}' for v in found)}")


@quiet
def _default(subject: Subject) -> Observation:
    with scratch() as folder:
        tuner = random_tuner(subject, folder)
        tuner.oracle.verbose = 0
        first = tuner.oracle.create_trial("tuner0").hyperparameters.values["learning_rate"]
    return Observation(first == 2e-3, f"the first trial has {first:.3g}, the default is 0.002")


def _bayesian(subject: Subject) -> Observation:
    name = subject.search().distribution
    needs = importlib.metadata.requires(name) or []
    plain = {re.split(r"[ ;<>=!~\[(]", line)[0] for line in needs if "extra ==" not in line}
    missing = sorted({"scikit-learn", "scipy"} - plain)
    told = "all it needs" if not missing else f"nothing of {' and '.join(missing)}"
    return Observation(not missing, f"installing {name} brings {told}")


CELLS: tuple[Cell, ...] = (
    Cell(
        "T3/spread",
        "The search looks at all magnitudes of 1 - beta_1 alike.",
        "400 samples of beta_1 against a log-uniform 1 - beta_1",
        _spread,
    ),
    Cell(
        "T4/seed",
        "seed=0 is a seed like any other.",
        "three random searches with seed=0",
        _seed,
    ),
    Cell(
        "T5/default",
        "The default of each hyperparameter is tried first.",
        "first trial of a random search",
        _default,
    ),
    Cell(
        "T10/bayesian",
        "A plain installation has what Bayesian optimization needs.",
        "requirements of the installed distribution, without its extras",
        _bayesian,
    ),
)
