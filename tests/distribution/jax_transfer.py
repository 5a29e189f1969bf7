"""Legs of a training that moves between frameworks and distributions, file by file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tests.distribution import problem
from tests.distribution.problem import TOGETHER, Batches, Scenario, everything

# (backend, setup, batches): no leg ends where an accumulation window of four does.
LEGS = (
    ("jax", "one", 5),
    ("jax", "data-4", 5),
    ("jax", "model-2x2", 5),
    ("tensorflow", "one", 3),
    ("tensorflow", "mirrored-2", 3),
    ("jax", "data-2", 4),
)
ENDS = np.cumsum([count for _, _, count in LEGS]).tolist()


@contextlib.contextmanager
def _started(setup: str) -> Iterator[None]:
    """Begin afresh, on the devices of a leg."""
    if keras.backend.backend() == "jax":
        from tests.distribution.jax_worker import start

        start(setup)
        yield
    else:
        from tests.distribution.tensorflow_worker import begun, strategy_of

        with begun(strategy_of(setup)):
            yield


class Notes(keras.callbacks.Callback):
    """Notes the state after some batches, before the end of `fit()` puts the averages in."""

    def __init__(self, first: int, arrays: dict[int, Path], files: dict[int, Path]) -> None:
        super().__init__()
        self.first, self.arrays, self.files = first, arrays, files

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        done = self.first + batch + 1
        if done in self.arrays:
            np.savez(self.arrays[done], **everything(self.model))
        if done in self.files:
            self.model.save(self.files[done])


def _train(model: keras.Model, first: int, last: int, **noted: dict[int, Path]) -> None:
    batches = problem.one_signed_batches(ENDS[-1])[first:last]
    model.fit(Batches(batches), shuffle=False, verbose=0, callbacks=[Notes(first, **noted)])


def _compiled() -> keras.Model:
    return problem.compiled(Scenario(TOGETHER))[0]


def main(folder: str, *legs: str) -> None:
    """Go on from the file of the leg before, if there is one, and leave a file.

    With the first leg also train without any move, and note the state at the end of each leg.
    """
    where = Path(folder)
    if keras.backend.backend() == "tensorflow":
        from nadam_suite.backends.tensorflow_scope import split_cpu

        split_cpu(2)
    if "0" in legs:
        with _started("one"):
            model = _compiled()
        arrays = {end: where / f"whole-{leg}.npz" for leg, end in enumerate(ENDS)}
        _train(model, 0, ENDS[-1], arrays=arrays, files={})
    for leg in map(int, legs):
        end = ENDS[leg]
        with _started(LEGS[leg][1]):
            model = keras.saving.load_model(where / f"{leg - 1}.keras") if leg else _compiled()
            if LEGS[leg][1].startswith("mirrored"):
                model.jit_compile = False  # a file of JAX asks for XLA, which replicas cannot (D36)
        arrays, files = {end: where / f"moved-{leg}.npz"}, {end: where / f"{leg}.keras"}
        _train(model, end - LEGS[leg][2], end, arrays=arrays, files=files)
