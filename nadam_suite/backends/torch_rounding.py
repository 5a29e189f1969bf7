"""Stochastic rounding on PyTorch, which has no arithmetic of unsigned integers; see `rounding`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from nadam_suite.backends.rounding import FACTORS, SHIFTS, WORD, slot_key
from nadam_suite.backends.slot import Slot

__all__ = ["narrowed", "store"]

CACHED = 1 << 16  # elements of a block, whose few arrays stay in cache


def store(slot: Slot, stored: Sequence[Any], new: Sequence[Any], step_key: int | None) -> None:
    """Write momentum and velocity into tensors of another type.

    Args:
        slot: Whose they are.
        stored: The two tensors to write into.
        new: The two tensors of the new values.
        step_key: What the random bits of the step depend on, or None to round to nearest.
    """
    if step_key is None or stored[0].dtype != torch.bfloat16:
        for target, values in zip(stored, new, strict=True):
            target.copy_(values)
        return
    outputs = [
        target if target.is_contiguous() else torch.empty_like(target).contiguous()
        for target in stored
    ]
    columns = [tensor.reshape(-1).split(CACHED) for tensor in (*outputs, *new)]
    start = 0
    for to_m, to_v, *values in zip(*columns, strict=True):
        elements = torch.arange(start, start + to_m.numel(), device=to_m.device).to(torch.int32)
        m, v = narrowed(values, elements, step_key, slot.index)
        to_m.copy_(m)
        to_v.copy_(v)
        start += to_m.numel()
    for target, output in zip(stored, outputs, strict=True):
        if output is not target:
            target.copy_(output)


def narrowed(values: Sequence[Any], elements: Any, step_key: int, index: int) -> tuple[Any, Any]:
    """Return momentum and velocity in bfloat16.

    Args:
        values: The two tensors.
        elements: Position in the variable of each of their elements, int32, which is overwritten.
        step_key: What the random bits of the step depend on.
        index: Position of the variable among all.
    """
    bits = elements.add_(_signed(step_key ^ slot_key(index)))
    for shift, factor in zip(SHIFTS, (*FACTORS, 1), strict=True):
        bits ^= (bits >> shift).bitwise_and_(WORD >> shift)  # a shift to the right keeps the sign
        if factor != 1:
            bits *= _signed(factor)
    high = (bits >> 16).bitwise_and_(0xFFFF)
    return _rounded(values[0], bits.bitwise_and_(0xFFFF)), _rounded(values[1], high)


def _rounded(values: Any, bits: Any) -> Any:
    """See `rounding`; the bits are overwritten."""
    values = values.to(torch.float32).contiguous()
    words = bits.add_(values.view(torch.int32)).bitwise_and_(_signed(0xFFFF0000))
    cut = words.view(torch.float32)
    # The bits of a NaN could carry over into its sign.
    return torch.where(torch.isfinite(values), cut, values).to(torch.bfloat16)


def _signed(word: int) -> int:
    """Return the int32 that has the bits of a uint32."""
    word &= WORD
    return word - (1 << 32) if word >> 31 else word
