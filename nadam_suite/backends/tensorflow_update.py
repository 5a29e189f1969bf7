"""One step of many variables on TensorFlow: small ones together, large ones fused by XLA.

Without XLA every operation is a pass over the memory, and for a small variable it is dispatch and
little else. What belongs to small variables lies in packs where it can (`tensorflow_packs`), which
XLA gains by as well. The others of one shape are read into one stack, computed with at once, and
assigned from it: six operations each instead of thirty. Large ones go through a function that XLA
compiles, in the middle of a graph that it does not. What they are in a saved state stays the same.

Stacks and fusing are left out where they would not do: see `tensorflow_place`.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from nadam_suite.backends import rounding, tensorflow_packs
from nadam_suite.backends.slot import Slot, State, Written, dtype_of
from nadam_suite.backends.tensorflow_place import SMALL, STACKED, Place, size_of
from nadam_suite.backends.tensorflow_replicas import strategy_of

__all__ = ["arrange", "average", "update"]

FUSED = 2**20  # elements, of all large variables, from which on compiling is worth it
SHARES = 8  # compiled functions at most; each costs a call


def arrange(state: State) -> None:
    """Do what `Backend.arrange` does."""

    def on_cpu(slot: Slot) -> bool:
        return _on_cpu((slot.variable, slot.momentum, slot.velocity, *slot.averages))

    tensorflow_packs.arrange(state, on_cpu)


def update(
    slots: Sequence[Slot],
    gradients: Sequence[Any],
    scalars: Any,
    rule: Callable[..., tuple[Any, Any, Any]],
    one_by_one: Callable[..., list[Any]],
    take_in: Callable[..., None],
) -> list[Any]:
    """Do what `Backend.update` does.

    Args:
        slots: As there.
        gradients: As there.
        scalars: As there; its `gradient_scale` is seen to.
        rule: As there.
        one_by_one: The `update` of the base class.
        take_in: The `average` of the base class.
    """

    def fused(places: list[int]) -> list[Any]:
        members, own = [slots[place] for place in places], [gradients[place] for place in places]
        return _update_fused(members, own, scalars, rule, one_by_one, take_in)

    def stacked(places: list[int]) -> list[Any]:
        stack = tf.stack([gradients[place] for place in places])
        (gradient,), unscaled = _scale([stack], scalars)
        return _update_stack([slots[place] for place in places], gradient, unscaled, rule)

    def packed(places: list[int]) -> list[Any]:
        members = [slots[place] for place in places]
        flat = tensorflow_packs.gathered(members, [gradients[place] for place in places])
        (gradient,), unscaled = _scale([flat], scalars)
        return tensorflow_packs.update(members, gradient, unscaled, rule)

    def plain(places: list[int]) -> list[Any]:
        ready, unscaled = _scale([gradients[place] for place in places], scalars)
        return one_by_one([slots[place] for place in places], ready, unscaled, rule)

    packs = tensorflow_packs.together([slot.momentum for slot in slots])
    stacks, large, rest = _divided(
        [_key(slot) for slot in slots],
        [slot.variable.shape for slot in slots],
        [_on_cpu((slot.variable, slot.momentum, slot.velocity, slot.master)) for slot in slots],
        packs,
    )
    parts = [(packed, places) for places in packs] + [(stacked, places) for places in stacks]
    parts += [(fused, places) for places in _shared_out(large, [slot.variable for slot in slots])]
    return _collected([*parts, (plain, rest)], len(slots))


def _collected(
    parts: Iterable[tuple[Callable[[list[int]], list[Any]], list[int]]], number: int
) -> list[Any]:
    """Call each function with its places; return what they return, place by place."""
    results: list[Any] = [None] * number
    for function, places in parts:
        if places:
            for place, result in zip(places, function(places), strict=True):
                results[place] = result
    return results


def average(
    averages: Sequence[Any],
    weights: Sequence[Any],
    share: Any,
    first: Any,
    one_by_one: Callable[..., None],
) -> None:
    """Do what `Backend.average` does.

    Args:
        averages: As there.
        weights: As there.
        share: As there.
        first: As there.
        one_by_one: The `average` of the base class.
    """

    def chosen(places: list[int]) -> tuple[list[Any], list[Any]]:
        return [averages[place] for place in places], [weights[place] for place in places]

    packs = tensorflow_packs.together(averages)
    stacks, large, rest = _divided(
        [(dtype_of(average), tuple(average.shape)) for average in averages],
        [average.shape for average in averages],
        [_on_cpu((average,)) for average in averages],
        packs,
    )
    for places in packs:
        tensorflow_packs.average(*chosen(places), share, first, one_by_one)
    for places in stacks:
        members, tensors = chosen(places)
        stack = _Stack(members)
        one_by_one([stack], [tf.stack(list(map(tf.convert_to_tensor, tensors)))], share, first)
    for places in _shared_out(large, averages):

        def body(places: list[int] = places) -> list[Any]:
            one_by_one(*chosen(places), share, first)
            return []

        _fused(body)
    if rest:
        one_by_one(*chosen(rest), share, first)


class _Stack:
    """Variables of one shape, read and assigned as one tensor."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = variables

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        return self.read()

    def read(self) -> Any:
        """Return the values, one under the other."""
        return tf.stack([tf.convert_to_tensor(variable) for variable in self._variables])

    def assign(self, stack: Any) -> None:
        """Assign to each its part."""
        parts = tf.unstack(stack, num=len(self._variables))
        for variable, part in zip(self._variables, parts, strict=True):
            variable.assign(part)


