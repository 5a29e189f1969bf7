"""`ls`, `show`, `cp` and `validate`: the configs themselves, without training them."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from nadam_suite.cli.backend import find_modules
from nadam_suite.cli.printing import print_json
from nadam_suite.cli.sources import config_of, is_override, is_recipe
from nadam_suite.cli.status import REFUSED
from nadam_suite.config import TrainConfig, list_presets, save_config
from nadam_suite.config.files import to_toml
from nadam_suite.errors import ArgumentError, ConfigError, DataFileError, NadamSuiteError
from nadam_suite.experiment import find_part, list_recipes, recipe_path

__all__ = ["copy", "list_all", "show", "validate"]


def list_all(*, as_json: bool = False) -> None:
    """Print a table of recipes, and one of presets; or both as JSON."""
    if as_json:
        recipes = [dataclasses.asdict(row) for row in list_recipes()]
        presets = [dataclasses.asdict(row) for row in list_presets()]
        print_json({"recipes": recipes, "presets": presets})
        return
    console = Console(highlight=False)
    for title, rows in (
        ("Recipes: nadam-suite train NAME", list_recipes()),
        ("Presets: nadam-suite train digits optimizer.preset=NAME", list_presets()),
    ):
        table = Table(title=title, title_justify="left")
        table.add_column("name", no_wrap=True)
        table.add_column("description")
        for row in rows:
            table.add_row(row.name, row.description)
        console.print(table)


def show(source: str, overrides: Sequence[str], *, as_json: bool = False) -> None:
    """Print a complete config as TOML, or as JSON.

    Args:
        source: Name or file.
        overrides: Changes.
        as_json: Print JSON, which as a file is the same config.
    """
    config = config_of(source, overrides)
    if as_json:
        print_json(config.to_dict())
    else:
        Console(highlight=False, markup=False).print(to_toml(config), end="", soft_wrap=True)


def copy(source: str, destination: Path, overrides: Sequence[str] = ()) -> None:
    """Write the config of a recipe, a preset or a file into a new file.

    A recipe's TOML keeps its comments, unless it is changed.

    Args:
        source: Name or file.
        destination: File that does not exist yet, or a folder for `name.toml`.
        overrides: Changes.

    Raises:
        DataFileError: The file exists, or cannot be written.
    """
    if destination.is_dir():
        destination = destination / f"{Path(source).stem}.toml"
    config = config_of(source, overrides)
    if destination.suffix.lower() == ".toml" and is_recipe(source) and not overrides:
        text = recipe_path(source).read_text("utf-8")
        try:
            with destination.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise DataFileError(
                f"`DEST` must be a new file in a folder that may be written to. Received: "
                f"DEST={str(destination)!r} ({error.strerror}). Choose another name."
            ) from None
    else:
        save_config(config, destination)
    Console(highlight=False).print(f"Wrote {destination}", soft_wrap=True)


def validate(sources: Sequence[str], *, as_json: bool = False) -> None:
    """Check configs, all of them, before complaining about any.

    Modules of your own ("module:function") are imported, also from the current folder, and their
    functions are looked at; nothing is called.

    Args:
        sources: Files or names; changes among them, such as "epochs=3", are made to each.
        as_json: Print the faults of each as JSON.

    Raises:
        ConfigError: At least one has faults.
        ArgumentError: There are changes alone.
        typer.Exit: At least one has faults, which JSON has told.
    """
    overrides = [text for text in sources if is_override(text)]
    files = [text for text in sources if text not in overrides]
    if not files:
        raise ArgumentError(
            "Argument `FILE` must be a config file, or a name that `ls` shows. Received: "
            f"{', '.join(map(repr, sources))}, which are changes alone. Write for instance: "
            f"nadam-suite validate my.toml {shlex.join(overrides)}"
        )
    find_modules()
    checked = [_checked(file, overrides) for file in files]
    if as_json:
        print_json({"files": checked})
        if not all(row["ok"] for row in checked):
            raise typer.Exit(REFUSED)
        return
    console = Console(highlight=False, markup=False)
    for row in checked:
        if row["ok"]:
            console.print(f"{row['file']}: ok", soft_wrap=True)
    if faults := [fault for row in checked for fault in row["faults"]]:
        raise ConfigError(faults)


def _checked(file: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the kind of a config, or its faults, each with the file's name."""
    kind, faults = None, []
    try:
        config = config_of(file, overrides)
        kind = type(config).__name__
        if isinstance(config, TrainConfig):
            _check_parts(config, file)
    except ConfigError as error:
        faults = [f"{file}: {fault}" for fault in error.faults]
    except NadamSuiteError as error:
        faults = [str(error)]
    return {"file": file, "ok": not faults, "kind": kind, "faults": faults}


def _check_parts(config: TrainConfig, file: str) -> None:
    """Check that model and data are there and take their options, and tell the faults of both."""
    faults: list[str] = []
    for key in ("model", "data"):
        try:
            find_part(key, getattr(config, key), getattr(config, f"{key}_options"))
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults, file)
