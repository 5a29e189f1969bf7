"""Draw docs/averages.svg: test accuracy by epoch, of the weights and of their average.

    python docs/picture.py

The digits of recipes/noisy_labels.py, where every fifth training label is wrong, at a constant
learning rate; mean and range of five seeds. About two minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import keras
import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from nadam_suite import Nadam, no_decay
from nadam_suite.averaging import EMA
from nadam_suite.callbacks import EvaluateAverage
from nadam_suite.experiment.recipes import digits
from nadam_suite.schedules import Constant, TrainingPlan

BATCH = 64
CURVES = (
    ("val_raw_accuracy", "weights", "#b5542b"),
    ("val_accuracy", "average of the weights", "#1f5fa8"),
)


def train(seed: int, epochs: int, width: int) -> dict[str, list[float]]:
    """Train once; return the history, in which val_* is that of the test images."""
    keras.utils.set_random_seed(seed)
    splits = digits.data(flipped=0.2, shift=0)
    plan = TrainingPlan.from_data(splits.examples, BATCH, epochs)
    task = digits.model(width=width)
    optimizer = Nadam(
        Constant(2e-3, warmup_steps=plan.resolve("1ep")),
        weight_decay=0.05,
        parameter_rules=no_decay(),
        averaging=EMA(half_life="2ep").resolved(plan),
    )
    task.model.compile(optimizer, task.loss, metrics=list(task.metrics))
    history = task.model.fit(
        *splits.train,
        batch_size=BATCH,
        epochs=epochs,
        validation_data=splits.test,
        callbacks=[EvaluateAverage()],
        verbose=0,
    )
    return history.history


def draw(histories: list[dict[str, list[float]]], path: Path) -> None:
    """Draw mean and range over the seeds."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for key, label, color in CURVES:
        values = 100.0 * np.array([history[key] for history in histories])
        epochs = np.arange(1, values.shape[1] + 1)
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(epochs, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(epochs, values.mean(axis=0), color=color, linewidth=1.8, label=label)
    axes.set(xlabel="epoch", ylabel="test accuracy, %", xlim=(1, max(len(epochs), 2)))
    axes.set_title("Digits with every fifth training label wrong", fontsize="medium")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    # The same figures give the same file; text stays text.
    settings: Any = {"svg.hashsalt": "nadam_suite", "svg.fonttype": "none"}
    with mpl.rc_context(settings):
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def main(arguments: list[str] | None = None) -> None:
    """Train with each seed, draw, and print the last values."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "path", nargs="?", type=Path, default=Path(__file__).parent / "averages.svg"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--width", type=int, default=32, help="channels of the network")
    chosen = parser.parse_args(arguments)
    histories = [train(seed, chosen.epochs, chosen.width) for seed in range(chosen.seeds)]
    draw(histories, chosen.path)
    for key, label, _ in CURVES:
        last = [history[key][-1] for history in histories]
        print(f"{label}: {np.mean(last):.4f} ({min(last):.4f} to {max(last):.4f})")
    print(chosen.path)


if __name__ == "__main__":
    main()
