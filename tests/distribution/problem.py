"""What the tests of several devices train: models, batches and settings, as data.

A sum over a batch is taken in another order on another number of devices. Where its terms cancel,
a float32 rounding error is as large as the sum, and an adaptive optimizer makes a full step of it.
Here nothing cancels: in the one-signed problem all gradients of a weight have one sign, and in the
exact one every sum of gradients is exact, even in half precision.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from nadam_suite import Nadam, ParameterRule, no_decay
from nadam_suite.averaging import EMA, SWA, PowerEMA, Window
from nadam_suite.precision import DynamicLossScaleOptimizer

BATCHES, BATCH = 50, 16
SETUPS = ("one", "data-2", "data-4", "model-2x2")
RULES = (*no_decay(), ParameterRule(match="out/", learning_rate=0.5))
COSINE = "cosine"  # stands for a schedule, which is an object of Keras and made when it is needed

TOGETHER: dict[str, Any] = {
    "learning_rate": COSINE,
    "weight_decay": 0.1,
    "global_clipnorm": 900.0,
    "use_ema": True,
    "ema_momentum": 0.9,
    "ema_overwrite_frequency": 5,
    "loss_scale_factor": 8.0,
    "gradient_accumulation_steps": 4,
    "momentum_decay": 0.004,
    "parameter_rules": RULES,
    "schedule_step": "update",
}
AVERAGING = {
    "ema": EMA(half_life=5, start=2, update_every=2),
    "power": PowerEMA((0.05, 0.1)),
    "swa": SWA(10, every=3),
    "window": Window(2, every=4),
}
EXACT = {**TOGETHER, "global_clipnorm": 1.5}


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Settings of the optimizer, and what it trains.

    Args:
        options: Arguments of Nadam.
        policy: Precision of the layers; another one than float32 trains the exact problem.
        exact: Train the exact problem in any case.
    """

    options: dict[str, Any]
    policy: str = "float32"
    exact: bool = False


# The limits of clipping lie amid the gradients' sizes, so that some steps are clipped and some not.
SCENARIOS = {
    "defaults": Scenario({}),
    "accumulation": Scenario({"gradient_accumulation_steps": 4}),
    "global_clipnorm": Scenario({"global_clipnorm": 900.0}),
    "clipnorm": Scenario({"clipnorm": 200.0}),
    "clipvalue": Scenario({"clipvalue": 50.0}),
    "decay-rules": Scenario({"weight_decay": 0.1, "parameter_rules": RULES}),
    "averages": Scenario({"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 4}),
    "averaging": Scenario({"averaging": AVERAGING, "gradient_accumulation_steps": 2}),
    "schedule": Scenario({"learning_rate": COSINE, "beta_1": 0.8}),
    "callable": Scenario({"learning_rate": lambda: 0.015, "beta_2": lambda: 0.99}),
    "loss_scale_factor": Scenario({"loss_scale_factor": 64.0}),
    "momentum_decay": Scenario({"momentum_decay": 0.004}),
    "slot_dtype": Scenario({"slot_dtype": "bfloat16"}, exact=True),
    "together": Scenario({**TOGETHER, "beta_1": lambda: 0.85}),
    "bfloat16": Scenario(EXACT, "bfloat16"),
    "float16": Scenario(EXACT, "float16"),
    "mixed_bfloat16": Scenario(EXACT, "mixed_bfloat16"),
    "mixed_float16": Scenario({**EXACT, "loss_scale_factor": None}, "mixed_float16"),
}


def make_optimizer(options: dict[str, Any], kind: type = Nadam) -> Any:
    """An optimizer that is called "nadam"; its schedule is made here, not at import."""
    arguments = {"learning_rate": 0.01, "name": "nadam", **options}
    if arguments["learning_rate"] == COSINE:
        schedule = keras.optimizers.schedules.CosineDecay
        arguments["learning_rate"] = schedule(0.02, decay_steps=60, alpha=0.1)
    return kind(**arguments)


def _with_weights(model: keras.Model) -> keras.Model:
    generator = np.random.default_rng(1)
    model.set_weights([generator.uniform(0.1, 0.6, tuple(w.shape)) for w in model.weights])
    return model


def one_signed_model() -> keras.Model:
    """Embedding, hidden layer with a constraint, output: the loss falls with every weight."""
    tokens = keras.Input((3,), dtype="int32", name="tokens")
    x = keras.Input((4,), name="x")
    y = keras.layers.Embedding(8, 4, name="embedding")(tokens)
    y = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling1D()(y), x])
    limit = keras.constraints.MaxNorm(1.8, axis=0)
    y = keras.layers.Dense(8, "softplus", kernel_constraint=limit, name="hidden")(y)
    y = keras.layers.Dense(2, name="out")(y)
    return _with_weights(keras.Model([tokens, x], y, name="one_signed"))


