"""The one door to the framework that Keras runs on."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import keras

from nadam_suite.backends.base import Backend
from nadam_suite.errors import NadamSuiteError

__all__ = ["Backend", "as_written", "get_backend"]

Method = TypeVar("Method", bound=Callable[..., Any])

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


def as_written(method: Method) -> Method:
    """Decorate a method so that no tracer of the framework rewrites what it calls."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return get_backend().as_written(method)(*args, **kwargs)

    return cast("Method", call)
