"""One leg of a training that moves between frameworks and distributions, file by file."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from tests.distribution import problem
from tests.distribution.problem import Scenario, everything

# (backend, setup, batches): no leg ends where an accumulation window of four does.
LEGS = (
    ("jax", "one", 5),
    ("jax", "data-4", 5),
    ("jax", "model-2x2", 5),
    ("tensorflow", "one", 3),
    ("jax", "data-2", 4),
)
ENDS = np.cumsum([count for _, _, count in LEGS]).tolist()


def _start(setup: str) -> None:
    keras.utils.clear_session(free_memory=False)
    if keras.backend.backend() == "jax":
        from tests.distribution.jax_worker import start

        start(setup)


def _train(model: keras.Model, first: int, last: int, file: Path) -> None:
    for x, y in problem.one_signed_batches(ENDS[-1])[first:last]:
        model.train_on_batch(x, y)
    np.savez(file, **everything(model))


def whole(folder: Path) -> None:
    """Train without any move, and note the state at the end of every leg."""
    _start("one")
    model, _ = problem.compiled(Scenario(problem.TOGETHER))
    for leg, end in enumerate(ENDS):
        _train(model, end - LEGS[leg][2], end, folder / f"whole-{leg}.npz")


def main(folder: str, *legs: str) -> None:
    """Go on from the file of the leg before, if there is one, and leave a file."""
    where = Path(folder)
    if "0" in legs:
        whole(where)
    for leg in map(int, legs):
        _start(LEGS[leg][1])
        if leg:
            model = keras.saving.load_model(where / f"{leg - 1}.keras")
        else:
            model, _ = problem.compiled(Scenario(problem.TOGETHER))
        _train(model, ENDS[leg] - LEGS[leg][2], ENDS[leg], where / f"moved-{leg}.npz")
        model.save(where / f"{leg}.keras")
