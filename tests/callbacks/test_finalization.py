"""`EMAFinalization`: the averages become the weights once, at a clean end, and not for good."""

from __future__ import annotations

import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, SWA, average_tensors, show_raw, shown
from nadam_suite.callbacks import EMAFinalization, EvaluateAverage
from nadam_suite.errors import ArgumentError, NadamSuiteWarning, SettingError, StateError
from tests.callbacks.averaged import (
    BATCH,
    VALIDATION,
    WRAPPINGS,
    Interrupt,
    Recorder,
    Script,
    X,
    Y,
    array,
    assert_same,
    averages,
    differ,
    everything,
    fit,
    model_with,
    slow,
    statistics,
    values,
    weights,
)

RECALIBRATED = {"batch_norm": "recalibrate", "data": X}


@pytest.mark.parametrize("wrapping", ["dynamic", *slow(*list(WRAPPINGS)[1:])])
def test_the_averages_become_the_weights_at_the_end(wrapping):
    """Whatever the optimizer is wrapped in, and not before the end; what is logged is the same."""
    model, plain = model_with(WRAPPINGS[wrapping]()), model_with(WRAPPINGS[wrapping]())
    for optimizer in _nadams(plain):
        optimizer.finalizes = False
    recorder, expected = Recorder(), Recorder()
    logs = fit(plain, expected)
    assert logs == fit(model, recorder, EMAFinalization())
    for epoch in range(3):
        assert_same(recorder.weights[epoch], expected.weights[epoch])
    assert_same(weights(model), recorder.averages[-1])
    assert differ(weights(model), weights(plain))
    assert_same(averages(model), averages(plain))
    assert all(optimizer.finalizes for optimizer in _nadams(model))
    assert "evaluate" not in vars(model)
    assert show_raw(model)
    assert_same(everything(model), everything(plain))


def _nadams(model):
    from nadam_suite.averaging.shown import keepers

    return keepers(model)


@pytest.mark.parametrize("options", [{"batch_norm": "keep"}, RECALIBRATED], ids=["keep", "new"])
def test_a_second_fit_goes_on_from_the_raw_weights(options):
    """K20: two fits are one longer fit, whatever is evaluated between them."""
    model, whole = model_with(normalize=True), model_with(normalize=True)
    fit(whole, epochs=4)
    callback = EMAFinalization(**options)
    fit(model, callback, epochs=2)
    model.evaluate(*VALIDATION, verbose=0)
    model.predict(X, verbose=0)
    fit(model, EMAFinalization(**options), epochs=4, initial_epoch=2)
    final = weights(model)
    show_raw(model)
    assert_same(everything(model), everything(whole))
    assert_same(final, averages(model))


@pytest.mark.slow
def test_training_on_from_the_averages_says_so():
    """A fit without a callback for averages trains what it finds; a later one warns of it."""
    model = model_with()
    fit(model, EMAFinalization())
    fit(model, epochs=1)
    with pytest.warns(NadamSuiteWarning, match="trained on from its average 'ema'"):
        fit(model, EMAFinalization(), epochs=1)


MOMENTS = ["epoch_begin", "batch_begin", "batch_end", "test_begin", "test_batch_0", "epoch_end"]


@pytest.mark.parametrize("moment", ["batch_end", *slow(*[m for m in MOMENTS if m != "batch_end"])])
def test_an_interrupt_leaves_the_raw_weights(moment):
    """K15: Ctrl-C anywhere: raw weights on every backend; `finalize` then shows the averages."""
    model, callback = model_with(WRAPPINGS["use_ema"]()), EMAFinalization()
    with pytest.raises(KeyboardInterrupt):
        fit(model, EvaluateAverage(), callback, Interrupt(moment))
    assert shown(model) is None
    raw, steps = weights(model), int(model.optimizer.iterations)
    twin = model_with(WRAPPINGS["use_ema"]())
    twin.optimizer.finalizes = False
    for _ in range(3):  # steps of the same batches
        for start in (0, BATCH):
            if int(twin.optimizer.iterations) < steps:
                twin.train_on_batch(X[start : start + BATCH], Y[start : start + BATCH])
    assert_same(raw, weights(twin))
    callback.finalize()
    assert_same(weights(model), averages(model))
    assert differ(weights(model), raw)
    callback.finalize()  # once is enough
    assert show_raw(model)
    assert_same(weights(model), raw)


def test_the_best_averages_come_back():
    """Those of the best epoch, with its statistics; the raw weights beside are the last ones."""
    recorder, model = Recorder(), model_with(normalize=True)
    callback = EMAFinalization(restore_best=True, batch_norm="keep", monitor="told_loss")
    fit(model, Script(3.0, 1.0, 2.0), callback, recorder)
    assert (callback.best, callback.best_epoch) == (1.0, 1)
    assert_same(callback.best_averages, recorder.averages[1])
    assert_same(weights(model), recorder.averages[1])
    assert_same(statistics(model), recorder.statistics[1])
    show_raw(model)
    assert_same(values(model), recorder.state[2])
    fit(model, Script(5.0), callback, epochs=1)
    assert callback.best == 5.0  # a fit has a best of its own


