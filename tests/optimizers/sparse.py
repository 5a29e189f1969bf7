"""Sparse gradients of this backend, made of the twin's `Rows`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tests.reference.nadam import Rows

BACKEND = keras.backend.backend()


def tensor(gradient: Any, dtype: str = "float32") -> Any:
    """A gradient of this backend as it would come of a loss; what is not `Rows` stays as it is."""
    if not isinstance(gradient, Rows):
        return gradient
    indices = np.asarray(gradient.indices, "int32")
    values = keras.ops.convert_to_tensor(np.asarray(gradient.values), dtype=dtype)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        shape = tf.constant(gradient.shape)
        return tf.IndexedSlices(values, tf.constant(indices), shape)
    if BACKEND == "torch":
        import torch

        positions = torch.from_numpy(indices.astype("int64"))[None]
        return torch.sparse_coo_tensor(positions, values, gradient.shape, check_invariants=True)
    from jax.experimental import sparse

    # Filled up with an entry behind the table, as JAX fills up to a fixed number.
    positions = np.append(indices, gradient.shape[0])[:, None]
    filled = keras.ops.concatenate([values, keras.ops.full((1, *values.shape[1:]), 7.0, dtype)])
    return sparse.BCOO((filled, keras.ops.convert_to_tensor(positions)), shape=gradient.shape)


def tensors(gradients: Any, dtype: str = "float32") -> list[list[Any]]:
    """The same for rows of gradients, one row a step."""
    return [[tensor(gradient, dtype) for gradient in row] for row in gradients]


def sparse_gradients(steps: int, shape=(9, 3), entries: int = 5, seed: int = 0) -> list[Any]:
    """For each step `Rows`, with rows that repeat, one of zeros, and some that are rarely seen."""
    generator = np.random.default_rng(seed)
    result = []
    for step in range(steps):
        indices = generator.integers(0, shape[0] - 2, size=entries)
        indices[0] = indices[-1]
        if step in (2, 11):
            indices[1] = shape[0] - 1
        values = generator.normal(size=(entries, *shape[1:])).astype("float32")
        values *= 10.0 ** generator.uniform(-2, 1)
        values[2] = 0.0
        result.append(Rows(indices.tolist(), values.astype("float32"), shape))
    return result
