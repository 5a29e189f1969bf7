"""What may be done where a step is traced or run, and from which sizes on it is worth it."""

from __future__ import annotations

import dataclasses
import functools
import math
import weakref
from typing import Any

import tensorflow as tf

__all__ = ["SMALL", "STACKED", "Place", "size_of"]

SMALL = 2**14  # elements up to which dispatch costs more than copying into a stack and out of it
STACKED = 4  # tensors of one shape from which on a stack is worth it

# What was found out about a graph holds as long as it is traced, and costs a trace of its own.
_KNOWN: weakref.WeakKeyDictionary[Any, Place] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Place:
    """What may be done where a step is being traced or run.

    Args:
        stacks: Whether small variables may be stacked. XLA takes four times as long to compile it,
            and fuses by itself.
        fuses: Whether XLA may be called from here, on a CPU. On GPUs it needs tools that many
            machines lack, and eagerly it would be traced again at each step.
        compiled: Whether XLA compiles what is being traced.
    """

    stacks: bool
    fuses: bool
    compiled: bool = False

    @classmethod
    def here(cls) -> Place:
        """Look at the graph that is being traced, if one is."""
        if tf.distribute.has_strategy():
            return cls(stacks=False, fuses=False)
        if tf.executing_eagerly():
            return cls(stacks=True, fuses=False)
        graph = tf.compat.v1.get_default_graph()
        if (known := _KNOWN.get(graph)) is None:
            known = _KNOWN[graph] = cls._of(graph)
        return known

    @classmethod
    def _of(cls, graph: Any) -> Place:
        if not graph.building_function:
            return cls(stacks=False, fuses=False)
        compiled = _is_for_xla()
        return cls(stacks=not compiled, fuses=not compiled and _xla_works(), compiled=compiled)


def size_of(shape: Any) -> float:
    """Return the number of elements, infinity where that is not known."""
    shape = tf.TensorShape(shape)
    return math.prod(shape) if shape.is_fully_defined() else math.inf


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
