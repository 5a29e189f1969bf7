"""Shared set-up: one backend a process, clean Keras state, fixed seeds, quick tier by default."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import tempfile

from tests.processes import compile_cache, in_ci

# Before any framework is imported: logs, threads, and a backend that is named.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = tempfile.mkdtemp(prefix="nadam-suite-tests-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    os.environ |= compile_cache(_cache)

import random

import hypothesis
import keras
import numpy as np
import pytest

# Nothing that a slow machine fails: no deadline, and no limit for the making of examples.
_ANY_SPEED = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("dev", max_examples=25, **_ANY_SPEED)
hypothesis.settings.register_profile("ci", max_examples=60, derandomize=True, **_ANY_SPEED)
hypothesis.settings.load_profile("ci" if in_ci() else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("nadam_suite")
    group.addoption("--slow", action="store_true", help="run the tests marked slow as well")
    group.addoption(
        "--once-elsewhere",
        action="store_true",
        help="leave out the tests marked once: another backend's process runs them",
    )


def pytest_configure(config: pytest.Config) -> None:
    backend = os.environ["KERAS_BACKEND"]
    if keras.backend.backend() != backend:
        raise pytest.UsageError(
            f"Keras runs on {keras.backend.backend()}, but KERAS_BACKEND={backend}: it was "
            "imported before the tests could choose."
        )
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So it is in what a script starts with `&`, and its children inherit it; Ctrl-C is tested.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if backend == "torch":
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


def pytest_report_header() -> str:
    return f"backend: {keras.backend.backend()}, keras {keras.__version__}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this run is not asked for, and say how many that were."""
    left_out = []
    for marker, wanted in (
        ("slow", config.getoption("--slow") or "slow" in config.getoption("-m")),
        ("once", not config.getoption("--once-elsewhere")),
    ):
        if not wanted:
            left_out += [item for item in items if marker in item.keywords]
            items[:] = [item for item in items if marker not in item.keywords]
    if left_out:
        config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish() -> None:
    """Set what the imports made apart: a full collection goes through all of TensorFlow else."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_keras():
    """Give every test fresh names, the standard policy and fixed seeds; undo what it changed."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for code under test that uses the global generator
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def backend() -> str:
    """Name of the backend under test."""
    return keras.backend.backend()
