"""Sparse gradients of PyTorch, such as of embeddings with `sparse=True`; see `backends.rows`."""

from __future__ import annotations

import math
from typing import Any

import torch

from nadam_suite.backends import torch_rounding
from nadam_suite.backends.rows import Seen
from nadam_suite.backends.slot import Slot
from nadam_suite.backends.torch_blocks import DTYPES

__all__ = ["narrowed", "seen"]


def seen(gradient: Any, dtype: str) -> Seen | None:
    """See `Together.seen`."""
    if not getattr(gradient, "is_sparse", False):
        return None
    wide = gradient.to(DTYPES[dtype]).coalesce()
    indices, values = wide.indices(), wide.values()
    if len(indices) == 1:
        return Seen(indices[0], values)
    rows, places = torch.unique(indices[0], return_inverse=True)  # single elements
    whole = values.new_zeros((len(rows), *gradient.shape[1:]))
    whole[(places, *indices[1:])] = values
    return Seen(rows, whole)


def narrowed(
    slot: Slot, seen: Seen, momentum: Any, velocity: Any, step_key: int | None
) -> tuple[Any, Any]:
    """See `Together.narrowed_rows`."""
    stored = [slot.momentum.value.dtype, slot.velocity.value.dtype]
    if step_key is None or stored[0] != torch.bfloat16:
        return momentum.to(stored[0]), velocity.to(stored[1])
    below = math.prod(momentum.shape[1:])
    within = torch.arange(below, device=momentum.device)
    elements = (seen.indices[:, None] * below + within).to(torch.int32)
    elements = elements.view(momentum.shape)
    return torch_rounding.narrowed((momentum, velocity), elements, step_key, slot.index)
