"""Cells about averages that are kept: cut and resumed trainings, a second fit(), bad batches."""

from __future__ import annotations

import contextlib
import io

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.averaged import (
    MOMENTUM,
    RATE,
    ROWS,
    Interrupt,
    Scope,
    averaged_model,
    closed_form,
    fit,
    kernel_is,
    plain,
)
from nadam_suite.doctor.probes.harness import averages, line_model, nadam, scratch, value

__all__ = ["CELLS", "REPLICATED"]

_CUT = 2 * len(ROWS) + 2  # in the third epoch


def _resumed_from_file(subject: Subject, scope: Scope = plain) -> Observation:
    model, tools = averaged_model(subject, scope), subject.averages
    with scratch() as folder:
        with contextlib.suppress(KeyboardInterrupt):
            fit(model, 4, *tools.keeping(folder), Interrupt(_CUT), validate=True)
        with scope():
            resumed = keras.models.load_model(folder / "model.keras")
    fit(resumed, 4, *tools.finishing(), initial_epoch=2)
    return kernel_is(resumed, closed_form(4)[1][-1], "averages after 4 epochs")


def _resumed_from_backup(subject: Subject, scope: Scope = plain) -> Observation:
    tools = subject.averages
    with scratch() as folder:
        path = str(folder / "backup")
        with contextlib.suppress(KeyboardInterrupt):
            backup = keras.callbacks.BackupAndRestore(path)
            cut = averaged_model(subject, scope)
            fit(cut, 4, *tools.epoch_end(), backup, Interrupt(_CUT), validate=True)
        backup, model = keras.callbacks.BackupAndRestore(path), averaged_model(subject, scope)
        callbacks = [*tools.epoch_end(), backup, *tools.finishing()]
        fit(model, 4, *callbacks, validate=True)
    return kernel_is(model, closed_form(4)[1][-1], "averages after 4 epochs")


def _second_fit(subject: Subject, scope: Scope = plain) -> Observation:
    model = averaged_model(subject, scope)
    model.jit_compile = False  # under it stock has the defect D03 besides
    for _ in range(2):
        fit(model, 2, *subject.averages.finishing())
    return kernel_is(model, closed_form(4)[1][-1], "averages after 2 fits of 2 epochs")


def _no_epoch(subject: Subject, scope: Scope = plain) -> Observation:
    model = averaged_model(subject, scope)
    fit(model, 2, *subject.averages.finishing(), initial_epoch=2)
    return kernel_is(model, np.ones(2), "weights without training")


def _cut_at_once(subject: Subject) -> Observation:
    model = averaged_model(subject)
    model.optimizer.build(model.trainable_variables)
    model.layers[0].kernel.assign([[0.5], [2.0]])  # what a pretrained model brings
    with contextlib.suppress(KeyboardInterrupt):
        fit(model, 1, *subject.averages.finishing(), Interrupt(0))
    subject.averages.finish(model)
    return kernel_is(model, [0.5, 2.0], "weights without training")


def _every_step_overflows(subject: Subject) -> Observation:
    optimizer = subject.averages.optimizer(RATE, MOMENTUM)
    model = line_model(subject.loss_scaling(optimizer, initial_scale=1024.0))
    fit(model, 1, *subject.averages.finishing(), rows=[[np.inf, 1.0]] * 2)
    return kernel_is(model, np.ones(2), "weights without an update")


def _frozen_between(subject: Subject) -> Observation:
    layers = [
        keras.layers.Dense(2, use_bias=False, kernel_initializer=keras.initializers.Constant(size))
        for size in (1.0, 100.0)
    ]
    model = keras.Sequential([keras.Input((2,)), *layers])
    jit = keras.backend.backend() == "jax"
    optimizer = subject.averages.optimizer(RATE, MOMENTUM)
    model.compile(optimizer=optimizer, loss="mae", jit_compile=jit)
    fit(model, 1, *subject.averages.finishing())
    layers[0].trainable = False
    model.compile(optimizer=optimizer, loss="mae", jit_compile=jit)
    fit(model, 1, *subject.averages.finishing())
    first, second = (value(layer.kernel) for layer in layers)
    holds = bool((np.abs(first - 1.0) < 5.0).all() and (np.abs(second - 100.0) < 5.0).all())
    return Observation(
        holds, f"layers of about 1 and 100 are {first.mean():.4g} and {second.mean():.4g}"
    )


def _accumulated(subject: Subject, scope: Scope = plain) -> Observation:
    model = averaged_model(subject, scope, gradient_accumulation_steps=4)
    fit(model, 3, *subject.averages.finishing())
    path = nadam(np.ones(2), [np.mean(ROWS, axis=0)] * 3, RATE)
    return kernel_is(model, averages(path, MOMENTUM)[-1], "average of 3 updates")


def _nan_batch(subject: Subject) -> Observation:
    model = averaged_model(subject)
    rows = [*ROWS, (np.nan, np.nan), *ROWS]
    stop = keras.callbacks.TerminateOnNaN()
    with contextlib.redirect_stdout(io.StringIO()):  # the callback tells which batch it was
        fit(model, 1, stop, *subject.averages.finishing(), rows=rows)
    return kernel_is(model, closed_form(1)[1][-1], "averages from before the NaN")


CELLS = (
    Cell(
        "K13/resumed",
        "A training that goes on from the file of an epoch is the one that was not cut.",
        "a file with averages at each epoch's end, cut in epoch 3 of 4",
        _resumed_from_file,
    ),
    Cell(
        "K16/fit",
        "With accumulation the average decays once per real update.",
        "gradient_accumulation_steps=4, fit() of 3 epochs of 4 batches",
        _accumulated,
    ),
    Cell(
        "K20/second-fit",
        "A second fit() goes on from the raw weights, as one long fit() does.",
        "2 fits of 2 epochs, each ending on the averages",
        _second_fit,
    ),
    Cell(
        "D04/no-epoch",
        "Averages of no update leave the weights as they are.",
        "fit(initial_epoch=2, epochs=2)",
        _no_epoch,
    ),
    Cell(
        "D04/interrupted",
        "Averages of no update leave the weights as they are.",
        "pretrained weights, KeyboardInterrupt before the first step, averages on request",
        _cut_at_once,
    ),
    Cell(
        "D04/overflow",
        "Averages of no update leave the weights as they are.",
        "loss scaling, every step overflows",
        _every_step_overflows,
    ),
    Cell(
        "D20/backup",
        "BackupAndRestore resumes averages and weights as they were.",
        "averages shown to callbacks at epoch ends, cut in epoch 3 of 4",
        _resumed_from_backup,
    ),
    Cell(
        "D28/frozen",
        "Each layer keeps its own average when another one is frozen between fits.",
        "2 layers of one shape, the first frozen and compiled anew",
        _frozen_between,
    ),
    Cell(
        "D65/nan",
        "A batch of NaN leaves the averages finite.",
        "TerminateOnNaN, NaN in batch 5 of 9",
        _nan_batch,
    ),
)

REPLICATED = {
    "K13": _resumed_from_file,
    "K16": _accumulated,
    "K20": _second_fit,
    "D04": _no_epoch,
}
