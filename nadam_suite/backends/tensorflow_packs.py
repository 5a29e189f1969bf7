"""Moments and averages of many small variables in one `tf.Variable`: a pack.

A call of a compiled function costs 5 us for each variable that it touches, with XLA or without,
which for small variables is more than their arithmetic. So what an optimizer keeps for those that
are updated alike lies in one variable, end to end. Keras' variables stay what they were for
everything else (files, checkpoints, callbacks, `optimizer.variables`): their value is a `Part`.
"""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nadam_suite.backends.slot import Slot, State, Written, dtype_of

__all__ = ["Part", "arrange", "average", "gathered", "together", "update", "values"]

SMALL = 2**14  # elements up to which handing over a variable costs more than copying it
PACKED = 4  # variables from which on a pack is worth it


class Part(tf.__internal__.types.Tensor):
    """A stretch of a pack that is used as the `tf.Variable` that it stands for.

    Args:
        pack: A flat `tf.Variable`.
        start: Position of the first element.
        shape: Shape of the variable.
        name: Name of the variable.
    """

    def __init__(self, pack: tf.Variable, start: int, shape: Sequence[int], name: str) -> None:
        self.pack, self.start, self.name = pack, start, name
        self._dimensions = tf.TensorShape(shape)
        self.stop = start + math.prod(shape)

    @property
    def shape(self) -> Any:
        """Shape of the variable."""
        return self._dimensions

    @property
    def dtype(self) -> Any:
        """Type of the variable."""
        return self.pack.dtype

    @property
    def device(self) -> str:
        """Device of the pack."""
        return str(self.pack.device)

    def read_value(self) -> Any:
        """Return the value."""
        return tf.reshape(self.pack[self.start : self.stop], self._dimensions)

    def numpy(self) -> np.ndarray:
        """Return a copy."""
        return np.array(self.read_value())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Let NumPy take it for an array."""
        return np.asarray(self.numpy(), dtype)

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        """Let TensorFlow take it for a tensor."""
        return tf.convert_to_tensor(self.read_value(), dtype=dtype, name=name)

    def assign(self, value: Any) -> Part:
        """Assign, to this part of the pack alone."""
        value = tf.convert_to_tensor(value, self.dtype)
        value.set_shape(self._dimensions)  # an error where it is another one
        _assign(self.pack, self.start, self.stop, value)
        return self

    def assign_add(self, value: Any) -> Part:
        """Add."""
        return self.assign(self.read_value() + tf.convert_to_tensor(value, self.dtype))

    def assign_sub(self, value: Any) -> Part:
        """Subtract."""
        return self.assign(self.read_value() - tf.convert_to_tensor(value, self.dtype))

    # What `tf.train.Checkpoint` and `tf.saved_model` ask a variable of Keras for.

    @property
    def _shared_name(self) -> str:
        return self.name

    def _serialize_to_tensors(self) -> dict[str, Any]:
        return {"VARIABLE_VALUE": self.read_value()}

    def _restore_from_tensors(self, restored: dict[str, Any]) -> Any:
        return self.assign(restored["VARIABLE_VALUE"])

    def _export_to_saved_model_graph(
        self, object_map: Any, tensor_map: Any, options: Any, **others: Any
    ) -> list[Any]:
        known = self.pack in object_map
        handles = (
            []
            if known
            else self.pack._export_to_saved_model_graph(object_map, tensor_map, options, **others)
        )
        object_map[self] = tf.Variable(tf.zeros(self._dimensions, self.dtype), trainable=False)
        return list(handles)

    def _write_object_proto(self, proto: Any, options: Any) -> None:
        proto.variable.name = self.name.partition(":")[0]
        proto.variable.dtype = self.dtype.as_datatype_enum
        proto.variable.shape.CopyFrom(self._dimensions.as_proto())


class _Segment:
    """Parts of one pack, read and assigned as one flat tensor.

    Args:
        parts: In the order of their positions.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._pack, self._runs = parts[0].pack, list[tuple[int, int]]()
        for part in parts:
            if self._runs and self._runs[-1][1] == part.start:
                self._runs[-1] = self._runs[-1][0], part.stop
            else:
                self._runs.append((part.start, part.stop))
        self._whole = self._runs == [(0, self._pack.shape[0])]

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        return self.read()

    def read(self) -> Any:
        """Return the values, one after the other."""
        value = self._pack.read_value()
        if self._whole:
            return value
        return tf.concat([value[start:stop] for start, stop in self._runs], 0)

    def assign(self, flat: Any) -> None:
        """Assign to each part what is its own."""
        if self._whole:
            self._pack.assign(flat, read_value=False)
            return
        sizes = [stop - start for start, stop in self._runs]
        for (start, stop), value in zip(self._runs, tf.split(flat, sizes), strict=True):
            _assign(self._pack, start, stop, value)


