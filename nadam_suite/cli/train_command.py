"""The arguments of `nadam-suite train`; what it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nadam_suite.cli import completion
from nadam_suite.cli.guard import guarded
from nadam_suite.cli.options import (
    AsJson,
    Backend,
    CooldownFrom,
    Debug,
    Extend,
    MaybeSource,
    Overrides,
    Resume,
)

__all__ = ["EPILOG", "train"]

EPILOG = """Examples:

  nadam-suite train digits

  nadam-suite train digits epochs=10 optimizer.learning_rate=1e-3 --output runs/short

  nadam-suite train digits --backend jax --resume

  nadam-suite train digits --resume --extend 10ep

  nadam-suite train --cooldown-from runs/digits/checkpoints/20 schedule.cooldown=5ep

  nadam-suite train my.toml '~optimizer.weight_decay' --json

A config may name functions of your own as "module:function", which return a Task and Splits of
nadam_suite.experiment; training imports them, also from the current folder. The README has an
example under "Your own model and data", and recipes/bring_your_own.py another. With --json the
result comes as JSON, and the progress goes to standard error."""


def train(
    source: MaybeSource = None,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The run's folder. Default: runs/<name>.",
            autocompletion=completion.runs,
        ),
    ] = None,
    resume: Resume = False,
    extend: Extend = None,
    cooldown_from: CooldownFrom = None,
    as_json: AsJson = False,
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
            as_json=as_json,
            backend=backend,
        )
