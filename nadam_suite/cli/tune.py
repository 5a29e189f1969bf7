"""`nadam-suite tune`: from the arguments to a search, by this process or by several."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from nadam_suite.cli.backend import (
    configured_backend,
    find_modules,
    load_backend,
    open_devices_of,
)
from nadam_suite.cli.cluster import without_cluster
from nadam_suite.cli.interrupt import Interrupt
from nadam_suite.cli.tune_workers import exports, report_failure, role, run_here
from nadam_suite.errors import ArgumentError, SearchError

if TYPE_CHECKING:
    import keras_tuner

    from nadam_suite.config import TrainConfig

__all__ = ["tune"]

_TICK = 0.5
_TOP = 5


def tune(
    source: str,
    overrides: Sequence[str],
    *,
    interrupt: Interrupt,
    workers: int | None = None,
    output: Path | None = None,
    resume: bool = False,
    print_env: bool = False,
    chief: str | None = None,
    backend: str | None = None,
) -> None:
    """Search, and show what was found; or be one of the processes of a search.

    Args:
        source: Name of a recipe, or a config file.
        overrides: Changes to the config.
        interrupt: Asked before each batch.
        workers: Number of processes that train, or None for this one alone.
        output: The search's folder, or None for `searches/<name>`.
        resume: Go on with the search in it.
        print_env: Print what to export on each host, and start nothing.
        chief: Address of the chief, for that.
        backend: Framework, or None for the one that Keras is set to.

    Raises:
        NadamSuiteError: Something is wrong with the arguments, or the search cannot go on.
    """
    own = role(os.environ)
    _check(own, workers, chief, print_env=print_env)
    load_backend(backend, trains=True)
    find_modules()

    from nadam_suite.cli.sources import train_config_of

    config = train_config_of(source, overrides)
    path = output or Path("searches") / config.name
    chosen = configured_backend(backend)
    again = ["tune", source, *overrides, "--output", str(path), "--backend", chosen]
    again += ["--resume"] if resume else []
    if print_env:
        sys.stdout.write(exports(chosen, chief, workers or 1, again))
    elif own is not None:
        _take_part(own, config, path, interrupt, resume=resume)
    else:
        _search(config, path, interrupt, again, workers or 1, resume=resume)


def _check(own: str | None, workers: int | None, chief: str | None, *, print_env: bool) -> None:
    """Refuse arguments that do not go together.

    Raises:
        ArgumentError: They do not.
    """
    if without_cluster(os.environ) != dict(os.environ):
        raise ArgumentError(
            "`tune` must run outside of a training by several workers, as each of its trials is a "
            "training of its own. Received: TF_CONFIG, or KERAS_DISTRIBUTION_* variables. Unset "
            "them; `tune --workers` trains several trials at a time."
        )
    if workers is not None and workers < 1:
        raise ArgumentError(
            f"Argument `--workers` must be an integer >= 1. Received: --workers={workers}. Leave "
            "it out to search in this process."
        )
    if own is not None and workers is not None and not print_env:
        raise ArgumentError(
            "Argument `--workers` must be left out where the environment says that this process is "
            f"one of several. Received: --workers={workers}, and KERASTUNER_TUNER_ID="
            f"{os.environ['KERASTUNER_TUNER_ID']!r}. Unset KERASTUNER_ORACLE_IP to start workers "
            "here."
        )
    if chief is not None and not print_env:
        raise ArgumentError(
            "Argument `--chief` must come with --print-env: `tune` starts workers on this machine "
            f"alone. Received: --chief={chief!r}. Add --print-env, and run on each host what it "
            "prints."
        )


def _search(
    config: TrainConfig,
    path: Path,
    interrupt: Interrupt,
    command: Sequence[str],
    workers: int,
    *,
    resume: bool,
) -> None:
    """Run the whole search, here or by processes that this one starts."""
    from nadam_suite.cli.trial_table import TrialTable
    from nadam_suite.config import TunerConfig
    from nadam_suite.tuner.run_search import as_begun, check_folder, search

    console = Console(highlight=False)
    check_folder(path, resume=resume)
    config = as_begun(config, path)
    begins = not path.exists()
    trials = (config.tuner or TunerConfig()).max_trials()
    table = TrialTable(console, path, trials, config.epochs)
    if workers == 1:
        with _begun(config, path, interrupt, resume=resume) as tuner:
            _tell(config, console, begins=begins)
            with table:
                search(tuner)
    else:
        _tell(config, console, begins=begins)
        with table:
            failed = run_here(command, command[command.index("--backend") + 1], workers)
        if failed is not None:
            report_failure(failed, workers, path)
            raise typer.Exit(failed.status)
    _conclude(path)


def _tell(config: TrainConfig, console: Console, *, begins: bool) -> None:
    """Say what a search that begins will try."""
    from nadam_suite.tuner.overview import overview

    for line in overview(config) if begins else ():
        console.print(line, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _begun(
    config: TrainConfig, path: Path, interrupt: Interrupt, *, resume: bool
) -> Iterator[keras_tuner.Tuner]:
    """Yield the tuner of a search that this process begins, or goes on with."""
    from nadam_suite.tuner.run_search import check_settings, make_tuner, open_folder
    from nadam_suite.tuner.search_lock import locked

    hypermodel = _hypermodel(config, interrupt)
    open_devices_of(config)
    if not path.exists():
        check_settings(config, hypermodel)
    open_folder(config, path, resume=resume)
    with locked(path):
        yield make_tuner(config, path, hypermodel)


def _take_part(
    own: str, config: TrainConfig, path: Path, interrupt: Interrupt, *, resume: bool
) -> None:
    """Be the chief of a search, or one of its workers."""
    import grpc

    from nadam_suite.tuner.run_search import SEARCH, as_begun, check_same, make_tuner, search

    if own == "chief":
        with _begun(as_begun(config, path), path, interrupt, resume=resume) as tuner:
            search(tuner)
        return
    while not (path / SEARCH).is_file():  # the chief writes it
        time.sleep(_TICK)
    check_same(config, path)
    config = as_begun(config, path)
    open_devices_of(config)
    tuner = make_tuner(config, path, _hypermodel(config, interrupt))
    try:
        search(tuner)
    except grpc.RpcError as error:
        raise SearchError(_told_by_chief(error)) from None


def _told_by_chief(error: Any) -> str:
    """Return the message of an error that the chief raised when it was asked."""
    return str(error.details()).removeprefix("Exception calling application: ")


def _hypermodel(config: TrainConfig, interrupt: Interrupt) -> Any:
    import keras

    from nadam_suite.tuner.runs import RunHyperModel

    class Check(keras.callbacks.Callback):
        """Stops if the user has asked for it."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            interrupt.check()

    return RunHyperModel(config, callbacks=lambda: [Check()])


def _conclude(path: Path) -> None:
    """Show the best trials, write the config of the best one, and say how to train it."""
    from nadam_suite.cli.report import show
    from nadam_suite.tuner.best_config import write_best
    from nadam_suite.tuner.report import report

    console = Console(highlight=False, markup=False)
    found = report(path)
    show(console, found, _TOP)
    best = write_best(found.record)
    if best is not None:
        console.print(str(best), soft_wrap=True)
    command = shlex.join(["nadam-suite", "report", str(path)])
    console.print(f"Pictures of the search:\n  {command}", soft_wrap=True)
    if (verdict := found.verdict()) is not None:
        console.print(verdict, soft_wrap=True)
