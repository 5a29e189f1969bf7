"""A training loop of your own on TensorFlow, JAX and PyTorch, and `fit()`, which it equals.

    KERAS_BACKEND=torch python recipes/custom_loop.py

Clipping, warm-up and decay, accumulation and averages belong to the optimizer, so that a loop has
nothing to do about them: it computes gradients and hands them over, batch by batch. Each seed is
trained twice, by the loop of the backend and by `fit()` on the same batches, and both are tested
with the average of their weights.

Hardware: two shared CPU cores, one of them used. Seconds: 60 of computing, on PyTorch.
Expected: the two agree to float32 rounding, on PyTorch to the last bit. With 5 seeds the test loss
is 0.640 (0.538 to 0.724) and the accuracy 0.854 (0.797 to 0.878), after a hundred updates.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from nadam_suite import Nadam, no_decay
from nadam_suite.averaging import EMA, averaged_weights
from nadam_suite.experiment import Splits, Task, batches
from nadam_suite.experiment.recipes import digits
from nadam_suite.schedules import TrainingPlan, WarmupCosine

Batches = Iterable[tuple[np.ndarray, np.ndarray]]

BATCH = 32
ACCUMULATED = 2  # batches whose mean gradient makes one update


def tensorflow_loop(model: keras.Model, optimizer: Nadam, loss: Any, stream: Batches) -> float:
    """Train by `tf.GradientTape`, in a compiled step; return the loss of the last batch."""
    import tensorflow as tf

    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return value

    for x, y in stream:
        value = step(tf.constant(x), tf.constant(y))
    return float(value)


def jax_loop(model: keras.Model, optimizer: Nadam, loss: Any, stream: Batches) -> float:
    """Train by `jax.value_and_grad`: a pure step, whose state is put back at the end."""
    import jax

    optimizer.build(model.trainable_variables)
    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        optimizer.variables,
    )

    def loss_of(weights: Any, others: Any, x: Any, y: Any) -> Any:
        outputs, others = model.stateless_call(weights, others, x, training=True)
        return loss(y, outputs), others

    differentiated = jax.value_and_grad(loss_of, has_aux=True)

    @jax.jit
    def step(state: Any, x: Any, y: Any) -> Any:
        weights, others, slots = state
        (value, others), gradients = differentiated(weights, others, x, y)
        weights, slots = optimizer.stateless_apply(slots, gradients, weights)
        return value, (weights, others, slots)

    state = tuple([variable.value for variable in group] for group in variables)
    for x, y in stream:
        value, state = step(state, x, y)
    for group, values in zip(variables, state, strict=True):
        for variable, new in zip(group, values, strict=True):
            variable.assign(new)
    return float(value)


def torch_loop(model: keras.Model, optimizer: Nadam, loss: Any, stream: Batches) -> float:
    """Train by `backward()`; `apply` takes the gradients, not the optimizer's `step()`."""
    import torch

    for x, y in stream:
        model.zero_grad()
        inputs, targets = keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)
        value = loss(targets, model(inputs, training=True))
        value.backward()
        gradients = [variable.value.grad for variable in model.trainable_variables]
        with torch.no_grad():
            optimizer.apply(gradients, model.trainable_variables)
    return float(value.detach())


LOOPS = {"tensorflow": tensorflow_loop, "jax": jax_loop, "torch": torch_loop}


def started(seed: int, width: int, plan: TrainingPlan) -> Task:
    """Return the model, compiled with an optimizer that does all that a loop need not do."""
    keras.utils.set_random_seed(seed)
    task = digits.model(width=width, dropout=0.0)
    optimizer = Nadam(
        WarmupCosine(3e-3, plan.total_steps, plan.resolve("10%")),
        weight_decay=0.05,
        parameter_rules=no_decay(),
        global_clipnorm=1.0,
        gradient_accumulation_steps=plan.accumulation,
        averaging=EMA(half_life="1ep").resolved(plan),
    )
    # Averages are shown in the model by the optimizer that it is compiled with.
    task.model.compile(optimizer, task.loss, metrics=list(task.metrics))
    return task


def tested(task: Task, splits: Splits) -> list[float]:
    """Return loss and accuracy of the average of the weights."""
    with averaged_weights(task.model):
        return task.model.evaluate(*splits.test, verbose=0)


def both(seed: int, width: int, epochs: int) -> tuple[list[float], list[float], float]:
    """Train by the loop and by `fit()`; return both tests and the weights' largest difference."""
    splits = digits.data()
    plan = TrainingPlan.from_data(splits.examples, BATCH, epochs, ACCUMULATED)
    looped, fitted = (started(seed, width, plan) for _ in range(2))
    loop = LOOPS[keras.backend.backend()]
    stream = itertools.islice(batches(splits, BATCH, seed), plan.total_steps)
    loop(looped.model, looped.model.optimizer, looped.loss, stream)
    fitted.model.fit(
        batches(splits, BATCH, seed),
        steps_per_epoch=plan.steps_per_epoch,
        epochs=epochs,
        shuffle=False,  # a stream has its order
        verbose=0,
    )
    pairs = zip(looped.model.get_weights(), fitted.model.get_weights(), strict=True)
    difference = max(float(np.abs(a - b).max()) for a, b in pairs)
    return tested(looped, splits), tested(fitted, splits), difference


def main(arguments: list[str] | None = None) -> None:
    """Print a row for each seed, and mean and range over them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--width", type=int, default=8, help="channels of the network")
    chosen = parser.parse_args(arguments)
    print("seed   loss by the loop, by fit()   accuracy by the loop, by fit()   largest difference")
    rows, begin = [], time.monotonic()
    for seed in range(chosen.seeds):
        (loss, accuracy), (fit_loss, fit_accuracy), difference = both(
            seed, chosen.width, chosen.epochs
        )
        rows.append((loss, fit_loss, accuracy, fit_accuracy))
        print(
            f"{seed:4}   {loss:.6f} {fit_loss:.6f}   {accuracy:.4f} {fit_accuracy:.4f}   "
            f"{difference:.1e}",
            flush=True,
        )
    for name, function in (("mean", statistics.mean), ("low", min), ("high", max)):
        values = [function(column) for column in zip(*rows, strict=True)]
        print(f"{name:>4}   {values[0]:.6f} {values[1]:.6f}   {values[2]:.4f} {values[3]:.4f}")
    print(f"{(time.monotonic() - begin) / chosen.seeds:.1f} s a seed", flush=True)


if __name__ == "__main__":
    main()