def arrange(state: State, may_hold: Callable[[Slot], bool]) -> None:
    """Move what is kept for small variables into packs.

    Args:
        state: All variables of an optimizer.
        may_hold: Whether all that a slot has lies where packs are known to work.
    """
    groups: dict[Hashable, list[Slot]] = collections.defaultdict(list)
    for slot in state.slots:
        if (key := _key(slot)) is not None and may_hold(slot):
            groups[key].append(slot)
    for slots in groups.values():
        if len(slots) < PACKED:
            continue
        slots.sort(key=lambda slot: tuple(slot.variable.shape))  # those of one shape side by side
        _pack([slot.momentum for slot in slots])
        _pack([slot.velocity for slot in slots])
        for averages in zip(*(slot.averages for slot in slots), strict=True):
            _pack(averages)


def _key(slot: Slot) -> Hashable:
    """Return what slots of one pack have in common, or None for one that stays as it is."""
    own = dtype_of(slot.variable)
    # Where gradients are accumulated a rule may differ from slot to slot.
    if slot.overwrite or slot.frozen or slot.master is not None or slot.accumulator is not None:
        return None
    kept = (slot.momentum, slot.velocity, *slot.averages)
    if any(dtype_of(each) != own for each in kept) or own != slot.compute_dtype:
        return None
    if not 0 < math.prod(tuple(slot.variable.shape)) <= SMALL:
        return None
    return own, slot.learning_rate, slot.decay, len(slot.averages)


def _pack(variables: Sequence[keras.Variable]) -> None:
    """Make variables of Keras parts of a new pack; they keep what they hold."""
    flat = tf.concat([tf.reshape(variable.value, [-1]) for variable in variables], 0)
    pack, start = tf.Variable(flat, trainable=False, name="pack"), 0
    for variable in variables:
        part = Part(pack, start, tuple(variable.shape), variable.value.name)
        # `value` has no setter. There is one place here that knows where Keras keeps it.
        variable._value = part
        start = part.stop


def _part(variable: Any) -> Part | None:
    """Return the part that a variable is, or None."""
    value = getattr(variable, "value", None)
    return value if isinstance(value, Part) else None


def gathered(slots: Sequence[Slot], tensors: Sequence[Any]) -> Any:
    """Return one tensor for each slot, end to end."""
    return _gathered(tensors, _shapes([slot.variable for slot in slots]))


def update(
    slots: Sequence[Slot], gradient: Any, scalars: Any, rule: Callable[..., Any]
) -> list[Any]:
    """Do what `Backend.update` does, for slots in the order in which they lie in a pack.

    Args:
        slots: As there.
        gradient: The gradients as `gathered` returns them.
        scalars: As there.
        rule: As there.
    """
    first, shapes = slots[0], _shapes([slot.variable for slot in slots])
    momentum = _Segment([slot.momentum.value for slot in slots])
    velocity = _Segment([slot.velocity.value for slot in slots])
    # Without decay a step adds to a weight what does not depend on it: no need to read it, unless
    # an average will want it.
    adds = (scalars.decay is None or not first.decay) and not first.averages
    if adds:
        weight = tf.zeros((), gradient.dtype)
    else:
        weight = gathered(slots, [tf.convert_to_tensor(slot.variable) for slot in slots])
    new, m, v = rule(weight, gradient, momentum.read(), velocity.read(), scalars, first)
    momentum.assign(m)
    velocity.assign(v)
    weights: list[Any] = []
    for slot, tensor in zip(slots, _scattered(new, shapes), strict=True):
        if slot.constraint is not None:
            weights.append(slot.weight() + tensor if adds else tensor)
            continue
        native = slot.variable.value
        write = native.assign_add if adds else native.assign
        write(tensor, read_value=False)
        weights.append(None if adds else Written(tensor))
    return weights


