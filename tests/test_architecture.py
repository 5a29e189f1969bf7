"""Rules of the code base, read off its syntax trees: what may import what, what is not written."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.once
PACKAGE = ROOT / "nadam_suite"
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# A module may import modules of lower floors and of its own folder.
FLOORS = {
    "errors": 0,
    "backends": 1,
    "schedules": 1,
    "averaging": 1,
    "optimizers": 2,
    "precision": 3,
    "callbacks": 3,
    "distribution": 3,
    "config": 4,
    "tuner": 5,
    "experiment": 5,
    "doctor": 5,
    "cli": 6,
    "__init__": 7,
    "__main__": 7,
}
# What may be imported from the same floor: lengths of averages are durations of a plan, a callback
# tells what a loss scale does, a trial of a search is a run, and the doctor tries searches.
SIDEWAYS = {
    ("averaging", "schedules"),
    ("callbacks", "precision"),
    ("doctor", "tuner"),
    ("tuner", "experiment"),
}
FRAMEWORKS = {"tensorflow", "jax", "jaxlib", "torch", "optax", "flax"}
MAX_LINES = 350
MAX_BODY = 45

# Private names of Keras that the package touches, by file. This list should not grow: each entry is
# a bet on Keras' inside that every release must be checked for. Look for a public way first.
PRIVATE_KERAS = {
    # A variable's value becomes a stretch of a larger one.
    "backends/tensorflow_packs.py": {"_value"},
    # `value` looks for scopes at every call: 4 us a variable, where a kernel takes 1.
    "backends/torch_plan.py": {"_value"},
    "backends/torch_update.py": {"_value"},
    "callbacks/hyperparameters.py": {"_learning_rate"},
    "optimizers/layout.py": {
        "_accumulated_gradients",
        "_iterations",
        "_learning_rate",
        "_model_variables_moving_average",
        "_momentums",
        "_velocities",
    },
    "optimizers/nadam.py": {
        "_check_variables_are_known",
        "_momentums",
        "_trainable_variables",
        "_var_key",
        "_velocities",
    },
    "optimizers/rate.py": {"_learning_rate", "_untrack_variable"},
    "optimizers/restore.py": {"_learning_rate"},
    "optimizers/settings.py": {"_learning_rate"},
    "optimizers/state.py": {"_learning_rate"},
    "optimizers/step.py": {"_iterations", "_learning_rate"},
    "precision/loss_scale.py": {"_get_variable_index", "_trainable_variables"},
    "precision/policy.py": {"_flatten_layers"},
}

# The same of keras-tuner: what it calls and has no public name for.
PRIVATE_KERAS_TUNER = {
    "tuner/durable.py": {
        "_check_consecutive_failures",
        "_duplicate",
        "_project_dir",
        "_random_values",
        "_retry_queue",
        "_save_trial",
    },
    "tuner/oracles.py": {"_duplicate", "_random_values"},
    "tuner/search_tuner.py": {
        "_build_hypermodel",
        "_populate_initial_space",
        "_try_build",
        "_try_run_and_update_trial",
    },
}


@functools.cache
def private_names_of_keras_tuner() -> frozenset[str]:
    """The private names that keras-tuner's oracles and tuners have."""
    oracle = keras_tuner.oracles.HyperbandOracle("loss")
    return frozenset(
        name
        for thing in (oracle, keras_tuner.Tuner)
        for name in dir(thing)
        if name.startswith("_") and name[1] != "_"
    )


def private_names_defined(path: Path) -> set[str]:
    """Private methods that the classes of a file define, for themselves or in place of others."""
    return {
        node.name
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and node.name[1] != "_"
    }


@functools.cache
def private_names_of_keras() -> frozenset[str]:
    """The private names that Keras' own optimizers, variables, callbacks and models have."""
    stock = keras.optimizers.Nadam(use_ema=True, gradient_accumulation_steps=2)
    variable = keras.Variable(np.ones(1, "float32"))
    stock.build([variable])
    wrapper = keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam())
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    names = set()
    for thing in (stock, variable, wrapper, model, schedule, keras.callbacks.Callback()):
        names |= {name for name in dir(thing) if name.startswith("_") and name[1] != "_"}
    # Our optimizer has an attribute of the first name; the second is of TensorFlow's trackables.
    return frozenset(names - {"_layout", "_export_to_saved_model_graph"})


def private_names_used(path: Path) -> set[str]:
    """Private names read as attributes, or by getattr and its like, in one file."""
    used = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in {
            "getattr",
            "hasattr",
            "setattr",
            "delattr",
        }:
            used |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    return {name for name in used if name.startswith("_") and not name.startswith("__")}


def name_of(path: Path) -> str:
    """The path below the package, as test id and in messages."""
    return path.relative_to(PACKAGE).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.AST) -> list[str]:
    """Every module that is imported anywhere in the file, functions included."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import: write the whole name"
            module = node.module or ""
            found.append(module)
            if module == "nadam_suite":
                found += [f"nadam_suite.{alias.name}" for alias in node.names]
    return found


def unit_of(path: Path) -> str:
    """The folder or module directly below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_the_package_is_found():
    """The other tests here look at something."""
    assert len(FILES) > 10
    assert len(TESTS) > 10


