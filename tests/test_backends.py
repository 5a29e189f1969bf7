"""Plain `pytest` tests one backend; this starts the others, so that no backend is forgotten."""

from __future__ import annotations

import os

import keras
import pytest

from tests.processes import BACKENDS, ROOT, in_ci, installed, run_python


@pytest.mark.once
@pytest.mark.skipif(
    "NADAM_SUITE_TESTS" in os.environ, reason="the process that started this one runs all backends"
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_quick_tier_passes_on_every_other_backend(backend):
    """Under plain pytest the quick tier of the other two backends runs too, each in its process."""
    if backend == keras.backend.backend():
        pytest.skip("this process tests it")
    if not installed(backend):
        pytest.skip(f"{backend} is not installed: pip install '.[{backend}]'")
    code = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    run_python(
        code,
        "--once-elsewhere",
        "-q",
        backend=backend,
        timeout=1500,
        cwd=ROOT,
        NADAM_SUITE_TESTS="started-by-pytest",
    )


@pytest.mark.once
def test_all_three_backends_are_installed_where_it_counts():
    """In CI no backend may be missing: a skipped backend would look like a passed one."""
    missing = [name for name in BACKENDS if not installed(name)]
    if missing and not in_ci():
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert not missing
