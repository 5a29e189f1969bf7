"""The commands and their arguments; what they do is imported when one of them runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nadam_suite.cli.average_command import EPILOG as AVERAGE_EPILOG
from nadam_suite.cli.average_command import average
from nadam_suite.cli.backend import load_backend
from nadam_suite.cli.guard import guarded
from nadam_suite.cli.launch_command import EPILOG as LAUNCH_EPILOG
from nadam_suite.cli.launch_command import launch
from nadam_suite.cli.options import (
    AsJson,
    Backend,
    CooldownFrom,
    Debug,
    Extend,
    Force,
    MaybeSource,
    Overrides,
    Resume,
    Source,
)
from nadam_suite.cli.report_command import EPILOG as REPORT_EPILOG
from nadam_suite.cli.report_command import report
from nadam_suite.cli.tune_command import EPILOG as TUNE_EPILOG
from nadam_suite.cli.tune_command import tune

__all__ = ["app", "main"]

app = typer.Typer(
    name="nadam-suite",
    help="Train with Nadam on TensorFlow, JAX or PyTorch: from one config to a folder of results.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Examples = Annotated[
    int | None,
    typer.Option(
        "--examples",
        metavar="N",
        help="Training examples. Default: those of the config's data, which are loaded.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="N", help="Examples in a batch. Default: the config's."),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", metavar="N", help="Epochs. Default: the config's, or 1.")
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", metavar="N", help="Batches in all, for a preset or an optimizer's config."
    ),
]


@app.command(
    epilog="""Examples:

  nadam-suite train digits

  nadam-suite train digits epochs=10 optimizer.learning_rate=1e-3 --output runs/short

  nadam-suite train digits --backend jax --resume

  nadam-suite train digits --resume --extend 10ep

  nadam-suite train --cooldown-from runs/digits/checkpoints/20 schedule.cooldown=5ep

  nadam-suite train my.toml '~optimizer.weight_decay'

A config may name functions of your own as "module:function"; training imports them, also from the
current folder."""
)
def train(
    source: MaybeSource = None,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="The run's folder. Default: runs/<name>."
        ),
    ] = None,
    resume: Resume = False,
    extend: Extend = None,
    cooldown_from: CooldownFrom = None,
    backend: Backend = None,
    debug: Debug = False,
) -> None:
    """Train what a config says, and leave a folder with the model, its curves and its figures."""
    with guarded(debug=debug, resumable=True) as interrupt:
        from nadam_suite.cli.train import train as run

        run(
            source,
            overrides or [],
            interrupt=interrupt,
            output=output,
            resume=resume,
            extend=extend,
            cooldown_from=cooldown_from,
            backend=backend,
        )


@app.command(
    epilog="""Examples:

  nadam-suite doctor

  nadam-suite doctor K6 K16 --backend torch"""
)
def doctor(
    rows: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ROW]...", help="Rows to try, such as K6. Default: all."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what starts another process.")
    ] = False,
    as_json: AsJson = False,
    backend: Backend = None,
    debug: Debug = False,
) -> None:
    """Show versions, and cell by cell what stock Nadam and this one keep of their promises."""
    with guarded(debug=debug):
        from nadam_suite.cli.doctor import doctor as run

        run(rows or [], backend=backend, quick=quick, as_json=as_json)


@app.command("ls", epilog="Example:\n\n  nadam-suite ls")
def list_names(debug: Debug = False) -> None:
    """List the recipes that `train` knows, and the presets of the optimizer."""
    with guarded(debug=debug):
        load_backend()
        from nadam_suite.cli.configs import list_all

        list_all()


@app.command(
    epilog="""Examples:

  nadam-suite show digits epochs=3

  nadam-suite show algoperf-v05"""
)
def show(source: Source, overrides: Overrides = None, debug: Debug = False) -> None:
    """Print a recipe, a preset or a config file as the complete config that would be used."""
    with guarded(debug=debug):
        load_backend()
        from nadam_suite.cli.configs import show as run

        run(source, overrides or [])


@app.command("cp", epilog="Example:\n\n  nadam-suite cp digits my.toml")
def copy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that `ls` shows.")],
    destination: Annotated[
        Path, typer.Argument(metavar="DEST", help="A .toml or .json file that does not exist yet.")
    ],
    debug: Debug = False,
) -> None:
    """Copy the config of a recipe or preset into a file of your own."""
    with guarded(debug=debug):
        load_backend()
        from nadam_suite.cli.configs import copy as run

        run(name, destination)


@app.command(epilog="Example:\n\n  nadam-suite validate my.toml other.json")
def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Config files.")],
    debug: Debug = False,
) -> None:
    """Check config files, and list all faults of each."""
    with guarded(debug=debug):
        load_backend()
        from nadam_suite.cli.configs import validate as run

        run(files)


@app.command(
    epilog="""Examples:

  nadam-suite plot digits --ascii

  nadam-suite plot digits schedule.kind=linear --output linear.png --csv linear.csv

  nadam-suite plot vit --examples 50000 --batch-size 256 --epochs 90

The values are those that each real update uses; "weight decay per update" is what it takes away."""
)
def plot(
    source: Source,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="PNG to write. Default: <name>-schedule.png, or none with --ascii or --csv.",
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a row per update.")
    ] = None,
    in_terminal: Annotated[
        bool, typer.Option("--ascii", help="Draw in the terminal, with characters.")
    ] = False,
    force: Force = False,
    examples: Examples = None,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    steps: Steps = None,
    backend: Backend = None,
    debug: Debug = False,
) -> None:
    """Draw learning rate, weight decay, beta_1 and momentum over the whole training."""
    with guarded(debug=debug):
        from nadam_suite.cli.length import Length
        from nadam_suite.cli.plot import plot as run

        run(
            source,
            overrides or [],
            length=Length(examples, batch_size, epochs, steps),
            output=output,
            table=table,
            in_terminal=in_terminal,
            force=force,
            backend=backend,
        )


@app.command(
    epilog="""Examples:

  nadam-suite explain digits

  nadam-suite explain digits optimizer.gradient_accumulation_steps=4 --json

  nadam-suite explain vit --steps 10000"""
)
def explain(
    source: Source,
    overrides: Overrides = None,
    as_json: AsJson = False,
    examples: Examples = None,
    batch_size: BatchSize = None,
    epochs: Epochs = None,
    steps: Steps = None,
    backend: Backend = None,
    debug: Debug = False,
) -> None:
    """Show what a config comes to: steps, durations, and the multipliers of each variable."""
    with guarded(debug=debug):
        from nadam_suite.cli.explain import explain as run
        from nadam_suite.cli.length import Length

        run(
            source,
            overrides or [],
            length=Length(examples, batch_size, epochs, steps),
            as_json=as_json,
            backend=backend,
        )


app.command(epilog=AVERAGE_EPILOG)(average)


app.command(context_settings={"allow_interspersed_args": False}, epilog=LAUNCH_EPILOG)(launch)
app.command(epilog=TUNE_EPILOG)(tune)
app.command(epilog=REPORT_EPILOG)(report)


def main(argv: list[str] | None = None) -> None:
    """Run the command.

    Args:
        argv: Arguments; those of the process by default.
    """
    app(args=argv, prog_name="nadam-suite")