def test_every_folder_has_a_floor():
    """A new folder must be given its floor here before anything may import it."""
    assert {unit_of(path) for path in FILES} <= set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down_only(path):
    """A module imports lower floors and its own folder, never above, never sideways."""
    own = unit_of(path)
    tree = parse(path)
    for module in imports(tree):
        parts = module.split(".")
        if parts[0] != "nadam_suite" or len(parts) == 1:
            continue
        other = parts[1]
        if other == own or other not in FLOORS or (own, other) in SIDEWAYS:
            continue
        assert FLOORS[other] < FLOORS[own], (
            f"{name_of(path)} (floor {FLOORS[own]}) imports {module} (floor {FLOORS[other]}). Move "
            "what both need to a lower floor, or pass it in as an argument."
        )


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_frameworks_are_imported_in_backends_only(path):
    """TensorFlow, JAX and PyTorch have one door."""
    used = {module.split(".")[0] for module in imports(parse(path))} & FRAMEWORKS
    if unit_of(path) == "backends":
        own = path.stem.split("_")[0]  # tensorflow_scope.py belongs to tensorflow.py
        assert used <= {own}, "an adapter imports its own framework only"
    else:
        assert not used, f"{name_of(path)} imports {used}: add a method to backends/base.py instead"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_keras_is_used_by_its_public_names(path):
    """No import of keras.src, whose paths change from release to release."""
    tree = parse(path)
    assert not [m for m in imports(tree) if m.startswith("keras.src")]
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        assert text != "keras.src", f"{name_of(path)}, line {node.lineno}: keras.src"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_private_attributes_of_keras_stay_within_the_list(path):
    """Only the listed files touch the listed private names of Keras."""
    used = private_names_used(path) & private_names_of_keras()
    beyond = used - PRIVATE_KERAS.get(name_of(path), set()) - defined_here(path)
    assert not beyond, f"{name_of(path)} touches {sorted(beyond)}: look for a public way"


def defined_here(path: Path) -> set[str]:
    """Private names that functions, fields and classes of this file define for themselves."""
    own = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ClassDef) and not node.bases:
            own |= {
                getattr(n, "attr", getattr(n, "name", ""))
                for n in ast.walk(node)
                if (isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store))
                or isinstance(n, ast.FunctionDef)
            }
    return own


def test_the_list_of_private_names_has_no_dead_entries():
    """A name that is no longer touched, or that Keras no longer has, leaves the list."""
    for name, allowed in PRIVATE_KERAS.items():
        dead = allowed - (private_names_used(PACKAGE / name) & private_names_of_keras())
        assert not dead, f"{name}: {sorted(dead)} can go from the list"


@pytest.mark.parametrize("path", sorted((PACKAGE / "tuner").glob("*.py")), ids=name_of)
def test_private_names_of_keras_tuner_are_those_of_the_list(path):
    """Overridden or used, each is in the list, and keras-tuner still has it."""
    used = private_names_used(path) | private_names_defined(path)
    found = used & private_names_of_keras_tuner()
    assert found == PRIVATE_KERAS_TUNER.get(name_of(path), set())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_print_assert_or_bare_exception(path):
    """The library neither prints nor asserts, and raises its own errors."""
    for node in ast.walk(parse(path)):
        where = f"{name_of(path)}, line {getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{where}: raise an error of nadam_suite.errors"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "exit", "eval", "exec"}, (
                f"{where}: {node.func.id}()"
            )
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = raised.id if isinstance(raised, ast.Name) else ""
            assert name not in {"Exception", "BaseException", "RuntimeError"}, (
                f"{where}: raise {name}"
            )
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{where}: bare except"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_modules_are_short_and_say_what_they_are_for(path):
    """At most 350 lines, function bodies of about forty, and a sentence at the top."""
    tree = parse(path)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    documented = ast.get_docstring(tree)
    assert documented, f"{name_of(path)}: no docstring"
    assert documented.split("\n\n")[0].rstrip().endswith((".", ":")), (
        f"{name_of(path)}: no sentence"
    )
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= MAX_BODY, f"{name_of(path)}: {node.name} has {lines} lines"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_modules_list_their_names(path):
    """`__all__` is a list of strings, and each of them is defined in the module."""
    tree = parse(path)
    if path.name.startswith("_") and path.name != "__init__.py":
        return
    public = [
        node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    listed = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    if public and unit_of(path) != "cli":
        assert listed, f"{name_of(path)} has public names and no __all__"
    for node in listed:
        names = ast.literal_eval(node.value)
        assert all(isinstance(name, str) for name in names)
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", TESTS, ids=lambda p: p.relative_to(ROOT / "tests").as_posix())
def test_every_test_states_the_behaviour(path):
    """Each test function has a docstring and a body that can fail."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            where = f"{path.name}: {node.name}"
            assert ast.get_docstring(node), f"{where} has no docstring"
            assert len(node.body) > 1, f"{where} has no body"
            assert not isinstance(node.body[-1], ast.Pass), f"{where} ends in pass"


@pytest.mark.parametrize("path", TESTS, ids=lambda p: p.relative_to(ROOT / "tests").as_posix())
def test_test_files_are_short(path):
    """Tests are split by topic before they pass 350 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
