"""`EvaluateAverage` in `model.evaluate()` and `model.predict()`: in, out, and nothing left."""

from __future__ import annotations

import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, averaged_weights, show_average, shown
from nadam_suite.callbacks import (
    EvaluateAverage,
    recalibrate_batch_norm,
)
from nadam_suite.errors import ArgumentError, SettingError, StateError
from tests.callbacks.averaged import (
    VALIDATION,
    Interrupt,
    Recorder,
    X,
    Y,
    assert_same,
    averages,
    everything,
    expected_logs,
    fit,
    model_with,
    values,
    weights,
)

RTOL = 1e-6
BAD = [
    ({"name": "slow"}, {}, ArgumentError, "name='slow'"),
    ({}, {"chosen": Nadam(0.1)}, SettingError, "averaging"),
    ({"batch_norm": "recalibrate"}, {"normalize": True}, ArgumentError, "`data`.*keep"),
]


@pytest.mark.parametrize("loop", ["evaluate", "predict"])
def test_direct_loops_use_the_averages_and_put_everything_back(loop):
    """K11: evaluate() and predict() any number of times leave the model bit for bit as it was."""
    model = model_with(normalize=True)
    fit(model)
    before = everything(model)
    callback, recorder = EvaluateAverage(), Recorder()
    for _ in range(3):
        arguments = VALIDATION if loop == "evaluate" else VALIDATION[:1]
        result = getattr(model, loop)(*arguments, verbose=0, callbacks=[callback, recorder])
        assert_same(everything(model), before)
    for seen in recorder.seen:
        assert_same(seen, averages(model))
    with averaged_weights(model):
        expected = getattr(model, loop)(*arguments, verbose=0)
    np.testing.assert_array_equal(result, expected)
    assert "test_function" not in {n for n, v in vars(model).items() if "guarded" in str(v)}


def test_direct_loops_before_the_first_step():
    """D22: before any training the averages are the weights, not zeros."""
    model = model_with()
    expected = model.predict(X, verbose=0)
    np.testing.assert_array_equal(
        model.predict(X, verbose=0, callbacks=[EvaluateAverage()]), expected
    )
    assert expected.any()


@pytest.mark.parametrize("batch", [0, 1])
def test_a_direct_loop_that_fails_puts_everything_back(batch):
    """D23: an error in the model, or in the data that it reads, leaves raw weights."""
    model = model_with(normalize=True)
    fit(model)
    before = values(model)
    model.make_test_function()
    original, count = model.test_function, []

    def failing(*arguments):
        count.append(1)
        if len(count) == batch + 1:
            raise KeyboardInterrupt
        return original(*arguments)

    model.test_function = failing
    with pytest.raises(KeyboardInterrupt):
        model.evaluate(*VALIDATION, batch_size=2, verbose=0, callbacks=[EvaluateAverage()])
    assert model.test_function is failing
    assert shown(model) is None
    assert_same(values(model), before)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_data_of_unknown_length_end_as_they_should():
    """The end of the data is no failure."""
    model = model_with()
    fit(model)
    before = everything(model)
    batches = ((X[i : i + 2], Y[i : i + 2]) for i in (0, 2, 4, 6))
    result = model.evaluate(batches, verbose=0, callbacks=[EvaluateAverage()])
    np.testing.assert_allclose(result[0], expected_logs(X, Y, averages(model))["loss"], rtol=RTOL)
    assert_same(everything(model), before)


@pytest.mark.slow
def test_what_an_exception_elsewhere_leaves_is_put_right_next_time():
    """Another callback raises in a direct loop: the next loop, or fit, begins from raw weights."""
    model = model_with()
    fit(model)
    before, callback = weights(model), EvaluateAverage()
    interrupt = Interrupt("test_batch_0_end")
    interrupt.epoch = 1
    with pytest.raises(KeyboardInterrupt):
        model.evaluate(*VALIDATION, verbose=0, callbacks=[callback, interrupt])
    model.evaluate(*VALIDATION, verbose=0, callbacks=[callback])
    assert shown(model) is None
    assert_same(weights(model), before)


@pytest.mark.slow
def test_shown_averages_stay_shown():
    """After finalization a direct loop evaluates what is there, and leaves it."""
    model = model_with()
    fit(model)
    show_average(model)
    before = weights(model)
    model.evaluate(*VALIDATION, verbose=0, callbacks=[EvaluateAverage()])
    assert_same(weights(model), before)
    assert shown(model) == "ema"
    chosen = {"a": EMA(0.5), "b": EMA(0.9)}
    other = model_with(Nadam(0.1, averaging=chosen))
    fit(other)
    with averaged_weights(other, "a"), pytest.raises(StateError, match="'a'"):
        other.evaluate(*VALIDATION, verbose=0, callbacks=[EvaluateAverage("b")])


@pytest.mark.slow
def test_recalibration_in_a_direct_loop_is_undone():
    """Statistics and averages go in and out together."""
    model = model_with(normalize=True)
    fit(model)
    before = everything(model)
    callback = EvaluateAverage(batch_norm="recalibrate", data=X)
    result = model.evaluate(*VALIDATION, verbose=0, callbacks=[callback])
    assert_same(everything(model), before)
    with averaged_weights(model):
        recalibrate_batch_norm(model, X)
        expected = model.evaluate(*VALIDATION, verbose=0)
    assert_same(everything(model), before)  # so does the block, and what is done in it by hand
    np.testing.assert_allclose(result, expected, rtol=RTOL)


def test_direct_loops_say_what_is_wrong():
    """A name that is not there, and an optimizer without averages."""
    with pytest.raises(ArgumentError, match="name='slow'"):
        model_with().evaluate(X, Y, verbose=0, callbacks=[EvaluateAverage("slow")])
    with pytest.raises(SettingError, match="averag"):
        model_with("sgd").predict(X, verbose=0, callbacks=[EvaluateAverage()])
