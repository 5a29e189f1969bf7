"""Running cells: each one on stock Keras and on this package, leaving the process as it was."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import random
import time
import warnings
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, CellResult, Observation, Subject
from nadam_suite.doctor.subjects import ours, stock
from nadam_suite.doctor.table import select
from nadam_suite.errors import ArgumentError
from nadam_suite.versions import numbers

__all__ = ["lacking", "observe", "observed", "run_cells"]

_LOGGERS = ("tensorflow", "absl", "jax")
_WIDTH = 200


def run_cells(
    ids: Iterable[str] | None = None,
    backend: str | None = None,
    which: str = "both",
    *,
    slow: bool = True,
    progress: Callable[[CellResult], None] | None = None,
) -> list[CellResult]:
    """Try the promises of the contract table on the backend that Keras runs on.

    Args:
        ids: Rows ("K6") or cells ("K6/bfloat16") to try; None, the default, tries all.
        backend: Name of the running backend, to be sure of it; None takes whatever runs.
        which: "both", "stock" or "ours".
        slow: Whether to try also the cells that start another process.
        progress: Called with every result as it comes.

    Returns:
        One result for each cell that concerns the backend and whose needs are installed, in the
        release that they ask for.

    Raises:
        ArgumentError: An argument is none of those, or another backend is running.

    Example:

    >>> from nadam_suite.doctor import run_cells
    >>> result, = run_cells(["K33/typed"])
    >>> result.stock.holds, result.ours.holds
    (False, True)
    """
    running = keras.backend.backend()
    if backend is not None and backend != running:
        raise ArgumentError(
            f"Argument `backend` must be the running one, {running!r}. Received: "
            f"backend={backend!r}. Set KERAS_BACKEND={backend} before Keras is imported."
        )
    subjects = {"stock": stock, "ours": ours}
    if which not in ("both", *subjects):
        raise ArgumentError(
            f"Argument `which` must be 'both', 'stock' or 'ours'. Received: which={which!r}."
        )
    results = []
    for cell in select(ids, running):
        if (cell.slow and not slow) or lacking(cell):
            continue
        started = time.perf_counter()
        seen = {
            name: observe(cell, subject()) if which in ("both", name) else None
            for name, subject in subjects.items()
        }
        seconds = time.perf_counter() - started
        result = CellResult(cell, running, seen["stock"], seen["ours"], seconds)
        results.append(result)
        if progress is not None:
            progress(result)
    return results


def observe(cell: Cell, subject: Subject) -> Observation:
    """Run one probe; an exception counts as a broken promise, and is what was seen."""
    return observed(lambda: cell.probe(subject))


def observed(trial: Callable[[], Observation]) -> Observation:
    """Run anything that observes, as `observe` runs a cell's probe."""
    with _left_as_it_was():
        try:
            seen = trial()
        except Exception as error:  # noqa: BLE001 - how a promise breaks is what is asked for
            seen = Observation(False, f"{type(error).__name__}: {error}")
    lines = seen.detail.strip().splitlines() or [""]
    short = lines[0] if len(lines[0]) <= _WIDTH else lines[0][: _WIDTH - 1] + "…"
    return dataclasses.replace(seen, detail=short)


@contextlib.contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Restore the types, the random state and the log levels, and keep warnings to ourselves."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def lacking(cell: Cell) -> list[str]:
    """Return what a cell needs and is not here: backends, or a newer Keras."""
    missing = [name for name in cell.needs if importlib.util.find_spec(name) is None]
    if cell.since and numbers(keras.__version__) < numbers(cell.since):
        missing.append(f"Keras {cell.since}")
    return missing
