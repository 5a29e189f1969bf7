"""Averages in saved states: by name, begun late, dropped, changed, and exact after a reload."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, SWA, PowerEMA, Window
from nadam_suite.errors import NadamSuiteWarning, SettingError
from tests.averaging.cases import KINDS
from tests.optimizers.driver import Loop, make_variables, state_by_name, to_float64
from tests.reference.gradients import gradient_list, start_values

ROWS = gradient_list(24)
EVERY = {name: average for name, (average, _) in KINDS.items()}


def trained(optimizer, rows, state=None, start=None):
    """Build on fresh variables, load a state and weights if there are any, train eagerly."""
    variables = make_variables(start_values() if start is None else start)
    optimizer.build(variables)
    if state is not None:
        optimizer.load_own_variables(state)
    Loop(optimizer, variables, compiled=False).run(rows)
    return variables


def values(optimizer, name):
    return [to_float64(tensor) for _, tensor in optimizer.average_tensors(name)]


def arrays(variables):
    return [to_float64(variable) for variable in variables]


@pytest.mark.parametrize("cut", [1, 5, 13])
def test_a_reload_goes_on_exactly(cut):
    """Every kind at once, before, at and after their first times."""
    whole = Nadam(0.05, averaging=EVERY)
    trained(whole, ROWS)
    first = Nadam(0.05, averaging=EVERY)
    weights = trained(first, ROWS[:cut])
    second = Nadam(0.05, averaging=EVERY)
    trained(second, ROWS[cut:], state_by_name(first), arrays(weights))
    one, two = state_by_name(whole), state_by_name(second)
    assert list(one) == list(two)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_averages_begin_where_an_old_state_has_none():
    """K19: with a message; moments, counters and the other averages are kept."""
    old = Nadam(0.05, averaging={"a": EMA(0.9)})
    weights = trained(old, ROWS[:6])
    new = Nadam(0.05, averaging={"a": EMA(0.9), "b": SWA(0, 1), "c": Window(2, 1)})
    with pytest.warns(NadamSuiteWarning, match="no averages b, c, which start from the weights"):
        now = trained(new, ROWS[6:7], state_by_name(old), arrays(weights))
    assert int(new.iterations) == 7
    for a, b in zip(values(new, "b"), arrays(now), strict=True):
        np.testing.assert_array_equal(a, b)  # the first weights that it has seen
    trained(control := Nadam(0.05, averaging={"a": EMA(0.9)}), ROWS[:7])
    for a, b in zip(values(new, "a"), values(control, "a"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_averages_that_nobody_wants_are_dropped():
    """With a message that names them."""
    old = Nadam(0.05, averaging={"a": EMA(0.9), "w": Window(3, 1), "p": PowerEMA(0.1)})
    weights = trained(old, ROWS[:6])
    with pytest.warns(NadamSuiteWarning, match=r"averages of the weights, p_0\.1, w, which are"):
        trained(Nadam(averaging={"a": EMA()}), [], state_by_name(old), arrays(weights))


def test_a_window_of_another_length_begins_anew():
    """It cannot be made of the weights that were kept."""
    old = Nadam(0.05, averaging=Window(3, 1))
    weights = trained(old, ROWS[:6])
    with pytest.warns(NadamSuiteWarning) as caught:
        trained(Nadam(averaging=Window(5, 1)), [], state_by_name(old), arrays(weights))
    text = " ".join(str(w.message) for w in caught)
    assert "no averages window, which start" in text


def test_the_state_of_use_ema_is_that_of_an_ema():
    """And the other way, without a message."""
    short, full = Nadam(use_ema=True, ema_momentum=0.9), Nadam(averaging=EMA(0.9, warmup=None))
    weights = trained(short, ROWS[:6])
    with warnings.catch_warnings():
        warnings.simplefilter("error", NadamSuiteWarning)
        trained(full, ROWS[6:9], state_by_name(short), arrays(weights))
        back = Nadam(use_ema=True, ema_momentum=0.9)
        trained(back, ROWS[6:9], state_by_name(short), arrays(weights))
    for a, b in zip(values(back, "ema"), values(full, "ema"), strict=True):
        np.testing.assert_array_equal(a, b)
    assert list(state_by_name(back)) == list(state_by_name(full)) == list(state_by_name(short))


def test_replace_carries_averages_over():
    """A changed average goes on from the values of its name."""
    optimizer = Nadam(0.05, averaging={"a": EMA(0.9), "b": SWA(0, 1)})
    trained(optimizer, ROWS[:6])
    with warnings.catch_warnings():
        warnings.simplefilter("error", NadamSuiteWarning)
        longer = optimizer.replace(averaging={"a": EMA(0.99), "b": SWA(0, 1)})
    for name in ("a", "b"):
        for a, b in zip(values(longer, name), values(optimizer, name), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(SettingError, match="averaging"):
        optimizer.averaging = None


def test_a_shown_average_is_part_of_the_state():
    """K13: the raw weights come along, by name."""
    optimizer = Nadam(0.05, averaging=EMA(0.9))
    variables = trained(optimizer, ROWS[:6])
    raw = arrays(variables)
    optimizer.show_average("ema")
    state = state_by_name(optimizer)
    assert bytes(state["shown_average"].astype("uint8")) == b"ema"
    state["shown_average"] = state["shown_average"].astype("uint8")
    shown = arrays(variables)
    loaded = Nadam(0.05, averaging=EMA(0.9))
    others = trained(loaded, [], state, shown)
    assert loaded.shown_average == "ema"
    assert loaded.show_raw()
    for a, b in zip(arrays(others), raw, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.warns(NadamSuiteWarning):  # another optimizer has no use for them
        trained(other := Nadam(averaging={"x": EMA()}), [], state, shown)
    assert other.shown_average is None
