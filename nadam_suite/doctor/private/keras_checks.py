"""Whether the private parts of Keras do what the package relies on, each tried on a small case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Observation

__all__ = [
    "accumulators",
    "averages",
    "iterations",
    "layers",
    "layout",
    "learning_rate",
    "moments",
    "positions",
    "stock_build",
    "strangers",
    "trainable_variables",
    "untracking",
    "value",
    "variable_keys",
]


def _array(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def _ones() -> keras.Variable:
    return keras.Variable(np.ones(2, "float32"))


def _stock(optimizer: type[Any] = keras.optimizers.Nadam) -> tuple[Any, list[keras.Variable]]:
    """Return an optimizer with every kind of variable, and the two that it is built on."""
    variables = [keras.Variable(np.ones(2, "float32"), name=name) for name in ("one", "two")]
    made = optimizer(0.1, use_ema=True, gradient_accumulation_steps=2)
    made.build(variables)
    return made, variables


def _same(seen: Any, expected: Any) -> bool:
    return len(seen) == len(expected) and all(a is b for a, b in zip(seen, expected, strict=True))


def iterations() -> Observation:
    """Apply one of the two batches of a window."""
    optimizer, variables = _stock()
    optimizer.apply([keras.ops.ones((2,))] * 2, variables)
    batches, updates = int(_array(optimizer._iterations)), int(_array(optimizer.iterations))
    held = isinstance(optimizer._iterations, keras.Variable)
    whole = str(optimizer._iterations.dtype).startswith("int")
    return Observation(
        held and whole and (batches, updates) == (1, 0),
        f"after one of the two batches of a window it is {batches}, and `iterations` {updates}; "
        f"a variable: {held}, of whole numbers: {whole}",
    )


def accumulators() -> Observation:
    """Apply one of the two batches of a window, with another gradient for each variable."""
    optimizer, variables = _stock()
    optimizer.apply([keras.ops.ones((2,)) * factor for factor in (1.0, 2.0)], variables)
    sums = [_array(each).tolist() for each in optimizer._accumulated_gradients]
    return Observation(
        sums == [[1.0, 1.0], [2.0, 2.0]], f"gradients of 1 and of 2 are kept as {sums}"
    )


def averages() -> Observation:
    """Build on a variable without average and one with it."""
    variables = [_ones(), _ones()]
    variables[0].overwrite_with_gradient = True
    optimizer = keras.optimizers.Nadam(0.1, use_ema=True)
    optimizer.build(variables)
    held = [
        None if each is None else tuple(each.shape)
        for each in optimizer._model_variables_moving_average
    ]
    return Observation(
        held == [None, (2,)],
        f"of a variable that gradients overwrite and one of shape (2,) it has {held}",
    )


def moments(name: str) -> Callable[[], Observation]:
    """Return a check of the stock moments of a name."""

    def check() -> Observation:
        optimizer = keras.optimizers.Nadam(0.1)
        optimizer.build([_ones(), keras.Variable(np.ones(3, "float32"))])
        shapes = [tuple(each.shape) for each in getattr(optimizer, name)]
        return Observation(
            shapes == [(2,), (3,)],
            f"for variables of the shapes (2,) and (3,) the stock optimizer has some of {shapes}",
        )

    return check


def stock_build() -> Observation:
    """Compare what building Nadam adds to an optimizer with what building SGD adds."""
    nadam, _ = _stock()
    sgd, _ = _stock(keras.optimizers.SGD)
    added = sorted(set(vars(nadam)) - set(vars(sgd)) - {"beta_1", "beta_2", "epsilon"})
    expected = ["_momentums", "_u_product", "_velocities"]
    return Observation(added == expected, f"beyond what every optimizer has it creates {added}")


def trainable_variables() -> Observation:
    """Build on two variables."""
    optimizer, variables = _stock()
    same = _same(optimizer._trainable_variables, variables)
    return Observation(same, f"it holds the variables built on, in their order: {same}")


def strangers() -> Observation:
    """Ask for known variables and for an unknown one."""
    optimizer, variables = _stock()
    optimizer._check_variables_are_known(variables)
    try:
        optimizer._check_variables_are_known([_ones()])
    except ValueError as error:
        told = str(error).partition("\n")[0]
        return Observation("Unknown variable" in told, f"an unknown variable gives: {told}")
    return Observation(False, "an unknown variable is let through")


def untracking() -> Observation:
    """Take the rate out of the optimizer's variables."""
    optimizer, _ = _stock()
    rate, before = optimizer._learning_rate, list(optimizer.variables)
    optimizer._untrack_variable(rate)
    left = list(optimizer.variables)
    right = _same(left, [variable for variable in before if variable is not rate])
    return Observation(
        right and len(left) == len(before) - 1,
        f"of {len(before)} variables {len(left)} are left, all but that one: {right}",
    )


def variable_keys() -> Observation:
    """Ask for the keys of two variables, and for one of them again."""
    optimizer, (one, two) = _stock()
    keys = [optimizer._var_key(variable) for variable in (one, two, one)]
    alike, apart = keys[0] == keys[2], keys[0] != keys[1]
    hashable = len(set(keys)) == 2
    return Observation(
        alike and apart and hashable,
        f"one variable has the same key twice: {alike}, another one another key: {apart}",
    )


def learning_rate() -> Observation:
    """Give a number, a function and a schedule for a rate."""

    def rate() -> float:
        return 0.1

    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    number, function, planned = (
        keras.optimizers.Nadam(given)._learning_rate for given in (0.1, rate, schedule)
    )
    held = isinstance(number, keras.Variable) and function is rate and planned is schedule
    kinds = [type(each).__name__ for each in (number, function, planned)]
    return Observation(held, f"a number, a function and a schedule are kept as {kinds}")


def layout() -> Observation:
    """Make a variable outside of any distribution."""
    variable = _ones()
    there, held = hasattr(variable, "_layout"), getattr(variable, "_layout", None)
    needed = keras.backend.backend() == "jax"
    return Observation(
        held is None and (there or not needed),
        f"a variable without distribution has it: {there}, and it is {held}",
    )


def positions() -> Observation:
    """Ask for the positions of the variables that an optimizer is built on."""
    optimizer, variables = _stock()
    found = [optimizer._get_variable_index(variable) for variable in variables]
    return Observation(found == [0, 1], f"of the variables built on the positions are {found}")


def layers() -> Observation:
    """Look for a layer inside of a layer of a model."""
    inner = keras.layers.Dense(1)
    outer = keras.layers.TimeDistributed(inner)
    model = keras.Sequential([keras.Input((2, 2)), outer])
    found = list(model._flatten_layers())
    missing = [each.name for each in (model, outer, inner) if all(each is not f for f in found)]
    return Observation(
        not missing, f"of a model with a layer in a layer it leaves out {missing or 'nothing'}"
    )


def value() -> Observation:
    """Read and write a variable with a scope and without one."""
    variable, new = _ones(), keras.Variable(np.full(2, 3.0, "float32"))
    same = variable._value is variable.value
    with keras.StatelessScope(state_mapping=[(variable, keras.ops.zeros((2,)))]):
        scoped, own = _array(variable.value).tolist(), _array(variable._value).tolist()
    variable._value = new._value
    written = _array(variable.value).tolist()
    return Observation(
        same and (scoped, own, written) == ([0.0] * 2, [1.0] * 2, [3.0] * 2),
        f"it is what `value` returns: {same}; where a scope has zeros for ones, `value` is "
        f"{scoped} and it is {own}; when it is set to threes, `value` is {written}",
    )
