"""Entries of a sparse gradient that two replicas have, as data."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.reference.nadam import Rows

TABLE, STEPS, REPLICAS = (9, 3), 6, 2
OPTIONS: dict[str, Any] = {"learning_rate": 0.05, "weight_decay": 0.1, "global_clipnorm": 2.0}


def start() -> np.ndarray:
    """The table before the first step."""
    return np.random.default_rng(0).normal(size=TABLE).astype("float32")


def entries(step: int, replica: int) -> Rows:
    """What a replica adds to the gradient: another number of entries each, of rows that overlap."""
    generator = np.random.default_rng((step, replica))
    count = 2 + replica * 2
    indices = generator.integers(0, TABLE[0] - 2, size=count)
    return Rows(indices.tolist(), generator.normal(size=(count, 3)).astype("float32"), TABLE)


def together(step: int) -> Rows:
    """The gradient of the global batch."""
    parts = [entries(step, replica) for replica in range(REPLICAS)]
    indices = [index for part in parts for index in part.indices]
    return Rows(indices, np.concatenate([part.values for part in parts]), TABLE)
