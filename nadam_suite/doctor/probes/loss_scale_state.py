"""Cells about the wrapper that scales the loss: its state, and what it hands on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.averaged import RATE, ROWS, fit, kernel_is
from nadam_suite.doctor.probes.harness import (
    BAD,
    TINY,
    apply_all,
    caught_warnings,
    compare,
    compile_line,
    line_model,
    nadam,
    scratch,
    train,
    value,
    variable,
)

__all__ = ["CELLS"]

_SETTINGS = {
    "beta_1": 0.8,
    "weight_decay": 0.3,
    "clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.5,
    "gradient_accumulation_steps": 2,
}


def _scaled(subject: Subject, initial_scale: float = 1024.0, **arguments: Any) -> keras.Model:
    optimizer = subject.optimizer(RATE)
    return line_model(subject.loss_scaling(optimizer, initial_scale=initial_scale, **arguments))


def _after(model: keras.Model, rows: Any, scale: float) -> Observation:
    """Compare weights and scale with what they are after some steps that were taken."""
    seen = kernel_is(model, nadam(np.ones(2), rows, RATE)[-1], "weights")
    held = float(value(model.optimizer.dynamic_scale))
    return Observation(seen.holds and held == scale, f"{seen.detail}; scale {held:g} of {scale:g}")


def _steps(subject: Subject) -> Observation:
    model = _scaled(subject)
    train(model, ROWS * 3)
    return _after(model, ROWS * 3, 1024.0)


def _resumed(subject: Subject) -> Observation:
    # The file is written in the middle of the 3 steps after which the scale grows.
    rows = [BAD, *ROWS, BAD, *ROWS]
    model = _scaled(subject, dynamic_growth_steps=3)
    train(model, rows[:8])
    with scratch() as folder:
        model.save(folder / "model.keras")
        model = keras.models.load_model(folder / "model.keras")
    train(model, rows[8:])
    return _after(model, ROWS * 2, 1024.0)


def _eager(subject: Subject) -> Observation:
    weight = variable(np.ones(2))
    optimizer = subject.loss_scaling(subject.optimizer(RATE), initial_scale=8.0)
    scaled = [8.0 * np.asarray(row) for row in ROWS[:2]]
    apply_all(optimizer, [weight], [*scaled, np.asarray(BAD)])
    apply_all(optimizer, [weight], [4.0 * np.asarray(ROWS[2])])
    return compare(value(weight), nadam(np.ones(2), ROWS[:3], RATE)[-1], 1e-5, "weights")


def _several(subject: Subject) -> Observation:
    parts = {".*bias": subject.optimizer(RATE)}
    optimizers = keras.optimizers.OptimizerMap(subject.optimizer(RATE), parts)
    scaled = subject.loss_scaling(keras.optimizers.MultiOptimizer(optimizers))
    model = line_model(scaled, use_bias=True)
    rates = [0.1, 0.05]
    fit(model, 2, keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch]))
    if (rate := float(value(scaled.learning_rate))) != np.float32(rates[-1]):
        return Observation(False, f"the rate reads {rate:g} of {rates[-1]:g}")
    steps = np.repeat(rates, len(ROWS))
    both = np.concatenate([value(weight).ravel() for weight in model.trainable_variables])
    path = nadam([1.0, 1.0, 0.0], [(*row, 1.0) for row in ROWS] * 2, steps)
    return compare(both, path[-1], 1e-5, "kernel and bias")


def _loaded(subject: Subject, path: Path, weight: float) -> tuple[keras.Model, list[str]]:
    """Save a model after 3 batches of mixed_float16, load it under float32; return what was said.

    The loss has a weight, so that gradients may be small.
    """
    keras.config.set_dtype_policy("mixed_float16")
    model = line_model(keras.optimizers.SGD())
    compile_line(model, subject.optimizer(1.0), weight)
    train(model, ROWS[:3])
    model.save(path)
    keras.config.set_dtype_policy("float32")
    with caught_warnings() as caught:
        model = keras.models.load_model(path)
    return model, [str(warning.message) for warning in caught]


def _reloaded(subject: Subject) -> Observation:
    with scratch() as folder:
        model, messages = _loaded(subject, folder / "model.keras", 1.0)
    train(model, ROWS[3:])
    said = any("wrap_for_policy" in message for message in messages)
    seen = kernel_is(model, nadam(np.ones(2), ROWS, 1.0)[-1], "weights after the next step")
    return Observation(seen.holds and said, seen.detail + ("" if said else "; no message"))


def _wrapped_again(subject: Subject) -> Observation:
    with scratch() as folder:
        model, _ = _loaded(subject, folder / "model.keras", TINY)
    compile_line(model, subject.precision.for_model(model.optimizer, model), TINY)
    train(model, ROWS[3:])
    path = nadam(np.ones(2), [TINY * np.asarray(row) for row in ROWS], 1.0)
    return compare(value(model.layers[0].kernel).ravel(), path[-1], 2e-3, "weights")


def _config_kept(subject: Subject) -> Observation:
    optimizer = subject.loss_scaling(subject.optimizer(RATE))
    config = optimizer.get_config()
    before = copy.deepcopy(config)
    type(optimizer).from_config(config)
    lost = ", ".join(sorted(set(before) - set(config))) or "nothing"
    return Observation(config == before, f"the argument has lost {lost}")


def _set_weights(subject: Subject) -> Observation:
    model, other = _scaled(subject), _scaled(subject)
    train(model, [*ROWS[:3], BAD])
    other.optimizer.build(other.trainable_variables)
    other.set_weights(model.get_weights())
    weights = [keras.ops.convert_to_numpy(variable) for variable in model.optimizer.variables]
    other.optimizer.set_weights(weights)
    train(other, ROWS[3:])
    return _after(other, ROWS, 512.0)


def _excluded(subject: Subject) -> Observation:
    optimizer = subject.loss_scaling(subject.optimizer(RATE, weight_decay=0.5))
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    model = line_model(optimizer)
    train(model, [[0.0, 0.0]] * 2)  # gradients of zero: what moves is decay
    return kernel_is(model, np.ones(2), "excluded kernel")


def _settings(subject: Subject) -> Observation:
    optimizer = subject.loss_scaling(subject.optimizer(RATE, **_SETTINGS))
    optimizer.build([variable(np.ones(2))])
    wrong = [n for n, held in _SETTINGS.items() if getattr(optimizer, n, None) != held]
    detail = f"otherwise than given: {', '.join(wrong)}" if wrong else f"{len(_SETTINGS)} settings"
    return Observation(not wrong, detail)


CELLS = (
    Cell(
        "D01/wrapped",
        "Loss scaling does not change the size of the steps.",
        "loss scaling, 12 compiled steps",
        _steps,
        stock_holds_on=("tensorflow", "torch"),
    ),
    Cell(
        "D02/wrapped",
        "Training goes on exactly after save and load, in the course of the scale too.",
        "loss scaling with dynamic_growth_steps=3, .keras file after 8 of 10 batches",
        _resumed,
    ),
    Cell(
        "D43/eager",
        "Loss scaling works where apply() is called without a compiled step.",
        "4 calls of apply(), one with an overflow",
        _eager,
        stock_holds_on=("tensorflow", "torch"),
    ),
    Cell(
        "D44/several",
        "Under loss scaling a callback sets the rate of several optimizers as that of one.",
        "loss scaling around MultiOptimizer, LearningRateScheduler, 2 epochs",
        _several,
        since="3.15.0",  # `keras.optimizers.MultiOptimizer`
    ),
    Cell(
        "D49/reloaded",
        "A model of mixed_float16 keeps moments and counters under float32; a message says so.",
        "compiled without a wrapper, .keras file after 3 of 4 batches, policy float32",
        _reloaded,
    ),
    Cell(
        "D49/wrapped",
        "Wrapped again, it goes on as before.",
        "the same with gradients of 1e-8, compiled with loss scaling after loading",
        _wrapped_again,
    ),
    Cell(
        "D53/config",
        "from_config leaves its argument as it is.",
        "get_config and from_config of a loss scale",
        _config_kept,
    ),
    Cell(
        "D53/weights",
        "set_weights of a loss scale sets the inner optimizer's too.",
        "variables after 3 batches and an overflow, set in another one",
        _set_weights,
    ),
    Cell(
        "D54/exclusion",
        "Exclusions from weight decay have effect on the wrapper that scales the loss.",
        "exclude_from_weight_decay(var_names=['kernel']), gradients of 0",
        _excluded,
    ),
    Cell(
        "D54/settings",
        "The settings of the inner optimizer can be read from the wrapper.",
        ", ".join(_SETTINGS),
        _settings,
    ),
)
