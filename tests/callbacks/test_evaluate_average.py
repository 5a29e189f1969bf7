"""`EvaluateAverage`: the right weights are evaluated, and only while they are evaluated."""

from __future__ import annotations

import copy

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, SWA, averaged_weights, show_average, shown
from nadam_suite.callbacks import (
    EMAFinalization,
    EvaluateAverage,
    HyperparameterLogger,
    recalibrate_batch_norm,
)
from nadam_suite.errors import ArgumentError, SettingError
from tests.callbacks.averaged import (
    VALIDATION,
    WRAPPINGS,
    Interrupt,
    Recorder,
    X,
    array,
    assert_same,
    differ,
    everything,
    expected_logs,
    fit,
    model_with,
    slow,
    values,
)

RTOL = 1e-6
BAD = [
    ({"name": "slow"}, {}, ArgumentError, "name='slow'"),
    ({}, {"chosen": Nadam(0.1)}, SettingError, "averaging"),
    ({"batch_norm": "recalibrate"}, {"normalize": True}, ArgumentError, "`data`.*keep"),
]


def test_validation_is_that_of_the_averages_and_of_the_raw_weights():
    """val_* and val_raw_* are, epoch by epoch, the metrics of the one and of the other."""
    recorder = Recorder()
    history = fit(model_with(), recorder, EvaluateAverage())
    assert list(history) == ["loss", "mae", "val_loss", "val_mae", "val_raw_loss", "val_raw_mae"]
    for epoch in range(3):
        for prefix, arrays in (("val_", recorder.averages), ("val_raw_", recorder.weights)):
            for metric, value in expected_logs(*VALIDATION, arrays[epoch]).items():
                np.testing.assert_allclose(history[prefix + metric][epoch], value, rtol=RTOL)
    assert differ(recorder.averages[-1], recorder.weights[-1])


@pytest.mark.parametrize("options", [{}, {"also_raw": False}], ids=str)
def test_the_training_is_as_without(options):
    """Raw weights, averages, moments, statistics and seeds are bit for bit those of a plain fit."""
    plain, watched = model_with(normalize=True), model_with(normalize=True)
    without = fit(plain)
    history = fit(watched, EvaluateAverage(**options))
    assert_same(everything(watched), everything(plain))
    assert history["loss"] == without["loss"]
    assert ("val_raw_loss" in history) == options.get("also_raw", True)
    if "val_raw_loss" in history:
        np.testing.assert_allclose(history["val_raw_loss"], without["val_loss"], rtol=RTOL)
    assert "evaluate" not in vars(watched)


def test_other_callbacks_see_one_validation_of_the_averages():
    """They hear of it once an epoch, while the averages are in."""
    recorder = Recorder()
    fit(model_with(), EvaluateAverage(), recorder)
    assert len(recorder.seen) == 3
    for seen, average in zip(recorder.seen, recorder.averages, strict=True):
        assert_same(seen, average)


@pytest.mark.slow
def test_early_stopping_goes_by_the_averages():
    """What monitors val_loss goes by the averages' loss."""
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=9)
    history = fit(model_with(), EvaluateAverage(), stopping)
    assert stopping.best == min(history["val_loss"])
    assert stopping.best != pytest.approx(min(history["val_raw_loss"]), rel=1e-3)


@pytest.mark.slow
def test_validation_every_other_epoch():
    """`validation_freq` leaves epochs out, and nothing is shown in them."""
    recorder = Recorder()
    history = fit(model_with(), recorder, EvaluateAverage(), epochs=4, validation_freq=2)
    assert len(history["val_loss"]) == len(history["val_raw_loss"]) == 2
    for place, epoch in enumerate((1, 3)):
        expected = expected_logs(*VALIDATION, recorder.averages[epoch])["loss"]
        np.testing.assert_allclose(history["val_loss"][place], expected, rtol=RTOL)


def test_without_validation_data_nothing_happens():
    """A training that is not validated logs no val_*."""
    assert list(fit(model_with(), EvaluateAverage(), validation_data=None)) == ["loss", "mae"]


@pytest.mark.parametrize(
    "wrapping", ["dynamic", *slow("loss_scale", "multi", "accumulation", "use_ema")]
)
def test_inside_other_optimizers(wrapping):
    """Through loss scaling, several optimizers and accumulation: the averages are found."""
    recorder = Recorder()
    history = fit(model_with(WRAPPINGS[wrapping]()), recorder, EvaluateAverage())
    for prefix, arrays in (("val_", recorder.averages), ("val_raw_", recorder.weights)):
        kernel_first = sorted(arrays[1], key=lambda array: -array.ndim)
        expected = expected_logs(*VALIDATION, kernel_first)["loss"]
        np.testing.assert_allclose(history[f"{prefix}loss"][1], expected, rtol=RTOL)


@pytest.mark.slow
def test_an_average_by_name():
    """Of several the named one; one that has not begun is the raw weights."""
    chosen = Nadam(0.1, averaging={"ema": EMA(0.7, warmup=None), "late": SWA(99, every=1)})
    model = model_with(chosen)
    history = fit(model, EvaluateAverage("late"))
    assert history["val_loss"] == history["val_raw_loss"]
    history = fit(model, EvaluateAverage())
    assert history["val_loss"] != history["val_raw_loss"]


