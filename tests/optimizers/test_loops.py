"""One rule, every way to run it: fit in its variants, custom loops, and wrappers round it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from tests.optimizers.driver import BACKEND, Loop, assert_paths_close, make_variables, record
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory

FULL = {
    "learning_rate": 0.01,
    "weight_decay": 0.02,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.9,
    "ema_overwrite_frequency": 3,
    "gradient_accumulation_steps": 2,
}


def data():
    """Sixty-four examples of a linear problem."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def build_model():
    """A two-layer network whose start does not depend on what was built before."""
    keras.utils.set_random_seed(7)
    hidden = keras.layers.Dense(8, "tanh", name="hidden")
    return keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(1, name="out")])


def fitted(optimizer, **compile_options):
    """The weights after three epochs of fit()."""
    model = build_model()
    model.compile(optimizer, "mse", **compile_options)
    x, y = data()
    model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    return model.get_weights()


VARIANTS = {
    "jit": {"jit_compile": True},
    "eager": {"run_eagerly": True},
    "four steps an execution": {"steps_per_execution": 4, "jit_compile": False},
    "four steps an execution, jit": {"steps_per_execution": 4, "jit_compile": True},
}


@pytest.mark.parametrize(
    "options",
    [pytest.param({}, id="defaults"), pytest.param(FULL, id="all options", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_fit_gives_the_same_weights_however_it_runs(variant, options):
    """jit_compile on and off, run_eagerly and steps_per_execution=4 agree to float32 rounding."""
    if BACKEND == "torch" and VARIANTS[variant].get("jit_compile"):
        pytest.skip("torch.compile is torch's own matter and takes minutes on a CPU")
    if BACKEND == "torch" and VARIANTS[variant].get("steps_per_execution"):
        pytest.skip("Keras refuses steps_per_execution on torch")
    plain = fitted(Nadam(**options), jit_compile=False)
    other = fitted(Nadam(**options), **VARIANTS[variant])
    for a, b in zip(other, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


def test_fit_equals_the_twin():
    """fit() with every option ends where the twin does, fed with the gradients of the model."""
    x, y = data()
    start = np.ones((4, 1), dtype="float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([start])
    model.compile(Nadam(**{**FULL, "use_ema": False}), "mse")
    model.fit(x, y * 2, batch_size=16, epochs=5, shuffle=False, verbose=0)
    options = {**FULL, "use_ema": False}
    from tests.reference.nadam import initial_state, nadam_step

    w, state = [start.astype("float64")], initial_state([start])
    for _ in range(5):
        for i in range(0, 64, 16):
            error = x[i : i + 16] @ w[0] - 2 * y[i : i + 16]
            w, state = nadam_step(w, [2 * x[i : i + 16].T @ error / 16], state, **options)
    np.testing.assert_allclose(model.get_weights()[0], w[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["apply", "apply on all", "apply_gradients", "compiled", "xla"])
def test_every_custom_loop_follows_the_twin(how):
    """Calling apply with and without variables, apply_gradients, and compiled loops agree."""
    start, gradients = start_values(), gradient_list(12)
    twin = trajectory(start, gradients, **FULL)
    if how in ("compiled", "xla"):
        path = record(Nadam(**FULL), start, gradients, jit_compile=how == "xla")
    else:
        optimizer, variables = Nadam(**FULL), make_variables(start)
        loop = Loop(optimizer, variables, compiled=False)
        path = []
        for row in gradients:
            tensors = loop.tensors(row)
            if how == "apply":
                optimizer.apply(tensors, variables)
            elif how == "apply on all":
                optimizer.apply(tensors)
            else:
                optimizer.apply_gradients(list(zip(tensors, variables, strict=True)))
            path.append(loop.values())
    assert_paths_close(path, twin, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow's optimizers are stateful")
def test_stateless_apply_changes_nothing_it_was_not_given():
    """stateless_apply returns new values and leaves the variables as they were."""
    start, gradients = start_values(), gradient_list(4)
    optimizer, variables = Nadam(**FULL), make_variables(start)
    optimizer.build(variables)
    loop = Loop(optimizer, variables, compiled=False)
    weights = [keras.ops.copy(v.value) for v in variables]
    state = [keras.ops.copy(v.value) for v in optimizer.variables]
    path = []
    for row in gradients:
        weights, state = optimizer.stateless_apply(state, loop.tensors(row), weights)
        path.append([np.asarray(keras.ops.convert_to_numpy(w), "float64") for w in weights])
    assert_paths_close(path, trajectory(start, gradients, **FULL), rtol=1e-5, atol=1e-5)
    for variable, value in zip(variables, start, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value.astype("float32"))
    assert int(optimizer.iterations) == 0


def test_multi_optimizer_runs_two_of_ours():
    """keras.optimizers.MultiOptimizer trains each part with its own Nadam."""
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("this Keras has no MultiOptimizer")
    model = build_model()
    hidden, _ = model.layers
    frozen, moving = Nadam(0.0), Nadam(0.01)
    pair = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(moving, {f".*{hidden.name}/.*": frozen})
    )
    before = model.get_weights()
    model.compile(pair, "mse")
    x, y = data()
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(after[0], before[0])
    assert np.max(np.abs(after[2] - before[2])) > 1e-3
    assert (int(frozen.iterations), int(moving.iterations)) == (8, 8)


@pytest.mark.parametrize("compiled", [True, False])
def test_loss_scaling_round_ours_keeps_the_product_of_u(compiled):
    """D01: inside LossScaleOptimizer the steps are those of the bare optimizer, at every step."""
    if BACKEND == "jax" and not compiled:
        pytest.skip("stock LossScaleOptimizer.apply cannot run eagerly on JAX (D43)")
    start, gradients = start_values(), gradient_list(60)
    wrapped = keras.optimizers.LossScaleOptimizer(Nadam(0.01), initial_scale=4.0)
    scaled = [[g * 4 for g in row] for row in gradients]
    path = record(wrapped, start, scaled, compiled=compiled)
    assert_paths_close(path, trajectory(start, gradients, learning_rate=0.01), rtol=1e-5, atol=1e-5)


def test_loss_scaling_survives_save_and_load(tmp_path):
    """D02: a saved and reloaded wrapper goes on from the product of u that it had."""
    x, y = data()
    model = build_model()
    model.compile(keras.optimizers.LossScaleOptimizer(Nadam(0.01), initial_scale=8.0), "mse")
    model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    model.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
    other = keras.saving.load_model(tmp_path / "model.keras")
    other.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
    for a, b in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_mixed_float16_fit_trains_ours_inside_a_wrapper():
    """compile() wraps ours under mixed_float16; its steps count, the loss falls."""
    keras.config.set_dtype_policy("mixed_float16")
    model = build_model()
    model.compile(Nadam(0.01), "mse")
    x, y = data()
    history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"]
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(model.optimizer.inner_optimizer, Nadam)
    assert 20 <= int(model.optimizer.iterations) <= 24  # the first scale may overflow
    assert history[-1] < 0.9 * history[0]


def test_ours_is_an_instance_of_the_stock_class():
    """Code that asks isinstance(optimizer, keras.optimizers.Nadam) finds ours."""
    assert isinstance(Nadam(), keras.optimizers.Nadam)
    assert keras.saving.get_registered_name(Nadam) == "nadam_suite>Nadam"


def test_callbacks_can_set_the_rate():
    """LearningRateScheduler changes the rate of a running fit(), and of the compiled step."""
    model = build_model()
    model.compile(Nadam(0.01), "mse")
    x, y = data()
    callback = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 if epoch < 1 else 0.0)
    snapshots = []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: snapshots.append(model.get_weights())
    )
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[callback, keep])
    assert np.max(np.abs(snapshots[0][0] - build_model().get_weights()[0])) > 1e-3
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == 0.0
    np.testing.assert_array_equal(model.get_weights()[0], snapshots[0][0])
