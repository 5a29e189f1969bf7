"""The private parts of other libraries that the package stands on do what it relies on."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
from pathlib import Path

import keras
import pytest

from nadam_suite.doctor.private import PRIVATE, changed, summary, try_private
from nadam_suite.versions import TESTED
from tests.processes import ROOT, run_python

FILES = sorted(
    path
    for part in ("optimizers", "backends", "precision")
    for path in (ROOT / "nadam_suite" / part).glob("*.py")
)
BACKEND = keras.backend.backend()
LIST = "nadam_suite/doctor/private/names.py"
# What keras-tuner does is the same on every backend.
TRIED = [
    pytest.param(
        private, id=private.id, marks=[pytest.mark.once] * (private.library == "keras-tuner")
    )
    for private in PRIVATE
    if BACKEND in private.backends
]
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


@pytest.mark.once
def test_every_private_name_is_checked():
    """What the code reads of Keras, by its syntax trees, is what the list has and is tried."""
    relied_on = (set(USED) - DEFINED) | (SHARED & set(USED))
    known = {private.name for private in PRIVATE}
    new = {name: USED[name] for name in sorted(relied_on - known)}
    assert not new, f"private names without an entry: {new}. Add one to {LIST}, or go without."


@pytest.mark.parametrize("private", TRIED)
def test_the_libraries_do_what_is_relied_on(private):
    """A private part of Keras, TensorFlow or keras-tuner is there and behaves as expected."""
    (result,) = try_private(names=[private.id])
    assert result.as_expected, str(result)


def test_all_are_tried_on_the_backends_where_they_are_used():
    """Those of Keras and keras-tuner everywhere, those of TensorFlow on TensorFlow."""
    tried = {result.private.id for result in try_private(["keras", "tensorflow"])}
    tensorflows = {private.id for private in PRIVATE if private.library == "tensorflow"}
    assert tried >= {private.id for private in PRIVATE if private.library == "keras"}
    assert tried & tensorflows == (tensorflows if BACKEND == "tensorflow" else set())


def test_a_lost_name_is_told_with_what_to_do(monkeypatch):
    """The message has the release, what is relied on, what was found, where, and the remedy."""
    (owner,) = [c for c in keras.optimizers.Nadam.__mro__ if "_untrack_variable" in vars(c)]
    monkeypatch.delattr(owner, "_untrack_variable")
    (result,) = changed(try_private())
    message = str(result)
    assert f"Keras {keras.__version__} has changed optimizer._untrack_variable" in message
    assert f"tried on {BACKEND}" in message
    assert re.search(r"relied on: +leaves all of `variables` but that one", message)
    assert re.search(r"found: +AttributeError: .*_untrack_variable", message)
    assert re.search(r"used in: +optimizers/rate.py: .+", message)
    assert re.search(r"at risk: +.+", message)
    assert f"pip install keras=={TESTED['keras'][1]}" in message
    assert LIST in message
    assert "but not optimizer._untrack_variable." in summary([result])


def test_a_changed_behaviour_is_told(monkeypatch):
    """A name that is there and does something else has changed too."""
    monkeypatch.setattr(keras.Layer, "_flatten_layers", lambda self, *_, **__: [self])
    (result,) = changed(try_private(["keras"]))
    assert result.private.id == "layer._flatten_layers"
    assert "leaves out ['time_distributed" in result.seen.detail


# Where it is absent is no fault but on JAX.
NOT_NEEDED = "_layout"


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("library", ["keras", "keras-tuner"])
def test_renamed_in_a_copy_of_the_library_each_is_told(library, tmp_path):
    """A release that calls its private parts otherwise, and works, fails each check by name."""
    module = library.replace("-", "_")
    place = Path(importlib.util.find_spec(module).origin).parent
    shutil.copytree(place, tmp_path / module, ignore=shutil.ignore_patterns("__pycache__"))
    chosen = [p for p in PRIVATE if p.library == library and p.name != NOT_NEEDED]
    # `build` is public; what it creates has other names then.
    names = [private.name for private in chosen if private.name.startswith("_")]
    pattern = re.compile(rf"\b({'|'.join(names)})\b")
    for path in (tmp_path / module).rglob("*.py"):
        text = path.read_text("utf-8")
        path.write_text(pattern.sub(r"\1_of_tomorrow", text), "utf-8")
    code = (
        f"import {module}\n"
        "from nadam_suite.doctor.private import changed, try_private\n"
        f"print({module}.__file__, *changed(try_private()), sep=chr(10))"
    )
    lines = run_python(code, backend="torch", PYTHONPATH=str(tmp_path)).stdout.splitlines()
    assert str(tmp_path / module / "__init__.py") in lines
    told = [line.partition(" has changed ")[2].partition(",")[0] for line in lines]
    assert sorted(filter(None, told)) == sorted(private.id for private in chosen)
