"""Averages inside the compiled step: at every update what the float64 twins say."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, SWA, PowerEMA, Window
from tests.averaging.cases import KINDS
from tests.optimizers.driver import BACKEND, Loop, make_variables, to_float64
from tests.reference.gradients import gradient_list, start_values

UPDATES = 40
# The element by element difference is measured against the largest weight the average has seen:
# an average that crosses zero has no relative error of its own.
TOLERANCE = 1e-6


def slots(optimizer):
    return optimizer._layout.slots


def recorded(optimizer, start, gradients, dtypes="float32", **options):
    """Train, and return the weights in full precision and every average after each step."""
    variables = make_variables(start, dtypes)
    loop = Loop(optimizer, variables, **options)
    weights, averages = [], {name: [] for name in optimizer.average_names}
    for row in gradients:
        loop.step(row)
        loop.write_back()
        weights.append([to_float64(slot.weight()) for slot in slots(optimizer)])
        for name, path in averages.items():
            path.append([to_float64(tensor) for _, tensor in optimizer.average_tensors(name)])
    return weights, averages


def assert_averages_close(found, weights, twin):
    """Compare every variable's average at every update; before it begins it is the weights."""
    for index in range(len(weights[0])):
        path = [row[index] for row in weights]
        for step, expected in enumerate(twin(path)):
            wanted = path[step] if expected is None else expected
            scale = np.max(np.abs(path[: step + 1]), axis=0)
            error = np.max(np.abs(found[step][index] - wanted) / scale)
            assert error <= TOLERANCE, f"variable {index} at update {step + 1}: {error:.2e}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_at_every_update(kind):
    """All kinds, compiled."""
    average, twins = KINDS[kind]
    optimizer = Nadam(0.05, averaging={"x": average})
    weights, found = recorded(optimizer, start_values(), gradient_list(UPDATES))
    for ending, twin in twins.items():
        name = f"x_{ending}" if ending else "x"
        assert_averages_close(found[name], weights, twin)


@pytest.mark.parametrize("kind", ["half-life", "late", "power", "swa", "window"])
def test_half_precision_weights_have_float32_averages(kind):
    """K7: what is averaged is the full-precision copy of the weights."""
    average, twins = KINDS[kind]
    optimizer = Nadam(0.01, averaging={"x": average})
    rows = gradient_list(UPDATES, dtype="bfloat16")
    weights, found = recorded(optimizer, start_values(), rows, "bfloat16")
    for ending, twin in twins.items():
        assert_averages_close(found[f"x_{ending}" if ending else "x"], weights, twin)


@pytest.mark.parametrize("compiled", [True, False])
def test_slow_averages_of_half_precision_weights_move(compiled):
    """K7: momentum 0.999 moves an average of bfloat16 weights by less than their last place."""
    optimizer = Nadam(0.01, averaging=EMA(0.999, warmup=None))
    rows = [[np.array([-1.0])]] * 60
    weights, found = recorded(optimizer, [np.array([1.0])], rows, "bfloat16", compiled=compiled)
    path = [row[0] for row in weights]
    expected = optimizer.average_rules["ema"].profile(60) @ np.array(path)
    np.testing.assert_allclose(found["ema"][-1][0], expected, rtol=1e-6)
    assert found["ema"][-1][0] > 1.0


def test_several_at_once_and_accumulation():
    """K16: each average counts real updates, one for every window of three batches."""
    kinds = {name: KINDS[name] for name in ("half-life", "every-3", "power", "swa", "window")}
    averaging = {name: average for name, (average, _) in kinds.items()}
    optimizer = Nadam(0.05, averaging=averaging, gradient_accumulation_steps=3, weight_decay=0.01)
    weights, found = recorded(optimizer, start_values(), gradient_list(3 * UPDATES))
    weights = weights[2::3]
    for name, (_, twins) in kinds.items():
        for ending, twin in twins.items():
            averages = found[f"{name}_{ending}" if ending else name]
            for batch in range(2, len(averages) - 1, 3):  # nothing moves within a window
                for a, b in zip(averages[batch], averages[batch + 1], strict=True):
                    np.testing.assert_array_equal(a, b)
            assert_averages_close(averages[2::3], weights, twin)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="XLA is the only way of the others")
def test_under_xla():
    """The same under jit_compile, conditional times included."""
    averaging = {"x": KINDS["late"][0], "y": KINDS["window"][0]}
    weights, found = recorded(
        Nadam(0.05, averaging=averaging), start_values(), gradient_list(20), jit_compile=True
    )
    assert_averages_close(found["x"], weights, KINDS["late"][1][""])
    assert_averages_close(found["y"], weights, KINDS["window"][1][""])


def test_averages_leave_the_training_alone():
    """The weights are the same bits with and without averages."""
    every = {name: average for name, (average, _) in KINDS.items()}
    start, rows = start_values(), gradient_list(25)
    plain = Loop(Nadam(0.05), make_variables(start), compiled=False).run(rows)
    averaged = Loop(Nadam(0.05, averaging=every), make_variables(start), compiled=False).run(rows)
    for one, two in zip(plain, averaged, strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "average", [EMA(0.9), PowerEMA(0.1), SWA(0, 1), Window(3, 1)], ids=lambda a: a.default_name
)
def test_weights_that_are_not_finite_are_never_averaged(average):
    """D65: an overflow leaves the averages of its elements as they were, from the first on."""
    optimizer = Nadam(0.1, averaging=average)
    rows = [[np.array(g)] for g in ([1.0, np.nan], [1.0, 1.0], [np.inf, 1.0], [1.0, 1.0])]
    _, found = recorded(optimizer, [np.array([1.0, 2.0])], rows, compiled=False)
    for averages in found.values():
        ends = [row[0] for row in averages]
        assert np.isfinite(ends).all()
        assert ends[0][1] == 2.0  # what it was when it began
        assert ends[1][0] != ends[0][0]


def test_frozen_variables_and_constraints():
    """A multiplier of zero leaves weight and average; constraints come before averages (D27)."""
    from nadam_suite import ParameterRule

    variables = make_variables([np.array([0.05]), np.array([1.0])], names=["low", "frozen"])
    variables[0].constraint = keras.constraints.NonNeg()
    rules = [ParameterRule("frozen", learning_rate=0.0)]
    optimizer = Nadam(0.1, averaging=EMA(0.5), parameter_rules=rules)
    Loop(optimizer, variables, compiled=False).run([[np.ones(1), np.ones(1)]] * 4)
    low, frozen = (to_float64(tensor).item() for _, tensor in optimizer.average_tensors("ema"))
    assert low >= 0.0
    assert frozen == 1.0


def test_use_ema_is_the_stock_shorthand():
    """use_ema=True and EMA(momentum, warmup=None) are one average, to the bit."""
    start, rows = start_values(), gradient_list(20)
    _, short = recorded(Nadam(0.05, use_ema=True, ema_momentum=0.9), start, rows)
    _, full = recorded(Nadam(0.05, averaging=EMA(0.9, warmup=None)), start, rows)
    for one, two in zip(short["ema"], full["ema"], strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
