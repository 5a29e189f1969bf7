"""Cells about the moving average of the weights."""

from __future__ import annotations

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.harness import (
    FAR,
    apply_all,
    averages,
    caught_warnings,
    compare,
    line_model,
    nadam,
    refusal,
    scratch,
    train,
    value,
    variable,
)

__all__ = ["CELLS"]

_EMA = {"use_ema": True, "ema_momentum": 0.5}


def _decays_once_an_update(subject: Subject) -> Observation:
    model = line_model(subject.optimizer(0.1, gradient_accumulation_steps=4, **_EMA), width=1)
    train(model, [[1.0]] * 12)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    expected = averages(nadam([1.0], [np.ones(1)] * 3, 0.1), 0.5)[-1]
    return compare(value(model.layers[0].kernel).ravel(), expected, 1e-5, "average of 3 updates")


def _overwrites_once(subject: Subject) -> Observation:
    arguments = {"gradient_accumulation_steps": 4, "ema_overwrite_frequency": 2, **_EMA}
    model = line_model(subject.optimizer(0.1, **arguments), width=1)
    seen = []
    for _ in range(16):
        train(model, [[1.0]])
        seen.append(value(model.layers[0].kernel).item())
    moves = np.diff([1.0, *(w.item() for w in nadam([1.0], [np.ones(1)] * 4, 0.1))])
    weight = average = 1.0
    expected = []
    for update, move in enumerate(moves, start=1):
        expected += [weight] * 3
        weight += move
        average = weight if update == 1 else 0.5 * (average + weight)
        weight = average if update % 2 == 0 else weight
        expected.append(weight)
    return compare(seen, expected, 1e-5, "weight over 16 batches")


def _after_constraints(subject: Subject) -> Observation:
    weight = variable([0.05])
    weight.constraint = keras.constraints.NonNeg()
    optimizer = subject.optimizer(0.1, **_EMA)
    apply_all(optimizer, [weight], [np.ones(1)] * 4)
    optimizer.finalize_variable_values([weight])
    low = value(weight).item()
    return Observation(low >= 0.0, f"a NonNeg weight ends at {low:.3g}")


def _zero_overwrites_never(subject: Subject) -> Observation:
    weight, arguments = variable([1.0]), {"ema_overwrite_frequency": 0, **_EMA}
    try:
        optimizer = subject.optimizer(0.1, **arguments)
    except ValueError:
        return refusal("ema_overwrite_frequency", lambda: subject.optimizer(0.1, **arguments))
    apply_all(optimizer, [weight], [np.ones(1)] * 3)
    expected = nadam([1.0], [np.ones(1)] * 3, 0.1)[-1]
    return compare(value(weight), expected, 1e-5, "raw weight with frequency 0")


def _fit_again(subject: Subject) -> Observation:
    model = line_model(subject.optimizer(0.1, **_EMA))
    x, y = np.ones((2, 2), "float32"), np.full((2, 1), FAR, "float32")
    for _ in range(2):
        model.fit(x, y, batch_size=1, verbose=0, shuffle=False)
    model.train_on_batch(x, y)
    finite = bool(np.isfinite(value(model.layers[0].kernel)).all())
    return Observation(finite, "fit, fit, train_on_batch")


def _evaluate_and_save(subject: Subject) -> Observation:
    model = line_model(subject.optimizer(0.1, **_EMA))
    x, y = np.ones((2, 2), "float32"), np.full((2, 1), FAR, "float32")
    model.fit(x, y, batch_size=1, verbose=0, shuffle=False)
    model.train_on_batch(x, y)
    model.evaluate(x, y, verbose=0)
    with scratch() as folder:
        model.save(folder / "model.keras")
    return Observation(True, "fit, train_on_batch, evaluate, save")


def _turned_on_later(subject: Subject) -> Observation:
    gradients = [[0.5, -1.0], [1.0, 0.25]] * 3
    with scratch() as folder, caught_warnings() as caught:
        old = line_model(subject.optimizer(0.1))
        train(old, gradients[:5])
        old.save_weights(folder / "old.weights.h5")
        new = line_model(subject.optimizer(0.1, **_EMA))
        new.optimizer.build(new.trainable_variables)
        new.load_weights(folder / "old.weights.h5")
    messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    train(new, gradients[5:])
    path = nadam([1.0, 1.0], gradients, 0.1)
    kernel = new.layers[0].kernel
    seen = compare(value(kernel).ravel(), path[-1], 1e-5, "weights after the next step")
    if not seen.holds or not any("average" in message for message in messages):
        return Observation(False, f"{seen.detail}; message: {(messages or ['none'])[0]}")
    new.optimizer.finalize_variable_values(new.trainable_variables)
    # Weights that the averages start from are the newest ones there are.
    return compare(value(kernel).ravel(), path[-1], 1e-5, "average after the next step")


CELLS = (
    Cell(
        "K16/decay",
        "With accumulation the average decays once per real update.",
        "gradient_accumulation_steps=4, use_ema, 12 batches",
        _decays_once_an_update,
    ),
    Cell(
        "D15/overwrite",
        "With accumulation the weights are overwritten once, when an update is due.",
        "gradient_accumulation_steps=4, ema_overwrite_frequency=2, 16 batches",
        _overwrites_once,
    ),
    Cell(
        "K19/old-file",
        "Averages can be turned on for an old checkpoint; the rest of its state is kept.",
        "weights saved without use_ema, loaded with it, with a message",
        _turned_on_later,
    ),
    Cell(
        "D03/fit-again",
        "After fit() with averages one can go on training.",
        "use_ema, fit twice, then train_on_batch",
        _fit_again,
        stock_holds_on=("tensorflow", "torch"),
    ),
    Cell(
        "D03/evaluate-save",
        "After fit() with averages one can evaluate and save.",
        "use_ema, fit, train_on_batch, evaluate, save",
        _evaluate_and_save,
        stock_holds_on=("tensorflow", "torch"),
    ),
    Cell(
        "D27/constraints",
        "Averaged weights obey the constraints of their variables.",
        "use_ema, NonNeg variable driven below 0",
        _after_constraints,
    ),
    Cell(
        "D30/zero",
        "ema_overwrite_frequency=0 is refused, or means never.",
        "use_ema, ema_overwrite_frequency=0, 3 steps",
        _zero_overwrites_never,
        stock_holds_on=("tensorflow", "torch"),
    ),
)
