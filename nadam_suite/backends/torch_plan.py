"""What an update of many PyTorch variables can know in advance, worked out once and kept.

The moments of small variables become views of flat tensors, so that a step is arithmetic on a few
flat tensors, not kernels for each variable; every optimizer variable keeps its own tensor object.
Large variables keep the views into which they are cut. All else goes the way of `torch_update`.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import operator
from collections.abc import Sequence
from typing import Any

import torch

from nadam_suite.backends import torch_blocks, torch_update
from nadam_suite.backends.slot import Slot, Written
from nadam_suite.backends.torch_update import Factors

__all__ = ["Plan", "update"]

# How many plans the same variables get, before whatever replaces their tensors again and again, or
# optimizers that take turns with them, are left alone.
MOST = 8

# Elements up to which PyTorch takes square roots on one CPU thread; of most else it is more.
ROOTS = 2048

_own = operator.attrgetter("_value")
_pointer = operator.methodcaller("data_ptr")
_contiguous = operator.methodcaller("is_contiguous")


def update(slots: Sequence[Slot], gradients: Sequence[Any], scalars: Any) -> list[Any]:
    """Update as `torch_update.update` does, with what is known of the slots from steps before.

    Returns:
        For each slot None or `Written`, if it is written and has no constraint, or what
        `torch_update.update` returns.
    """
    plan = _plan_of(slots)
    return (_unplanned if plan is None else plan.update)(slots, gradients, scalars)


def _unplanned(slots: Sequence[Slot], gradients: Sequence[Any], scalars: Any) -> list[Any]:
    weights = torch_update.update(slots, gradients, scalars)
    own = torch_update.tensors([slot.variable for slot in slots])
    return [
        None if weight is tensor and slot.constraint is None else weight
        for slot, weight, tensor in zip(slots, weights, own, strict=True)
    ]


def _plan_of(slots: Sequence[Slot]) -> Plan | None:
    """Return the plan of these slots, made anew where tensors were replaced; or None."""
    if not slots or torch.compiler.is_compiling():
        return None
    variables = [slot.variable for slot in slots]
    momentums, velocities = [slot.momentum for slot in slots], [slot.velocity for slot in slots]
    for column in (variables, momentums, velocities):
        if column[0].value is not column[0]._value:  # a scope has other values for them
            return None
    tensors = list(map(_own, itertools.chain(variables, momentums, velocities)))
    plan: Plan | None = slots[0].plan
    if plan is not None and plan.fits(slots, tensors):
        return plan
    number = 0 if plan is None else plan.number
    if number == MOST:
        return None
    slots[0].plan = plan = Plan(slots, tensors, number + 1)
    return plan


class Plan:
    """How to update some slots, as long as their tensors and where these lie stay the same.

    Args:
        slots: The slots, in the order in which an update is asked for.
        tensors: The variables' own tensors, then those of the momentums, then of the velocities.
        number: How many plans these slots have had, with this one.
    """

    def __init__(self, slots: Sequence[Slot], tensors: list[Any], number: int) -> None:
        self.number = number
        # No slots: one of them holds the plan, and whatever goes round is freed late.
        self.slots = list(map(id, slots))
        self.tensors = tensors
        count = len(slots)
        rows = list(zip(*(tensors[i * count : (i + 1) * count] for i in range(3)), strict=True))
        groups: dict[Any, list[int]] = collections.defaultdict(list)
        averages: dict[int, tuple[Any, ...]] = {}
        for place, (slot, row) in enumerate(zip(slots, rows, strict=True)):
            key = row[0].dtype, slot.learning_rate, slot.decay
            if (kind := _kind(slot, row)) == "cut" and _averages_fit(slot, row[0]):
                averages[place] = slot.averages
            groups[(kind, place in averages), key].append(place)
        scratch: dict[Any, tuple[Any, Any]] = {}
        self.rest: list[int] = []
        self.parts: list[Pack | Cut] = []
        for ((kind, averaged), (dtype, rate, decay)), places in groups.items():
            if kind == "rest":
                self.rest += places
            elif kind == "cut":
                own = [rows[i] + tuple(map(_own, averages.get(i, ()))) for i in places]
                self.parts.append(Cut(places, own, rate, decay, averaged))
            else:
                if dtype not in scratch:
                    size = torch_blocks.SINGLE
                    scratch[dtype] = torch.empty(size, dtype=dtype), torch.empty(size, dtype=dtype)
                for members in _gathered(places, [row[0].numel() for row in rows]):
                    own = [rows[place] for place in members]
                    self.parts.append(Pack(members, own, rate, decay, scratch[dtype]))
        self.large = [
            rows[i][0] for part in self.parts if isinstance(part, Cut) for i in part.places
        ]
        self.constrained = [
            (i, rows[i][0]) for i, slot in enumerate(slots) if slot.constraint is not None
        ]
        self.pointers = list(map(_pointer, tensors))
        self.averages = [
            (average, average._value, average._value.data_ptr())
            for kept in averages.values()
            for average in kept
        ]

    def fits(self, slots: Sequence[Slot], tensors: list[Any]) -> bool:
        """Return whether the plan is for these slots, and all their tensors are as they were."""
        return (
            len(tensors) == len(self.tensors)
            and list(map(id, slots)) == self.slots
            and all(map(operator.is_, tensors, self.tensors))
            and list(map(_pointer, tensors)) == self.pointers
            and all(map(_contiguous, self.large))
            and all(
                average._value is tensor and tensor.data_ptr() == pointer
                for average, tensor, pointer in self.averages
            )
        )

    def update(self, slots: Sequence[Slot], gradients: Sequence[Any], scalars: Any) -> list[Any]:
        """Update all; see `update` of this module."""
        result: list[Any] = [None] * len(slots)
        scale = 1.0 if scalars.gradient_scale is None else float(scalars.gradient_scale)
        for part in self.parts:
            factors = Factors.of(scalars, part.rate, part.decay, scale)
            own = [gradients[place] for place in part.places]
            if isinstance(part, Cut) and part.averaged and scalars.average_shares:
                part.update(own, factors, scalars.average_shares)
                for place in part.places:
                    result[place] = Written(averaged=True)
            else:
                part.update(own, factors)
        for place, weight in self.constrained:
            result[place] = weight
        if self.rest:
            others = [slots[place] for place in self.rest]
            weights = _unplanned(others, [gradients[place] for place in self.rest], scalars)
            for place, weight in zip(self.rest, weights, strict=True):
                result[place] = weight
        return result


def _kind(slot: Slot, row: Sequence[Any]) -> str:
    """Return how a slot is updated: "pack", "cut" or, by `torch_update`, "rest"."""
    weight, momentum, velocity = row
    dtype = torch_blocks.DTYPES[slot.compute_dtype]
    plain = slot.master is None and all(t.dtype == dtype and t.device.type == "cpu" for t in row)
    if not plain or not (momentum.is_contiguous() and velocity.is_contiguous()):
        return "rest"
    if weight.numel() <= torch_blocks.SINGLE:
        return "pack"
    return "cut" if weight.is_contiguous() else "rest"


def _averages_fit(slot: Slot, weight: Any) -> bool:
    """Return whether the averages of a slot can be mixed with its weight, block by block."""
    if not slot.averages or slot.constraint is not None:
        return False
    return all(
        tensor.dtype == weight.dtype and tensor.device == weight.device and tensor.is_contiguous()
        for tensor in map(_own, slot.averages)
    )


def _gathered(places: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Return places in groups that one CPU thread computes with."""
    groups: list[list[int]] = []
    room = -1
    for place in places:
        if sizes[place] > room or not groups:
            groups.append([])
            room = torch_blocks.SINGLE
        groups[-1].append(place)
        room -= sizes[place]
    return groups


