"""The step on JAX in place: what XLA copies, and what a micro-batch costs."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, SWA
from nadam_suite.backends import get_backend
from tests.optimizers.driver import BACKEND, make_variables, to_float64

pytestmark = pytest.mark.skipif(BACKEND != "jax", reason="reads programs of XLA")

SHAPE = (96, 96)
COPY = re.compile(r"= f32\[96,96\]\S* copy\(")


def compiled(optimizer):
    """The step as Keras' trainer compiles it: weights and state come back in the order given."""
    import jax

    variables = make_variables([np.ones(SHAPE)] * 3)
    optimizer.build(variables)
    weights, state = [v.value for v in variables], [v.value for v in optimizer.variables]

    def step(weights, state, gradients):
        return optimizer.stateless_apply(state, gradients, weights)

    gradients = [0.5 * weight for weight in weights]
    return jax.jit(step, donate_argnums=(0, 1)).lower(weights, state, gradients).compile()


def copies(program):
    """Copies of whole variables by the computation that they stand in."""
    found, name = {}, None
    for line in program.as_text().splitlines():
        if line and not line.startswith(" "):
            name = line.split(" ")[0]
        elif COPY.search(line):
            found[name] = found.get(name, 0) + 1
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"averaging": EMA(0.9)},
        {"averaging": EMA(0.9), "weight_decay": 0.1, "global_clipnorm": 1.0},
        {"averaging": SWA(10, every=5)},
    ],
    ids=["plain", "average", "all", "seldom"],
)
def test_nothing_is_copied(options):
    """Also where an average is taken only now and then: weights are no part of what it returns."""
    assert copies(compiled(Nadam(**options))) == {}


def test_a_micro_batch_copies_nothing():
    """Outside of the update, which is a loop of one turn or none, and stands in it alone."""
    program = compiled(Nadam(gradient_accumulation_steps=4))
    found = copies(program)
    assert len(found) <= 1
    for name in found:
        body = program.as_text().split(f"\n{name} ")[1].split("\n}")[0]
        assert "sqrt" in body or "divide" in body
    assert not any(name.startswith("ENTRY") for name in found)


@pytest.mark.parametrize("predicate", [True, False])
def test_exactly_one_function_of_a_conditional_runs(predicate):
    """Also where each of them changes what the other one reads."""
    import jax

    a, b = make_variables([np.array(1.0), np.array(10.0)])

    def if_true() -> None:
        a.assign(b.value + 1.0)
        b.assign(a.value * 2.0)

    def if_false() -> None:
        b.assign(a.value - 1.0)

    def program(flag, values):
        with keras.StatelessScope(state_mapping=list(zip((a, b), values, strict=True))) as scope:
            get_backend().conditional(flag, if_true, if_false, [a, b])
        return [scope.get_current_value(v) for v in (a, b)]

    values = jax.jit(program)(np.array(predicate), [a.value, b.value])
    assert list(map(float, values)) == ([11.0, 22.0] if predicate else [1.0, 0.0])


def test_what_is_put_into_variables_shares_no_memory_with_it():
    """A step that donates the variable would delete the average with it."""
    half, full = make_variables([np.ones(5), np.ones(5)], ["bfloat16", "float32"])
    values = [keras.ops.full((5,), 2.0), keras.ops.full((5,), 3.0)]
    get_backend().put([half, full], values)
    assert str(half.value.dtype) == "bfloat16"
    np.testing.assert_array_equal(to_float64(half), np.full(5, 2.0))
    np.testing.assert_array_equal(to_float64(full), np.full(5, 3.0))
    assert full.value.unsafe_buffer_pointer() != values[1].unsafe_buffer_pointer()
