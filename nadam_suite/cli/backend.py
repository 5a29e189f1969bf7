"""Choosing the framework before Keras is imported, which fixes it for the whole process."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nadam_suite.cli.guard import missing
from nadam_suite.cli.quiet import defaults, muted
from nadam_suite.errors import ArgumentError

if TYPE_CHECKING:
    from nadam_suite.config import TrainConfig

__all__ = [
    "BACKENDS",
    "configured_backend",
    "find_modules",
    "load_backend",
    "open_devices",
    "open_devices_of",
]

BACKENDS = ("tensorflow", "jax", "torch")


def load_backend(backend: str | None = None, *, trains: bool = False) -> None:
    """Choose the backend, check that it is installed, and import Keras on it.

    Args:
        backend: What `--backend` says; None keeps KERAS_BACKEND, or what Keras is set to.
        trains: Join the other workers, if the environment says that this process is one of several,
            and leave the devices for `open_devices`, which knows how many the config wants.

    Raises:
        ArgumentError: There is no such backend, or Keras runs on another one already.
        MissingExtraError: It is not installed.
    """
    mutes = defaults()
    _choose(backend)
    with muted() if mutes else contextlib.nullcontext():
        import keras

        if trains:  # before anything opens a device
            from nadam_suite.backends import get_backend

            get_backend().join()
        # It loads TensorFlow also where it is not the backend, which has something to say.
        keras.utils.set_random_seed(0)
    if not trains:
        open_devices()


def open_devices(number: int = 1) -> None:
    """Open the backend's devices, which have something to say.

    Args:
        number: Devices that the CPU should look like, if it can still be divided.
    """
    with muted() if defaults() else contextlib.nullcontext():
        import keras

        if number > 1:
            from nadam_suite.backends import get_backend

            get_backend().split_cpu(number)
        keras.ops.convert_to_tensor(0.0)


def open_devices_of(config: TrainConfig) -> None:
    """Open the devices that the training of a config needs; see `open_devices`."""
    devices = config.distribution.devices
    open_devices(devices if isinstance(devices, int) else 1)


def find_modules() -> None:
    """Find modules that a config names also in the current folder."""
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)


def configured_backend(backend: str | None = None) -> str:
    """Return the backend that Keras would run on, checked, without importing Keras.

    Args:
        backend: What `--backend` says; None is KERAS_BACKEND, or what Keras is set to.

    Raises:
        ArgumentError: There is no such backend.
        MissingExtraError: It is not installed.
    """
    if (chosen := _checked(backend)) is not None:
        return chosen
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return str(json.loads((home / "keras.json").read_text("utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return BACKENDS[0]  # Keras' own default


def _choose(backend: str | None) -> None:
    """Set KERAS_BACKEND to what is wanted, checked."""
    wanted = _checked(backend)
    if wanted is None:
        return
    if "keras" in sys.modules:
        import keras

        if keras.backend.backend() != wanted:
            key = "KERAS_BACKEND" if backend is None else "--backend"
            raise ArgumentError(
                f"Argument `{key}` must be {keras.backend.backend()!r} here, on which Keras runs "
                f"already. Received: {key}={wanted!r}. Start a new process."
            )
    os.environ["KERAS_BACKEND"] = wanted


def _checked(backend: str | None) -> str | None:
    """Return what is wanted, or None if nothing says so."""
    key, wanted = "--backend", backend
    if wanted is None:
        key, wanted = "KERAS_BACKEND", os.environ.get("KERAS_BACKEND") or None
    if wanted is None:
        return None
    if wanted not in BACKENDS:
        near = difflib.get_close_matches(wanted, BACKENDS, 1)
        raise ArgumentError(
            f"Argument `{key}` must be one of {', '.join(BACKENDS)}. Received: {key}={wanted!r}. "
            + (f"Did you mean {near[0]!r}?" if near else "Choose one of them.")
        )
    if importlib.util.find_spec(wanted) is None:
        raise missing(wanted)
    return wanted
