"""Choosing the framework before Keras is imported, which fixes it for the whole process."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import sys

from nadam_suite.cli.guard import missing
from nadam_suite.cli.quiet import defaults, muted
from nadam_suite.errors import ArgumentError

__all__ = ["BACKENDS", "load_backend"]

BACKENDS = ("tensorflow", "jax", "torch")


def load_backend(backend: str | None = None) -> None:
    """Choose the backend, check that it is installed, and import Keras on it.

    Args:
        backend: What `--backend` says; None keeps KERAS_BACKEND, or what Keras is set to.

    Raises:
        ArgumentError: There is no such backend, or Keras runs on another one already.
        MissingExtraError: It is not installed.
    """
    mutes = defaults()
    _choose(backend)
    with muted() if mutes else contextlib.nullcontext():
        import keras

        # The first loads TensorFlow also where it is not the backend, the second opens the device;
        # both have something to say.
        keras.utils.set_random_seed(0)
        keras.ops.convert_to_tensor(0.0)


def _choose(backend: str | None) -> None:
    """Set KERAS_BACKEND to what is wanted, checked."""
    key, wanted = "--backend", backend
    if wanted is None:
        key, wanted = "KERAS_BACKEND", os.environ.get("KERAS_BACKEND") or None
    if wanted is None:
        return
    if wanted not in BACKENDS:
        near = difflib.get_close_matches(wanted, BACKENDS, 1)
        raise ArgumentError(
            f"Argument `{key}` must be one of {', '.join(BACKENDS)}. Received: {key}={wanted!r}. "
            + (f"Did you mean {near[0]!r}?" if near else "Choose one of them.")
        )
    if importlib.util.find_spec(wanted) is None:
        raise missing(wanted)
    if "keras" in sys.modules:
        import keras

        if keras.backend.backend() != wanted:
            raise ArgumentError(
                f"Argument `{key}` must be {keras.backend.backend()!r} here, on which Keras runs "
                f"already. Received: {key}={wanted!r}. Start a new process."
            )
    os.environ["KERAS_BACKEND"] = wanted
