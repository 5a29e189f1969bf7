"""The arguments of `ls`, `show`, `cp` and `validate`; what they do is imported when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nadam_suite.cli import completion
from nadam_suite.cli.backend import load_backend
from nadam_suite.cli.guard import guarded
from nadam_suite.cli.options import AsJson, Debug, Overrides, Source

__all__ = ["EPILOGS", "copy", "list_names", "show", "validate"]

EPILOGS = {
    "ls": """Examples:

  nadam-suite ls

  nadam-suite ls --json""",
    "show": """Examples:

  nadam-suite show digits epochs=3

  nadam-suite show algoperf-v05 --json""",
    "cp": """Examples:

  nadam-suite cp digits my.toml

  nadam-suite cp digits short.json epochs=3 '~schedule.warmup'

Without changes, a recipe's TOML keeps its comments.""",
    "validate": """Examples:

  nadam-suite validate my.toml other.json

  nadam-suite validate my.toml optimizer.beta_1=0.8 --json""",
}


def list_names(as_json: AsJson = False, debug: Debug = False) -> None:
    """List the recipes that `train` knows, and the presets of the optimizer."""
    with guarded(debug=debug):
        load_backend()
        from nadam_suite.cli.configs import list_all

        list_all(as_json=as_json)


def show(
    source: Source, overrides: Overrides = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Print a recipe, a preset or a config file as the complete config that would be used."""
    with guarded(debug=debug):
        load_backend()
        from nadam_suite.cli.configs import show as run

        run(source, overrides or [], as_json=as_json)


def copy(
    source: Source,
    destination: Annotated[
        Path, typer.Argument(metavar="DEST", help="A .toml or .json file that does not exist yet.")
    ],
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Copy the config of a recipe, a preset or a file into a file of your own."""
    with guarded(debug=debug):
        load_backend()
        from nadam_suite.cli.configs import copy as run

        run(source, destination, overrides or [])


def validate(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... [KEY=VALUE]...",
            help="Config files or names, and changes that are made to each.",
            autocompletion=completion.overrides,
        ),
    ],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check config files, and list all faults of each."""
    with guarded(debug=debug):
        load_backend()
        from nadam_suite.cli.configs import validate as run

        run(sources, as_json=as_json)
