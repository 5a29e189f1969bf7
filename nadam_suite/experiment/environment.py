"""What a run was started with, as far as it can change the numbers: versions, machine, data."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from typing import Any

import keras
import numpy as np

from nadam_suite.config import TrainConfig, fingerprint
from nadam_suite.experiment.splits import Splits

__all__ = ["describe"]

_PACKAGES = ("nadam-suite", "keras", "numpy", "scikit-learn")


def describe(config: TrainConfig, splits: Splits, distribution: str = "") -> dict[str, Any]:
    """Return versions, backend, machine, seed, and digests of config and data.

    Args:
        config: The resolved config.
        splits: The data.
        distribution: How the training is shared out over devices, in words.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.experiment import Splits
    >>> from nadam_suite.experiment.environment import describe
    >>> config = TrainConfig(model="digits", data="digits", seed=7)
    >>> describe(config, Splits(train=(np.zeros(4), np.zeros(4))))["seed"]
    7
    """
    backend = keras.backend.backend()
    return {
        "backend": backend,
        "config_fingerprint": fingerprint(config),
        "cpu_count": os.cpu_count(),
        "data_sha256": _digest(splits),
        "distribution": distribution,
        "packages": {name: _version(name) for name in sorted({*_PACKAGES, backend})},
        "platform": f"{platform.system()}-{platform.machine()}",
        "python": platform.python_version(),
        "seed": config.seed,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # A checkout that is not installed, or TensorFlow under another distribution's name.
        import nadam_suite

        return nadam_suite.__version__ if package == "nadam-suite" else None


def _digest(splits: Splits) -> str:
    """Return a digest of all examples, their shapes and types."""
    digest = hashlib.sha256()
    for split in (splits.train, splits.validation, splits.test):
        for path, array in keras.tree.flatten_with_path(split or ()):
            digest.update("".join(f"{name!r}:" for name in path[1:]).encode())
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
