"""Cells about averages that are looked at: evaluated, kept as the best, and left at the end."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.averaged import (
    BEST,
    RATE,
    ROWS,
    VALIDATION,
    Interrupt,
    Scope,
    averaged_model,
    bits,
    closed_form,
    fit,
    kernel_is,
    plain,
    step,
)
from nadam_suite.doctor.probes.harness import compare, scratch, value

__all__ = ["CELLS", "REPLICATED"]

_EPOCH = len(ROWS)


def _predict(subject: Subject, scope: Scope = plain) -> Observation:
    model = averaged_model(subject, scope)
    step(model)
    raw, x = bits(model), np.eye(2, dtype="float32")
    for _ in range(3):
        seen = model.predict(x, verbose=0, callbacks=subject.averages.validating())
    if bits(model) != raw:
        return Observation(False, "predict() has changed the weights")
    return compare(seen.ravel(), closed_form(1)[1][-1], 1e-5, "predictions of the averages")


def _early_stop(subject: Subject, scope: Scope = plain) -> Observation:
    model, averages = averaged_model(subject, scope), subject.averages
    stop = keras.callbacks.EarlyStopping(patience=1)
    history = fit(model, 6, *averages.epoch_end(), stop, *averages.finishing(), validate=True)
    done = len(history["loss"])
    expected = closed_form(BEST + 1)[1][-1]
    return kernel_is(model, expected, f"averages after {done} epochs of 6")


def _best_file(subject: Subject, scope: Scope = plain) -> Observation:
    model = averaged_model(subject, scope)
    with scratch() as folder:
        history = fit(model, 4, *subject.averages.keeping_best(folder), validate=True)
        with scope():
            best = keras.models.load_model(folder / "best.keras")
    return _scores(best, min(history["val_loss"]))


def _scores(model: keras.Model, logged: float) -> Observation:
    seen = model.evaluate(*VALIDATION, verbose=0)
    return compare(seen, logged, 1e-6, f"evaluates to {seen:.4g}, logged {logged:.4g}")


def _restored_best(subject: Subject, scope: Scope = plain) -> Observation:
    model, stop = averaged_model(subject, scope), subject.averages.early_stopping
    fit(model, 6, *stop("raw", patience=1, restore_best_weights=True), validate=True)
    return kernel_is(model, closed_form(BEST)[1][-1], "averages of the best epoch")


def _restored_score(subject: Subject) -> Observation:
    model, stop = averaged_model(subject), subject.averages.early_stopping
    callbacks = stop("average", patience=1, restore_best_weights=True)
    history = fit(model, 6, *callbacks, validate=True)
    return _scores(model, min(history["val_loss"]))


def _tuned(subject: Subject) -> Observation:
    # What keras-tuner does: copies of the callbacks, the best weights, and a model built anew.
    callbacks = copy.deepcopy(subject.averages.validating())
    with scratch() as folder:
        path = str(folder / "best.weights.h5")
        keep = keras.callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=True)
        history = fit(averaged_model(subject), 4, *callbacks, keep, validate=True)
        best = averaged_model(subject)
        best.load_weights(path)
    subject.averages.finish(best)
    return _scores(best, min(history["val_loss"]))


def _interrupted(subject: Subject) -> Observation:
    model, averages = averaged_model(subject), subject.averages
    with contextlib.suppress(KeyboardInterrupt):
        fit(model, 2, *averages.finishing(), Interrupt(_EPOCH + 2))
    raw, averaged = (series[_EPOCH + 1] for series in closed_form(2))
    seen = kernel_is(model, raw, "raw weights after 6 batches")
    if not seen.holds:
        return seen
    averages.finish(model)
    return kernel_is(model, averaged, "averages after 6 batches")


def _far_apart(subject: Subject, scope: Scope = plain) -> Observation:
    model = averaged_model(subject, scope)
    kernel = model.layers[0].kernel
    kernel.assign(np.full((2, 1), 1e4, "float32"))
    step(model)
    small = np.array([1e-3, 0.7], "float32")
    kernel.assign(small.reshape(2, 1))
    raw = bits(model)
    for _ in range(3):
        subject.averages.evaluate(model, *VALIDATION)
    moved = np.max(np.abs(value(kernel).ravel() / small - 1.0))
    return Observation(bits(model) == raw, f"raw weights moved by {moved:.2g} of their size")


def _normalized(subject: Subject, scope: Scope, *, validated: bool) -> tuple[Any, Any, Any, Any]:
    """Train a model with batch normalization; return it with its data and its history."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(8, 2)).astype("float32"), rng.normal(size=(8, 1)).astype("float32")
    with scope():
        line = keras.layers.Dense(2, use_bias=False, kernel_initializer="ones")
        norm = keras.layers.BatchNormalization(momentum=0.0)  # the statistics of the last batch
        head = keras.layers.Dense(1, kernel_initializer="ones")
        model = keras.Sequential([keras.Input((2,)), line, norm, head])
        model.compile(
            optimizer=subject.averages.optimizer(RATE, 0.9),
            loss="mse",
            jit_compile=keras.backend.backend() == "jax",
        )
    tools = subject.averages
    callbacks = [*(tools.validating(x) if validated else ()), *tools.finishing(x)]
    data = {"validation_data": (x, y) if validated else None, "callbacks": callbacks}
    history = model.fit(x, y, batch_size=8, epochs=6, shuffle=False, verbose=0, **data)
    return model, x.astype("float64"), y, history.history


