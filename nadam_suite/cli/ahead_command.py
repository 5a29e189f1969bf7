"""The arguments of `plot` and `explain`, which look ahead; what they do is imported later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nadam_suite.cli.guard import guarded
from nadam_suite.cli.options import AsJson, Backend, Debug, Force, Overrides, Source

__all__ = ["EPILOGS", "explain", "plot"]

EPILOGS = {
    "plot": """Examples:

  nadam-suite plot digits --ascii

  nadam-suite plot digits schedule.kind=linear --output linear.png --csv linear.csv

  nadam-suite plot vit --examples 50000 --batch-size 256 --epochs 90

  nadam-suite plot vit --steps 500 --json

The values are those that each real update uses; "weight decay per update" is what it takes
away.""",
    "explain": """Examples:

  nadam-suite explain digits

  nadam-suite explain digits optimizer.gradient_accumulation_steps=4 --json

  nadam-suite explain vit --steps 10000""",
}

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


def plot(
    source: Source,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="PNG to write. Default: <name>-schedule.png, or none with --ascii, --csv or "
            "--json.",
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a row per update.")
    ] = None,
    in_terminal: Annotated[
        bool, typer.Option("--ascii", help="Draw in the terminal, with characters.")
    ] = False,
    as_json: AsJson = False,
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
            as_json=as_json,
            force=force,
            backend=backend,
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
