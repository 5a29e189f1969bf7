"""Whose promises the cells try: stock Keras and this package, each with all that belongs to it."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nadam_suite.averaging import EMA, averaged_weights, show_average
from nadam_suite.callbacks import (
    AverageCheckpoint,
    EMAFinalization,
    EvaluateAverage,
    HyperparameterLogger,
    LossScaleMonitor,
    PlateauScale,
    TrainingState,
)
from nadam_suite.doctor.cell import Averages, Precision, Search, Subject
from nadam_suite.optimizers import Nadam
from nadam_suite.precision import DynamicLossScaleOptimizer, skip_nonfinite, wrap_for_policy
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
        averages=_stock_averages(),
        precision=Precision(
            keras.optimizers.LossScaleOptimizer,
            for_model=lambda optimizer, _model: optimizer,  # `compile()` wraps what it wraps
            skipping=lambda optimizer: optimizer,
            watchers=list,
        ),
        search=_stock_search,
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
        averages=_our_averages(),
        precision=Precision(
            functools.partial(DynamicLossScaleOptimizer, max_consecutive_skips=None),
            for_model=wrap_for_policy,
            skipping=skip_nonfinite,
            watchers=lambda: [LossScaleMonitor()],
        ),
        search=_our_search,
    )


def _stock_averages() -> Averages:
    """Return `use_ema` and `keras.callbacks.SwapEMAWeights`, used as its documentation says."""
    swap, checkpoint = keras.callbacks.SwapEMAWeights, keras.callbacks.ModelCheckpoint
    return Averages(
        lambda rate, momentum, **arguments: keras.optimizers.Nadam(
            rate, use_ema=True, ema_momentum=momentum, **arguments
        ),
        validating=lambda *_data: [swap()],
        epoch_end=lambda: [swap(swap_on_epoch=True)],
        keeping=lambda folder: [
            swap(swap_on_epoch=True),
            checkpoint(str(Path(folder) / "model.keras")),
        ],
        keeping_best=lambda folder: [
            swap(),
            checkpoint(str(Path(folder) / "best.keras"), save_best_only=True),
        ],
        early_stopping=lambda validated, **arguments: [
            *([swap()] if validated == "average" else []),
            keras.callbacks.EarlyStopping(**arguments),
        ],
        finishing=lambda *_data: [],  # `fit()` ends on them anyway
        finish=_stock_finish,
        evaluate=lambda model, x, y, *callbacks: model.evaluate(
            x, y, verbose=0, callbacks=[swap(), *callbacks]
        ),
    )


def _stock_finish(model: keras.Model) -> None:
    """Do what ends a `fit()`, where the optimizer has anything."""
    if model.optimizer.built:
        model.optimizer.finalize_variable_values(model.trainable_variables)


def _our_averages() -> Averages:
    """Return `averaging=`, its context manager and the callbacks that belong to it."""
    return Averages(
        lambda rate, momentum, **arguments: Nadam(
            rate, averaging=EMA(momentum, warmup=None), **arguments
        ),
        validating=_our_validating,
        epoch_end=lambda: [EvaluateAverage()],
        keeping=lambda folder: [
            EvaluateAverage(),
            AverageCheckpoint(Path(folder) / "model.keras", Path(folder) / "average.keras"),
        ],
        keeping_best=lambda folder: [
            EvaluateAverage(),
            AverageCheckpoint(
                Path(folder) / "state.keras", Path(folder) / "best.keras", save_best_only=True
            ),
        ],
        early_stopping=lambda _validated, **arguments: [
            EvaluateAverage(),
            keras.callbacks.EarlyStopping(**arguments),
            EMAFinalization(restore_best=True, batch_norm="keep"),
        ],
        finishing=lambda data=None: [EMAFinalization(batch_norm=_batch_norm(data), data=data)],
        finish=_our_finish,
        evaluate=_our_evaluate,
    )


def _batch_norm(data: Any) -> str:
    return "keep" if data is None else "recalibrate"


def _our_validating(data: Any = None) -> list[Any]:
    return [EvaluateAverage(batch_norm=_batch_norm(data), data=data)]


def _our_finish(model: keras.Model) -> None:
    """Show the averages."""
    show_average(model)


def _our_evaluate(model: keras.Model, x: Any, y: Any, *callbacks: Any) -> float:
    with averaged_weights(model):
        return model.evaluate(x, y, verbose=0, callbacks=list(callbacks))


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


def _stock_search() -> Search:
    """Return keras-tuner's own, with the scale that its documentation has for such ranges."""
    import keras_tuner

    return Search(
        keras_tuner.RandomSearch,
        keras_tuner.Hyperband,
        beta_1=lambda hp: hp.Float("beta_1", 0.7, 0.996, sampling="reverse_log"),
        distribution="keras-tuner",
    )


def _our_search() -> Search:
    from nadam_suite import tuner

    return Search(
        tuner.RandomSearch,
        tuner.ResumableHyperband,
        beta_1=lambda hp: tuner.nadam_space(hp, preset="wide", tune=("beta_1",)).beta_1,
        distribution="nadam-suite",
    )