@dataclasses.dataclass
class Cut:
    """Large variables that share their multipliers.

    Args:
        places: Positions of their slots in the plan.
        rows: Tensors of variable, momentum, velocity and, where they are `averaged`, averages.
        rate: Multiplier of the learning rate.
        decay: Multiplier of the decay.
        averaged: Whether their averages may be mixed with the weights here.
    """

    places: list[int]
    rows: dataclasses.InitVar[list[Any]]
    rate: float
    decay: float
    averaged: bool

    def __post_init__(self, rows: list[Any]) -> None:
        columns = [[tensor.detach() for tensor in column] for column in zip(*rows, strict=True)]
        self.size = torch_blocks.CACHED
        self.blocks = list(torch_blocks.blocks(columns, self.size))

    def update(
        self, gradients: Sequence[Any], factors: Factors, shares: Sequence[float] = ()
    ) -> None:
        """Update them block by block, and their averages where there are shares for them."""
        kernel = torch_update.by_adam if factors.suit_adam else torch_update.by_lists
        pieces = torch_blocks.blocks([[g.contiguous() for g in gradients]], self.size)
        parts = (
            (x, g, m, v, *averages[: len(shares)])
            for (x, m, v, *averages), (g,) in zip(self.blocks, pieces, strict=True)
        )
        torch_update.update_columns(kernel, parts, factors, shares)