def _update_fused(
    members: Sequence[Slot],
    gradients: Sequence[Any],
    scalars: Any,
    rule: Callable[..., Any],
    one_by_one: Callable[..., list[Any]],
    take_in: Callable[..., None],
) -> list[Any]:
    """Update large variables in a function that XLA compiles; return what `update` does."""
    averaged = [bool(scalars.average_shares) and _averages_fit(slot) for slot in members]

    def body() -> list[Any]:
        ready, unscaled = _scale(gradients, scalars)
        weights = one_by_one(members, ready, unscaled, rule)
        kept = []
        for slot, weight, too in zip(members, weights, averaged, strict=True):
            if slot.constraint is None:
                slot.write(weight)
            else:
                kept.append(weight)
            if too:  # in the pass that computes the weight
                for mean, share in zip(slot.averages, scalars.average_shares, strict=True):
                    take_in([mean], [weight], share, tf.equal(share, 1.0))
        return kept

    kept = iter(_fused(body))
    return [
        next(kept) if slot.constraint is not None else Written(averaged=too)
        for slot, too in zip(members, averaged, strict=True)
    ]


def _averages_fit(slot: Slot) -> bool:
    """Return whether the averages of a slot take in the weight that an update has computed.

    Otherwise that is rounded or constrained first.
    """
    alike = all(dtype_of(each) == "float32" for each in (slot.variable, *slot.averages))
    fits = alike and slot.master is None and slot.constraint is None
    return fits and bool(slot.averages) and _on_cpu(slot.averages)


def _update_stack(
    members: Sequence[Slot], gradient: Any, scalars: Any, rule: Callable[..., Any]
) -> list[Any]:
    """Update slots that `_key` finds alike; return the new weights."""
    dtype = members[0].compute_dtype
    momentum = _Stack([slot.momentum for slot in members])
    velocity = _Stack([slot.velocity for slot in members])
    weight = _Stack([slot.variable for slot in members])
    tensors = [keras.ops.cast(each.read(), dtype) for each in (weight, momentum, velocity)]
    new, *moments = rule(tensors[0], gradient, *tensors[1:], scalars.cast(dtype), members[0])
    new_m, new_v = rounding.narrowed(members, moments[0], moments[1], scalars)
    momentum.assign(new_m)
    velocity.assign(new_v)
    return list(tf.unstack(new, num=len(members)))


def _key(slot: Slot) -> Hashable:
    """Return what slots of one stack must have in common, or None for one that must stay alone."""
    # Only where gradients are accumulated can a rule differ from slot to slot by itself.
    if slot.master is not None or slot.accumulator is not None:
        return None
    variables = (slot.variable, slot.momentum, slot.velocity)
    return (
        tuple(slot.variable.shape),
        tuple(map(dtype_of, variables)),
        slot.learning_rate,
        slot.decay,
    )


def _divided(
    keys: Sequence[Hashable],
    shapes: Sequence[Any],
    fusible: Sequence[bool],
    packs: Sequence[Sequence[int]],
) -> tuple[list[list[int]], list[int], list[int]]:
    """Return the places of what is stacked, stack by stack; of what is fused; and of the rest.

    What lies in packs is none of them.
    """
    packed = {number for numbers in packs for number in numbers}
    place, sizes = Place.here(), [size_of(shape) for shape in shapes]
    groups: dict[Hashable, list[int]] = collections.defaultdict(list)
    if place.stacks:
        for number, (key, size) in enumerate(zip(keys, sizes, strict=True)):
            if key is not None and size <= SMALL and number not in packed:
                groups[key].append(number)
    stacks = [numbers for numbers in groups.values() if len(numbers) >= STACKED]
    large = [
        number
        for number, (size, possible) in enumerate(zip(sizes, fusible, strict=True))
        if place.fuses and possible and size > SMALL and number not in packed
    ]
    if sum(sizes[number] for number in large) < FUSED:
        large = []
    taken = packed.union(large, *stacks)
    return stacks, large, [number for number in range(len(sizes)) if number not in taken]


def _shared_out(places: Sequence[int], variables: Sequence[Any]) -> list[list[int]]:
    """Divide places into about equal loads, one for each thread that TensorFlow runs operations in.

    What XLA has compiled runs its kernels one after the other, each on several threads only if it
    is large. Two compiled functions run side by side.
    """
    threads = tf.config.threading.get_inter_op_parallelism_threads() or os.cpu_count() or 1
    sizes = {place: size_of(variables[place].shape) for place in places}
    shares = max(1, min(threads, SHARES, int(sum(sizes.values()) // FUSED)))
    loads: list[list[int]] = [[] for _ in range(shares)]
    totals = [0.0] * shares
    for place in sorted(places, key=lambda place: -sizes[place]):
        least = totals.index(min(totals))
        loads[least].append(place)
        totals[least] += sizes[place]
    return [sorted(load) for load in loads if load]


def _scale(gradients: Iterable[Any], scalars: Any) -> tuple[list[Any], Any]:
    """Multiply gradients by the factor that `scaled` has left in the scalars."""
    factor = scalars.gradient_scale
    if factor is None:
        return list(gradients), scalars
    ready = [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients]
    return ready, dataclasses.replace(scalars, gradient_scale=None)


def _fused(body: Callable[[], list[Any]]) -> list[Any]:
    """Run a function, which may assign variables, as one that XLA compiles."""
    with tf.device("CPU:0"):
        return list(tf.function(body, autograph=False, jit_compile=True)())


def _on_cpu(variables: Iterable[Any]) -> bool:
    """Whether these are Keras variables on the first CPU, and not copies of a strategy's."""
    for variable in variables:
        if variable is None:
            continue
        value = getattr(variable, "value", None)
        if not isinstance(value, tf.Variable) or strategy_of(value) is not None:
            return False
        device = tf.DeviceSpec.from_string(value.device)
        if (device.job, device.device_type, device.device_index) != ("localhost", "CPU", 0):
            return False
    return True
