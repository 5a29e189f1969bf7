"""From a name or a file on the command line to a config."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nadam_suite.config import (
    Config,
    NadamConfig,
    TrainConfig,
    apply_overrides,
    list_presets,
    load_config,
    read_table,
)
from nadam_suite.errors import ConfigError, DataFileError
from nadam_suite.experiment.recipes import list_recipes, recipe_path

__all__ = ["config_of", "is_override", "is_recipe", "train_config_of"]


def config_of(source: str, overrides: Sequence[str] = ()) -> Config:
    """Return a recipe's config, a preset's, or what a file holds.

    Args:
        source: Name or file.
        overrides: Changes, such as "epochs=3".

    Raises:
        ConfigError: The name is unknown, or the config has faults.
        DataFileError: The file cannot be read.
    """
    _refuse_folder(source)
    if _is_file(source):
        return load_config(source, overrides)
    if source in _recipes():
        return _recipe(source, overrides)
    if source in _presets():
        return NadamConfig.from_dict(apply_overrides({"preset": source}, overrides))
    raise _unknown(source, [*_recipes(), *_presets()])


def train_config_of(source: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Return the config of a training; see `config_of`."""
    _refuse_folder(source)
    if _is_file(source):
        return load_config(source, overrides, kind=TrainConfig)
    if source in _recipes():
        return _recipe(source, overrides)
    if source in _presets():
        raise ConfigError(
            f"`NAME` must be a recipe or a file. Received: NAME={source!r}, which is a preset of "
            f"the optimizer. Train a recipe with it: nadam-suite train digits "
            f"optimizer.preset={source}"
        )
    raise _unknown(source, _recipes())


def is_override(text: str) -> bool:
    """Return whether a word of the command line is a change, where it could be a source too."""
    return text.startswith("~") or ("=" in text and not Path(text).exists())


def is_recipe(source: str) -> bool:
    """Return whether a source is the name of a recipe, and no file of that name."""
    return source in _recipes() and not _is_file(source)


def _recipe(name: str, overrides: Sequence[str]) -> TrainConfig:
    table: dict[str, Any] = apply_overrides(read_table(recipe_path(name)), overrides)
    return TrainConfig.from_dict(table, source=name)


def _refuse_folder(source: str) -> None:
    """Refuse a folder; of a run, its config can be used.

    Raises:
        DataFileError: It is one, and has not the name of a recipe or preset.
    """
    path = Path(source)
    if not path.is_dir() or source in (*_recipes(), *_presets()):
        return
    config = path / "config.toml"
    remedy = f"Did you mean {str(config)!r}?" if config.is_file() else "Name a file in it."
    raise DataFileError(
        f"`NAME` must be a name that `nadam-suite ls` shows, or a .toml or .json file. Received: "
        f"NAME={source!r}, which is a folder. {remedy}"
    )


def _is_file(source: str) -> bool:
    path = Path(source)
    return path.suffix.lower() in (".toml", ".json") or os.sep in source or path.is_file()


def _recipes() -> list[str]:
    return [row.name for row in list_recipes()]


def _presets() -> list[str]:
    return [row.name for row in list_presets()]


def _unknown(name: str, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(name, known, 1)
    return ConfigError(
        f"`NAME` must be one of {', '.join(known)}, or a .toml or .json file. Received: "
        f"NAME={name!r}. "
        + (f"Did you mean {near[0]!r}?" if near else "`nadam-suite ls` lists them.")
    )
