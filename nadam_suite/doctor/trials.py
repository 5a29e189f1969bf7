"""What the cells of several replicas try; runs in processes of their own, which have the devices.

A process learns the number of its devices when it starts. So one child per subject tries all that
concerns its backend, and prints one line of JSON for each cell.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from nadam_suite.backends import get_backend
from nadam_suite.distribution import training_scope
from nadam_suite.doctor.cell import Observation, Subject
from nadam_suite.doctor.probes.harness import (
    FAR,
    compare,
    half_model,
    line_model,
    same,
    state_of,
    value,
)
from nadam_suite.doctor.probes.replicas import REPLICATED
from nadam_suite.doctor.subjects import ours, stock

__all__ = ["ARGUMENTS", "main"]

REPLICAS = 2
# Row r of step s is what replica r sees: the two differ, so that an order of operations tells.
_ROWS = np.array(
    [[[3.0, -1.0], [1.0, 2.0]], [[0.5, 0.2], [-4.0, 1.0]], [[2.0, 2.0], [0.0, -6.0]]] * 2, "float32"
)


def _piecewise() -> Any:
    return keras.optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.1, 0.05, 0.02])


ARGUMENTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "accumulation": lambda: {"gradient_accumulation_steps": 2},
    "averages": lambda: {"use_ema": True, "ema_momentum": 0.5},
    "overwriting": lambda: {
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
    },
    "clipnorm": lambda: {"clipnorm": 1.0},
    "clipvalue": lambda: {"clipvalue": 0.5},
    "global-clipnorm": lambda: {"global_clipnorm": 1.0},
    "weight-decay": lambda: {"weight_decay": 0.3},
    "loss-scale-factor": lambda: {"loss_scale_factor": 8.0},
    "schedule": lambda: {"learning_rate": _piecewise()},
    "callable": lambda: {"learning_rate": lambda: 0.05},
    "together": lambda: {
        "learning_rate": _piecewise(),
        "gradient_accumulation_steps": 2,
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
        "global_clipnorm": 1.0,
        "weight_decay": 0.3,
        "loss_scale_factor": 8.0,
    },
}


def _fit(model: keras.Model, rows: np.ndarray = _ROWS) -> None:
    """Train a line model: one step for each entry, whose mean over replicas is the gradient."""
    x = rows.reshape(-1, rows.shape[-1])
    y = np.full((len(x), 1), FAR, "float32")
    model.fit(x, y, batch_size=rows.shape[1], shuffle=False, verbose=0)


def _kernel(model: keras.Model) -> np.ndarray:
    return value(model.layers[0].kernel).ravel()


def _trained(optimizer: Callable[[], Any], strategy: Any) -> np.ndarray:
    with strategy.scope() if strategy is not None else contextlib.nullcontext():
        model = line_model(optimizer())
        # TensorFlow takes seconds to trace, and milliseconds for these steps on one device.
        model.run_eagerly = strategy is None and keras.backend.backend() == "tensorflow"
        _fit(model)
    return _kernel(model)


def _as_on_one_device(subject: Subject, name: str, strategy: Any) -> Observation:
    def optimizer() -> Any:
        return subject.optimizer(**{"learning_rate": 0.1, **ARGUMENTS[name]()})

    expected = _trained(optimizer, None)
    return compare(_trained(optimizer, strategy), expected, 1e-6, "against one device")


def _overflow(
    index: int, replicas: int, inner: Callable[[Subject], Any], policy: str = "float32"
) -> Callable[[Subject, Any], Observation]:
    """Return a trial with one batch that overflows on one replica; without it the end is the same.

    Args:
        index: The replica.
        replicas: Their number.
        inner: The optimizer under the loss scale.
        policy: What the model computes in. For other types than float32 the subject decides how the
            loss is scaled.
    """
    parts = np.linspace(0.5, 1.0, replicas)[None, :, None]
    good = np.array([(1.0, -0.5), (0.25, 1.0), (0.5, 0.5), (-1.0, 1.0)])[:, None] * parts
    bad = good.copy()
    bad[2, index, 0] = np.inf

    def trained(subject: Subject, strategy: Any, rows: np.ndarray) -> keras.Model:
        keras.config.set_dtype_policy(policy)
        with strategy.scope():
            if policy == "float32":
                model = line_model(subject.loss_scaling(inner(subject)))
            else:
                model = half_model(subject, inner(subject))
            _fit(model, rows.astype("float32"))
        return model

    def trial(subject: Subject, strategy: Any) -> Observation:
        model = trained(subject, strategy, bad)
        expected = state_of(trained(subject, strategy, np.delete(good, 2, axis=0)))
        seen = state_of(model)
        kept, finite = same(seen, expected), all(np.isfinite(array).all() for array in seen)
        first, scale = model.optimizer.initial_scale, float(value(model.optimizer.dynamic_scale))
        end = "as without that batch" if kept else "changed by it" if finite else "not finite"
        return Observation(
            kept and scale == 0.5 * first, f"scale {first:g} to {scale:g}, weights and state {end}"
        )

    return trial


def _averaged(subject: Subject) -> Any:
    return subject.optimizer(0.1, use_ema=True)


def _overflows(replicas: int) -> dict[str, Callable[[Subject, Any], Observation]]:
    """Return the trials of one overflow by cell."""
    found = {
        f"K4/{index + 1}-of-{replicas}": _overflow(index, replicas, _averaged)
        for index in range(replicas)
    }
    if replicas == REPLICAS:
        last = replicas - 1
        found["K4/mixed-float16"] = _overflow(last, replicas, _averaged, "mixed_float16")
        found["K4/other-optimizer"] = _overflow(last, replicas, lambda _: keras.optimizers.SGD(0.1))
    return found


def _verdict(subject: Subject, strategy: Any) -> Observation:
    """Ask every replica whether the gradients are finite, where one of them overflows."""
    gradients = strategy.experimental_distribute_values_from_function(
        lambda context: np.float32([1.0, np.inf][context.replica_id_in_sync_group])
    )
    with strategy.scope():
        optimizer = subject.loss_scaling(subject.optimizer(0.1))
    flags = strategy.run(lambda g: optimizer.check_finite([g]), args=(gradients,))
    told = [bool(flag) for flag in strategy.experimental_local_results(flags)]
    return Observation(told == [False] * REPLICAS, f"the replicas say finite={told}")


def _made_outside(subject: Subject, strategy: Any) -> Observation:
    """Fit a model of a scope with an optimizer that was created before it."""
    optimizer = subject.optimizer(0.1)
    with strategy.scope():
        model = line_model(optimizer)
    try:
        _fit(model)
    except (RuntimeError, ValueError) as error:
        untouched = bool(np.all(_kernel(model) == 1.0))
        named = "strategy.scope()" in str(error) and "same strategy scope" in str(error)
        return Observation(named and untouched, str(error).partition("\n")[0])
    return Observation(False, "no error")


def _made_before(subject: Subject, strategy: Any) -> Observation:
    """Fit under a distribution with an optimizer that was created before it was set."""
    expected = _trained(lambda: subject.optimizer(0.1), None)
    optimizer = subject.optimizer(0.1)
    return compare(_trained(lambda: optimizer, strategy), expected, 1e-6, "against one device")


def _on_replicas(probe: Callable[..., Observation], subject: Subject, strategy: Any) -> Observation:
    """Run a probe on replicas: models are made in the strategy's scope, and used outside of it."""
    if keras.backend.backend() == "tensorflow":
        return probe(subject, strategy.scope)
    with strategy.scope():  # where data are distributed by what is set, it must stay set
        return probe(subject)


