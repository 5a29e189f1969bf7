"""Snapshots of the averages of a training that is known, without a training."""

from __future__ import annotations

import numpy as np

from nadam_suite.averaging.posthoc_files import Snapshot, write_snapshot
from nadam_suite.averaging.power import exponent
from tests.reference.averages import power

TRACKED = (0.05, 0.1)
LENGTH, COUNT = 320, 32
TIMES = tuple(range(LENGTH // COUNT, LENGTH + 1, LENGTH // COUNT))
SHAPES = {"dense/kernel": (3, 2), "dense/bias": (2,), "scale": ()}


def training_path(length=LENGTH):
    """Weights after each update: they come near to a goal, and wander about it."""
    generator = np.random.default_rng(0)
    size = sum(int(np.prod(shape)) for shape in SHAPES.values())
    steps = np.cumsum(generator.normal(size=(length, size)), axis=0) / length**0.5
    return 3.0 * np.exp(-np.arange(1, length + 1) / 40.0)[:, None] + steps


def split(vector, shapes=SHAPES):
    """Return the arrays of one vector of all weights, by path."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    parts = np.split(vector, ends[:-1])
    return {p: part.reshape(s) for (p, s), part in zip(shapes.items(), parts, strict=True)}


def write(folder, times=TIMES, *, dtype="float32", tracked=TRACKED, shapes=SHAPES, path=None):
    """Write snapshots of the true averages of a path, and return the folder."""
    path = training_path() if path is None else path
    averages = [power(path, exponent(sigma)) for sigma in tracked]
    gammas = tuple(map(exponent, tracked))
    for time in times:
        snapshot = Snapshot(gammas, (time,) * len(gammas), tuple(shapes), tuple(shapes.values()))
        rows = [split(average[time - 1], shapes) for average in averages]
        with (folder / snapshot.name).open("wb") as file:
            arrays = (array.astype(dtype) for row in rows for array in row.values())
            write_snapshot(file, snapshot, arrays)
    return folder
