"""What `nadam_suite` shows is listed and documented; importing it leaves the machine alone."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import nadam_suite
from tests.processes import BACKENDS, installed, run_python

pytestmark = pytest.mark.once
AREAS = [
    name
    for name in (
        "averaging",
        "callbacks",
        "config",
        "experiment",
        "precision",
        "schedules",
        "tuner",
    )
    if importlib.util.find_spec(f"nadam_suite.{name}") is not None
]
HEAVY = ("keras_tuner", "matplotlib", "sklearn", "tensorboard", "typer", "rich", "pandas")


def test_all_is_sorted_and_equals_what_is_visible():
    """Every visible name is listed, every listed name is visible, in sorted order."""
    visible = [
        name
        for name, value in vars(nadam_suite).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    ]
    listed = [name for name in nadam_suite.__all__ if name != "__version__"]
    assert sorted(visible) == sorted(listed)
    assert nadam_suite.__all__ == sorted(nadam_suite.__all__)


@pytest.mark.parametrize("area", AREAS)
def test_each_area_lists_its_names(area):
    """`__all__` of a public sub-package is sorted, and all its names are there."""
    module = importlib.import_module(f"nadam_suite.{area}")
    if not hasattr(module, "__all__"):
        pytest.skip(f"nadam_suite.{area} shows no names of its own")
    by_kind = sorted(module.__all__, key=lambda name: (not name.isupper(), name))  # as ruff does
    assert module.__all__ == by_kind
    assert not [name for name in module.__all__ if not hasattr(module, name)]


@pytest.mark.parametrize("name", [n for n in nadam_suite.__all__ if n != "__version__"])
def test_every_public_name_is_documented_with_an_example(name):
    """A docstring with a runnable example stands at every name that users import."""
    documented = inspect.getdoc(getattr(nadam_suite, name)) or ""
    assert documented.strip().split("\n")[0].endswith("."), "the first line is a sentence"
    assert ">>>" in documented, f"{name} has no example"


def test_every_module_can_be_imported():
    """Every module can be imported (adapters apart: their frameworks may be absent)."""
    skip = tuple(f"nadam_suite.backends.{name}" for name in BACKENDS)
    names = [
        info.name
        for info in pkgutil.walk_packages(nadam_suite.__path__, "nadam_suite.")
        if not info.name.startswith(skip) and not info.name.endswith("__main__")
    ]
    assert len(names) > 10
    code = "import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)"
    run_python(code, *names)


@pytest.mark.parametrize("backend", [b for b in BACKENDS if installed(b)])
def test_import_brings_no_heavy_library_and_no_second_framework(backend):
    """`import nadam_suite` loads what Keras itself loads for its backend, and nothing heavy."""
    code = (
        "import keras; before = set(sys.modules)\n"
        "import nadam_suite; after = set(sys.modules) - before\n"
        "print(' '.join(sorted({name.split('.')[0] for name in after})))"
    )
    loaded = set(run_python(code, backend=backend).stdout.split())
    assert "nadam_suite" in loaded
    assert not loaded & set(HEAVY)
    assert not loaded & (set(BACKENDS) - {backend})


def test_import_leaves_tensorflows_devices_untouched():
    """After the import TensorFlow still accepts logical devices: no Keras object was built."""
    code = (
        "import nadam_suite, tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "two = [tf.config.LogicalDeviceConfiguration()] * 2\n"
        "tf.config.set_logical_device_configuration(cpu, two)\n"
        "print(len(tf.config.list_logical_devices('CPU')))"
    )
    assert run_python(code, backend="tensorflow").stdout.split()[-1] == "2"


@pytest.mark.skipif(not installed("jax"), reason="jax is not installed: pip install '.[jax]'")
def test_import_leaves_jax_uninitialised():
    """After the import JAX can still be given its number of CPU devices."""
    code = (
        "import nadam_suite, jax\n"
        "jax.config.update('jax_num_cpu_devices', 3)\n"
        "print(len(jax.devices('cpu')))"
    )
    assert run_python(code, backend="jax").stdout.split()[-1] == "3"


def test_a_backend_that_cannot_train_is_named():
    """Under KERAS_BACKEND=numpy the first use raises an error that lists the backends."""
    code = (
        "import nadam_suite\n"
        "from nadam_suite.backends import get_backend\n"
        "from nadam_suite.errors import NadamSuiteError\n"
        "try:\n    get_backend()\n"
        "except NadamSuiteError as error:\n    print('refused', error)"
    )
    out = run_python(code, backend="numpy").stdout
    assert "refused" in out
    assert "numpy" in out
    assert "tensorflow" in out
