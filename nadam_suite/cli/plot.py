"""`nadam-suite plot`: the course of learning rate, weight decay and momentum, before a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from nadam_suite.cli.backend import load_backend
from nadam_suite.cli.length import Length, load
from nadam_suite.cli.outputs import checked_output, write_output
from nadam_suite.cli.printing import print_json

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
    as_json: bool = False,
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
        as_json: Print the values as JSON, and everything else to stderr.
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
    if output is None and table is None and not (in_terminal or as_json):
        output = Path()
    if output is not None:
        output = checked_output("--output", output, picture, force=force)
    if table is not None:
        table = checked_output("--csv", table, f"{name}-schedule.csv", force=force)
    seen = preview(config, **length.options())
    used = course(seen.optimizer(), seen.plan, largest=_ENOUGH if table is None else LARGEST)
    console = Console(highlight=False, markup=False, stderr=as_json)
    if as_json:
        print_json({"name": name, **used.to_dict(), "notes": list(seen.notes)})
    for note in seen.notes:
        console.print(f"Note: {note}", soft_wrap=True)
    if in_terminal:
        _draw(console, used, name)
    if output is not None:
        path = output
        write_output("--output", path, lambda: plot_course(used, path, name))
        console.print(f"Wrote {path}", soft_wrap=True)
    if table is not None:
        write_output("--csv", table, lambda: used.write_csv(table))
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
