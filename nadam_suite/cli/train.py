"""`nadam-suite train`: from the arguments to a run, and its figures on the screen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from nadam_suite.cli.backend import load_backend, open_devices
from nadam_suite.cli.interrupt import Interrupt

if TYPE_CHECKING:
    from nadam_suite.experiment import RunResult

__all__ = ["train"]


def train(
    source: str,
    overrides: Sequence[str],
    *,
    interrupt: Interrupt,
    output: Path | None = None,
    resume: bool = False,
    backend: str | None = None,
) -> None:
    """Train, and show the final figures.

    Args:
        source: Name of a recipe, or a config file.
        overrides: Changes to the config.
        interrupt: Asked before each batch.
        output: The run's folder, or None for the config's.
        resume: Go on with the run in it.
        backend: Framework, or None for the one that Keras is set to.
    """
    load_backend(backend, trains=True)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # modules that a config names

    from nadam_suite.backends import get_backend
    from nadam_suite.cli.progress import Progress
    from nadam_suite.cli.sources import train_config_of
    from nadam_suite.experiment import run_training

    config = train_config_of(source, overrides)
    devices = config.distribution.devices
    open_devices(devices if isinstance(devices, int) else 1)
    # Of several workers the chief speaks for all.
    console = Console(highlight=False, quiet=get_backend().process()[0] != 0)
    progress = Progress(console, interrupt.check)
    try:
        result = run_training(
            config,
            output=output,
            resume=resume,
            callbacks=[progress],
            tell=lambda line: console.print(line, soft_wrap=True),
        )
    finally:
        progress.close()
    _show(console, result)


def _show(console: Console, result: RunResult) -> None:
    if result.already_finished:
        console.print(f"This run is finished: {result.epochs} epochs. Nothing was trained.")
    names = list(dict.fromkeys(name for values in result.metrics.values() for name in values))
    table = Table(title="Final model")
    table.add_column("split")
    for name in names:
        table.add_column(name, justify="right")
    for split, values in result.metrics.items():
        table.add_row(split, *(f"{values[n]:.4f}" if n in values else "" for n in names))
    if result.metrics:
        console.print(table)
    if "test" in result.metrics and "accuracy" in result.metrics["test"]:
        console.print(f"Test accuracy: {result.metrics['test']['accuracy']:.4f}")
    if not result.already_finished:
        console.print(f"{result.epochs} epochs, {result.seconds:.1f} s in this process.")
    console.print(f"Results: {result.folder}", soft_wrap=True)
