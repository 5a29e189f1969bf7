"""The update of many PyTorch variables: in place, and a block at a time so that it stays in cache.

A list of kernels over whole variables reads and writes each of them several times from memory, and
fills temporaries as large as the variables. Over a block that fits the cache it reads and writes
once, and no temporary is larger than a block.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from nadam_suite.backends import torch_blocks, torch_rounding
from nadam_suite.backends.slot import Slot
from nadam_suite.backends.torch_blocks import blocks
from nadam_suite.backends.torch_norms import all_finite

__all__ = [
    "Factors",
    "by_adam",
    "by_lists",
    "take_in",
    "tensors",
    "update",
    "update_columns",
]

_contiguous = operator.methodcaller("is_contiguous")

# The fused kernel of Adam multiplies the velocity by beta_2, which in float32 loses 1e-5 of a
# beta_2 near one. So the velocity is brought up to date before, and beta_2 is the number next to
# one, a factor of one.
UNCHANGED = 1.0 - 2.0**-53


def tensors(variables: Sequence[Any]) -> list[Any]:
    """Return the tensors of variables; in-place changes of them are changes of the variables.

    `Variable.value` looks for scopes at every call, which takes longer than a kernel on a small
    variable. The first of them tells whether there is one.
    """
    if not variables or variables[0].value is not variables[0]._value:
        return [variable.value for variable in variables]
    return [variable._value for variable in variables]


@dataclasses.dataclass(frozen=True)
class Factors:
    """The numbers of one step for variables that share their multipliers.

    The root is not multiplied by its correction; the rates and epsilon are divided by it instead.

    Args:
        momentum_rate: Factor of m in the step, >= 0 but for odd learning rates.
        gradient_rate: Factor of g.
        epsilon: Added to the root of v.
        momentum_share: Share of g in m.
        velocity_share: Share of g ** 2 in v.
        decay: Share of the weights that is taken away.
        scale: Factor of the gradients. It goes into the other factors, so that no scaled gradients
            are ever written.
    """

    momentum_rate: float
    gradient_rate: float
    epsilon: float
    momentum_share: float
    velocity_share: float
    decay: float
    scale: float

    @classmethod
    def of(cls, scalars: Any, rate: float, decay: float, scale: float) -> Factors:
        """Combine the scalars of a step with the multipliers of learning rate and decay."""
        root = scalars.inverse_root_correction
        return cls(
            momentum_rate=rate * scalars.momentum_rate / root,
            gradient_rate=rate * scalars.gradient_rate / root,
            epsilon=scalars.epsilon / root,
            momentum_share=scalars.one_minus_beta_1,
            velocity_share=scalars.one_minus_beta_2,
            decay=0.0 if scalars.decay is None else decay * scalars.decay,
            scale=scale,
        )

    @property
    def total_rate(self) -> float:
        """What a weight moves by, where momentum, gradient and denominator are one."""
        kept = self.momentum_rate * (1.0 - self.momentum_share)
        return kept + self.scale * (self.momentum_rate * self.momentum_share + self.gradient_rate)

    @property
    def suit_adam(self) -> bool:
        """Whether `by_adam` can do it: it divides by two rates, and rounds by a ratio of them."""
        fits = 0.0 < 0.5 * self.gradient_rate <= self.momentum_rate and 0.0 < self.scale <= 1.0
        return fits and self.total_rate > 0.0 and math.isfinite(self.decay / self.total_rate)


def update(slots: Sequence[Slot], gradients: Sequence[Any], scalars: Any) -> list[Any]:
    """Update momentum, velocity and weights in place.

    Args:
        slots: The variables.
        gradients: Their gradients, dense and in the type of the arithmetic.
        scalars: `optimizers.rule.StepScalars` of Python floats.

    Returns:
        For each slot the new weight in the type of the arithmetic: the variable's own tensor, if
        it has that type.
    """
    weights = tensors([slot.variable for slot in slots])
    momentums = tensors([slot.momentum for slot in slots])
    velocities = tensors([slot.velocity for slot in slots])
    rows: dict[Any, list[tuple[Any, ...]]] = collections.defaultdict(list)
    narrow, result = [], []
    for slot, weight, gradient, momentum, velocity in zip(
        slots, weights, gradients, momentums, velocities, strict=True
    ):
        dtype = gradient.dtype
        x, m, v = weight, momentum, velocity
        if x.dtype != dtype or slot.master is not None:
            x = slot.weight()
        if m.dtype != dtype:
            m, v = m.to(dtype), v.to(dtype)
            narrow.append((slot, (momentum, velocity), (m, v)))
        row = x, gradient, m, v
        flat = all(tensor.is_contiguous() for tensor in row)
        large = x.numel() > torch_blocks.SINGLE
        rows[dtype, x.device, slot.learning_rate, slot.decay, flat, large].append(row)
        result.append(x)
    for (_, device, rate, decay, flat, large), members in rows.items():
        columns = [list(column) for column in zip(*members, strict=True)]
        on_cpu, scale = device.type == "cpu", scalars.gradient_scale
        if scale is not None and not on_cpu:  # reading it would wait for the device
            columns[1], scale = torch._foreach_mul(columns[1], scale), None
        factors = Factors.of(scalars, rate, decay, 1.0 if scale is None else float(scale))
        kernel = by_adam if on_cpu and flat and large and factors.suit_adam else by_lists
        size = torch_blocks.CACHED if on_cpu else torch_blocks.BOUNDED
        update_columns(kernel, blocks(columns, size) if flat else [columns], factors)
    for slot, stored, new in narrow:
        torch_rounding.store(slot, stored, new, scalars.rounding_key)
    return result


def update_columns(
    kernel: Any, parts: Iterable[Any], factors: Factors, shares: Sequence[float] = ()
) -> None:
    """Update weights, given gradients, momentums and velocities; a part is a list of each.

    Lists of averages may follow them, which take the new weights in by their `shares`.
    """
    for x, g, m, v, *averages in parts:
        # Not beta_2 * v + (1 - beta_2) * g ** 2: in float32 these two do not add up to one.
        torch._foreach_sub_(v, v, alpha=factors.velocity_share)
        torch._foreach_addcmul_(v, g, g, factors.velocity_share * factors.scale**2)
        kernel(x, g, m, v, factors)
        if averages:  # while the weights are in the cache
            mix(averages, x, shares)


def by_adam(x: Any, g: Any, m: Any, v: Any, factors: Factors) -> None:
    """Do the rest in one pass, as if Nadam were Adam with another beta_1, and mend m.

    With rates a of m and b of g, a scale c of g and beta = beta_1, the weights move by

        a * (beta * m + (1 - beta) * c * g) + b * c * g = r * (k * m + (1 - k) * g)

    where r is the sum of the factors of m and g, and k = a * beta / r. The brackets are what Adam
    has for m at beta_1 = k; r / a times that is off from Nadam's m by b * c / a times g.
    """
    a, b, c, rate = factors.momentum_rate, factors.gradient_rate, factors.scale, factors.total_rate
    torch._fused_adamw_(
        x,
        g,
        m,
        v,
        [],
        [_no_correction()] * len(x),
        lr=rate,
        beta1=a * (1.0 - factors.momentum_share) / rate,
        beta2=UNCHANGED,
        weight_decay=factors.decay / rate,
        eps=factors.epsilon,
        amsgrad=False,
        maximize=False,
    )
    if c == 1.0:  # then the two factors of the mend add up to one
        torch._foreach_lerp_(m, g, -b / a)
    else:
        torch._foreach_mul_(m, rate / a)
        torch._foreach_add_(m, g, alpha=-b * c / a)


@functools.cache
def _no_correction() -> Any:
    """The step for the fused kernel, which only reads it.

    It corrects for zero starts by the step; at infinity there is nothing left to correct, and what
    Nadam needs is in the rate and in epsilon.
    """
    return torch.tensor(float("inf"), device="cpu")


def by_lists(x: Any, g: Any, m: Any, v: Any, factors: Factors) -> None:
    """Do the rest step by step, for any layout, device and numbers."""
    if factors.decay:
        torch._foreach_mul_(x, 1.0 - factors.decay)
    torch._foreach_sub_(m, m, alpha=factors.momentum_share)
    torch._foreach_add_(m, g, alpha=factors.momentum_share * factors.scale)
    denominators = torch._foreach_sqrt(v)
    torch._foreach_add_(denominators, factors.epsilon)
    torch._foreach_addcdiv_(x, m, denominators, -factors.momentum_rate)
    torch._foreach_addcdiv_(x, g, denominators, -factors.gradient_rate * factors.scale)


def take_in(averages: Sequence[Any], weights: Sequence[Any], share: float) -> None:
    """Let averages on one device take weights in, to the bit by a share of one."""
    columns = [list(averages), list(weights)]
    parts: Iterable[list[list[Any]]] = [columns]
    own = [tensor for column in columns for tensor in column]
    if own and own[0].device.type == "cpu" and all(map(_contiguous, own)):
        # What is looked at is in the cache for what follows.
        parts = blocks(columns, torch_blocks.CACHED)
    for means, news in parts:
        mix([means], news, [share])


def mix(averages: Sequence[Sequence[Any]], weights: Any, shares: Sequence[float]) -> None:
    """Let lists of averages take weights in, which are looked at once."""
    fine = all_finite(weights)
    for means, share in zip(averages, shares, strict=True):
        finite = weights if fine else list(map(_finite_or, weights, means))
        torch._foreach_lerp_(means, finite, share)


def _finite_or(tensor: Any, other: Any) -> Any:
    return torch.where(torch.isfinite(tensor), tensor, other)
