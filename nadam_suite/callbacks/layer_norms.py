"""Norms of weights, updates and gradients between two looks at a model, layer by layer.

The compiled step is not touched. The update is the difference of the weights. Nadam's first moment
follows m_t = m_{t-1} + (1 - beta_1) (g_t - m_{t-1}), so that its difference gives the gradient too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.callbacks.snapshot import take
from nadam_suite.optimizers import Nadam
from nadam_suite.optimizers.monitor import last_update

__all__ = ["LayerNorms", "Look", "Norms", "look", "norms_between", "steps_of"]

_EXACT = ("float32", "float64")


@dataclasses.dataclass(frozen=True)
class LayerNorms:
    """Norms of one update, of one layer or of all together.

    Args:
        weight: Norm of the weights before it.
        update: Norm of what was added to them, 0 for a step that was skipped.
        gradient: Norm of the gradient that the update followed: mean of its window, after clipping.
            None where it is not known.
    """

    weight: float
    update: float
    gradient: float | None = None

    @property
    def ratio(self) -> float | None:
        """Update over weight; None where all weights are zero and are no longer."""
        if self.update == 0.0:
            return 0.0
        return self.update / self.weight if self.weight else None


@dataclasses.dataclass(frozen=True)
class Norms:
    """Norms of one update.

    Args:
        epoch: Epoch that it is of, counted from 0.
        step: Steps that the optimizer had taken after it.
        layers: Norms by layer, or by variable.
    """

    epoch: int
    step: int
    layers: Mapping[str, LayerNorms]

    @property
    def total(self) -> LayerNorms:
        """Norms of all layers together."""
        rows = self.layers.values()
        gradients = [row.gradient for row in rows if row.gradient is not None]
        return LayerNorms(
            math.hypot(*(row.weight for row in rows)),
            math.hypot(*(row.update for row in rows)),
            math.hypot(*gradients) if len(gradients) == len(rows) else None,
        )


@dataclasses.dataclass(frozen=True)
class Look:
    """What one look has found, copied to the host.

    Args:
        step: Steps that the optimizer has taken.
        weights: The trainable weights in full precision, by the path of their variable.
        moments: First moments of those that have one, likewise.
    """

    step: int
    weights: Mapping[str, np.ndarray]
    moments: Mapping[str, np.ndarray]


def look(model: keras.Model, optimizer: Any) -> Look:
    """Return the weights and first moments of a model as they are now.

    Args:
        model: The model.
        optimizer: Its optimizer, without a loss scale around it.
    """
    variables = list(model.trainable_variables)
    slots = {}
    if isinstance(optimizer, Nadam) and optimizer.built:
        slots = {id(slot.variable): slot for slot in optimizer._layout.slots}
    followed, moments = {}, {}
    for variable in variables:
        slot = slots.get(id(variable))
        # Of half-precision weights an update is seen in the full copy.
        followed[variable.path] = variable if slot is None or slot.master is None else slot.master
        if slot is not None and slot.momentum is not None and not slot.frozen:
            moments[variable.path] = slot.momentum
    exact = {
        path: moment
        for path, moment in moments.items()
        if keras.backend.standardize_dtype(moment.dtype) in _EXACT
    }
    return Look(steps_of(optimizer), _arrays(followed), _arrays(exact))


def steps_of(optimizer: Any) -> int:
    """Return how many steps an optimizer has taken, those within a window included.

    `iterations` counts whole windows; the first of an optimizer's variables counts steps.
    """
    return int(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(optimizer.variables[0])))


def norms_between(before: Look, after: Look, optimizer: Any, *, by_layer: bool) -> dict[str, Any]:
    """Return the norms of the one update between two looks, by layer or by variable.

    Args:
        before: The look before it; moments that were not built yet were zero.
        after: The look after it.
        optimizer: The optimizer, without a loss scale around it.
        by_layer: Whether variables of one layer count as one.
    """
    beta_1 = None
    if after.step != before.step and isinstance(optimizer, Nadam):
        beta_1 = (last_update(optimizer) or {}).get("beta_1")
    squares: dict[str, list[tuple[float, float, float | None]]] = {}
    for path, old in before.weights.items():
        new = after.weights[path]
        gradient = None
        if beta_1 is not None and path in after.moments:
            gradient = _gradient(before.moments.get(path), after.moments[path], beta_1)
        name = path.rpartition("/")[0] if by_layer and "/" in path else path
        squares.setdefault(name, []).append((_square(old), _square(new, old), gradient))
    return {name: _together(rows) for name, rows in squares.items()}


def _gradient(old: np.ndarray | None, new: np.ndarray, beta_1: float) -> float | None:
    """Return the square of the gradient's norm, or None where the first moment does not tell."""
    if beta_1 >= 1.0:
        return None
    before = np.zeros(new.shape) if old is None else old.astype("float64")
    change = new.astype("float64") - before
    if not change.any():  # no gradient came, and the moment stayed
        return 0.0
    return _square(before + change / (1.0 - beta_1))


def _square(array: np.ndarray, subtracted: np.ndarray | float = 0.0) -> float:
    flat = np.ravel(array.astype("float64") - subtracted)
    return float(flat @ flat)


def _together(rows: Sequence[tuple[float, float, float | None]]) -> LayerNorms:
    weights, updates, gradients = zip(*rows, strict=True)
    known = [square for square in gradients if square is not None]
    return LayerNorms(
        math.sqrt(sum(weights)),
        math.sqrt(sum(updates)),
        math.sqrt(sum(known)) if len(known) == len(rows) else None,
    )


def _arrays(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return copies of variables; all processes of a training must call this."""
    return dict(zip(variables, take(list(variables.values()))[0], strict=True))
