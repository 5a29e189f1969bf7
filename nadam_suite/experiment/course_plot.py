"""The course of a training's hyperparameters as a picture."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from nadam_suite.experiment.course import QUANTITIES, Course
from nadam_suite.experiment.plot import new_figure, save_figure

__all__ = ["plot_course"]

_POINTS = 4000  # of a line; the picture is about a thousand pixels wide
_LINE = 95  # characters of a title
_MARKS = 12  # more lines than this would hide the curve
_COLORS = {
    "learning_rate": "C0",
    "weight_decay": "C2",
    "decay_per_update": "C1",
    "beta_1": "C4",
    "momentum": "C3",
}


def plot_course(course: Course, path: Path, title: str) -> None:
    """Draw what varies over the steps, a panel for each quantity, into a PNG file.

    Args:
        course: The course; a long one is thinned.
        path: The file, which is replaced.
        title: Title of the picture.

    Example:

    >>> import pathlib, tempfile
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.experiment.course import course
    >>> from nadam_suite.experiment.course_plot import plot_course
    >>> from nadam_suite.schedules import TrainingPlan
    >>> path = pathlib.Path(tempfile.mkdtemp(), "schedule.png")
    >>> plot_course(course(Nadam(0.1), TrainingPlan(10, 2)), path, "constant")
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    shown = course.thinned(_POINTS)
    names = [name for name in course.values if course.varies(name)] or ["learning_rate"]
    figure = new_figure(8.0, 1.3 + 1.9 * len(names))
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        _draw(axis, shown, name)
    _label_steps(axes, course)
    lines = [textwrap.fill(text, _LINE) for text in (title, _subtitle(course, names))]
    figure.suptitle("\n".join(lines), fontsize=11)
    save_figure(figure, path)


def _draw(axis: Any, course: Course, name: str) -> None:
    values, color = course.values[name], _COLORS[name]
    dots = "." if len(values) <= 60 else ""
    axis.plot(course.step, values, color=color, linewidth=1.6, marker=dots)
    if course.varies(name):
        axis.fill_between(course.step, values, values.min(), color=color, alpha=0.1, linewidth=0)
    axis.set_title(QUANTITIES[name], loc="left", fontsize=10)
    low, high = float(values.min()), float(values.max())
    axis.set_title(f"{low:.4g} to {high:.4g}", loc="right", fontsize=9, color="0.35")
    axis.yaxis.set_major_formatter("{x:.6g}")
    axis.grid(alpha=0.25)
    axis.margins(y=0.1)
    marks = course.marks.get(name, ())
    for step, what in marks if len(marks) <= _MARKS else ():
        axis.axvline(step, color="0.45", linewidth=0.9, linestyle=(0, (4, 3)))
        late = step > 0.7 * course.plan.total_steps
        value = np.interp(step, course.step, values)
        axis.annotate(
            f"{what}: step {step:,}",
            (step, 0.07 if value > (low + high) / 2 else 0.86),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if late else 4, 0),
            textcoords="offset points",
            horizontalalignment="right" if late else "left",
            fontsize=8,
            color="0.25",
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1.0},
        )


def _label_steps(axes: Any, course: Course) -> None:
    """Give the lowest panel an axis of steps, and the highest one of epochs."""
    from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter

    plan = course.plan
    axes[-1].set_xlim(0, plan.total_steps)
    axes[-1].set_xlabel("step (batches)" if plan.accumulation > 1 else "step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    plain = plan.total_steps < 100_000
    formatter = StrMethodFormatter("{x:,.0f}") if plain else EngFormatter(sep="")
    axes[-1].xaxis.set_major_formatter(formatter)
    per_epoch = plan.steps_per_epoch
    if plan.epochs > 1:
        epochs = axes[0].secondary_xaxis(
            "top", functions=(lambda step: step / per_epoch, lambda epoch: epoch * per_epoch)
        )
        epochs.set_xlabel("epoch")
        epochs.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))


def _subtitle(course: Course, names: list[str]) -> str:
    """Return the length of the training and what stays constant, in a line."""
    fixed = [
        f"{QUANTITIES[name]} {value:.6g}"
        for name, value in course.constants().items()
        if name not in names
    ]
    return course.describe() + ("; constant: " + ", ".join(fixed) if fixed else "")
