"""Whether TensorFlow asks a variable of Keras for what the package answers in its place."""

from __future__ import annotations

from collections.abc import Callable

from nadam_suite.doctor.cell import Observation

__all__ = ["asked", "merging", "taken_for_tensor"]

# TensorFlow is imported where a check is run: it is one of three backends, and heavy.


def asked(name: str, during: str) -> Callable[[], Observation]:
    """Return a check whether an attribute is asked for; see `backends.tensorflow_protocol`."""

    def check() -> Observation:
        from nadam_suite.backends import tensorflow_protocol

        return Observation(*tensorflow_protocol.asked(name, during))

    return check


def taken_for_tensor() -> Observation:
    """Add to a part of a pack."""
    from nadam_suite.backends import tensorflow_protocol

    return Observation(*tensorflow_protocol.taken_for_tensor())


def merging() -> Observation:
    """Ask whether replicas can meet in Python."""
    from nadam_suite.backends import tensorflow_protocol

    return Observation(*tensorflow_protocol.merging())
