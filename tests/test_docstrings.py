"""Every `>>>` example in the package runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import nadam_suite
from tests.processes import BACKENDS

pytestmark = pytest.mark.once
SKIP = tuple(f"nadam_suite.backends.{name}" for name in BACKENDS)
MODULES = [
    "nadam_suite",
    *(
        info.name
        for info in pkgutil.walk_packages(nadam_suite.__path__, "nadam_suite.")
        if not info.name.startswith(SKIP) and not info.name.endswith("__main__")
    ),
]


def test_there_are_modules_with_examples():
    """The search below finds the optimizer's examples, so it is not empty by mistake."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    module = importlib.import_module("nadam_suite.optimizers.nadam")
    assert sum(bool(found.examples) for found in finder.find(module)) >= 1


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name, tmp_path, monkeypatch):
    """The doctests of one module pass in an empty folder."""
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(module, optionflags=flags, verbose=False)
    assert result.failed == 0
