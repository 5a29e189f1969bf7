"""Where in the user's own code an error was raised, and the modules that a config names."""

from __future__ import annotations

import importlib
import os
import re
import sysconfig
import traceback
from pathlib import Path
from types import ModuleType

from nadam_suite.errors import ConfigError

__all__ = ["imported", "told"]

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_PACKAGE = Path(__file__).resolve().parents[1]
_STANDARD = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
_INSTALLED = {"site-packages", "dist-packages"}


def told(error: BaseException) -> str:
    """Return kind, text and place of an error that the user's code has raised.

    Args:
        error: The error, with its traceback.

    Example:

    >>> from nadam_suite.experiment.own_code import told
    >>> told(ValueError("no such color"))
    'ValueError: no such color'
    """
    if isinstance(error, SyntaxError) and error.filename:
        said, place = error.msg, f"{_short(error.filename)}:{error.lineno}"
    else:
        said, place = _in_a_line(str(error)), _place(error)
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return f"{text} ({place})" if place else text


def _in_a_line(text: str) -> str:
    """Return an error's text without the colours, line breaks and arguments that Keras adds."""
    plain = _COLOURS.sub("", text).partition("Arguments received by")[0]
    return " ".join(plain.split()).rstrip(".")


def imported(key: str, reference: str) -> tuple[ModuleType, str]:
    """Import the module of a "module:function", and return it with the function's name.

    Args:
        key: "model" or "data", for messages.
        reference: What the config said.

    Raises:
        ConfigError: There is no such module, or importing it failed.

    Example:

    >>> from nadam_suite.experiment.own_code import imported
    >>> imported("model", "json:loads")[0].__name__
    'json'
    """
    name, _, function = reference.partition(":")
    try:
        return importlib.import_module(name), function
    except Exception as error:  # importing runs the user's code, which may raise anything
        raised, remedy = _why(error, name)
        raise ConfigError(
            f"`{key}` must name a module that can be imported. Received: {key}={reference!r}, "
            f"which raised {raised}. {remedy}"
        ) from error


def _why(error: Exception, name: str) -> tuple[str, str]:
    """Return why a module could not be imported, and what to do."""
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent is None:
        return told(error), "Correct the module; `--debug` shows the whole traceback."
    if f"{name}.".startswith(f"{absent}."):
        what = f"{type(error).__name__}: {error}"
        return what, "Start the command in the folder of the module, or install it."
    return told(error), f"Install {absent!r}, or correct the import."


def _place(error: BaseException) -> str:
    """Return "file:line" of the innermost frame that is neither ours nor a library's."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if path.is_file() and _is_own(path.resolve()):
            found = f"{_short(path)}:{line}"
    return found


def _is_own(path: Path) -> bool:
    libraries = any(path.is_relative_to(folder) for folder in (_PACKAGE, *_STANDARD))
    return not libraries and not _INSTALLED & {*path.parts}


def _short(path: str | os.PathLike[str]) -> str:
    """Return a path as seen from the current folder, if it lies below that."""
    whole, here = Path(path).resolve(), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else whole)
