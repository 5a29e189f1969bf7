"""The digits with every fifth training label wrong: what an average of the weights is good for.

    python recipes/noisy_labels.py

At a constant learning rate the weights chase the wrong labels of the last batches; their average
does not. For each seed this trains once and tests the raw weights and the averages, of three
half-lives that the same training keeps side by side.

Hardware: two shared CPU cores. Seconds: 15 to 17 a seed.
Expected: the average of half-life two epochs has a test accuracy above that of the raw weights with
each of 5 seeds, by 1 to 4 points on the mean. On TensorFlow that is 0.959 (0.939 to 0.975) against
0.917 (0.878 to 0.933), on PyTorch 0.953 (0.942 to 0.958) against 0.939 (0.919 to 0.953). The other
half-lives: README.md beside this file.
"""

from __future__ import annotations

import argparse
import statistics

import keras

from nadam_suite import Nadam, no_decay
from nadam_suite.averaging import EMA, averaged_weights
from nadam_suite.callbacks import EvaluateAverage
from nadam_suite.experiment.recipes import digits
from nadam_suite.schedules import Constant, TrainingPlan

HALF_LIVES = ("1ep", "2ep", "4ep")
BATCH = 64


def test_accuracies(seed: int, epochs: int, flipped: float) -> list[float]:
    """Train once; return the test accuracy of the raw weights, then of each average."""
    keras.utils.set_random_seed(seed)
    splits = digits.data(flipped=flipped, shift=0)  # unshifted images can be learnt by heart
    plan = TrainingPlan.from_data(splits.examples, BATCH, epochs)
    task = digits.model()
    optimizer = Nadam(
        Constant(2e-3, warmup_steps=plan.resolve("1ep")),
        weight_decay=0.05,
        parameter_rules=no_decay(),
        averaging={f"half_life_{h}": EMA(half_life=h).resolved(plan) for h in HALF_LIVES},
    )
    task.model.compile(optimizer, task.loss, metrics=list(task.metrics))
    task.model.fit(
        *splits.train,
        batch_size=BATCH,
        epochs=epochs,
        validation_data=splits.validation,
        callbacks=[EvaluateAverage("half_life_2ep")],
        verbose=0,
    )
    found = [task.model.evaluate(*splits.test, verbose=0)[1]]
    for name in optimizer.average_names:
        with averaged_weights(task.model, name):
            found.append(task.model.evaluate(*splits.test, verbose=0)[1])
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print a row for each seed, and mean and spread over them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--flipped", type=float, default=0.2, help="share of wrong labels")
    chosen = parser.parse_args(arguments)
    columns = ["raw weights", *(f"half_life_{h}" for h in HALF_LIVES)]
    print("seed  " + "  ".join(f"{column:>13}" for column in columns), flush=True)
    rows = []
    for seed in range(chosen.seeds):
        rows.append(test_accuracies(seed, chosen.epochs, chosen.flipped))
        print(f"{seed:4}  " + "  ".join(f"{value:13.4f}" for value in rows[-1]), flush=True)
    for name, function in (("mean", statistics.mean), ("low", min), ("high", max)):
        summary = [function(column) for column in zip(*rows, strict=True)]
        print(f"{name:>4}  " + "  ".join(f"{value:13.4f}" for value in summary), flush=True)


if __name__ == "__main__":
    main()
