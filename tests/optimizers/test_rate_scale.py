"""`learning_rate_scale` multiplies schedules and callables, and is kept with the state."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.errors import NadamSuiteWarning
from nadam_suite.schedules import WarmupLinear
from tests.optimizers.driver import Loop, assert_paths_close, make_variables, state_by_name
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory

RATES = {"schedule": lambda: WarmupLinear(0.1, 20), "callable": lambda: lambda: 0.1}


def twin_rate(kind):
    return (lambda t: 0.1 * (1 - min(t, 20) / 20)) if kind == "schedule" else (lambda t: 0.1)


@pytest.mark.parametrize("kind", RATES)
def test_the_scale_multiplies_from_the_next_step_on(kind):
    """Assigned after four compiled steps, a quarter of the rate is used, without a new trace."""
    start, gradients = start_values(), gradient_list(8)
    optimizer = Nadam(RATES[kind]())
    loop = Loop(optimizer, make_variables(start))
    path = loop.run(gradients[:4])
    optimizer.learning_rate_scale.assign(0.25)
    again = Loop(optimizer, loop.variables)
    path += again.run(gradients[4:])
    rate = twin_rate(kind)
    expected = trajectory(
        start, gradients, learning_rate=lambda t: rate(t) * (1.0 if t < 4 else 0.25)
    )
    assert_paths_close(path, expected, rtol=1e-5, atol=1e-5)
    shown = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    np.testing.assert_allclose(shown, 0.25 * rate(8), rtol=1e-6)


def test_a_number_has_no_scale():
    """A settable rate is assigned itself; before build there is no scale either."""
    optimizer = Nadam(0.1)
    optimizer.build(make_variables([np.ones(2)]))
    assert optimizer.learning_rate_scale is None
    assert Nadam(RATES["schedule"]()).learning_rate_scale is None


def built(rate):
    optimizer = Nadam(rate)
    optimizer.build(make_variables([np.ones(2)]))
    return optimizer


def test_the_scale_is_saved_and_restored():
    """A state brings its scale; an older one without a scale means an unscaled rate."""
    optimizer = built(RATES["schedule"]())
    optimizer.learning_rate_scale.assign(0.5)
    state = state_by_name(optimizer)
    other = built(RATES["schedule"]())
    other.load_own_variables(state)
    assert float(other.learning_rate_scale.numpy()) == 0.5
    del state["learning_rate_scale"]
    other.load_own_variables(state)
    assert float(other.learning_rate_scale.numpy()) == 1.0


def test_a_scale_that_cannot_be_kept_is_not_dropped_in_silence():
    """Loaded into an optimizer with a number, the scale is named in a warning; 1.0 is not."""
    optimizer = built(RATES["schedule"]())
    state = state_by_name(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built(0.1).load_own_variables(state)
    optimizer.learning_rate_scale.assign(0.5)
    with pytest.warns(NadamSuiteWarning, match="0.5"):
        built(0.1).load_own_variables(state_by_name(optimizer))


def test_replacing_the_rate_starts_with_an_unscaled_one():
    """A new rate is meant as it is; any other change keeps the scale."""
    optimizer = built(RATES["schedule"]())
    optimizer.learning_rate_scale.assign(0.5)
    kept = optimizer.replace(weight_decay=0.1)
    assert float(kept.learning_rate_scale.numpy()) == 0.5
    fresh = optimizer.replace(learning_rate=WarmupLinear(0.2, 20))
    assert float(fresh.learning_rate_scale.numpy()) == 1.0
