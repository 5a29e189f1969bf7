"""`nadam-suite train`: from the arguments to a run, and its figures on the screen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from nadam_suite.cli.backend import find_modules, load_backend, open_devices_of
from nadam_suite.cli.interrupt import Interrupt
from nadam_suite.cli.printing import print_json
from nadam_suite.errors import ArgumentError

if TYPE_CHECKING:
    from nadam_suite.config import TrainConfig
    from nadam_suite.experiment import RunResult

__all__ = ["train"]


def train(
    source: str | None,
    overrides: Sequence[str],
    *,
    interrupt: Interrupt,
    output: Path | None = None,
    resume: bool = False,
    extend: str | None = None,
    cooldown_from: Path | None = None,
    as_json: bool = False,
    backend: str | None = None,
) -> None:
    """Train, and show the final figures.

    Args:
        source: Name of a recipe, or a config file.
        overrides: Changes to the config.
        interrupt: Asked before each batch.
        output: The run's folder, or None for the config's.
        resume: Go on with the run in it.
        extend: How much longer it is to be.
        cooldown_from: A run's folder or checkpoint, to anneal from in a new run.
        as_json: Print the result as JSON, and the progress to stderr.
        backend: Framework, or None for the one that Keras is set to.
    """
    interrupt.has_begun = lambda: resume  # then there may be epochs of another process
    _check(source, extend, cooldown_from)
    load_backend(backend, trains=True)
    find_modules()

    from nadam_suite.backends import get_backend
    from nadam_suite.cli.progress import Progress
    from nadam_suite.experiment.place import run_path

    config, start = _prepared(source, overrides, output, extend, cooldown_from)
    if cooldown_from is None and not resume:
        interrupt.has_begun = run_path(config, output).exists
    open_devices_of(config)
    # Of several workers the chief speaks for all.
    is_chief = get_backend().process()[0] == 0
    console = Console(highlight=False, quiet=not is_chief, stderr=as_json)
    progress = Progress(console, interrupt.check)
    try:
        result = start(
            resume=resume,
            callbacks=[progress],
            tell=lambda line: console.print(line, soft_wrap=True),
        )
    finally:
        progress.close()
    if not as_json:
        _show(console, result)
    elif is_chief:
        print_json(_table(result, config.name))


def _table(result: RunResult, name: str) -> dict[str, Any]:
    """Return what a script may want to know of a run, as plain data."""
    import keras

    return {
        "name": name,
        "folder": str(result.folder),
        "backend": keras.backend.backend(),
        "epochs": result.epochs,
        "resumed_from": result.resumed_from,
        "already_finished": result.already_finished,
        "seconds": result.seconds,
        "average": result.average,
        "metrics": {split: dict(values) for split, values in result.metrics.items()},
    }


def _check(source: str | None, extend: str | None, cooldown_from: Path | None) -> None:
    """Refuse arguments that do not go together.

    Raises:
        ArgumentError: They do not.
    """
    if source is None and cooldown_from is None:
        raise ArgumentError(
            "Argument `NAME` must be a recipe or a config file. Received: none. Write for "
            "instance: nadam-suite train digits"
        )
    if extend is not None and cooldown_from is not None:
        raise ArgumentError(
            "Arguments `--extend` and `--cooldown-from` must not be given together. Received: "
            f"--extend={extend!r}, --cooldown-from={str(cooldown_from)!r}. Set the length of the "
            "cooldown instead: schedule.cooldown=5ep"
        )


def _prepared(
    source: str | None,
    overrides: Sequence[str],
    output: Path | None,
    extend: str | None,
    cooldown_from: Path | None,
) -> tuple[TrainConfig, Callable[..., RunResult]]:
    """Return the config, and what starts the training."""
    from nadam_suite.cli.branch import branch_of
    from nadam_suite.cli.sources import train_config_of
    from nadam_suite.config.overrides import parse_value
    from nadam_suite.experiment import branch_cooldown, run_training

    if cooldown_from is not None:
        config, wanted = branch_of(cooldown_from, source, overrides)
        wanted["output"] = output or wanted.get("output")
        return config, functools.partial(branch_cooldown, cooldown_from, config=config, **wanted)
    config = train_config_of(source or "", overrides)
    longer = None if extend is None else parse_value(extend)
    return config, functools.partial(run_training, config, output=output, extend=longer)


def _show(console: Console, result: RunResult) -> None:
    from nadam_suite.config.faults import counted

    epochs = counted(result.epochs, "epoch")
    if result.already_finished:
        console.print(f"This run is finished: {epochs}. Nothing was trained.")
    names = list(dict.fromkeys(name for values in result.metrics.values() for name in values))
    whose = "" if result.average is None else f": average {result.average}"
    table = Table(title=f"Final model{whose}")
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
        console.print(f"{epochs}, {result.seconds:.1f} s in this process.")
    console.print(f"Results: {result.folder}", soft_wrap=True)
    console.print(
        "In Python: import keras, nadam_suite; "
        f"model = keras.models.load_model({str(result.folder / 'model.keras')!r})",
        soft_wrap=True,
        markup=False,
    )
