"""One step of many variables on TensorFlow: small ones together, large ones fused by XLA.

Without XLA every operation is a pass over the memory, and for a small variable it is dispatch and
little else. What belongs to small variables lies in packs where it can (`tensorflow_packs`), which
XLA gains by as well. The others of one shape are read into one stack, computed with at once, and
assigned from it: six operations each instead of thirty. Large ones go through a function that XLA
compiles, in the middle of a graph that it does not. What they are in a saved state stays the same.

Stacks and fusing are left out where they would not do: see `Place`.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from nadam_suite.backends import rounding, tensorflow_packs
from nadam_suite.backends.slot import Slot, State, dtype_of
from nadam_suite.backends.tensorflow_replicas import strategy_of

__all__ = ["Place", "arrange", "average", "norm", "update"]

SMALL = 2**14  # elements up to which dispatch costs more than copying into a stack and out of it
STACKED = 4  # variables from which on a stack is worth it
FUSED = 2**20  # elements, of all large variables, from which on compiling is worth it


@dataclasses.dataclass(frozen=True)
class Place:
    """What may be done where a step is being traced or run.

    Args:
        stacks: Whether small variables may be stacked. XLA takes four times as long to compile it,
            and fuses by itself.
        fuses: Whether XLA may be called from here, on a CPU. On GPUs it needs tools that many
            machines lack, and eagerly it would be traced again at each step.
    """

    stacks: bool
    fuses: bool

    @classmethod
    def here(cls) -> Place:
        """Look at the graph that is being traced, if one is."""
        if tf.distribute.has_strategy():
            return cls(stacks=False, fuses=False)
        if tf.executing_eagerly():
            return cls(stacks=True, fuses=False)
        in_function = tf.compat.v1.get_default_graph().building_function
        plain = in_function and not _is_for_xla()
        return cls(stacks=plain, fuses=plain and _xla_works())


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
) -> list[Any]:
    """Do what `Backend.update` does.

    Args:
        slots: As there.
        gradients: As there.
        scalars: As there; its `gradient_scale` is seen to.
        rule: As there.
        one_by_one: The `update` of the base class.
    """

    def fused(places: list[int]) -> list[Any]:
        members = [slots[place] for place in places]

        def body() -> list[Any]:
            ready, unscaled = _scale([gradients[place] for place in places], scalars)
            weights = one_by_one(members, ready, unscaled, rule)
            kept = []
            for slot, weight in zip(members, weights, strict=True):
                if slot.constraint is None:
                    slot.write(weight)
                else:
                    kept.append(weight)
            return kept

        kept = iter(_fused(body))
        return [None if slot.constraint is None else next(kept) for slot in members]

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
    return _collected([*parts, (fused, large), (plain, rest)], len(slots))


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
    if large:

        def body() -> list[Any]:
            one_by_one(*chosen(large), share, first)
            return []

        _fused(body)
    if rest:
        one_by_one(*chosen(rest), share, first)


def norm(tensors: Sequence[Any], dtype: str) -> Any:
    """Do what `Backend.norm` does, in one pass that only reads."""
    unknown = (None,)  # of a dense gradient made of a sparse one
    shapes = [unknown if t.shape.rank is None else tuple(t.shape) for t in tensors]
    keys = [(tensor.dtype, shape) for tensor, shape in zip(tensors, shapes, strict=True)]
    stacks, _, _ = _divided(keys, shapes, [False] * len(tensors))
    together = {place for places in stacks for place in places}
    whole = [tf.stack([tensors[place] for place in places]) for places in stacks]
    whole += [tensor for place, tensor in enumerate(tensors) if place not in together]
    halves = [tf.cast(tf.nn.l2_loss(tensor), dtype) for tensor in whole]
    return tf.sqrt(2.0 * tf.add_n(halves))


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
    packs: Sequence[Sequence[int]] = (),
) -> tuple[list[list[int]], list[int], list[int]]:
    """Return the places of what is stacked, stack by stack; of what is fused; and of the rest.

    What lies in packs is none of them.
    """
    packed = {number for numbers in packs for number in numbers}
    place, sizes = Place.here(), [_size(shape) for shape in shapes]
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


def _size(shape: Any) -> float:
    """Return the number of elements, infinity where that is not known."""
    return math.inf if None in tuple(shape) else math.prod(tuple(shape))


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


def _is_for_xla() -> bool:
    """Whether XLA compiles the function that is being traced, or one that it is traced in.

    TensorFlow marks a branch for lowering unless XLA will see it. Where the mark is not found for
    another reason, the step is traced as if for XLA, which is right everywhere.
    """
    marks = []

    def branch() -> None:
        result = tf.cond(tf.constant(True), lambda: tf.constant(0.0), lambda: tf.constant(1.0))
        operation = result.op
        while operation.type == "Identity":
            operation = operation.inputs[0].op
        try:
            marks.append(operation.get_attr("_lower_using_switch_merge"))
        except ValueError:
            marks.append(False)

    tf.function(branch, autograph=False).get_concrete_function()
    return not marks[0]


@functools.cache
def _xla_works() -> bool:
    """Whether this TensorFlow can compile for the CPU; asked once a process."""
    with tf.init_scope(), tf.device("CPU:0"):
        try:
            tf.function(lambda: tf.constant(1.0) + 1.0, autograph=False, jit_compile=True)()
        except tf.errors.OpError:
            return False
    return True