def _inputs(model: keras.Model, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what goes into batch normalization, with its mean and variance over all data."""
    inputs = x @ value(model.layers[0].kernel)
    return inputs, inputs.mean(axis=0), inputs.var(axis=0)


def _statistics(subject: Subject, scope: Scope = plain) -> Observation:
    model, x, _, _ = _normalized(subject, scope, validated=False)
    _, *expected = _inputs(model, x)
    norm = model.layers[1]
    seen = np.stack([value(norm.moving_mean), value(norm.moving_variance)])
    return compare(seen, np.stack(expected), 1e-5, "mean and variance of the inputs")


def _validated_statistics(subject: Subject) -> Observation:
    model, x, y, history = _normalized(subject, plain, validated=True)
    _, norm, head = model.layers
    inputs, mean, variance = _inputs(model, x)
    scale = value(norm.gamma) / np.sqrt(variance + norm.epsilon)
    outputs = ((inputs - mean) * scale + value(norm.beta)) @ value(head.kernel) + value(head.bias)
    expected, seen = np.mean((outputs - y) ** 2), history["val_loss"][-1]
    return compare(seen, expected, 1e-5, f"val_loss {seen:.4g}, exact {expected:.4g}")


def _before_the_first(subject: Subject) -> Observation:
    model = averaged_model(subject)
    model.optimizer.build(model.trainable_variables)
    model.layers[0].kernel.assign([[0.5], [2.0]])  # what a pretrained model brings
    expected = model.evaluate(*VALIDATION, verbose=0)
    seen = subject.averages.evaluate(model, *VALIDATION)
    return compare(seen, expected, 1e-6, f"loss {seen:.4g}, of the weights {expected:.4g}")


def _evaluation_cut(subject: Subject, scope: Scope = plain) -> Observation:
    model = averaged_model(subject, scope)
    step(model)
    raw = bits(model)
    with contextlib.suppress(KeyboardInterrupt):
        subject.averages.evaluate(model, *VALIDATION, Interrupt(test=True))
    return Observation(bits(model) == raw, "weights after an evaluation with Ctrl-C")


def _validation_cut(subject: Subject, scope: Scope = plain) -> Observation:
    model = averaged_model(subject, scope)
    with contextlib.suppress(KeyboardInterrupt):
        fit(model, 1, *subject.averages.validating(), Interrupt(test=True), validate=True)
    raw, averaged = (series[-1] for series in closed_form(1))
    seen = kernel_is(model, raw, "raw weights")
    if not seen.holds:
        return seen
    subject.averages.finish(model)
    return kernel_is(model, averaged, "averages")


CELLS = (
    Cell(
        "K11/predict",
        "predict() with the averages leaves the raw weights, to the bit.",
        "4 batches, then predict() under the averages 3 times",
        _predict,
    ),
    Cell(
        "K12/early-stop",
        "Averages for each epoch's end and early stopping go together: fit() ends on averages.",
        "averages shown to callbacks at epoch ends, EarlyStopping after 3 of 6",
        _early_stop,
    ),
    Cell(
        "K14/best-file",
        "The best file evaluates to the metric for which it was kept.",
        "validation of averages, save_best_only, load_model",
        _best_file,
    ),
    Cell(
        "K15/interrupted",
        "Ctrl-C in fit() leaves the raw weights; the averages are there on request.",
        "KeyboardInterrupt after 6 of 8 batches",
        _interrupted,
        stock_holds_on=("tensorflow", "torch"),
    ),
    Cell(
        "K17/bits",
        "Evaluating averages leaves the raw weights, to the bit.",
        "weights of 0.001 beside averages of 10000, evaluated 3 times",
        _far_apart,
        stock_holds_on=("jax", "torch"),
    ),
    Cell(
        "K18/statistics",
        "Batch normalization has the statistics of the averaged model.",
        "Dense and BatchNormalization, averages at the end of fit()",
        _statistics,
    ),
    Cell(
        "K18/validation",
        "Validation of the averages is that of the model that comes out.",
        "Dense and BatchNormalization, averages validated and at the end of fit()",
        _validated_statistics,
    ),
    Cell(
        "D19/restored",
        "Early stopping with restore_best_weights leaves the averages of the best epoch.",
        "averages kept, raw weights validated, stop after 3 epochs",
        _restored_best,
    ),
    Cell(
        "D22/first",
        "Before the first step the averages are the weights.",
        "pretrained weights in a built optimizer, evaluated under the averages",
        _before_the_first,
    ),
    Cell(
        "D23/evaluate",
        "An evaluation of the averages that is interrupted leaves the raw weights.",
        "KeyboardInterrupt in evaluate()",
        _evaluation_cut,
    ),
    Cell(
        "D23/validation",
        "A validation of the averages that is interrupted leaves raw weights and averages.",
        "KeyboardInterrupt in the validation of fit()",
        _validation_cut,
    ),
    Cell(
        "D67/restored",
        "The model that early stopping restores has the score that it was chosen by.",
        "validation of averages, early stopping with restore_best_weights",
        _restored_score,
    ),
    Cell(
        "D67/tuner",
        "The best model of a search has the score that it was chosen by.",
        "validation of averages, best weights loaded into a new model, as keras-tuner does",
        _tuned,
    ),
)

REPLICATED = {
    "K11": _predict,
    "K12": _early_stop,
    "K14": _best_file,
    "K17": _far_apart,
    "K18": _statistics,
    "D19": _restored_best,
    "D23": _validation_cut,
}
