"""The arguments of `nadam-suite launch`; what it does is imported when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from nadam_suite.cli import completion
from nadam_suite.cli.guard import guarded
from nadam_suite.cli.options import Debug

__all__ = ["EPILOG", "launch"]

EPILOG = """Examples:

  nadam-suite launch --workers 2 -- train digits

  nadam-suite launch --workers 2 --backend jax -- train digits --resume

  nadam-suite launch --print-env --hosts 10.0.0.1:12345,10.0.0.2:12345 -- train digits

Only the first worker, the chief, writes the run's folder. If a worker fails or is killed, all end,
and the same command with --resume goes on."""


def launch(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- train [ARGS]...",
            help="What each worker runs.",
            show_default=False,
            autocompletion=completion.launched,
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-n", metavar="N", help="Number of workers.")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            metavar="tensorflow|jax",
            help="Framework to train with.",
            autocompletion=completion.backends,
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            "--devices-per-worker",
            metavar="N",
            help="GPUs of each worker. Default: an equal share of all, or the CPU.",
        ),
    ] = None,
    print_env: Annotated[
        bool,
        typer.Option("--print-env", help="Print what to export on each host; start nothing."),
    ] = False,
    hosts: Annotated[
        str | None,
        typer.Option("--hosts", metavar="HOST:PORT,...", help="The hosts, for --print-env."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Train with several workers: start them here, or print how to start them on other hosts."""
    with guarded(debug=debug, resumable=True):
        from nadam_suite.cli.launch import launch as run

        run(
            command or [],
            workers=workers,
            backend=backend,
            devices=devices,
            print_env=print_env,
            hosts=hosts,
        )
