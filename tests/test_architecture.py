"""Rules of the code base, read off its syntax trees: what may import what, what is not written."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.sources import FILES, PACKAGE, TESTS, name_of, parse

pytestmark = pytest.mark.once

# A module may import modules of lower floors and of its own folder.
FLOORS = {
    "errors": 0,
    "versions": 0,
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
