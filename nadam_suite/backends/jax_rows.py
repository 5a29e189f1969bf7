"""Sparse gradients on JAX: `jax.experimental.sparse` matrices that a custom loop passes.

Keras' own layers have none here: the gradient of an embedding is a dense scatter.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.experimental import sparse

from nadam_suite.backends.rows import Seen

__all__ = ["KINDS", "seen"]

KINDS = (sparse.BCOO, sparse.BCSR)


def seen(gradient: Any, dtype: str) -> Seen | None:
    """See `Together.seen`; entries behind the table, which fill a `BCOO` up, are dropped."""
    if isinstance(gradient, sparse.BCSR):
        gradient = gradient.to_bcoo()
    if not isinstance(gradient, sparse.BCOO):
        return None
    if gradient.n_batch:
        gradient = gradient.update_layout(n_batch=0)
    size, (first, *others) = gradient.indices.shape[0], jnp.unstack(gradient.indices, axis=1)
    values = jnp.asarray(gradient.data, dtype)
    if others:  # single elements, each of which is a row that is zero elsewhere
        whole = jnp.zeros((size, *gradient.shape[1:]), dtype)
        values = whole.at[(jnp.arange(size), *others)].set(values, mode="drop")
    if size == 0:
        return Seen(first, values)
    behind = gradient.shape[0]
    rows, places = jnp.unique(first, size=size, fill_value=behind, return_inverse=True)
    sums = jnp.zeros_like(values).at[places.reshape(-1)].add(values)
    there = (rows < behind).reshape(-1, *(1 for _ in values.shape[1:]))
    return Seen(rows, jnp.where(there, sums, 0))
