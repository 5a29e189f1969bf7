"""`nadam-suite plot`: the course of learning rate, weight decay and momentum, before a training."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from nadam_suite.cli.backend import load_backend
from nadam_suite.cli.length import Length, load
from nadam_suite.errors import DataFileError

if TYPE_CHECKING:
    from nadam_suite.experiment.course import Course

__all__ = ["plot"]

_ENOUGH = 100_000  # updates that are looked at for a picture alone
_DRAWN = 4000  # of which so many are drawn
_NARROWEST = 24


def plot(
    source: str,
    overrides: Sequence[str],
    *,
    length: Length,
    output: Path | None = None,
    table: Path | None = None,
    in_terminal: bool = False,
    force: bool = False,
    backend: str | None = None,
) -> None:
    """Draw what each update of a training will use, and write it as a table.

    Args:
        source: Name of a recipe or preset, or a config file.
        overrides: Changes to the config.
        length: Length of the training, where the config does not say it.
        output: Picture to write. None is <name>-schedule.png, or no picture if another form is
            asked for.
        table: CSV file to write, one row per update.
        in_terminal: Draw with characters.
        force: Replace files that exist.
        backend: Framework, or None for the one that Keras is set to.

    Raises:
        DataFileError: A file exists already, or cannot be written.
    """
    load_backend(backend)
    from nadam_suite.experiment.course import LARGEST, course
    from nadam_suite.experiment.course_plot import plot_course
    from nadam_suite.experiment.preview import preview

    name, config = load(source, overrides)
    picture = f"{name}-schedule.png"
    if output is None and table is None and not in_terminal:
        output = Path()
    if output is not None:
        output = _checked("--output", output, picture, force=force)
    if table is not None:
        table = _checked("--csv", table, f"{name}-schedule.csv", force=force)
    seen = preview(config, **length.options())
    used = course(seen.optimizer(), seen.plan, largest=_ENOUGH if table is None else LARGEST)
    console = Console(highlight=False, markup=False)
    for note in seen.notes:
        console.print(f"Note: {note}", soft_wrap=True)
    if in_terminal:
        _draw(console, used, name)
    if output is not None:
        path = output
        _write("--output", path, lambda: plot_course(used, path, name))
        console.print(f"Wrote {path}", soft_wrap=True)
    if table is not None:
        _write("--csv", table, lambda: used.write_csv(table))
        of = "" if used.complete else f" of {used.plan.total_updates:,}, evenly spread"
        console.print(f"Wrote {table}: {len(used.update):,} updates{of}", soft_wrap=True)


def _draw(console: Console, used: Course, name: str) -> None:
    """Draw what varies with characters, and print what does not in a line each."""
    from nadam_suite.experiment.course import QUANTITIES
    from nadam_suite.experiment.text_plot import Axis, draw_curve, label_width

    shown, plan = used.thinned(_DRAWN), used.plan
    axes = [Axis("step", 1)]
    if plan.epochs > 1:
        axes.append(Axis("epoch", plan.steps_per_epoch))
    console.print(Text(f"{name}: {used.describe()}", "bold"))
    varying = {name: values for name, values in shown.values.items() if shown.varies(name)}
    margin = max(map(label_width, varying.values()), default=0)
    for quantity, values in varying.items():
        marks = (f"; {what} at step {step:,}" for step, what in used.marks.get(quantity, ()))
        head = f"{QUANTITIES[quantity]}: {values.min():.4g} to {values.max():.4g}"
        console.print()
        console.print(head + "".join(marks))
        lines = draw_curve(
            shown.step,
            values,
            end=plan.total_steps,
            axes=axes,
            margin=margin,
            width=max(console.width, _NARROWEST),
            ascii_only=console.options.ascii_only,
        )
        console.print("\n".join(lines), soft_wrap=True)
    console.print()
    for quantity, value in used.constants().items():
        console.print(f"{QUANTITIES[quantity]}: {value:.6g}, constant")


def _checked(option: str, path: Path, default: str, *, force: bool) -> Path:
    """Return the file to write, in a folder under its default name, if nothing stands against it.

    Raises:
        DataFileError: It exists and is not to be replaced, has another suffix, or its folder
            cannot be written to.
    """
    if path.is_dir():
        path = path / default
    shown, suffix = f"{option}={str(path)!r}", Path(default).suffix
    if path.suffix.lower() != suffix:
        raise DataFileError(
            f"The name of a file for `{option}` must end in {suffix}. Received: {shown}. Choose "
            f"for instance {str(path.with_suffix(suffix))!r}."
        )
    if path.is_dir() or (path.exists() and not force):
        remedy = "Choose another name" if path.is_dir() else "Pass --force to replace it"
        raise DataFileError(
            f"The file of `{option}` must not exist yet. Received: {shown}, which was left as it "
            f"is. {remedy}, or name another one with {option}."
        )
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        what = "may not be written to" if path.parent.is_dir() else "is no folder"
        raise DataFileError(
            f"The file of `{option}` must lie in a folder that may be written to. Received: "
            f"{shown}, but {str(path.parent)!r} {what}. Choose another place with {option}."
        )
    return path


def _write(option: str, path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise DataFileError(
            f"The file of `{option}` must be writable. Received: {option}={str(path)!r}: "
            f"{error.strerror or error}. Choose another place with {option}."
        ) from error
