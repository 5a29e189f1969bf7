"""PyTorch tensors by blocks that fit the cache, and by device and type."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

__all__ = ["BOUNDED", "CACHED", "DTYPES", "SINGLE", "blocks", "grouped"]

# Elements up to which PyTorch computes on one CPU thread, all but its fused kernels. On a busy
# machine it is the waiting of threads for each other that takes the time.
SINGLE = 1 << 15
# Elements of a block. On a CPU four arrays of it fit the last cache, and the threads still have
# enough to do between two of their meetings. Elsewhere it bounds the temporaries alone.
CACHED = 1 << 18
BOUNDED = 1 << 24
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def blocks(columns: Sequence[Sequence[Any]], size: int) -> Iterator[list[list[Any]]]:
    """Yield parts of contiguous tensors, about `size` elements each.

    Small tensors go together, large ones are cut into views.

    Args:
        columns: Lists of tensors; those at the same place of the lists have the same shape.
        size: Number of elements.

    Yields:
        Lists of tensors, one for each column.
    """
    gathered: list[tuple[Any, ...]] = []
    count = 0
    for row in zip(*columns, strict=True):
        number = row[0].numel()
        if number > size:
            for parts in zip(*(tensor.view(-1).split(size) for tensor in row), strict=True):
                yield [[part] for part in parts]
            continue
        gathered.append(row)
        count += number
        if count >= size:
            yield [list(column) for column in zip(*gathered, strict=True)]
            gathered, count = [], 0
    if gathered:
        yield [list(column) for column in zip(*gathered, strict=True)]


def grouped(key: Any, members: Iterable[Any]) -> dict[Any, list[Any]]:
    """Return members by what `key` says of them; mostly it says the same of all."""
    members = list(members)
    keys = list(map(key, members))
    if len(set(keys)) == 1:
        return {keys[0]: members}
    groups: dict[Any, list[Any]] = collections.defaultdict(list)
    for own, member in zip(keys, members, strict=True):
        groups[own].append(member)
    return groups