class Pack:
    """Small variables that share their multipliers, with moments in flat tensors.

    Args:
        places: Positions of their slots in the plan.
        rows: Tensors of variable, momentum and velocity; the latter two become views.
        rate: Multiplier of the learning rate.
        decay: Multiplier of the decay.
        scratch: Two flat tensors, of no less elements than the variables have together.
    """

    def __init__(
        self, places: list[int], rows: list[Any], rate: float, decay: float, scratch: Any
    ) -> None:
        self.places, self.rate, self.decay = places, rate, decay
        self.weights, momentums, velocities = map(list, zip(*rows, strict=True))
        shapes = [weight.shape for weight in self.weights]
        self.momentum, self.velocity = _joined(momentums, shapes), _joined(velocities, shapes)
        self.gradient, self.root = (flat[: self.momentum.numel()] for flat in scratch)
        self.pieces = _pieces(self.gradient, shapes)
        self.root_pieces = list(self.root.split(ROOTS))

    def update(self, gradients: Sequence[Any], factors: Factors) -> None:
        """Do as `torch_update.by_lists` does, on the flat tensors."""
        f, m, v, g = factors, self.momentum, self.velocity, self.gradient
        torch._foreach_copy_(self.pieces, list(gradients))
        v.sub_(v, alpha=f.velocity_share)
        v.addcmul_(g, g, value=f.velocity_share * f.scale**2)
        m.sub_(m, alpha=f.momentum_share)
        m.add_(g, alpha=f.momentum_share * f.scale)
        self.root.copy_(v)
        torch._foreach_sqrt_(self.root_pieces)
        self.root.add_(f.epsilon)
        g.mul_(f.gradient_rate * f.scale).add_(m, alpha=f.momentum_rate).div_(self.root)
        if f.decay:
            torch._foreach_mul_(self.weights, 1.0 - f.decay)
        torch._foreach_sub_(self.weights, self.pieces)


def _joined(tensors: Sequence[Any], shapes: Sequence[Any]) -> Any:
    """Return a flat tensor of the values of some, which become views of it."""
    if len(tensors) == 1:
        return tensors[0].detach().view(-1)
    flat = torch.cat([tensor.detach().view(-1) for tensor in tensors])
    for tensor, piece in zip(tensors, _pieces(flat, shapes), strict=True):
        tensor.data = piece
    return flat


def _pieces(flat: Any, shapes: Sequence[Any]) -> list[Any]:
    """Return views of a flat tensor, one after the other, in these shapes."""
    parts = flat.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
