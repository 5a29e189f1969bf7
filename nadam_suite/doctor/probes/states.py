"""Cells about saved states: loaded into other settings, by other backends, and after a crash."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.harness import (
    FAR,
    compare,
    line_model,
    nadam,
    scratch,
    train,
    value,
)

__all__ = ["CELLS", "write_file"]

_GRADIENTS = [[0.5, -1.0], [1.0, 0.25], [-0.5, 0.5], [0.25, 1.0], [1.0, 1.0], [0.5, 0.5]]
_SAVED_AFTER = 5
_ROOT = Path(__file__).parents[3]  # where this package is imported from, installed or not


def _constant() -> Any:
    return keras.optimizers.schedules.PiecewiseConstantDecay([1000], [0.1, 0.1])


def _handed_over(
    first: Callable[[], Any], second: Callable[[], Any], *, build: bool
) -> Callable[[Subject], Observation]:
    """Return a probe that saves weights with one learning rate and goes on with another."""

    def probe(subject: Subject) -> Observation:
        old = line_model(subject.optimizer(first()))
        train(old, _GRADIENTS[:_SAVED_AFTER])
        new = line_model(subject.optimizer(second()))
        with scratch() as folder:
            old.save_weights(folder / "old.weights.h5")
            if build:
                new.optimizer.build(new.trainable_variables)
            new.load_weights(folder / "old.weights.h5")
        train(new, _GRADIENTS[_SAVED_AFTER:])
        expected = nadam([1.0, 1.0], _GRADIENTS, 0.1)[-1]
        return compare(value(new.layers[0].kernel).ravel(), expected, 1e-5, "next step")

    return probe


def _public_name(subject: Subject) -> Observation:
    saved = keras.saving.serialize_keras_object(subject.optimizer(0.1))
    name = f"{saved['module']}.{saved['class_name']}"
    return Observation(".src." not in f"{name}.", f"saved as {name}")


_WRITER = """
import sys
kind, path, root = sys.argv[1:]
sys.path.append(root)
import keras
import nadam_suite
from nadam_suite.doctor.probes import states
optimizer = {"stock": keras.optimizers.Nadam, "ours": nadam_suite.Nadam}[kind]
states.write_file(optimizer, path)
"""


def write_file(optimizer: Callable[..., Any], path: str | Path) -> None:
    """Train a model for a few steps and save it; runs in a process of another backend."""
    model = line_model(optimizer(0.1))
    train(model, _GRADIENTS[:_SAVED_AFTER])
    model.save(path)


def _file_of(backend: str) -> Callable[[Subject], Observation]:
    def probe(subject: Subject) -> Observation:
        with scratch() as folder:
            path = folder / "model.keras"
            done = subprocess.run(
                [sys.executable, "-c", _WRITER, subject.name, str(path), str(_ROOT)],
                env=dict(os.environ, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3"),
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                return Observation(False, f"not written on {backend}: {last}")
            model = keras.models.load_model(path)
        train(model, _GRADIENTS[_SAVED_AFTER:])
        expected = nadam([1.0, 1.0], _GRADIENTS, 0.1)[-1]
        return compare(value(model.layers[0].kernel).ravel(), expected, 1e-5, "next step")

    return probe


class _PowerCutError(Exception):
    """Ends a training the hard way."""


class _PowerCut(keras.callbacks.Callback):
    """Raise after a number of batches, counted over all epochs."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count down, and raise."""
        self.left -= 1
        if self.left == 0:
            raise _PowerCutError


def _interrupted(subject: Subject, folder: Path) -> tuple[keras.Model, Callable[[], None]]:
    """Cut two epochs of eight batches after batch 13, and train again; return also a later fit."""
    x, y = np.tile(np.array(_GRADIENTS[:4], "float32"), (2, 1)), np.full((8, 1), FAR, "float32")
    data = {"x": x, "y": y, "epochs": 2, "save_every": 3}
    with contextlib.suppress(_PowerCutError):
        cut = line_model(subject.optimizer(0.1))
        subject.resumable_fit(cut, folder / "resume", **data, callbacks=[_PowerCut(13)])
    model = line_model(subject.optimizer(0.1))
    subject.resumable_fit(model, folder / "resume", **data, callbacks=[_PowerCut(1000)])

    def later() -> None:
        model.fit(x, y, batch_size=1, epochs=2, shuffle=False, verbose=0)

    return model, later


def _no_batch_twice(subject: Subject) -> Observation:
    with scratch() as folder:
        model, _ = _interrupted(subject, folder)
    steps = int(model.optimizer.iterations)
    expected = nadam([1.0, 1.0], [*_GRADIENTS[:4]] * 4, 0.1)[-1]
    seen = compare(value(model.layers[0].kernel).ravel(), expected, 1e-5, "weights")
    return Observation(seen.holds and steps == 16, f"{steps} steps for 16; {seen.detail}")


def _later_fit(subject: Subject) -> Observation:
    with scratch() as folder:
        model, later = _interrupted(subject, folder)
    before = int(model.optimizer.iterations)
    later()
    steps = int(model.optimizer.iterations) - before
    return Observation(steps == 16, f"a later fit of 16 batches trains {steps}")


CELLS = (
    Cell(
        "D50/schedule",
        "A state saved with a number as learning rate goes on under a schedule.",
        "weights of 5 steps loaded into an optimizer with a schedule",
        _handed_over(lambda: 0.1, _constant, build=True),
    ),
    Cell(
        "D50/number",
        "A state saved under a schedule goes on with a number as learning rate.",
        "weights of 5 steps loaded into an optimizer with a float",
        _handed_over(_constant, lambda: 0.1, build=True),
    ),
    Cell(
        "D51/unbuilt",
        "load_weights restores the optimizer although it has not trained yet.",
        "weights of 5 steps loaded into a model that was just compiled",
        _handed_over(lambda: 0.1, lambda: 0.1, build=False),
    ),
    Cell(
        "K31/name",
        "The optimizer is saved under a public name, which every backend knows.",
        "serialize_keras_object",
        _public_name,
        stock_holds_on=("tensorflow", "jax"),
    ),
    Cell(
        "K31/file",
        "A file saved on PyTorch loads here and trains on exactly.",
        ".keras file written by a process with KERAS_BACKEND=torch",
        _file_of("torch"),
        backends=("tensorflow", "jax"),
        needs=("torch",),
        slow=True,
    ),
    Cell(
        "D52/steps",
        "A training that was cut resumes where it was saved, and repeats no batch.",
        "2 epochs of 8 batches, cut after 13, saved every 3",
        _no_batch_twice,
    ),
    Cell(
        "D52/later-fit",
        "A fit() after a resumed one trains all its epochs.",
        "resumed training of 2 epochs, then fit(epochs=2)",
        _later_fit,
    ),
)
