"""The arguments of `nadam-suite tune`; what it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nadam_suite.cli import completion
from nadam_suite.cli.guard import guarded
from nadam_suite.cli.options import Backend, Debug, Overrides, Source

__all__ = ["EPILOG", "tune"]

EPILOG = """Examples:

  nadam-suite tune digits --trials 30

  nadam-suite tune digits epochs=10 --trials 24 --workers 2 --output searches/short

  nadam-suite tune digits --trials 30 --resume

  nadam-suite tune digits 'tuner.tune=["learning_rate", "epsilon"]' --objective val_accuracy

  nadam-suite tune digits --print-env --chief 10.0.0.1:12345 --workers 4

A search can be ended at any moment, and the same command with --resume goes on as if it had not
been. The first trial is the config as it is. What is searched for is said before it, and is in the
table `tuner` of the config; docs/search.md of the project has its keys, and the spaces. With its
defaults it is printed by

  nadam-suite show digits tuner.preset=algoperf

Workers train trials of their own, each on its share of the GPUs, or of the cores."""


def tune(
    source: Source,
    overrides: Overrides = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", help="Trials in all. Default: 30.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--tuner",
            metavar="KIND",
            help="quasi_random, random, bayesian, grid or hyperband.",
            autocompletion=completion.tuners,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="SPACE",
            help="algoperf, wide or finetune.",
            autocompletion=completion.spaces,
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option("--objective", metavar="NAME", help="Metric to be best. Default: val_loss."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="Seed of the search. Default: the config's."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-n", metavar="N", help="Trials at a time. Default: 1."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="The search's folder. Default: searches/<name>."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search in the folder, exactly.")
    ] = False,
    print_env: Annotated[
        bool,
        typer.Option("--print-env", help="Print what to export on each host; start nothing."),
    ] = False,
    chief: Annotated[
        str | None,
        typer.Option("--chief", metavar="HOST:PORT", help="The chief's address, for --print-env."),
    ] = None,
    backend: Backend = None,
    debug: Debug = False,
) -> None:
    """Search for the optimizer's settings with which a config trains best."""
    shortcuts = {
        "kind": kind,
        "objective": objective,
        "preset": preset,
        "seed": seed,
        "trials": trials,
    }
    with guarded(debug=debug, resumable=not print_env) as interrupt:
        from nadam_suite.cli.tune import tune as run

        changes = [f"tuner.{key}={value}" for key, value in shortcuts.items() if value is not None]
        run(
            source,
            [*(overrides or []), *changes],
            interrupt=interrupt,
            workers=workers,
            output=output,
            resume=resume,
            print_env=print_env,
            chief=chief,
            backend=backend,
        )
