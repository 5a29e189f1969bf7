"""Nadam against Adam, AdamW, stock Nadam and torch.optim.NAdam, each tuned with as many trainings.

    KERAS_BACKEND=torch python recipes/compare.py --problem digits

Points of learning rate, weight decay and warm-up are drawn at random, once, and every optimizer is
trained at each of them, from the same first weights and on the same batches. The point with the
lowest validation loss is its setting, trained anew with five other seeds and tested. Adam has no
weight decay; biases and scales are decayed by none. torch.optim.NAdam needs Keras on PyTorch.

Hardware: two shared CPU cores, one of them used. Seconds: 220 of computing.
Expected: on the digits with 5 seeds a test loss of 0.1295 (0.0944 to 0.1408) for nadam_suite.Nadam
and of 0.1411 (0.0816 to 0.1921) for the stock one, which is the same rule: what lies between them
is rounding. The seeds of all optimizers overlap. The others: README.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np

import nadam_suite
from nadam_suite.experiment import Splits, Task, batches
from nadam_suite.experiment.recipes import digits, text_lm
from nadam_suite.schedules import TrainingPlan, WarmupCosine, sample

TORCH = "torch.optim.NAdam"
OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "nadam_suite.Nadam": nadam_suite.Nadam,
    "nadam_suite.Nadam(momentum_decay=None)": lambda rate, **options: nadam_suite.Nadam(
        rate, momentum_decay=None, **options
    ),
    "keras.optimizers.Nadam": keras.optimizers.Nadam,
    "keras.optimizers.AdamW": keras.optimizers.AdamW,
    "keras.optimizers.Adam": keras.optimizers.Adam,
}


@dataclasses.dataclass(frozen=True)
class Point:
    """A setting to try; the warm-up is a share of the training."""

    learning_rate: float
    weight_decay: float
    warmup: float


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is trained, for how long."""

    model: Callable[[], Task]
    data: Callable[[], Splits]
    batch_size: int
    epochs: int


PROBLEMS = {
    "digits": Problem(lambda: digits.model(width=8), digits.data, 64, 6),
    "text_lm": Problem(
        lambda: text_lm.model(context=32, width=48, depth=1),
        lambda: text_lm.data(context=32, train_windows=768),
        32,
        3,
    ),
}


def drawn(number: int) -> list[Point]:
    """Return the points, the same ones for every optimizer and whatever their number."""
    generator = np.random.default_rng(0)
    shares = generator.uniform(size=(number, 3))
    return [Point(3e-4 * 100**a, 1e-3 * 1000**b, 0.25 * c) for a, b, c in shares.tolist()]


def trained(name: str, problem: Problem, point: Point, seed: int, epochs: int) -> Task:
    """Return the task with its model trained once."""
    keras.utils.set_random_seed(seed)
    task, splits = problem.model(), problem.data()
    plan = TrainingPlan.from_data(splits.examples, problem.batch_size, epochs)
    warmup = round(point.warmup * plan.total_steps)
    rate = WarmupCosine(point.learning_rate, plan.total_steps, warmup)
    stream = batches(splits, problem.batch_size, seed)
    model, metrics = task.model, list(task.metrics)
    if name == TORCH:
        model.compile(loss=task.loss, metrics=metrics)
        train_with_torch(task, stream, sample(rate, plan.total_steps), point)
        return task
    decay = {} if name.endswith(".Adam") else {"weight_decay": point.weight_decay}
    optimizer = OPTIMIZERS[name](rate, **decay)
    plain = [weight for weight in model.trainable_variables if len(weight.shape) < 2]
    optimizer.exclude_from_weight_decay(var_list=plain)
    model.compile(optimizer, task.loss, metrics=metrics)
    model.fit(
        stream,
        steps_per_epoch=plan.steps_per_epoch,
        epochs=epochs,
        shuffle=False,  # a stream has its order
        verbose=0,
    )
    return task


def train_with_torch(
    task: Task, stream: Iterator[tuple[np.ndarray, np.ndarray]], rates: np.ndarray, point: Point
) -> None:
    """Train by PyTorch's own optimizer, one batch for each rate."""
    import torch

    weights = [weight.value for weight in task.model.trainable_variables]
    decayed = [weight for weight in weights if weight.ndim > 1]
    plain = [weight for weight in weights if weight.ndim < 2]
    optimizer = torch.optim.NAdam(
        [{"params": decayed, "weight_decay": point.weight_decay}, {"params": plain}],
        decoupled_weight_decay=True,
    )
    for rate, (x, y) in zip(rates.tolist(), itertools.islice(stream, len(rates)), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        inputs, targets = keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)
        task.loss(targets, task.model(inputs, training=True)).backward()
        optimizer.step()


def measured(task: Task, pair: tuple[np.ndarray, np.ndarray]) -> list[float]:
    """Return loss and metric; a training that came to nothing is worse than any other."""
    values = task.model.evaluate(*pair, batch_size=256, verbose=0)
    return [value if math.isfinite(value) else math.inf for value in values]


def shown(values: list[float]) -> str:
    """Return mean, lowest and highest."""
    return f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def compare(name: str, points: list[Point], seeds: int, epochs: int | None) -> None:
    """Tune every optimizer on a problem, test what was found, and print the table."""
    problem = PROBLEMS[name]
    epochs, splits = epochs or problem.epochs, problem.data()
    names = [*OPTIMIZERS, *([TORCH] if keras.backend.backend() == "torch" else [])]
    print(f"{name}: {len(points)} points and {seeds} seeds an optimizer, {epochs} epochs each")
    ranges: dict[str, tuple[float, float, float]] = {}
    for row in names:
        begin = time.monotonic()
        losses = [
            measured(trained(row, problem, point, 0, epochs), splits.validation)[0]
            for point in points
        ]
        best = points[losses.index(min(losses))]
        tests = [
            measured(trained(row, problem, best, seed, epochs), splits.test)
            for seed in range(1, seeds + 1)
        ]
        found, metric = map(list, zip(*tests, strict=True))
        ranges[row] = (statistics.mean(found), min(found), max(found))
        print(
            f"{row:38}  validation {min(losses):.4f}  test {shown(found)}  metric {shown(metric)}  "
            f"at rate {best.learning_rate:.4f}, decay {best.weight_decay:.4f}, warm-up "
            f"{best.warmup:.0%}  {time.monotonic() - begin:.0f} s",
            flush=True,
        )
    first = min(ranges, key=lambda row: ranges[row][0])
    alike = [row for row in names if row != first and ranges[row][1] <= ranges[first][2]]
    print(f"lowest mean test loss: {first}")
    print(f"with seeds that overlap with it: {', '.join(alike) or 'none'}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Compare on the problems that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problem", choices=tuple(PROBLEMS), action="append")
    parser.add_argument("--points", type=int, default=8, help="trainings for tuning")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of what was found")
    parser.add_argument("--epochs", type=int, help="instead of the problem's own")
    chosen = parser.parse_args(arguments)
    for problem in chosen.problem or PROBLEMS:
        compare(problem, drawn(chosen.points), chosen.seeds, chosen.epochs)


if __name__ == "__main__":
    main()
