"""Model files that are whole or not there, with the optimizer's state or without."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from nadam_suite.backends import get_backend
from nadam_suite.callbacks.files import write_beside
from nadam_suite.errors import ArgumentError, ArgumentTypeError

__all__ = ["checked_path", "formatted_path", "save_model", "without_optimizer"]


def checked_path(name: str, path: Any) -> str:
    """Return the path of a model file, which may have fields as in "{epoch}.keras".

    Raises:
        ArgumentError: It does not end in .keras.
        ArgumentTypeError: It is no path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(
            f"Argument `{name}` must be a path. Received: {name}={path!r} (of type "
            f'{type(path).__name__}). Pass for instance "run/{{epoch}}.keras".'
        )
    text = os.fspath(path)
    if not str(text).endswith(".keras"):
        raise ArgumentError(
            f"Argument `{name}` must end in .keras. Received: {name}={text!r}. Other formats do "
            "not hold a whole model."
        )
    return str(text)


def formatted_path(name: str, path: str, epoch: int, logs: dict[str, Any]) -> Path:
    """Return the path for an epoch, counted from 0; fields are `epoch`, from 1, and the metrics.

    Raises:
        ArgumentError: A field is no metric, or is malformed.

    Example:

    >>> from nadam_suite.callbacks.model_files import formatted_path
    >>> formatted_path("path", "{epoch:02d}-{loss:.2f}.keras", 0, {"loss": 0.5}).name
    '01-0.50.keras'
    """
    try:
        return Path(path.format(**{**logs, "epoch": epoch + 1}))
    except (KeyError, IndexError, ValueError) as error:
        raise ArgumentError(
            f"The fields of argument `{name}` must be epoch and metrics. Received: "
            f"{name}={path!r}, and the epoch has {sorted(logs)}: {type(error).__name__}: {error}. "
            "Correct the path, or pass validation data."
        ) from error


def save_model(model: keras.Model, path: Path) -> None:
    """Save a model beside `path`, bring it to the disk, and only then give it the name.

    All processes of a training must call this: reading some variables takes all of them. Only the
    chief's file stays.

    Raises:
        OSError: The file cannot be written; what was there before is untouched.
    """
    if get_backend().process()[0] != 0:
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder, path.name))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_beside(path, f".{path.stem}.tmp.keras", model.save)


@contextlib.contextmanager
def without_optimizer(model: keras.Model) -> Iterator[None]:
    """Let `model.save()` write a model that is compiled but has nothing of its optimizer.

    The file is a fraction of the size, and can be loaded and evaluated without this package. In
    it stands an SGD without momentum and with learning rate 0: what is trained further from such
    a file must be compiled first, and would stand still otherwise. A model that makes its optimizer
    in a `compile()` of its own is saved with all that belongs to it.
    """
    optimizer, config = model.optimizer, model.get_compile_config()
    if "optimizer" not in config:
        yield
        return
    nothing = keras.optimizers.SGD(0.0, name="compile_before_training")
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        nothing = keras.optimizers.LossScaleOptimizer(nothing)
    nothing.build(model.trainable_variables)
    config = {**config, "optimizer": keras.optimizers.serialize(nothing)}
    model.optimizer = nothing
    model.get_compile_config = lambda: config
    try:
        yield
    finally:
        del model.get_compile_config
        model.optimizer = optimizer
