"""The one door to the framework that Keras runs on."""

from __future__ import annotations

import functools
import importlib

import keras

from nadam_suite.backends.base import Backend
from nadam_suite.errors import NadamSuiteError

__all__ = ["Backend", "get_backend"]

_ADAPTERS = {"tensorflow": "TensorFlowBackend", "jax": "JaxBackend", "torch": "TorchBackend"}


@functools.cache
def get_backend() -> Backend:
    """Return the adapter of `keras.backend.backend()`; its framework is imported here, not before.

    Raises:
        NadamSuiteError: Keras runs on a backend that cannot train (NumPy, OpenVINO).
    """
    name = keras.backend.backend()
    if name not in _ADAPTERS:
        raise NadamSuiteError(
            f"nadam_suite trains on the Keras backends {', '.join(sorted(_ADAPTERS))}. "
            f"Received: backend={name!r}. Set KERAS_BACKEND before Keras is imported."
        )
    module = importlib.import_module(f"nadam_suite.backends.{name}")
    return getattr(module, _ADAPTERS[name])()