def average(
    averages: Sequence[Any],
    weights: Sequence[Any],
    share: Any,
    first: Any,
    one_by_one: Callable[..., None],
) -> None:
    """Do what `Backend.average` does, for averages in the order in which they lie in a pack."""
    flat = _gathered(list(map(tf.convert_to_tensor, weights)), _shapes(averages))
    one_by_one([_Segment([each.value for each in averages])], [flat], share, first)


def values(variables: Sequence[Any], one_by_one: Callable[[Sequence[Any]], list[Any]]) -> list[Any]:
    """Do what `Backend.values` does, reading each pack once."""
    found: dict[int, Any] = {}
    for places in together(variables):
        members = [variables[place] for place in places]
        flat = _Segment([variable.value for variable in members]).read()
        found.update(zip(places, _scattered(flat, _shapes(members)), strict=True))
    rest = [place for place in range(len(variables)) if place not in found]
    alone = one_by_one([variables[place] for place in rest])
    found.update(zip(rest, alone, strict=True))
    return [found[place] for place in range(len(variables))]


def together(variables: Sequence[Any]) -> list[list[int]]:
    """Return the places of those that lie in packs: pack by pack, in their order there."""
    packs: dict[int, list[tuple[int, int]]] = collections.defaultdict(list)
    for place, variable in enumerate(variables):
        if (part := _part(variable)) is not None:
            packs[id(part.pack)].append((part.start, place))
    return [[place for _, place in sorted(members)] for members in packs.values()]


def _gathered(tensors: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> Any:
    """Return tensors end to end; those of one shape that stand side by side are stacked."""
    flat = []
    for shape, members in _runs(shapes):
        parts = [tensors[member] for member in members]
        if (whole := _before_unstack(parts)) is None:
            whole = tf.stack(parts) if len(parts) > 1 else parts[0]
        flat.append(tf.reshape(whole, [len(parts) * math.prod(shape)]))
    return tf.concat(flat, 0) if len(flat) > 1 else flat[0]


def _before_unstack(parts: Sequence[Any]) -> Any:
    """Return the stack that `_scattered` took these from in the graph being traced, or None."""
    if not all(tf.is_symbolic_tensor(part) for part in parts):
        return None
    operation = parts[0].op
    if operation.type != "Unpack" or list(map(id, parts)) != list(map(id, operation.outputs)):
        return None
    return operation.inputs[0]


def _scattered(flat: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Return the tensors that `_gathered` had."""
    runs = _runs(shapes)
    pieces = tf.split(flat, [len(members) * math.prod(shape) for shape, members in runs])
    return [
        tensor
        for (shape, members), piece in zip(runs, pieces, strict=True)
        for tensor in tf.unstack(tf.reshape(piece, (len(members), *shape)), num=len(members))
    ]


def _shapes(variables: Sequence[Any]) -> list[tuple[int, ...]]:
    return [tuple(variable.shape) for variable in variables]


def _runs(shapes: Sequence[tuple[int, ...]]) -> list[tuple[tuple[int, ...], list[int]]]:
    """Return each shape with the positions that have it, as long as they follow each other."""
    runs = itertools.groupby(range(len(shapes)), key=lambda place: shapes[place])
    return [(shape, list(places)) for shape, places in runs]


def _assign(pack: tf.Variable, start: int, stop: int, value: Any) -> None:
    """Assign to a stretch of a pack, in place."""
    tf.raw_ops.ResourceStridedSliceAssign(
        ref=pack.handle,
        begin=[start],
        end=[stop],
        strides=[1],
        value=tf.reshape(value, [stop - start]),
    )
