"""One of several PyTorch processes that train together; KERAS_DISTRIBUTION_* say which."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from nadam_suite import Nadam
from tests.distribution import problem
from tests.distribution.problem import TOGETHER, Batches, everything

RANK = int(os.environ["KERAS_DISTRIBUTION_PROCESS_ID"])
WORLD = int(os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"])
STEPS = 26  # six windows of four, and a half


def _own(array: np.ndarray, alone: bool) -> torch.Tensor:
    return torch.from_numpy(array if alone else np.split(array, WORLD)[RANK])


def _loop(optimizer: Any, alone: bool, poison: int | None = None) -> keras.Model:
    """Keras' custom loop for PyTorch, through the wrapper unless the process trains alone."""
    keras.utils.clear_session(free_memory=False)
    model = problem.one_signed_model()
    model.compile(optimizer, "mse")  # the optimizer is found by `everything`
    network = model if alone else DistributedDataParallel(model)
    variables = model.trainable_variables
    for step, ((tokens, x), y) in enumerate(problem.one_signed_batches(STEPS)):
        model.zero_grad()
        output = network([_own(tokens, alone), _own(x, alone)])
        loss = torch.mean((output - _own(y, alone)) ** 2)
        if poison == RANK and step == 2:
            loss = loss * torch.inf
        optimizer.scale_loss(loss).backward()
        with torch.no_grad():
            optimizer.apply([variable.value.grad for variable in variables], variables)
    return model


def _fit() -> list[float]:
    """What `fit()` makes of a model that is wrapped: one weight."""
    keras.utils.clear_session(free_memory=False)
    model = problem.one_signed_model()
    model.compile(Nadam(), "mse")
    wrapped = DistributedDataParallel(model)
    own = [
        (tuple(np.split(part, WORLD)[RANK] for part in x), np.split(y, WORLD)[RANK])
        for x, y in problem.one_signed_batches(5)
    ]
    wrapped.module.fit(Batches(own), shuffle=False, verbose=0)
    return keras.ops.convert_to_numpy(model.trainable_variables[1]).ravel().tolist()


def _batch_statistics() -> list[float]:
    """The moving mean of a batch normalization after one forward pass through the wrapper."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization(momentum=0.5)])
    x = torch.full((4, 1), 2.0 + 2.0 * RANK) + torch.arange(4.0)[:, None]
    DistributedDataParallel(model)(x, training=True).sum().backward()
    return keras.ops.convert_to_numpy(model.non_trainable_variables[0]).tolist()


def main(folder: str) -> None:
    """Train through DistributedDataParallel and alone, and save what each ends with."""
    address = os.environ["KERAS_DISTRIBUTION_JOB_ADDRESSES"].split(",")[0]
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://{address}", rank=RANK, world_size=WORLD
    )
    for name, options in {"defaults": {}, "together": TOGETHER}.items():
        model = _loop(problem.make_optimizer(options), alone=False)
        np.savez(Path(folder) / f"{name}-of-{RANK}.npz", **everything(model))
        if RANK == 0:
            model = _loop(problem.make_optimizer(options), alone=True)
            np.savez(Path(folder) / f"{name}-alone.npz", **everything(model))
    for poison in range(WORLD):
        scaled = keras.optimizers.LossScaleOptimizer(problem.make_optimizer({}), initial_scale=8.0)
        model = _loop(scaled, alone=False, poison=poison)
        np.savez(Path(folder) / f"overflow-{poison}-of-{RANK}.npz", **everything(model))
    facts = {"fit": _fit(), "batch statistics": _batch_statistics()}
    (Path(folder) / f"facts-of-{RANK}.json").write_text(json.dumps(facts))
    torch.distributed.destroy_process_group()
