"""What is read of all PyTorch tensors together: their norm, and whether they are finite."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from nadam_suite.backends import torch_blocks
from nadam_suite.backends.torch_blocks import DTYPES, blocks, grouped

__all__ = ["all_finite", "global_norm"]

# Elements of which the norm is added up in one go.
ROW = 512
SHORT = 2 * ROW

_flatten = torch._C._nn.flatten_dense_tensors  # a view and a copy of each in C++


def global_norm(gradients: Sequence[Any]) -> Any:
    """Return the norm of all tensors together, a tensor on the device of the first."""
    totals = []
    for device, members in grouped(operator.attrgetter("device"), gradients).items():
        norms = list(torch._foreach_norm(members)) if device.type != "cpu" else _row_norms(members)
        totals.append(torch.cat([norm.view(-1) for norm in norms]).square().sum())
    return torch.stack([total.to(totals[0].device) for total in totals]).sum().sqrt()


def _row_norms(tensors: Sequence[Any]) -> list[Any]:
    """Return norms of short rows of CPU tensors, each of which is read once.

    The norm of PyTorch adds up in float32 there, which loses 3e-3 of millions of equal squares, but
    little of a short row; its sum adds up the rows well.
    """
    short = [tensor for tensor in tensors if tensor.numel() <= SHORT]
    norms = list(torch._foreach_norm(short)) if short else []
    flats = [tensor.contiguous().view(-1) for tensor in tensors if tensor.numel() > SHORT]
    large = [flat for flat in flats if flat.numel() > torch_blocks.SINGLE]
    small = [flat for flat in flats if flat.numel() <= torch_blocks.SINGLE]
    joined = (torch.cat(block) for (block,) in blocks([small], torch_blocks.SINGLE // 2))
    for flat in [*large, *joined]:
        rows, left = flat.split([len(flat) // ROW * ROW, len(flat) % ROW])
        norms += [torch.linalg.vector_norm(rows.view(-1, ROW), dim=1)]
        norms += [torch.linalg.vector_norm(left)]
    return norms


def all_finite(tensors: Sequence[Any]) -> bool:
    """Return whether all elements are finite.

    Of all ways to find NaN and infinity the norm is the fastest on a GPU; on a CPU the product of a
    tensor with itself is, of small ones together. Both may overflow by themselves, so where one is
    not finite the elements decide.
    """
    parts = tensors if len(tensors) == 1 else _few_parts(tensors)
    return all(math.isfinite(_size(part)) for part in parts) or all(
        bool(torch.isfinite(tensor).all()) for tensor in tensors
    )


def _few_parts(tensors: Sequence[Any]) -> Iterator[Any]:
    """Yield tensors with the same elements, large ones as they are, others together."""
    for (device, _), members in grouped(operator.attrgetter("device", "dtype"), tensors).items():
        if device.type != "cpu":
            yield torch.stack(torch._foreach_norm(members))
            continue
        yield from (tensor for tensor in members if tensor.numel() > torch_blocks.SINGLE)
        small = [tensor for tensor in members if tensor.numel() <= torch_blocks.SINGLE]
        yield from (_flatten(block) for (block,) in blocks([small], torch_blocks.CACHED))


def _size(tensor: Any) -> float:
    """Return a number that is finite only if all elements are."""
    flat = _flat_on_cpu(tensor)
    total = torch.linalg.vector_norm(tensor) if flat is None else torch.dot(flat, flat)
    return float(total.item())


def _flat_on_cpu(tensor: Any) -> Any:
    """Return a view of one dimension, or None where there is none or it is not on a CPU."""
    if tensor.device.type != "cpu" or tensor.dtype not in DTYPES.values():
        return None
    return tensor.view(-1) if tensor.is_contiguous() else None