@pytest.mark.parametrize(
    "moment", ["test_batch_0", *slow("test_begin", "test_batch_0_end", "test_end")]
)
def test_an_interrupted_validation_leaves_raw_weights(moment):
    """K15, D23: Ctrl-C while the averages are in: raw weights, on every backend; fit goes on."""
    model, recorder = model_with(normalize=True), Recorder()
    uncut = model_with(normalize=True)
    fit(uncut, recorder, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        fit(model, EvaluateAverage(), Interrupt(moment))
    assert shown(model) is None
    assert_same(values(model), recorder.state[-1])
    history = fit(model, epochs=1)  # nothing is left that would evaluate averages
    fit(uncut, epochs=1)
    assert_same(everything(model), everything(uncut))
    np.testing.assert_allclose(
        history["val_loss"][0], uncut.evaluate(*VALIDATION, verbose=0)[0], rtol=RTOL
    )


@pytest.mark.slow
def test_a_later_fit_without_it_validates_raw_weights():
    """What an interrupted fit has left on the model does nothing in the next one."""
    model = model_with()
    with pytest.raises(KeyboardInterrupt):
        fit(model, EvaluateAverage(), Interrupt("epoch_end"))
    recorder = Recorder()
    fit(model, recorder, epochs=1)
    assert_same(recorder.seen[0], recorder.weights[0])


@pytest.mark.slow
def test_a_fit_begins_from_raw_weights():
    """Averages that are shown when a fit starts make room for the raw weights."""
    model, uncut = model_with(), model_with()
    for each in (model, uncut):
        fit(each, epochs=1)
    show_average(model)
    fit(model, EvaluateAverage(), epochs=1)
    fit(uncut, epochs=1)
    assert_same(everything(model), everything(uncut))


def test_recalibrated_statistics_are_evaluated():
    """K18: val_* is what the averages have with their own statistics; the raw ones come back."""
    recorder, callback = Recorder(), EvaluateAverage(batch_norm="recalibrate", data=X)
    model = model_with(normalize=True)
    history = fit(model, recorder, callback)
    plain = model_with(normalize=True)
    fit(plain)
    assert_same(everything(model), everything(plain))
    with averaged_weights(model):
        recalibrate_batch_norm(model, X)
        statistics = [array(v) for v in model.layers[1].non_trainable_variables]
        expected = model.evaluate(*VALIDATION, verbose=0)[0]
    assert_same([array(v) for v in callback.evaluated_statistics], statistics)
    np.testing.assert_allclose(history["val_loss"][-1], expected, rtol=RTOL)
    kept = fit(model_with(normalize=True), EvaluateAverage())["val_loss"][-1]
    assert kept != pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_recalibration_that_fails_leaves_raw_weights():
    """Data that cannot be read end the validation, not the model."""
    model = model_with(normalize=True)
    callback = EvaluateAverage(batch_norm="recalibrate", data=iter(()))
    with pytest.raises(ArgumentError, match="at least one batch"):
        fit(model, callback)
    assert shown(model) is None
    before = values(model)
    with pytest.raises(ArgumentError, match="at least one batch"):
        model.evaluate(*VALIDATION, verbose=0, callbacks=[callback])
    assert shown(model) is None
    assert_same(values(model), before)


@pytest.mark.slow
def test_with_other_callbacks_that_compile_anew():
    """`HyperparameterLogger` makes fit compile its step again; both work together."""
    history = fit(model_with(), HyperparameterLogger(), EvaluateAverage())
    assert {"learning_rate", "val_loss", "val_raw_loss"} <= set(history)


def test_copies_share_the_data():
    """Tuners copy the callbacks for each trial; data sets are not for copying."""
    batches = iter(())
    callback = copy.deepcopy(EvaluateAverage(batch_norm="recalibrate", data=batches, steps=3))
    assert callback.statistics.data is batches
    assert (callback.statistics.mode, callback.statistics.steps) == ("recalibrate", 3)


@pytest.mark.slow
def test_a_model_whose_evaluate_is_replaced_keeps_that():
    """What somebody else has put there is called, and is there again afterwards."""
    model, calls = model_with(), []
    original = model.evaluate

    def counted(*arguments, **options):
        calls.append(1)
        return original(*arguments, **options)

    model.evaluate = counted
    history = fit(model, EvaluateAverage(), EMAFinalization())
    assert len(calls) == 6
    assert "val_raw_loss" in history
    assert model.evaluate is counted


def test_two_of_them_are_refused():
    """Both would log val_loss."""
    with pytest.raises(ArgumentError, match="Only one `EvaluateAverage`"):
        fit(model_with(), EvaluateAverage(), EvaluateAverage())


@pytest.mark.parametrize(("options", "model_options", "error", "message"), BAD, ids=str)
def test_bad_combinations_are_refused_before_the_first_step(options, model_options, error, message):
    """At the start of fit, with the remedy."""
    model = model_with(**model_options)
    with pytest.raises(error, match=message):
        fit(model, EvaluateAverage(**options))
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"also_raw": 1}, TypeError),
        ({"batch_norm": "new"}, ValueError),
        ({"batch_norm": None}, ValueError),
        ({"steps": 0}, ValueError),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name(options, error):
    """The message names argument and value."""
    ((name, value),) = options.items()
    with pytest.raises(error, match=name) as caught:
        EvaluateAverage(**options)
    assert repr(value) in str(caught.value)
