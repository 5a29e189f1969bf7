"""Print what things cost on this machine: `KERAS_BACKEND=jax python -m tests.benchmarks averages`.

Each row is a median of calls made in turn in this one process. The last column of `averages`
divides it by the time that a plain copy of the weights takes (8 bytes a parameter), measured
alongside; that of `steps` says how many times as long the stock optimizer takes.
"""

from __future__ import annotations

import argparse
import sys

import keras
from rich.console import Console
from rich.table import Table

from tests.benchmarks import averages, steps
from tests.benchmarks.timing import SHAPES

SUBJECTS = {"averages": (averages.rows, "copies"), "steps": (steps.rows, "stock / ours")}


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("subjects", nargs="*", choices=[*SUBJECTS, []], default=list(SUBJECTS))
    parser.add_argument("--shapes", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args(arguments)
    for subject in chosen.subjects:
        rows, last = SUBJECTS[subject]
        table = Table(title=f"{subject}, {keras.backend.backend()}, Keras {keras.__version__}")
        for column in ("shapes", "what", "ms", last):
            table.add_column(column, justify="left" if column in ("shapes", "what") else "right")
        for shape in chosen.shapes:
            for row in rows(shape, chosen.rounds):
                table.add_row(*row)
            table.add_section()
        Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
