"""`ls`, `show`, `cp` and `validate`: the configs themselves, without training them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nadam_suite.cli.sources import config_of
from nadam_suite.config import Config, TrainConfig, list_presets, load_config, save_config
from nadam_suite.errors import ConfigError, DataFileError, NadamSuiteError
from nadam_suite.experiment import find_part, list_recipes, recipe_path

__all__ = ["copy", "list_all", "show", "validate"]


def list_all() -> None:
    """Print a table of recipes, and one of presets."""
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


def show(source: str, overrides: Sequence[str]) -> None:
    """Print a complete config as TOML.

    Args:
        source: Name or file.
        overrides: Changes.
    """
    text = _toml(config_of(source, overrides))
    Console(highlight=False, markup=False).print(text, end="", soft_wrap=True)


def copy(name: str, destination: Path) -> None:
    """Write the config of a recipe or preset into a new file.

    A recipe's TOML keeps its comments.

    Args:
        name: Recipe or preset.
        destination: File that does not exist yet, or a folder for `name.toml`.

    Raises:
        DataFileError: The file exists, or cannot be written.
    """
    if destination.is_dir():
        destination = destination / f"{name}.toml"
    config = config_of(name)
    recipes = [row.name for row in list_recipes()]
    if name in recipes and destination.suffix.lower() == ".toml":
        text = recipe_path(name).read_text("utf-8")
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


def validate(files: Sequence[str]) -> None:
    """Check config files, all of them, before complaining about any.

    Functions of your own ("module:function") are not imported: checking a file runs nothing.

    Args:
        files: The files.

    Raises:
        ConfigError: At least one has faults.
    """
    console, faults = Console(highlight=False), []
    for file in files:
        try:
            config = load_config(file)
            if isinstance(config, TrainConfig):
                _check_parts(config, file)
        except ConfigError as error:
            faults += [f"{file}: {fault}" for fault in error.faults]
        except NadamSuiteError as error:
            faults.append(str(error))
        else:
            console.print(f"{file}: ok ({type(config).__name__})", soft_wrap=True)
    if faults:
        raise ConfigError(faults)


def _check_parts(config: TrainConfig, file: str) -> None:
    """Check names and options of built-in parts, and all faults of both at once."""
    faults: list[str] = []
    for key in ("model", "data"):
        reference = getattr(config, key)
        if ":" not in reference:
            try:
                find_part(key, reference, getattr(config, f"{key}_options"))
            except ConfigError as error:
                faults += error.faults
    if faults:
        raise ConfigError(faults, file)


def _toml(config: Config) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        save_config(config, path)
        return path.read_text("utf-8")