def one_signed_batches(count: int = BATCHES) -> list[tuple[Any, Any]]:
    """Positive inputs and targets out of reach, whose sizes differ by example and by batch."""
    generator = np.random.default_rng(2)
    batches = []
    for step in range(count):
        tokens = generator.integers(0, 8, (BATCH, 3)).astype("int32")
        x = generator.uniform(0.5, 1.5, (BATCH, 4)).astype("float32")
        size = (1.5 + np.sin(step)) * generator.lognormal(0.0, 1.0, (BATCH, 1))
        batches.append(((tokens, x), (40.0 + 15.0 * size * np.ones(2)).astype("float32")))
    return batches


def linear_loss(y_true: Any, y_pred: Any) -> Any:
    """A loss whose gradient does not depend on the weights."""
    return keras.ops.sum(keras.ops.cast(y_true, y_pred.dtype) * y_pred, axis=-1)


def exact_model() -> keras.Model:
    """One linear layer, of the precision of the global policy."""
    limit = keras.constraints.MaxNorm(1.5, axis=0)
    layer = keras.layers.Dense(6, kernel_constraint=limit, name="hidden")
    return _with_weights(keras.Sequential([keras.Input((4,)), layer], name="exact"))


def exact_batches(count: int = BATCHES) -> list[tuple[Any, Any]]:
    """Small integers: every partial sum over a batch fits into the eight bits of bfloat16."""
    generator = np.random.default_rng(3)
    return [
        (
            generator.integers(0, 4, (BATCH, 4)).astype("float32"),
            generator.integers(-2, 3, (BATCH, 6)).astype("float32"),
        )
        for _ in range(count)
    ]


def compiled(scenario: Scenario) -> tuple[keras.Model, list[tuple[Any, Any]]]:
    """The model of a scenario under the distribution that is set, and its batches."""
    keras.config.set_dtype_policy(scenario.policy)
    optimizer = make_optimizer(scenario.options)
    if scenario.policy == "mixed_float16":
        # Small enough for no partial sum to overflow, and it grows twice in 50 steps.
        optimizer = DynamicLossScaleOptimizer(
            optimizer, initial_scale=2.0**10, dynamic_growth_steps=20
        )
    if scenario.exact or scenario.policy != "float32":
        model, batches, loss = exact_model(), exact_batches(), linear_loss
    else:
        model, batches, loss = one_signed_model(), one_signed_batches(), "mse"
    model.compile(optimizer, loss)
    return model, batches


class Batches(keras.utils.PyDataset):
    """A list of batches, as `fit()` takes it."""

    def __init__(self, batches: list[tuple[Any, Any]]) -> None:
        super().__init__()
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.batches[index]


def nadam_of(model: keras.Model) -> Nadam:
    """The Nadam of a model, also inside of a wrapper."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def everything(model: keras.Model) -> dict[str, np.ndarray]:
    """Weights by position, the optimizer's state by name, and the loss scale; in float64."""
    state: dict[str, Any] = {}
    nadam_of(model).save_own_variables(state)
    for i, variable in enumerate(model.trainable_variables):
        state[f"weight_{i}"] = keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))
    if hasattr(model.optimizer, "dynamic_scale"):
        state["dynamic_scale"] = keras.ops.convert_to_numpy(model.optimizer.dynamic_scale)
    return {name: np.asarray(value, dtype="float64") for name, value in state.items()}
