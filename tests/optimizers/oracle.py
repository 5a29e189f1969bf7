"""Programs for processes of their own: trajectories of ours, PyTorch's and optax's in float64."""

from __future__ import annotations

import sys

import numpy as np

from tests.reference.gradients import gradient_list, start_values

STEPS = 150
CASES = {
    "torch-keras": {"momentum_decay": 1.0},
    "torch-paper": {"momentum_decay": 0.004},
    "torch-paper-decay": {"momentum_decay": 0.004, "weight_decay": 0.03},
    "optax-nadam": {"momentum_decay": None},
    "optax-nadamw": {"momentum_decay": None, "weight_decay": 0.03},
}
RATE, EPSILON = 0.01, 1e-7


def _save(target: str, paths: dict[str, list]) -> None:
    flat = {
        name: np.stack([np.concatenate([np.ravel(a) for a in row]) for row in path])
        for name, path in paths.items()
    }
    np.savez(target, **flat)


def ours(target: str) -> None:
    """Train `nadam_suite.Nadam` with float64 variables on the backend of this process."""
    import keras

    keras.config.set_floatx("float64")
    from nadam_suite import Nadam
    from tests.optimizers.driver import record

    paths = {}
    for name, case in CASES.items():
        optimizer = Nadam(learning_rate=RATE, epsilon=EPSILON, **case)
        paths[name] = record(optimizer, start_values(), gradient_list(STEPS), dtypes="float64")
    _save(target, paths)


def others(target: str) -> None:
    """Train PyTorch's NAdam and optax's nadam and nadamw on the same gradients."""
    paths = {}
    for name, case in CASES.items():
        train = _torch_path if name.startswith("torch") else _optax_path
        paths[name] = train(case.get("momentum_decay"), case.get("weight_decay", 0.0))
    _save(target, paths)


def _torch_path(momentum_decay, weight_decay):
    import torch

    parameters = [torch.nn.Parameter(torch.tensor(a, dtype=torch.float64)) for a in start_values()]
    rule = torch.optim.NAdam(
        parameters,
        lr=RATE,
        eps=EPSILON,
        momentum_decay=momentum_decay,
        weight_decay=weight_decay,
        decoupled_weight_decay=True,
    )
    path = []
    for row in gradient_list(STEPS):
        for parameter, g in zip(parameters, row, strict=True):
            parameter.grad = torch.tensor(g, dtype=torch.float64)
        rule.step()
        path.append([p.detach().numpy().copy() for p in parameters])
    return path


def _optax_path(momentum_decay, weight_decay):
    import jax

    jax.config.update("jax_enable_x64", True)
    import optax

    rule = optax.nadam(RATE, eps=EPSILON)
    if weight_decay:
        rule = optax.nadamw(RATE, eps=EPSILON, weight_decay=weight_decay)
    parameters, path = start_values(), []
    state = rule.init(parameters)
    update = jax.jit(rule.update)
    for row in gradient_list(STEPS):
        change, state = update(row, state, parameters)
        parameters = optax.apply_updates(parameters, change)
        path.append([np.asarray(a) for a in parameters])
    return path


if __name__ == "__main__":
    {"ours": ours, "others": others}[sys.argv[1]](sys.argv[2])
