"""A saved state is restored exactly: files, set_weights, backups, other settings than before."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.errors import NadamSuiteWarning, StateError
from tests.optimizers.driver import Loop, assert_paths_close, make_variables, record, state_by_name
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory

RICH = {
    "learning_rate": 0.01,
    "weight_decay": 0.05,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.9,
    "gradient_accumulation_steps": 3,
}
X = np.random.default_rng(0).normal(size=(56, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def compiled(optimizer):
    """A small model with fixed start weights, compiled."""
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, "tanh", name="a"),
            keras.layers.Dense(1, name="b"),
        ]
    )
    model.compile(optimizer, "mse")
    return model


def train(model, epochs=1, **options):
    """Seven batches an epoch, so that windows of three are cut by the end of an epoch."""
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **options)


def assert_same_state(a, b):
    """Bit for bit the same named state and the same weights."""
    one, two = state_by_name(a.optimizer), state_by_name(b.optimizer)
    assert list(one) == list(two)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)


def without_averages(options):
    return {k: v for k, v in options.items() if not k.startswith(("use_ema", "ema_"))}


@pytest.mark.parametrize(
    "options", [{}, without_averages(RICH), RICH], ids=["plain", "rich", "averages"]
)
def test_keras_file_restores_everything(tmp_path, options):
    """load_model gives bit for bit the same state, and one more epoch ends the same."""
    model = compiled(Nadam(**options))
    train(model)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert_same_state(loaded, model)
    train(model)
    train(loaded)
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("built", [True, False])
def test_weights_file_restores_everything(tmp_path, built):
    """D51: load_weights brings the state into a built and into an unbuilt optimizer."""
    model = compiled(Nadam(**RICH))
    train(model)
    model.save_weights(tmp_path / "m.weights.h5")
    other = compiled(Nadam(**RICH))
    if built:
        other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "m.weights.h5")
    other.optimizer.build(other.trainable_variables)
    assert_same_state(other, model)


def test_an_unbuilt_optimizer_does_not_lose_a_state_it_was_given(tmp_path):
    """D51: a state loaded before build is written again by save_weights, still before build."""
    model = compiled(Nadam(**RICH))
    train(model)
    model.save_weights(tmp_path / "1.weights.h5")
    middle = compiled(Nadam(**RICH))
    middle.load_weights(tmp_path / "1.weights.h5")
    middle.save_weights(tmp_path / "2.weights.h5")
    last = compiled(Nadam(**RICH))
    last.load_weights(tmp_path / "2.weights.h5")
    last.optimizer.build(last.trainable_variables)
    assert_same_state(last, model)


def test_set_weights_restores_everything():
    """The list of all variables, given to another optimizer, is its state."""
    start, gradients = start_values(), gradient_list(20)
    first, second = Nadam(**RICH), Nadam(**RICH)
    one = Loop(first, make_variables(start))
    path = one.run(gradients[:10])
    variables = make_variables(path[-1])
    second.build(variables)
    second.set_weights([keras.ops.convert_to_numpy(v) for v in first.variables])
    two = Loop(second, variables)
    assert_paths_close(two.run(gradients[10:]), one.run(gradients[10:]), rtol=0.0)


@pytest.mark.parametrize(
    "change",
    [lambda arrays: arrays[:-1], lambda arrays: [*arrays, arrays[0]], lambda arrays: arrays[::-1]],
    ids=["one less", "one more", "other order"],
)
def test_set_weights_refuses_arrays_of_another_state(change):
    """Too few, too many or misplaced arrays are refused, and nothing has been changed."""
    optimizer = Nadam()
    Loop(optimizer, make_variables(start_values())).run(gradient_list(2))
    before = state_by_name(optimizer)
    arrays = [keras.ops.convert_to_numpy(v) for v in optimizer.variables]
    with pytest.raises(StateError, match="`weights` must have one array for each"):
        optimizer.set_weights(change(arrays))
    for name, array in state_by_name(optimizer).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    with pytest.raises(StateError, match=r"Call `optimizer\.build"):
        Nadam().set_weights(arrays)


def test_an_assigned_rate_is_part_of_the_state():
    """The rate that a callback has lowered goes on after loading, whatever was typed."""
    first, second = Nadam(0.01), Nadam(0.01)
    variables = make_variables(start_values())
    first.build(variables)
    second.build(variables)
    first.learning_rate = 0.002
    store = state_by_name(first)
    second.load_own_variables(store)
    assert second.get_config()["learning_rate"] == 0.002


def test_a_resumed_run_equals_an_uninterrupted_one():
    """Saving and loading the named state in the middle changes no bit of what follows."""
    start, gradients = start_values(), gradient_list(40)
    whole = record(Nadam(**RICH), start, gradients)
    first = Nadam(**RICH)
    half = Loop(first, make_variables(start)).run(gradients[:17])
    store = {}
    first.save_own_variables(store)
    second, variables = Nadam(**RICH), make_variables(half[-1])
    second.load_own_variables(store)
    rest = Loop(second, variables).run(gradients[17:])
    assert_paths_close(rest, whole[17:], rtol=0.0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_precision_run_resumes_exactly(dtype):
    """The master weights are part of the state: a resumed half-precision run loses no bit."""
    start = [a.astype(dtype).astype("float64") for a in start_values()]
    gradients = gradient_list(40, dtype=dtype)
    options = {"learning_rate": 1e-4}
    whole = record(Nadam(**options), start, gradients, dtypes=dtype)
    first = Nadam(**options)
    half = Loop(first, make_variables(start, dtype)).run(gradients[:17])
    store = {}
    first.save_own_variables(store)
    second, variables = Nadam(**options), make_variables(half[-1], dtype)
    second.load_own_variables(store)
    rest = Loop(second, variables).run(gradients[17:])
    assert_paths_close(rest, whole[17:], rtol=0.0)


def test_backup_and_restore_goes_on_where_it_stopped(tmp_path):
    """BackupAndRestore after an exception ends with the weights of an undisturbed fit()."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def fresh():
        return compiled(Nadam(**without_averages(RICH)))

    whole = fresh()
    train(whole, epochs=4)
    stopped = fresh()
    with pytest.raises(KeyboardInterrupt):
        train(stopped, 4, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "b"), Stop()])
    resumed = fresh()
    resumed.optimizer.build(resumed.trainable_variables)
    train(resumed, 4, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "b")])
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


