"""The private parts of Keras that the optimizer stands on are there, and do what it relies on."""

from __future__ import annotations

import ast

import keras
import numpy as np
import pytest

from tests.processes import ROOT

FILES = sorted(
    path
    for part in ("optimizers", "backends", "precision")
    for path in (ROOT / "nadam_suite" / part).glob("*.py")
)
# Names of Keras that the package assigns or declares too, which its own code does not tell apart.
SHARED = {"_layout", "_learning_rate", "_untrack_variable", "_value"}


def _scan():
    """Where each private attribute is read, and which private names the package defines itself."""
    used: dict[str, list[str]] = {}
    defined: set[str] = set()
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {
            (alias.asname or alias.name).split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        for node in ast.walk(tree):
            name = _attribute_read(node, modules)
            if name.startswith("_") and not name.startswith("__"):
                used.setdefault(name, []).append(f"{path.name}:{node.lineno}")
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                defined.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                defined.add(node.attr)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                defined.add(node.target.id)
    return used, defined


def _attribute_read(node: ast.AST, modules: set[str]) -> str:
    """The attribute that a node reads, by a dot or by getattr; not those of imported modules."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        root = node.value
        while isinstance(root, ast.Attribute):
            root = root.value
        return "" if isinstance(root, ast.Name) and root.id in modules else node.attr
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr":
        name = node.args[1]
        return name.value if isinstance(name, ast.Constant) else ""
    return ""


USED, DEFINED = _scan()


def _stock(**arguments):
    """A stock optimizer with every kind of variable, built on two of them."""
    settings = {"use_ema": True, "gradient_accumulation_steps": 2, **arguments}
    optimizer = keras.optimizers.Nadam(0.1, **settings)
    variables = [keras.Variable(np.ones(2, "float32"), name=name) for name in ("one", "two")]
    optimizer.build(variables)
    return optimizer, variables


def _array(value):
    return np.asarray(keras.ops.convert_to_numpy(value))


def _iterations_count_micro_batches():
    optimizer, variables = _stock()
    optimizer.apply([keras.ops.ones((2,))] * 2, variables)
    assert isinstance(optimizer._iterations, keras.Variable)
    assert optimizer._iterations.dtype.startswith("int")
    assert (int(optimizer._iterations.value), int(optimizer.iterations)) == (1, 0)


def _accumulators_stand_in_build_order():
    optimizer, variables = _stock()
    optimizer.apply([keras.ops.ones((2,)) * factor for factor in (1.0, 2.0)], variables)
    sums = [_array(sum_).tolist() for sum_ in optimizer._accumulated_gradients]
    assert sums == [[1.0, 1.0], [2.0, 2.0]]


def _averages_stand_in_build_order():
    variables = [keras.Variable(np.ones(2, "float32")) for _ in range(2)]
    variables[0].overwrite_with_gradient = True
    optimizer = keras.optimizers.Nadam(0.1, use_ema=True)
    optimizer.build(variables)
    held = optimizer._model_variables_moving_average
    assert held[0] is None
    assert held[1].shape == (2,)


def _trainable_variables_are_those_built_on():
    optimizer, variables = _stock()
    assert [id(v) for v in optimizer._trainable_variables] == [id(v) for v in variables]


def _strangers_are_refused():
    optimizer, variables = _stock()
    optimizer._check_variables_are_known(variables)
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer._check_variables_are_known([keras.Variable(np.ones(2, "float32"))])


def _untracking_takes_out_of_the_variables():
    optimizer, _ = _stock()
    rate = optimizer._learning_rate
    before = len(optimizer.variables)
    optimizer._untrack_variable(rate)
    assert len(optimizer.variables) == before - 1
    assert all(variable is not rate for variable in optimizer.variables)


def _keys_tell_variables_apart():
    optimizer, (one, two) = _stock()
    keys = {optimizer._var_key(variable) for variable in (one, two, one)}
    assert len(keys) == 2


def _learning_rate_is_held_as_it_is():
    def rate():
        return 0.1

    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    assert isinstance(keras.optimizers.Nadam(0.1)._learning_rate, keras.Variable)
    assert keras.optimizers.Nadam(rate)._learning_rate is rate
    assert keras.optimizers.Nadam(schedule)._learning_rate is schedule


def _variables_without_distribution_have_no_layout():
    variable = keras.Variable(np.ones(2, "float32"))
    assert keras.backend.backend() != "jax" or hasattr(variable, "_layout")
    assert getattr(variable, "_layout", None) is None


def _positions_are_those_built_on():
    optimizer, variables = _stock()
    assert [optimizer._get_variable_index(v) for v in variables] == [0, 1]


def _layers_inside_of_layers_are_found():
    inner = keras.layers.Dense(1)
    wrapper = keras.layers.TimeDistributed(inner)
    model = keras.Sequential([keras.Input((2, 2)), wrapper])
    found = {id(layer) for layer in model._flatten_layers()}
    assert {id(model), id(wrapper), id(inner)} <= found


def _a_variable_holds_its_tensor():
    variable = keras.Variable(np.ones(2, "float32"))
    assert variable._value is variable.value
    with keras.StatelessScope(state_mapping=[(variable, keras.ops.zeros((2,)))]):
        assert _array(variable.value).tolist() == [0.0, 0.0]
        assert _array(variable._value).tolist() == [1.0, 1.0]


CHECKS = {
    "_accumulated_gradients": _accumulators_stand_in_build_order,
    "_check_variables_are_known": _strangers_are_refused,
    "_flatten_layers": _layers_inside_of_layers_are_found,
    "_get_variable_index": _positions_are_those_built_on,
    "_iterations": _iterations_count_micro_batches,
    "_layout": _variables_without_distribution_have_no_layout,
    "_learning_rate": _learning_rate_is_held_as_it_is,
    "_model_variables_moving_average": _averages_stand_in_build_order,
    "_trainable_variables": _trainable_variables_are_those_built_on,
    "_untrack_variable": _untracking_takes_out_of_the_variables,
    "_value": _a_variable_holds_its_tensor,
    "_var_key": _keys_tell_variables_apart,
}


@pytest.mark.once
def test_every_private_name_is_checked():
    """What the code reads of Keras, by its syntax trees, is what is checked below."""
    relied_on = (set(USED) - DEFINED) | (SHARED & set(USED))
    new, gone = sorted(relied_on - set(CHECKS)), sorted(set(CHECKS) - relied_on)
    where = {name: USED[name] for name in new}
    assert not new, f"private names of Keras without a check: {where}. Add one, or go without."
    assert not gone, f"no longer read: {gone}. Remove their checks."


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_keras_does_what_is_relied_on(name):
    """A private attribute of Keras exists and behaves as the optimizer expects."""
    try:
        CHECKS[name]()
    except AttributeError as error:
        pytest.fail(f"Keras {keras.__version__} has lost {name} ({error}), used at {USED[name]}")
    except AssertionError as error:
        pytest.fail(f"Keras {keras.__version__} has changed {name}, used at {USED[name]}: {error}")


def test_the_stock_build_adds_nothing_that_is_left_out():
    """`Nadam.build` of Keras, which ours replaces, creates moments and the product of u alone."""
    optimizer, variables = _stock()
    base = keras.optimizers.SGD(0.1, use_ema=True, gradient_accumulation_steps=2)
    base.build(variables)
    own = {"beta_1", "beta_2", "epsilon"}
    added = set(vars(optimizer)) - set(vars(base)) - own
    assert added == {"_momentums", "_velocities", "_u_product"}
