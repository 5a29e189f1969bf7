"""Arguments and options that several commands share, and those of `train` that go on with a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nadam_suite.cli import completion

__all__ = [
    "AsJson",
    "Backend",
    "CooldownFrom",
    "Debug",
    "Extend",
    "Force",
    "MaybeSource",
    "Overrides",
    "Resume",
    "Source",
]

Source = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE",
        help="A name that `ls` shows, or a config file.",
        autocompletion=completion.configs,
    ),
]
MaybeSource = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME|FILE",
        help="A name that `ls` shows, or a config file.",
        show_default=False,
        autocompletion=completion.configs,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Changes to the config: a.b=1 sets a key, ~a.b gives it its default.",
        autocompletion=completion.overrides,
    ),
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="tensorflow|jax|torch",
        help="Framework to train with. Default: KERAS_BACKEND, or what Keras is set to.",
        autocompletion=completion.backends,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in the folder, exactly.")
]
Extend = Annotated[
    str | None,
    typer.Option(
        "--extend",
        metavar="LENGTH",
        help='With --resume: make the run longer by "10ep", "50%", "20000ex" or batches.',
    ),
]
CooldownFrom = Annotated[
    Path | None,
    typer.Option(
        "--cooldown-from",
        metavar="CHECKPOINT",
        help="Anneal in a new run from a run's folder, or one of its checkpoints/EPOCH. NAME may "
        "be left out.",
        autocompletion=completion.checkpoints,
    ),
]
