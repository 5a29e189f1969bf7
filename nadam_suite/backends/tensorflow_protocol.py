"""What TensorFlow's files ask a variable of Keras for, tried on a part of a pack.

`tensorflow_packs.Part` answers methods that TensorFlow documents for nobody. Each is tried here, on
small files; `nadam_suite.doctor.private` lists them and says what relies on them.
"""

from __future__ import annotations

import tempfile
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from nadam_suite.backends.tensorflow_packs import Part

__all__ = ["asked", "merging", "taken_for_tensor"]

_VALUES = [2.0, 3.0]


class _Noting(Part):
    """A part that notes which of its attributes are asked for."""

    noted: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        _Noting.noted.add(name)
        return super().__getattribute__(name)


def asked(name: str, during: str) -> tuple[bool, str]:
    """Return whether TensorFlow asks a part for an attribute, and comes to the right values.

    Args:
        name: Name of the attribute.
        during: "save" or "restore" of a `tf.train.Checkpoint`, or "export" of a `tf.saved_model`.

    Returns:
        Whether both is so, and what was seen.
    """
    pack = tf.Variable([0.0, 0.0, *_VALUES], trainable=False)
    variable = keras.Variable(np.zeros(2, "float32"), name="variable")
    variable._value = _Noting(pack, 2, (2,), "variable:0")
    with tempfile.TemporaryDirectory() as folder:
        if during == "export":
            values = _exported(variable, folder)
        else:
            _Noting.noted.clear()
            checkpoint = tf.train.Checkpoint(variable=variable)
            path = checkpoint.save(f"{folder}/checkpoint")
            values = _held(path)
            if during == "restore":
                pack.assign(tf.zeros(4))
                _Noting.noted.clear()
                tf.train.Checkpoint(variable=variable).restore(path)
                values = pack.numpy()[2:].tolist()
    found = name in _Noting.noted
    detail = f"{during} {'asks' if found else 'does not ask'} for it, and {_VALUES} become {values}"
    return found and values == _VALUES, detail


def _exported(variable: keras.Variable, folder: str) -> list[float]:
    module = tf.Module()
    module.variable = variable
    _Noting.noted.clear()
    tf.saved_model.save(module, folder)
    return _held(f"{folder}/variables/variables")


def _held(path: str) -> list[float]:
    """Return the values of the variable in a checkpoint."""
    tensor = tf.train.load_checkpoint(path).get_tensor("variable/.ATTRIBUTES/VARIABLE_VALUE")
    return [float(value) for value in tensor]


def taken_for_tensor() -> tuple[bool, str]:
    """Return whether TensorFlow takes a part for a tensor, and what was seen."""
    part = Part(tf.Variable([0.0, *_VALUES], trainable=False), 1, (2,), "part:0")
    taken, values = tf.is_tensor(part), tf.add(part, 1.0).numpy().tolist()
    right = values == [value + 1.0 for value in _VALUES]
    return taken and right, f"tf.is_tensor says {taken}, and {_VALUES} + 1 is {values}"


def merging() -> tuple[bool, str]:
    """Return whether TensorFlow tells that two CPUs' replicas can meet, and what was seen."""
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        apart = tf.__internal__.distribute.strategy_supports_no_merge_call()
    return apart is False, f"it is {apart!r} for a MirroredStrategy on the CPU"