@functools.cache
def _workers(name: str) -> Any:
    """Return the one strategy of this process; two would number their collectives alike."""
    if name == "ours":
        return training_scope("multi_worker", verbose=False).distribution
    return get_backend().plain_strategy("workers", REPLICAS)


def _worker_fit(subject: Subject) -> Observation:
    """`fit()` on two workers, in the scope that belongs to the subject."""
    expected = _trained(lambda: subject.optimizer(0.1), None)
    strategy = _workers(subject.name)
    return compare(_trained(lambda: subject.optimizer(0.1), strategy), expected, 1e-6, "fit()")


def _worker_overflow(subject: Subject) -> Observation:
    """A custom loop on two workers; the gradient of the second one overflows once."""
    strategy = _workers(subject.name)
    worker, _ = get_backend().process()
    with strategy.scope():
        weight = keras.Variable(np.ones(2, "float32"))
        optimizer = subject.loss_scaling(subject.optimizer(0.1), initial_scale=1024.0)
        optimizer.build([weight])
    step = get_backend().compiled(
        lambda g: strategy.run(lambda g: optimizer.apply([g], [weight]), args=(g,))
    )
    for gradient in ([1.0, 2.0], [np.inf if worker else 1.0, 2.0], [1.0, 2.0]):
        step(keras.ops.convert_to_tensor(gradient, dtype="float32"))
    scale, steps = float(value(optimizer.dynamic_scale)), int(value(optimizer.iterations))
    holds = scale == 512.0 and steps == 2 and bool(np.isfinite(value(weight)).all())
    return Observation(holds, f"scale 1024 to {scale:g}, {steps} steps")


def _trials(task: str, subject: Subject) -> dict[str, Callable[[], Observation]]:
    """Return the trials of a task by cell; what they need is made on the way."""
    backend = get_backend()
    if task == "workers":
        return {
            "D34/fit": lambda: _worker_fit(subject),
            "D07/overflow": lambda: _worker_overflow(subject),
        }
    # One size a process: strategies of two sizes would number their collectives alike.
    replicas = int(task.partition("-on-")[2] or REPLICAS)
    backend.split_cpu(replicas)
    strategy = backend.plain_strategy("replicas", replicas)
    if task.startswith("scaling") or task in REPLICATED:
        trials = _overflows(replicas) if task.startswith("scaling") else {}
        for module in REPLICATED.get(task, ()):
            for row, probe in module.REPLICATED.items():
                trials[f"{row}/replicas"] = functools.partial(_on_replicas, probe)
        return {name: functools.partial(t, subject, strategy) for name, t in trials.items()}
    found: dict[str, Callable[[], Observation]] = {
        name: lambda name=name: _as_on_one_device(subject, name, strategy)  # type: ignore[misc]
        for name in ARGUMENTS
    }
    if keras.backend.backend() == "tensorflow":
        found["K5/verdict"] = lambda: _verdict(subject, strategy)
        found["D66/outside"] = lambda: _made_outside(subject, strategy)
        central = backend.plain_strategy("central", REPLICAS)
        found["D33/central"] = lambda: _as_on_one_device(subject, "weight-decay", central)
    else:
        found["D45/before"] = lambda: _made_before(subject, strategy)
    return found


def main(arguments: list[str]) -> None:
    """Try everything of one task, and print `{}` when ready, then a line for each trial.

    Args:
        arguments: "stock" or "ours", and "replicas", "averages", "scaling", "scaling-on-4" or
            "workers".
    """
    from nadam_suite.doctor.run import observed

    kind, task = arguments
    subject = {"stock": stock, "ours": ours}[kind]()
    if task == "workers":
        _workers(kind)  # before any operation
    trials = _trials(task, subject)
    _tell({})  # who waits for this process learns how long its start took
    for name, trial in trials.items():
        _tell({name: dataclasses.asdict(observed(trial))})


def _tell(seen: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(seen) + "\n")
    sys.stdout.flush()
