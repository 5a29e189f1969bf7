"""Loading a named state into an optimizer whose settings may have changed since it was saved."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nadam_suite.backends import get_backend
from nadam_suite.backends.slot import path_of
from nadam_suite.errors import NadamSuiteWarning, StateError
from nadam_suite.optimizers.hyperparameters import is_constant
from nadam_suite.optimizers.state import (
    COMPANION,
    SHOWN_KEY,
    WINDOW_KEY,
    StockLayout,
    average_state,
    named_state,
    saved_state,
    scaled_state,
    u_product_after,
)

__all__ = ["check_weights", "replaced", "restore_state"]


def restore_state(optimizer: Any, state: Mapping[str, np.ndarray]) -> None:
    """Write a saved state into a built optimizer, all of it or nothing.

    Moments, counters and the running product must be there and must fit. What the optimizer does
    not keep is dropped, what it keeps and the state lacks is started afresh; both with a message.

    Args:
        state: Arrays by name, or by position as stock Keras writes them.

    Raises:
        StateError: The state belongs to other variables; nothing has been changed.
    """
    own = dict(named_state(optimizer))
    slots = optimizer._layout.slots
    unscaled = _without_loss_scale(optimizer, state)
    state = state if unscaled is None else unscaled
    if all(key.isdigit() for key in state):
        layout = StockLayout(
            [tuple(slot.variable.shape) for slot in slots], [slot.overwrite for slot in slots]
        )
        window = optimizer.gradient_accumulation_steps or 1
        wants_average = "ema" in optimizer.average_names
        state = layout.decode(state, wants_average=wants_average, window=window)
    state = dict(state)
    shown = _taken_shown(state)
    companions = {k: state.pop(k) for k in list(state) if k.startswith(COMPANION)}
    _convert_iteration(optimizer, state)
    _complete_products(optimizer, state)
    new, *messages = _reconcile_averages(optimizer, state)
    messages.append(_reconcile_scale(optimizer, state))
    _check(optimizer, own, state)

    def assign() -> None:
        for name, variable in own.items():
            if name in state:
                variable.assign(state[name])
            elif name.startswith("accumulator"):
                variable.assign(np.zeros(variable.shape))

        optimizer._layout.start_averages(new)

    get_backend().eagerly(assign, [slot.variable for slot in slots])
    optimizer.restore_shown(*shown)
    optimizer.companions = {key.removeprefix(COMPANION): a for key, a in companions.items()}
    messages.append(None if unscaled is None else _lost_scale(optimizer))
    for message in (*messages, _dropped_window(own, state)):
        if message:
            warnings.warn(message, NadamSuiteWarning, stacklevel=4)


def _without_loss_scale(
    optimizer: Any, state: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray] | None:
    """Return what a stock loss scale around an optimizer wrote of it, or None for other states.

    `compile()` adds that wrapper without a word, and a file does not know of it: read under another
    policy, the optimizer finds the wrapper's state where its own should be. Ours has its variables
    in it by position, more of them than a stock Nadam.
    """
    if (scaled := scaled_state(state)) is None:
        return None
    arrays, variables = list(scaled.inner.values()), optimizer.variables
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        return scaled.inner
    names = {id(variable): name for name, variable in named_state(optimizer)}
    pairs = zip(variables, arrays, strict=True)
    return {names[id(v)]: array for v, array in pairs if id(v) in names}


def _lost_scale(optimizer: Any) -> str:
    return (
        f"The saved state of optimizer {optimizer.name!r} is of a training with a loss scale, "
        "which `compile()` adds under mixed_float16 and does not save. Where layers still compute "
        "in float16, compile with `nadam_suite.precision.wrap_for_policy(optimizer, model)`."
    )


def _taken_shown(state: dict[str, np.ndarray]) -> tuple[str | None, dict[int, np.ndarray]]:
    """Take out which average the model had when it was saved, and its raw weights."""
    name = state.pop(SHOWN_KEY, None)
    raw = {int(key[4:]): state.pop(key) for key in list(state) if key.startswith("raw_")}
    return (None if name is None else name.tobytes().decode()), raw


def replaced(optimizer: Any, arguments: Mapping[str, Any], changes: Mapping[str, Any]) -> Any:
    """Return a new optimizer with changed arguments and the state of the old one."""
    arguments = {**arguments, **changes}
    if changes.get("weight_decay_mode") == "lr" and "max_learning_rate" not in changes:
        arguments["max_learning_rate"] = None
    new = type(optimizer)(**arguments)
    if optimizer.built:
        new.build([slot.variable for slot in optimizer._layout.slots])
        state = saved_state(optimizer)
        if "learning_rate" in changes:
            state.pop("learning_rate", None)
            state.pop("learning_rate_scale", None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NadamSuiteWarning)  # the change is deliberate
            restore_state(new, state)
    return new


def check_weights(optimizer: Any, weights: Sequence[Any]) -> None:
    """Refuse arrays that are not one for every variable of a built optimizer, shape by shape.

    Raises:
        StateError: The optimizer is not built, or number or shapes differ.
    """
    if not optimizer.built:
        raise StateError(
            "`set_weights()` needs the optimizer's variables, which do not exist yet. Received: "
            f"{len(weights)} arrays. Call `optimizer.build(model.trainable_variables)` first."
        )
    wanted = [tuple(variable.shape) for variable in optimizer.variables]
    shapes = [tuple(np.shape(weight)) for weight in weights]
    if shapes != wanted:
        raise StateError(
            f"Argument `weights` must have one array for each of the {len(wanted)} variables of "
            f"optimizer {optimizer.name!r}, of shapes {wanted}. Received: {len(shapes)} arrays of "
            f"shapes {shapes}. Files know more than arrays do: `load_own_variables` reads a state "
            "that was saved under other settings."
        )


def _convert_iteration(optimizer: Any, state: dict[str, np.ndarray]) -> None:
    """Keep the number of real updates where the accumulation window has changed."""
    window = optimizer.gradient_accumulation_steps or 1
    saved_window = int(state.pop(WINDOW_KEY, window))
    if "iteration" in state and saved_window != window:
        updates = int(state["iteration"]) // saved_window
        state["iteration"] = np.asarray(updates * window)


def _updates(optimizer: Any, state: Mapping[str, np.ndarray]) -> int:
    return int(state.get("iteration", 0)) // (optimizer.gradient_accumulation_steps or 1)


def _complete_products(optimizer: Any, state: dict[str, np.ndarray]) -> None:
    """Recompute running products that a wrapper lost or an older setting did not need."""
    updates = _updates(optimizer, state)
    if "u_product" not in state:
        beta_1 = optimizer.beta_1 if is_constant(optimizer.beta_1) else 0.9
        product = u_product_after(updates, beta_1, optimizer.momentum_decay)
        state["u_product"] = np.asarray(product, "float32")
    if optimizer._layout.state.beta_2_product is None:
        state.pop("beta_2_product", None)
    elif "beta_2_product" not in state:
        state["beta_2_product"] = np.asarray(0.999**updates, "float32")
    if "learning_rate" in state and callable(optimizer._learning_rate):
        state.pop("learning_rate")


def _reconcile_averages(
    optimizer: Any, state: dict[str, np.ndarray]
) -> tuple[list[int], str | None, str | None]:
    """Find the averages that the state lacks, and drop those that the optimizer does not keep.

    Returns:
        Positions of the averages that must begin anew, and two messages.
    """
    new, started, known = [], [], set()
    for position, name in enumerate(optimizer.average_names):
        count, *values = [key for key, _ in average_state(optimizer, position)]
        known |= {count, *values}
        if all(value in state for value in values):
            state.setdefault(count, np.asarray(_updates(optimizer, state)))
        else:
            new.append(position)
            started.append(name)
            for key in (count, *values):
                state.pop(key, None)
    dropped = [key for key in state if key.startswith("average") and key not in known]
    for key in dropped:
        state.pop(key)
    names = sorted({_name_of(key) for key in dropped})
    subject = f"The saved state of optimizer {optimizer.name!r} has"
    begin = (
        f"{subject} no averages {', '.join(started)}, which start from the weights now. Moments "
        "and counters are kept."
    )
    drop = (
        f"{subject} averages of the weights, {', '.join(names)}, which are dropped because the "
        "optimizer does not keep them. Set `averaging` or `use_ema` as it was to keep them."
    )
    return new, begin if started else None, drop if dropped else None


def _name_of(key: str) -> str:
    """Return the name of the average that a key of a state belongs to."""
    if key.startswith("average_"):
        return "ema"
    return re.sub(r"_(count|(copy_\d+_)?\d+)$", "", key.removeprefix("average:"))


def _reconcile_scale(optimizer: Any, state: dict[str, np.ndarray]) -> str | None:
    """Start with an unscaled rate where the state has no scale; drop one that is not kept."""
    if optimizer.learning_rate_scale is not None:
        state.setdefault("learning_rate_scale", np.asarray(1.0, "float32"))
        return None
    scale = float(state.pop("learning_rate_scale", 1.0))
    if scale == 1.0:
        return None
    return (
        f"The saved state of optimizer {optimizer.name!r} has a learning rate that was scaled by "
        f"{scale:.6g} on a plateau, which is dropped because its learning rate is a number. Assign "
        "`optimizer.learning_rate`."
    )


def _check(optimizer: Any, own: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> None:
    """Refuse a state of other variables before anything is written."""
    slots = optimizer._layout.slots
    optional = ("learning_rate", "accumulator", "average", "master")
    missing = [n for n in own if n not in state and not n.startswith(optional)]
    unknown = [n for n in state if n not in own and not n.startswith(("accumulator", "master"))]
    if missing or unknown:
        raise StateError(
            f"The saved state does not fit optimizer {optimizer.name!r} with {len(slots)} "
            f"variables: missing {missing[:6] or 'nothing'}, unknown {unknown[:6] or 'nothing'}. "
            "Load it into an optimizer built on the same trainable variables (check which layers "
            "are frozen)."
        )
    for name, variable in own.items():
        if name in state and tuple(state[name].shape) != tuple(variable.shape):
            position = name.rpartition("_")[2]
            where = f" of variable {path_of(slots[int(position)].variable)!r}" * position.isdigit()
            raise StateError(
                f"The saved state does not fit optimizer {optimizer.name!r}: {name!r}{where} has "
                f"shape {tuple(state[name].shape)} in the file, {tuple(variable.shape)} here."
            )


def _dropped_window(own: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> str | None:
    lost = [n for n in state if n.startswith("accumulator") and n not in own and state[n].any()]
    if not lost:
        return None
    return (
        "The saved state holds the gradients of an unfinished accumulation window, which are "
        "dropped because gradient_accumulation_steps is not set."
    )
