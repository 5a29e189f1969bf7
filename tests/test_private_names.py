"""The list of private names is whole: what the code touches of other libraries stands there."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest

from nadam_suite.doctor.private import PRIVATE
from tests.sources import FILES, PACKAGE, name_of, parse

pytestmark = pytest.mark.once

# What tries the private names, and so touches them all.
TRYING = ("doctor/private/", "backends/tensorflow_protocol.py")


def listed(path: Path, *libraries: str) -> set[str]:
    """The private names that the package's own list allows in a file; add to it with reasons."""
    name = name_of(path)
    every = name.startswith(TRYING)
    return {
        private.name
        for private in PRIVATE
        if private.library in libraries and (every or name in private.files)
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
    # Our optimizer has an attribute of the first name; the others are of TensorFlow's trackables.
    trackable = {private.name for private in PRIVATE if private.library == "tensorflow"}
    return frozenset(names - {"_layout"} - trackable)


@functools.cache
def private_names_of_tensorflow() -> frozenset[str]:
    """The private names that TensorFlow's variables have."""
    import tensorflow as tf

    return frozenset(n for n in dir(tf.Variable(0.0)) if n.startswith("_") and n[1] != "_")


def internals_of_tensorflow(path: Path) -> set[str]:
    """What a file takes out of `tf.__internal__`."""
    chains = {ast.unparse(n) for n in ast.walk(parse(path)) if isinstance(n, ast.Attribute)}
    chains = {c.removeprefix("tf.") for c in chains if c.startswith("tf.__internal__.")}
    return {c for c in chains if not any(other.startswith(f"{c}.") for other in chains)}


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


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_private_attributes_of_keras_stay_within_the_list(path):
    """Only the listed files touch the listed private names of Keras."""
    used = private_names_used(path) & private_names_of_keras()
    beyond = used - listed(path, "keras") - defined_here(path)
    assert not beyond, (
        f"{name_of(path)} touches {sorted(beyond)}: look for a public way, or say in "
        "nadam_suite/doctor/private/names.py why there is none"
    )


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


@pytest.mark.parametrize("private", PRIVATE, ids=lambda private: private.id)
def test_the_list_of_private_names_has_no_dead_entries(private):
    """A name that is no longer touched, or that the library no longer has, leaves the list."""
    for name in private.files:
        path = PACKAGE / name
        used = private_names_used(path) | private_names_defined(path)
        used |= internals_of_tensorflow(path) | {"build"}
        assert private.name in used, f"{name} no longer touches {private.id}: it can go"
    if private.library == "keras":
        known = private_names_of_keras() | {"_layout", "build"}
        assert private.name in known, f"Keras no longer has {private.id}: it can go"


def test_the_list_of_private_names_tells_all():
    """Each entry has reasons, files that exist, and a check; no name is listed twice."""
    assert len({private.id for private in PRIVATE}) == len(PRIVATE) > 20
    for private in PRIVATE:
        assert private.files, private.id
        assert all((PACKAGE / name).is_file() for name in private.files), private.id
        assert min(map(len, (private.why, private.relied_on, private.breaks))) > 10, private.id


@pytest.mark.parametrize("path", sorted((PACKAGE / "tuner").glob("*.py")), ids=name_of)
def test_private_names_of_keras_tuner_are_those_of_the_list(path):
    """Overridden or used, each is in the list, and keras-tuner still has it."""
    used = private_names_used(path) | private_names_defined(path)
    found = used & private_names_of_keras_tuner()
    assert found == listed(path, "keras-tuner")


@pytest.mark.parametrize("path", sorted((PACKAGE / "backends").glob("tensorflow*.py")), ids=name_of)
def test_private_names_of_tensorflow_stay_within_the_list(path):
    """What a pack answers for a variable, and what is taken out of `tf.__internal__`."""
    used = private_names_used(path) | private_names_defined(path)
    found = (used & private_names_of_tensorflow()) | internals_of_tensorflow(path)
    assert found <= listed(path, "tensorflow")
