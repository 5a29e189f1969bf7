"""TensorFlow: where variables may be stacked, where XLA may be called, and on how many threads."""

from __future__ import annotations

import numpy as np
import pytest

from tests.optimizers.driver import BACKEND, make_variables

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="stacks are TensorFlow's")
SHAPES = [(3, 4)] * 5 + [(7,)] * 4 + [(8, 9)] * 2 + [(5, 20), (2, 2)]


def places():
    """What may be done in each of the settings that a step may be traced in."""
    import tensorflow as tf

    from nadam_suite.backends.tensorflow_place import Place

    found = {}

    def look(name):
        found[name] = Place.here()
        return tf.constant(0)

    def in_branch(name):
        return tf.cond(tf.constant(True), lambda: look(name), lambda: tf.constant(0))

    look("eager")
    tf.function(lambda: look("function"))()
    tf.function(lambda: in_branch("branch"))()
    inner = tf.function(lambda: look("function in XLA"))

    def around():
        return inner()

    tf.function(lambda: look("XLA"), jit_compile=True)()
    tf.function(lambda: in_branch("branch in XLA"), jit_compile=True)()
    tf.function(around, jit_compile=True)()
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    tf.function(lambda: strategy.run(lambda: look("replica")))()
    return {name: (place.stacks, place.fuses) for name, place in found.items()}


def test_stacks_and_xla_are_left_out_where_they_would_not_do():
    """XLA's own traces, branches in them and replicas are recognised."""
    assert places() == {
        "eager": (True, False),
        "function": (True, True),
        "branch": (True, True),
        "XLA": (False, False),
        "branch in XLA": (False, False),
        "function in XLA": (False, False),
        "replica": (False, False),
    }


@pytest.mark.parametrize(("threads", "shares"), [(1, 1), (3, 3), (64, 5)])
def test_large_variables_are_shared_out_over_the_threads(monkeypatch, threads, shares):
    """Each goes to one function, about as many elements to each of them."""
    from nadam_suite.backends import tensorflow_update as update

    variables = make_variables([np.ones(shape, "float32") for shape in SHAPES])
    sizes = [int(np.prod(shape)) for shape in SHAPES]
    monkeypatch.setattr(update.os, "cpu_count", lambda: threads)
    monkeypatch.setattr(update, "SHARES", 5)
    monkeypatch.setattr(update, "FUSED", 1)
    every = list(range(len(SHAPES)))
    loads = update._shared_out(every, variables)
    assert sorted(place for load in loads for place in load) == every
    assert len(loads) == shares
    totals = [sum(sizes[place] for place in load) for load in loads]
    assert max(totals) - min(totals) <= max(sizes)
    assert update._shared_out([], variables) == []