STOCK = {
    "plain": {},
    "averages": {"use_ema": True, "ema_momentum": 0.9},
    "accumulation": {"gradient_accumulation_steps": 2},
    "both": {"use_ema": True, "ema_momentum": 0.9, "gradient_accumulation_steps": 2},
}


@pytest.mark.parametrize("name", ["plain", "accumulation"])
def test_a_stock_state_goes_on_in_ours(name):
    """A positional state that keras.optimizers.Nadam wrote trains on in ours as the twin does."""
    start, gradients = start_values(), gradient_list(40)
    stock = keras.optimizers.Nadam(**STOCK[name])
    half = Loop(stock, make_variables(start)).run(gradients[:21])
    store = {}
    stock.save_own_variables(store)
    ours, variables = Nadam(**STOCK[name]), make_variables(half[-1])
    ours.load_own_variables(store)
    rest = Loop(ours, variables).run(gradients[21:])
    twin = trajectory(start, gradients, **STOCK[name])
    assert_paths_close(rest, twin[21:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", STOCK)
def test_a_stock_checkpoint_loads_with_its_averages(tmp_path, name):
    """save_weights of a stock model brings moments, counters and averages into ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = compiled(keras.optimizers.Nadam(0.01, **STOCK[name]))
        model.optimizer.build(model.trainable_variables)
        for i in range(4):
            model.train_on_batch(X[8 * i : 8 * i + 8], Y[8 * i : 8 * i + 8])
    model.save_weights(tmp_path / "m.weights.h5")
    other = compiled(Nadam(0.01, **STOCK[name]))
    other.load_weights(tmp_path / "m.weights.h5")
    other.optimizer.build(other.trainable_variables)
    state = state_by_name(other.optimizer)
    stock = model.optimizer
    assert state["iteration"] == 4
    for i in range(4):
        pairs = [("momentum", stock._momentums[i]), ("velocity", stock._velocities[i])]
        if "averages" in name or name == "both":
            pairs.append(("average", stock._model_variables_moving_average[i]))
        for kind, variable in pairs:
            expected = keras.ops.convert_to_numpy(variable)
            np.testing.assert_array_equal(state[f"{kind}_{i}"], expected)


def test_turning_averages_on_keeps_the_moments_and_says_so():
    """K19, D50: averages start from the weights; m, v, the product and the counters stay."""
    start, gradients = start_values(), gradient_list(20)
    first = Nadam()
    half = Loop(first, make_variables(start)).run(gradients[:10])
    store = {}
    first.save_own_variables(store)
    second, variables = Nadam(use_ema=True, ema_momentum=0.9), make_variables(half[-1])
    second.build(variables)
    with pytest.warns(NadamSuiteWarning, match="averages"):
        second.load_own_variables(store)
    state = state_by_name(second)
    for name in ("iteration", "u_product", "momentum_0", "velocity_3"):
        np.testing.assert_array_equal(state[name], np.asarray(store[name], "float64"))
    for i, weights in enumerate(half[-1]):
        np.testing.assert_array_equal(state[f"average_{i}"], weights)
    rest = Loop(second, variables).run(gradients[10:])
    assert_paths_close(rest, trajectory(start, gradients)[10:], rtol=1e-5, atol=1e-5)


def test_turning_averages_off_keeps_the_moments():
    """A state with averages trains on in an optimizer without, as the twin."""
    start, gradients = start_values(), gradient_list(20)
    first = Nadam(use_ema=True)
    half = Loop(first, make_variables(start)).run(gradients[:10])
    store = {}
    first.save_own_variables(store)
    second, variables = Nadam(), make_variables(half[-1])
    second.build(variables)
    with pytest.warns(NadamSuiteWarning, match="averages"):
        second.load_own_variables(store)
    rest = Loop(second, variables).run(gradients[10:])
    assert_paths_close(rest, trajectory(start, gradients)[10:], rtol=1e-5, atol=1e-5)


def test_from_a_float_to_a_schedule_keeps_the_state():
    """D50: changing the kind of the learning rate loses neither moments nor counters."""
    schedule = keras.optimizers.schedules.PolynomialDecay(0.01, 40, 0.0)
    start, gradients = start_values(), gradient_list(20)
    first = Nadam(0.01)
    half = Loop(first, make_variables(start)).run(gradients[:10])
    store = {}
    first.save_own_variables(store)
    for there, back in ((schedule, 0.01),):
        second, variables = Nadam(there), make_variables(half[-1])
        second.load_own_variables(store)
        Loop(second, variables).run(gradients[10:12])
        assert int(second.iterations) == 12
        again = {}
        second.save_own_variables(again)
        third = Nadam(back)
        third.build(make_variables(half[-1]))
        third.load_own_variables(again)
        assert int(third.iterations) == 12
        assert np.any(state_by_name(third)["momentum_0"])


def test_a_state_of_other_variables_is_refused_and_nothing_is_changed():
    """A state with other shapes or too few variables raises StateError, all or nothing."""
    first, second = Nadam(), Nadam()
    record(first, [np.ones((2, 3)), np.ones(3)], [[np.ones((2, 3)), np.ones(3)]])
    store = {}
    first.save_own_variables(store)
    for other in (
        [np.ones((3, 2)), np.ones(3)],
        [np.ones((2, 3))],
        [np.ones((2, 3)), np.ones(3), np.ones(1)],
    ):
        second = Nadam()
        second.build(make_variables(other))
        before = state_by_name(second)
        with pytest.raises(StateError, match="does not fit"):
            second.load_own_variables(store)
        after = state_by_name(second)
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])


def test_a_truncated_keras_file_is_an_error_and_no_half_loaded_model(tmp_path):
    """A .keras file that was cut raises when it is loaded."""
    model = compiled(Nadam())
    train(model)
    model.save(tmp_path / "m.keras")
    whole = (tmp_path / "m.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises((ValueError, OSError)):
        keras.saving.load_model(tmp_path / "cut.keras")
