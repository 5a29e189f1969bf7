"""Two small trainings in four precisions: half precision ends where float32 ends.

    python recipes/mixed_precision.py

For each seed this trains a convolutional network on the digits and a Transformer on the source text
of Python's library, in float32, mixed_bfloat16, bfloat16 and mixed_float16. `wrap_for_policy` puts
a loss scale around the optimizer where the precision needs one. A CPU gains no time by any of it,
and small models want one thread: OMP_NUM_THREADS=1.

Hardware: two shared CPU cores. Seconds: 180 a seed, 900 in all.
Expected: the mean loss over the seeds in each precision lies within the range of float32's seeds.
On TensorFlow with 5 seeds float32 ends at 0.130 (0.120 to 0.145) on the digits and at 2.638 (2.597
to 2.680) on text, mixed_float16 at 0.129 (0.114 to 0.153) and 2.638 (2.597 to 2.680). The other
precisions and backends: README.md beside this file.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import keras

from nadam_suite import Nadam, no_decay
from nadam_suite.averaging import EMA, averaged_weights
from nadam_suite.callbacks import LossScaleMonitor
from nadam_suite.experiment import Splits, Task
from nadam_suite.experiment.recipes import digits, text_lm
from nadam_suite.precision import wrap_for_policy
from nadam_suite.schedules import TrainingPlan, WarmupCosine

PRECISIONS = ("float32", "mixed_bfloat16", "bfloat16", "mixed_float16")
BATCH = 32
# Model, data and epochs of each training.
PROBLEMS: dict[str, tuple[Callable[[], Task], Callable[[], Splits], int]] = {
    "digits": (lambda: digits.model(width=8, dropout=0.1), lambda: digits.data(shift=0), 6),
    "text_lm": (
        lambda: text_lm.model(context=32, width=48, depth=1),
        lambda: text_lm.data(context=32, train_windows=1536),
        3,
    ),
}


def trained(problem: str, precision: str, seed: int) -> tuple[float, int]:
    """Train once; return the test loss of the averages, and how many steps were skipped."""
    make_model, make_data, epochs = PROBLEMS[problem]
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(seed)
    splits, task = make_data(), make_model()
    plan = TrainingPlan.from_data(splits.examples, BATCH, epochs)
    optimizer = Nadam(
        WarmupCosine(3e-3, plan.total_steps, plan.resolve("10%")),
        weight_decay=0.05,
        parameter_rules=no_decay(),
        averaging=EMA(half_life=plan.resolve("0.25ep")),
    )
    task.model.compile(wrap_for_policy(optimizer), task.loss, metrics=list(task.metrics))
    history = task.model.fit(
        *splits.train, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[LossScaleMonitor()]
    ).history
    with averaged_weights(task.model):
        loss = task.model.evaluate(*splits.test, verbose=0)[0]
    return loss, sum(history.get("skipped_steps", []))


def main(arguments: list[str] | None = None) -> None:
    """Print mean and range of the test loss over the seeds, for each precision."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problem", choices=tuple(PROBLEMS), action="append")
    chosen = parser.parse_args(arguments)
    for problem in chosen.problem or PROBLEMS:
        losses: dict[str, list[float]] = {}
        for precision in PRECISIONS:
            begin, skipped = time.monotonic(), 0
            for seed in range(chosen.seeds):
                loss, skips = trained(problem, precision, seed)
                losses.setdefault(precision, []).append(loss)
                skipped += skips
            found = losses[precision]
            seconds = (time.monotonic() - begin) / chosen.seeds
            print(
                f"{problem:8} {precision:15} test loss {statistics.mean(found):.4f} "
                f"({min(found):.4f} to {max(found):.4f})  {skipped} steps skipped  "
                f"{seconds:.1f} s a seed",
                flush=True,
            )


if __name__ == "__main__":
    main()
