"""Whose promises the cells try: stock Keras and this package, each with all that belongs to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.callbacks import HyperparameterLogger, PlateauScale, TrainingState
from nadam_suite.doctor.cell import Subject
from nadam_suite.optimizers import Nadam
from nadam_suite.precision import DynamicLossScaleOptimizer
from nadam_suite.schedules import WarmupCosine, WarmupExponential, WarmupPolynomial

__all__ = ["ours", "stock"]


def stock() -> Subject:
    """Return Keras' own Nadam, resumed by `keras.callbacks.BackupAndRestore`."""
    schedules = keras.optimizers.schedules
    return Subject(
        "stock",
        keras.optimizers.Nadam,
        keras.optimizers.LossScaleOptimizer,
        _stock_fit,
        # Keras counts the warm-up apart from the decay. It begins at a zero of the peak's type.
        warmup_cosine=lambda peak, warmup, total: schedules.CosineDecay(
            0 * peak, total - warmup, warmup_target=peak, warmup_steps=warmup
        ),
        exponential=schedules.ExponentialDecay,
        polynomial=schedules.PolynomialDecay,
        plateau=lambda monitor, factor, patience: keras.callbacks.ReduceLROnPlateau(
            monitor, factor=factor, patience=patience, mode="min"
        ),
        watchers=list,
    )


def ours() -> Subject:
    """Return this package's Nadam, resumed by `nadam_suite.callbacks.TrainingState`."""
    return Subject(
        "ours",
        Nadam,
        DynamicLossScaleOptimizer,
        _our_fit,
        warmup_cosine=lambda peak, warmup, total: WarmupCosine(peak, total, warmup),
        exponential=lambda first, steps, factor: WarmupExponential(first, steps, decay_rate=factor),
        polynomial=WarmupPolynomial,
        plateau=lambda monitor, factor, patience: PlateauScale(
            monitor, factor=factor, patience=patience, mode="min"
        ),
        watchers=lambda: [HyperparameterLogger()],
    )


def _stock_fit(
    model: keras.Model,
    folder: str | os.PathLike[str],
    x: np.ndarray,
    y: np.ndarray,
    *,
    epochs: int,
    save_every: int,
    callbacks: Sequence[Any],
) -> None:
    """Fit in batches of one, saving every so many of them; go on with what `folder` has."""
    backup = keras.callbacks.BackupAndRestore(str(folder), save_freq=save_every)
    every = [backup, *callbacks]
    model.fit(x, y, batch_size=1, epochs=epochs, shuffle=False, verbose=0, callbacks=every)


def _our_fit(
    model: keras.Model,
    folder: str | os.PathLike[str],
    x: np.ndarray,
    y: np.ndarray,
    *,
    epochs: int,
    save_every: int,
    callbacks: Sequence[Any],
) -> None:
    """Do the same with a `TrainingState`, which within epochs asks for a stream of batches."""
    state = TrainingState(folder, save_every_batches=save_every)
    start = state.restore(model)
    model.fit(
        _stream(x, y, state.skip_batches),
        steps_per_epoch=len(x),
        initial_epoch=start,
        epochs=epochs,
        verbose=0,
        callbacks=state.around(*callbacks),
    )


def _stream(x: np.ndarray, y: np.ndarray, position: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield batches of one without end, from a position on."""
    while True:
        yield x[position : position + 1], y[position : position + 1]
        position = (position + 1) % len(x)
