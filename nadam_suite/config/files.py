"""Config files: read JSON and TOML with the line of a fault, and never overwrite unasked."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nadam_suite.config import faults
from nadam_suite.config.base import Config
from nadam_suite.config.nadam_config import WORD_NONE_KEYS, NadamConfig
from nadam_suite.config.overrides import apply_overrides
from nadam_suite.config.train_config import TrainConfig
from nadam_suite.errors import ConfigError, DataFileError

__all__ = ["load_config", "parse", "read_table", "save_config", "to_toml"]

_SUFFIXES = (".json", ".toml")
_TRAIN_KEYS = frozenset(TrainConfig.model_fields) - frozenset(NadamConfig.model_fields)


def load_config(
    path: str | os.PathLike[str],
    overrides: Iterable[str] = (),
    *,
    kind: type[Config] | None = None,
) -> Any:
    """Return the config in a file.

    Args:
        path: A `.json` or `.toml` file.
        overrides: Changes such as "epochs=3"; see `apply_overrides`.
        kind: `NadamConfig` or `TrainConfig`. Found out from the keys by default: a file with keys
            of a training, such as `model` or `epochs`, is a `TrainConfig`.

    Raises:
        DataFileError: The file cannot be read.
        ConfigError: It is no JSON or TOML, or the settings have faults; all of them are listed.

    Example:
    >>> import tempfile, pathlib
    >>> from nadam_suite import load_config
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "optimizer.toml"
    >>> _ = path.write_text("learning_rate = 3e-4")
    >>> load_config(path, ["use_ema=true"]).use_ema
    True
    """
    values = apply_overrides(read_table(path), overrides)
    if kind is None:
        kind = TrainConfig if _TRAIN_KEYS & values.keys() else NadamConfig
    return kind.from_dict(values, source=str(path))


def save_config(config: Config, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a config into a file, whole or not at all.

    TOML has no null: keys whose value is None are left out, and `momentum_decay`, whose default is
    a number, is written as "none".

    Args:
        config: What to write.
        path: A `.json` or `.toml` file in an existing folder.
        overwrite: Whether an existing file may be replaced.

    Raises:
        DataFileError: The file exists, or cannot be written.
        ConfigError: TOML cannot hold a value.

    Example:
    >>> import tempfile, pathlib
    >>> from nadam_suite import NadamConfig, load_config, save_config
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "optimizer.json"
    >>> save_config(NadamConfig(learning_rate=3e-4), path)
    >>> load_config(path) == NadamConfig(learning_rate=3e-4)
    True
    """
    path = Path(path)
    text = config.to_json() + "\n" if _suffix(path) == ".json" else to_toml(config)
    written = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with written.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _publish(written, path, overwrite=overwrite)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            written.unlink()


def read_table(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a JSON or TOML file holds, without any check of its keys.

    Args:
        path: A file whose name ends in .json or .toml.

    Raises:
        DataFileError: The file cannot be read.
        ConfigError: It is no JSON or TOML; the message has the line and the column.

    Example:
    >>> import pathlib, tempfile
    >>> from nadam_suite.config import read_table
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "nadam.toml"
    >>> length = path.write_text("beta_1 = 0.95")
    >>> read_table(path)
    {'beta_1': 0.95}
    """
    path = Path(path)
    suffix = _suffix(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataFileError(f"There is no file {str(path)!r}. {_neighbour(path)}") from None
    except OSError as error:
        raise DataFileError(
            f"File {str(path)!r} cannot be read ({error.strerror}). Check its name and permissions."
        ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"File {str(path)!r} is no UTF-8 text (byte {error.start}). Save it as UTF-8."
        ) from None
    return parse(text, suffix, str(path))


def parse(text: str, suffix: str, source: str) -> dict[str, Any]:
    """Return the table that a text holds.

    Args:
        text: The text.
        suffix: ".json" or ".toml".
        source: What the message calls it.

    Raises:
        ConfigError: It is not of that format; the message has the line and the column.
    """
    try:
        if suffix == ".toml":
            return tomllib.loads(text)
        values = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at (.*)\)$", str(error))
        what = str(error)[: place.start()].strip() if place else str(error)
        where = place[1] if place else "somewhere"
        where = where.replace("end of document", f"the end, line {len(text.splitlines())}")
        raise _broken("TOML", what, where, source) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _broken("JSON", error.msg, where, source) from None
    except RecursionError:
        raise ConfigError("Tables are nested too deeply. Flatten them.", source) from None
    except ConfigError as error:
        raise ConfigError(error.faults, source) from None
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"The file must hold a table. Received: {faults.show(values)}. "
            "Put keys and values into braces.",
            source,
        )
    return dict(values)


def _broken(format_: str, what: str, where: str, source: str) -> ConfigError:
    return ConfigError(f"This is no valid {format_}: {what} ({where}). Correct it there.", source)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that occurs twice, of which JSON would keep the last one silently."""
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ConfigError(
                f"Key `{key}` occurs twice. Received: {key}={faults.show(table[key])} and "
                f"{key}={faults.show(value)}. Remove one of them."
            )
        table[key] = value
    return table


def _refuse_constant(name: str) -> float:
    raise ConfigError(f"{name} is no value of JSON. Received: {name}. Write a finite number.")


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise DataFileError(
            f"A config's file name must end in .json or .toml. Received: {str(path)!r}. "
            f"Rename it, for instance to {path.with_suffix('.toml').name!r}."
            if path.name
            else f"A config's file name must not be empty. Received: {str(path)!r}. Name a file."
        )
    return suffix


def _neighbour(path: Path) -> str:
    """Return a sentence about the file that was probably meant."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in _SUFFIXES]
    except OSError:
        return f"There is no folder {str(path.parent)!r} either. Check the path."
    near = faults.nearest(path.name, sorted(names))
    return f"Did you mean {near!r}?" if near else "Check the path."


def to_toml(config: Config) -> str:
    """Return a config as the text that `save_config` writes.

    Args:
        config: The config.

    Example:
    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.config.files import to_toml
    >>> to_toml(TrainConfig(model="digits", data="digits")).splitlines()[0]
    'model = "digits"'
    """
    import tomli_w

    return tomli_w.dumps(_without_null(config.to_dict()))


def _without_null(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table without its None values, but for the key that has another default."""
    result: dict[str, Any] = {}
    for key, value in table.items():
        if value is None:
            if key in WORD_NONE_KEYS:
                result[key] = "none"
        elif isinstance(value, Mapping):
            result[key] = _without_null(value)
        elif isinstance(value, list):
            result[key] = [_without_null(v) if isinstance(v, Mapping) else v for v in value]
        else:
            result[key] = value
    return result


def _publish(written: Path, path: Path, *, overwrite: bool) -> None:
    """Give a written file its name in one step; without `overwrite`, only if the name is free."""
    if overwrite:
        written.replace(path)
        return
    try:
        os.link(written, path)  # fails where the name is taken, even by a process in between
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError from None
        written.replace(path)


def _exists(path: Path) -> DataFileError:
    return DataFileError(
        f"File {str(path)!r} exists and was left as it is. Choose another name, or pass "
        "overwrite=True."
    )


def _unwritable(path: Path, error: OSError) -> DataFileError:
    return DataFileError(
        f"File {str(path)!r} cannot be written ({error.strerror}). Check that its folder exists "
        "and may be written to."
    )
