"""The step on JAX in place: what XLA copies, and what a micro-batch costs."""

from __future__ import annotations

import math
import re

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, SWA
from nadam_suite.backends import get_backend
from nadam_suite.backends.slot import Slot
from nadam_suite.precision import DynamicLossScaleOptimizer
from tests.optimizers.driver import BACKEND, make_variables, to_float64
from tests.reference.nadam import trajectory

pytestmark = pytest.mark.skipif(BACKEND != "jax", reason="reads programs of XLA")

SHAPE = (96, 96)
COPY = re.compile(r"= f32\[96,96\]\S* copy\(")
MADE = re.compile(r"= f32\[96,96\]\S* fusion\(")


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
    return found(COPY, program)


def found(pattern, program):
    """How many instructions match, by the computation that they stand in."""
    counts, name = {}, None
    for line in program.as_text().splitlines():
        if line and not line.startswith(" "):
            name = line.split(" ")[0]
        elif pattern.search(line):
            counts[name] = counts.get(name, 0) + 1
    return counts


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


@pytest.mark.parametrize("options", [{}, {"averaging": EMA(0.9), "global_clipnorm": 1.0}])
def test_accumulation_copies_nothing(options):
    """Neither a micro-batch, which adds, nor the update, which also clears the sums."""
    assert copies(compiled(Nadam(gradient_accumulation_steps=4, **options))) == {}


@pytest.mark.parametrize("make", [Nadam, lambda: DynamicLossScaleOptimizer(Nadam())])
def test_an_update_computes_weight_and_moments_and_nothing_else(make):
    """Unscaled gradients are computed where they are used, not put down for each variable."""
    assert max(found(MADE, compiled(make())).values()) == 3 * 3


@pytest.mark.parametrize("scale", [2.0**-14, 1.0, 2.0**15, 2.0**24, 1000.0, 2.0**127, 3.4e38])
def test_gradients_are_divided_by_any_scale(scale):
    """Exactly by powers of two, else to rounding; also where the reciprocal is subnormal."""
    import jax

    gradients = np.array([1.0, -3.0e5, 7.0e37, 1.1e-3, 0.0], "float32")
    divide = jax.jit(lambda g, s: get_backend().divided([g], s)[0])
    found = np.asarray(divide(gradients, np.float32(scale)), "float64")
    exact = gradients.astype("float64") / np.float64(np.float32(scale))
    small = np.abs(exact) < np.finfo("float32").tiny
    normal = ~small & (np.abs(exact) < np.finfo("float32").max)
    power = math.frexp(scale)[0] == 0.5
    np.testing.assert_allclose(found[normal], exact[normal], rtol=0.0 if power else 3e-7)
    np.testing.assert_array_less(np.abs(found[small]), np.finfo("float32").tiny)
    if scale == 2.0**15:
        wrong = divide(np.array([np.inf, np.nan], "float32"), np.float32(scale))
        np.testing.assert_array_equal(wrong, [np.inf, np.nan])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sums_are_cleared_whatever_the_weights_are(dtype):
    """The zeros come of the weights, of which some are not finite, and are positive zeros."""
    import jax

    weights = np.array([np.inf, -np.inf, np.nan, -1.0, -0.0, 3.0e38])
    weight, total = make_variables([weights, np.arange(6.0)], [dtype, "float32"])
    slot = Slot(0, weight, accumulator=total)

    def program(values):
        mapping = list(zip((weight, total), values, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            get_backend().clear_window([slot])
        return scope.get_current_value(total)

    cleared = np.asarray(jax.jit(program)([weight.value, total.value]))
    assert cleared.tobytes() == np.zeros(6, "float32").tobytes()
    get_backend().clear_window([slot])
    np.testing.assert_array_equal(to_float64(total), np.zeros(6))


@pytest.mark.parametrize("decay", [None, 0.1])
def test_compiled_windows_follow_the_twin(decay):
    """At every batch of three windows, sums included."""
    import jax

    optimizer = Nadam(0.01, gradient_accumulation_steps=3, weight_decay=decay)
    start = np.linspace(-1.0, 1.0, 6)
    (variable,) = make_variables([start])
    optimizer.build([variable])
    step = jax.jit(lambda w, s, g: optimizer.stateless_apply(s, g, w), donate_argnums=(0, 1))
    weights, state = [variable.value], [v.value for v in optimizer.variables]
    place = [v.path.rpartition("/")[2] for v in optimizer.variables]
    (place,) = [i for i, name in enumerate(place) if "accumul" in name]
    gradients = list(np.random.default_rng(0).normal(size=(9, 6)))
    options = {"learning_rate": 0.01, "weight_decay": decay, "gradient_accumulation_steps": 3}
    expected = trajectory([start], [[g] for g in gradients], **options)
    for batch, gradient in enumerate(gradients):
        weights, state = step(weights, state, [gradient.astype("float32")])
        np.testing.assert_allclose(weights[0], expected[batch][0], rtol=1e-5, atol=1e-6)
        total = sum(gradients[batch - batch % 3 : batch + 1]) * (batch % 3 < 2)
        np.testing.assert_allclose(state[place], total, rtol=1e-5, atol=1e-6)


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


def test_a_first_value_is_written_into_the_buffer_that_a_variable_has():
    """Averages begin as weights; new arrays for them would leave their zeros with `malloc`."""
    weight, average = make_variables([np.full(64, 2.0), np.zeros(64)], ["bfloat16", "float32"])
    where = average.value.unsafe_buffer_pointer()
    get_backend().fill(average, weight.value)
    np.testing.assert_array_equal(to_float64(average), np.full(64, 2.0))
    assert average.value.unsafe_buffer_pointer() == where
    weight.assign(weight.value + 1.0)
    np.testing.assert_array_equal(to_float64(average), np.full(64, 2.0))


def test_new_averages_of_a_restored_state_leave_arrays_alone_that_others_hold():
    """A file without averages starts them anew; what was read before can still be read."""
    (variable,) = make_variables([np.ones(64)])
    optimizer = Nadam(averaging=EMA(momentum=0.5))
    optimizer.build([variable])
    held = [v.value for v in optimizer.variables]
    variable.assign(np.full(64, 3.0))
    optimizer._layout.start_averages([0])
    assert not any(value.is_deleted() for value in held)
    average = optimizer._layout.slots[0].averages[0]
    np.testing.assert_array_equal(to_float64(average), np.full(64, 3.0))