@pytest.mark.slow
def test_the_best_by_the_validation_of_the_averages():
    """D67: the final model evaluates to the best val_loss that was logged."""
    model = model_with(normalize=True)
    history = fit(
        model,
        EvaluateAverage(**RECALIBRATED),
        EMAFinalization(restore_best=True, **RECALIBRATED),
        epochs=4,
    )
    loss = model.evaluate(*VALIDATION, verbose=0)[0]
    np.testing.assert_allclose(loss, min(history["val_loss"]), rtol=1e-6)


def test_recalibrated_statistics_are_those_of_the_averages():
    """K18: exact statistics of the data under the final weights."""
    model = model_with(normalize=True)
    plain = model_with(normalize=True)
    model.layers[0].rate = plain.layers[0].rate = 0.0  # the inputs reach the layer as they are
    recorder = Recorder()
    fit(model, EMAFinalization(data=(X, Y)), recorder)
    mean, variance = statistics(model)
    np.testing.assert_allclose(mean, X.astype("float64").mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, X.astype("float64").var(0), rtol=1e-6)
    assert differ([mean, variance], recorder.statistics[-1])
    show_raw(model)
    assert_same(values(model), recorder.state[-1])


@pytest.mark.slow
def test_recalibration_that_fails_leaves_the_raw_weights():
    """Neither averages nor statistics by half."""
    model, plain = model_with(normalize=True), model_with(normalize=True)
    fit(plain)
    with pytest.raises(ArgumentError, match="at least one batch"):
        fit(model, EMAFinalization(data=iter(())))
    assert shown(model) is None
    assert_same(everything(model), everything(plain))


@pytest.mark.parametrize("options", [{"epochs": 0}, {"epochs": 1, "initial_epoch": 1}], ids=str)
def test_without_a_step_the_weights_stay(options):
    """D04: a training that is over at its start is no model of zeros."""
    model = model_with(WRAPPINGS["use_ema"]())
    before = model.get_weights()
    fit(model, EMAFinalization(), **options)
    assert_same(model.get_weights(), before)
    assert before[0].any()


@pytest.mark.slow
def test_an_average_that_has_not_begun_is_the_weights():
    """A training that ends before the average begins ends on its weights."""
    chosen = Nadam(0.1, averaging={"late": SWA(99, every=1), "ema": EMA(0.7)})
    model, recorder = model_with(chosen), Recorder()
    fit(model, EMAFinalization("late"), recorder)
    assert shown(model) == "late"
    assert_same(weights(model), recorder.weights[-1])
    fit(model, EMAFinalization("ema"), epochs=1)
    assert_same(weights(model), averages(model, "ema"))


def test_finalize_needs_a_fit():
    """Without one there is no model."""
    with pytest.raises(StateError, match="There must have been a `fit"):
        EMAFinalization().finalize()


@pytest.mark.parametrize(
    ("callback", "options", "error", "message"),
    [
        (lambda: EMAFinalization("slow"), {}, ArgumentError, "name='slow'"),
        (EMAFinalization, {"chosen": "sgd"}, SettingError, "averag"),
        (EMAFinalization, {"normalize": True}, ArgumentError, "`data` must be given.*keep"),
    ],
    ids=["name", "optimizer", "data"],
)
def test_bad_combinations_are_refused_before_the_first_step(callback, options, error, message):
    """At the start of fit, with the remedy."""
    model = model_with(**options)
    with pytest.raises(error, match=message):
        fit(model, callback())
    assert int(model.optimizer.iterations) == 0


@pytest.mark.slow
def test_choosing_by_the_metric_of_the_raw_weights_is_refused():
    """Without `EvaluateAverage` val_loss says nothing about the averages."""
    with pytest.raises(ArgumentError, match=r"EMAFinalization must be used together"):
        fit(model_with(), EMAFinalization(restore_best=True))
    both = EvaluateAverage(), EMAFinalization(restore_best=True, **RECALIBRATED)
    with pytest.raises(ArgumentError, match=r"'ema', 'recalibrate'.*'ema', 'keep'"):
        fit(model_with(normalize=True), *both)
    with pytest.raises(ArgumentError, match="'mse'"):
        fit(model_with(), EMAFinalization(restore_best=True, monitor="mse"))
    fit(model_with(), EMAFinalization(), epochs=1)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"restore_best": 1}, TypeError),
        ({"batch_norm": "new"}, ValueError),
        ({"steps": 0}, ValueError),
        ({"monitor": "val_fun", "restore_best": True}, ValueError),
        ({"mode": "up", "restore_best": True}, ValueError),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name(options, error):
    """The message names argument and value."""
    name, value = next(iter(options.items()))
    with pytest.raises(error, match=name) as caught:
        EMAFinalization(**options)
    assert repr(value) in str(caught.value)


def test_averages_are_found_through_average_tensors():
    """The final weights are, variable by variable, what `average_tensors` names."""
    model = model_with()
    fit(model, EMAFinalization())
    for variable, average in average_tensors(model):
        np.testing.assert_array_equal(array(variable), array(average))
