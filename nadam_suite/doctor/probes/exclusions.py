"""Cells about which variables are left out of weight decay, and for how long."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.harness import (
    apply_all,
    compare,
    line_model,
    refusal,
    scratch,
    train,
    value,
    variable,
)

__all__ = ["CELLS"]

_STILL = [[0.0, 0.0]] * 2  # gradients of zero: what moves is decay


def _excluding(subject: Subject, *names: str) -> Any:
    optimizer = subject.optimizer(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=list(names))
    return optimizer


def _unmoved(weight: Any, what: str) -> Observation:
    return compare(value(weight), np.ones(weight.shape), 1e-7, what)


def _in_config(subject: Subject) -> Observation:
    optimizer = _excluding(subject, "gamma")
    again = type(optimizer).from_config(optimizer.get_config())
    weight = variable(np.ones(2), name="gamma")
    apply_all(again, [weight], [np.zeros(2)] * 2)
    return _unmoved(weight, "excluded variable")


def _reloaded(optimizer: Any) -> tuple[keras.Model, str]:
    """Train, save, load and train; return the model and how its kernel's path has changed."""
    model = line_model(optimizer, use_bias=True)
    train(model, _STILL)
    before = model.layers[0].kernel.path
    with scratch() as folder:
        model.save(folder / "model.keras")
        model = keras.models.load_model(folder / "model.keras")
    train(model, _STILL)
    return model, f"{before}, then {model.layers[0].kernel.path}"


def _in_file(subject: Subject) -> Observation:
    model, _ = _reloaded(_excluding(subject, "kernel"))
    return _unmoved(model.layers[0].kernel, "excluded kernel")


def _path_changes(subject: Subject) -> Observation:
    model, paths = _reloaded(_excluding(subject, "line/kernel"))
    return _unmoved(model.layers[0].kernel, f"kernel ({paths})")


def _searched_in_path(subject: Subject) -> Observation:
    model = line_model(_excluding(subject, "line/"))
    train(model, _STILL)
    return _unmoved(model.layers[0].kernel, "kernel of the excluded layer")


def _too_late(subject: Subject) -> Observation:
    optimizer, weight = subject.optimizer(0.1, weight_decay=0.5), variable(np.ones(2))
    apply_all(optimizer, [weight], [np.zeros(2)])
    late = lambda: optimizer.exclude_from_weight_decay([weight])  # noqa: E731
    return refusal("exclude_from_weight_decay", late)


def _all_excluded(subject: Subject) -> Observation:
    weight = variable(np.ones(2), name="gamma")
    apply_all(_excluding(subject, "gamma"), [weight], [np.zeros(2)] * 2)
    return _unmoved(weight, "the only variable, excluded")


CELLS = (
    Cell(
        "K22/config",
        "Exclusions from weight decay are part of the config.",
        "exclude_from_weight_decay, get_config, from_config",
        _in_config,
    ),
    Cell(
        "K22/file",
        "Excluded variables stay excluded after save and load.",
        "exclude_from_weight_decay(var_names=['kernel']), .keras file",
        _in_file,
    ),
    Cell(
        "K23/path",
        "Exclusions are searched in the path, so a layer's name excludes its variables.",
        "exclude_from_weight_decay(var_names=['line/'])",
        _searched_in_path,
        stock_holds_on=("tensorflow",),
    ),
    Cell(
        "K23/guard",
        "An exclusion that comes after the optimizer is built is refused, as documented.",
        "exclude_from_weight_decay after a step",
        _too_late,
    ),
    Cell(
        "K24/reload",
        "An exclusion by layer and variable holds although paths change on reload.",
        "exclude_from_weight_decay(var_names=['line/kernel']), .keras file",
        _path_changes,
    ),
    Cell(
        "K34/all",
        "Every variable may be excluded from weight decay.",
        "one variable, excluded",
        _all_excluded,
        backends=("torch",),
    ),
)
