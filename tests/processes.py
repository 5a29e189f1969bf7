"""Start Python in a process of its own: Keras fixes its backend at import, once for each."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ("tensorflow", "jax", "torch")
# Seconds after which a process hangs: many times what any takes on a quick machine, so that none
# fails on a slow one that does other things as well.
LIMIT = 900.0

# The checkout goes to the end of the path: `tests` is found there, an installed wheel before it.
_BOOTSTRAP = f"import sys; sys.path.append({str(ROOT)!r})\n"

# The command as its console script runs it; what follows are its arguments.
COMMAND = (
    sys.executable,
    "-c",
    _BOOTSTRAP + "sys.argv[0] = 'nadam-suite'\nfrom nadam_suite.cli import main\nmain()",
)


def installed(backend: str) -> bool:
    """Whether the framework of `backend` can be imported, without importing it."""
    return importlib.util.find_spec(backend) is not None


def names_tests(words: Iterable[str]) -> bool:
    """Whether a command line names files, folders or single tests of the checkout."""
    return any(word and (ROOT / word.partition("::")[0]).exists() for word in words)


def in_ci() -> bool:
    """Whether this is the run that decides: there a missing backend is a failure, not a skip."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def environment(backend: str | None = None, threads: int = 1, **extra: str) -> dict[str, str]:
    """The environment of a child: one backend, quiet logs, few threads, no checkout on the path.

    Args:
        backend: Value of KERAS_BACKEND; None keeps that of this process.
        threads: Threads that each numeric library may use.
        **extra: Further variables.
    """
    values = dict(os.environ)
    # PYTHONPATH would come before site-packages and hide an installed wheel.
    values.pop("PYTHONPATH", None)
    values["PYTHONSAFEPATH"] = "1"
    values["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
    ):
        values[name] = str(threads)
    if backend is not None:
        values["KERAS_BACKEND"] = backend
    return values | extra


def compile_cache(folder: str | os.PathLike[str]) -> dict[str, str]:
    """The variables with which JAX keeps in a folder what it has compiled.

    Tests train the same few models in many processes. To compile them is most of what JAX does in
    these, more than half of the time of its tests.
    """
    return {
        "JAX_COMPILATION_CACHE_DIR": os.fspath(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def run_python(
    code: str,
    *arguments: str,
    backend: str | None = None,
    check: bool = True,
    timeout: float = LIMIT,
    cwd: Path | None = None,
    **extra: str,
) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh process, the checkout last on its path; show its output if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", _BOOTSTRAP + code, *arguments],
        env=environment(backend, **extra),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        cwd=cwd,
    )
    if check and done.returncode:
        message = f"exit status {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
        raise AssertionError(message)
    return done
