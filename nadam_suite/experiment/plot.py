"""The curves of a run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nadam_suite.callbacks.files import replace_file

__all__ = ["new_figure", "plot_curves", "save_figure"]

_COLUMNS = 4


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure, without pyplot, which would choose a window system for the process.

    Args:
        width: In inches.
        height: In inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path, dpi: int = 110) -> None:
    """Write a figure into a PNG file, which is replaced as a whole."""
    replace_file(path, lambda file: figure.savefig(file, format="png", dpi=dpi))


def plot_curves(history: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """Draw each metric over the epochs, training and validation in one panel, into a PNG file.

    What has the same value in all of several epochs, such as a constant momentum, is left out.

    Args:
        history: One row per epoch; names that begin with "val_" are of the validation, with
            "val_raw_" of that of the raw weights, where the other is of their averages.
        path: The file, which is replaced.
        title: Title of the picture.

    Example:

    >>> import pathlib, tempfile
    >>> from nadam_suite.experiment.plot import plot_curves
    >>> path = pathlib.Path(tempfile.mkdtemp(), "curves.png")
    >>> plot_curves([{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 0.5}], path, "run")
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    from matplotlib.ticker import MaxNLocator

    panels = _panels(history)
    rows = -(-len(panels) // _COLUMNS)
    columns = -(-len(panels) // rows)
    figure = new_figure(4.5 * columns, 3.6 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        for name, label in _curves(panel, history):
            points = [(row["epoch"] + 1, row[name]) for row in history if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=label, marker=".", linewidth=1.2)
        axis.set_xlabel("epoch")
        axis.set_title(panel.replace("_", " "))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if len(axis.lines) > 1:
            axis.legend()
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(title)
    save_figure(figure, path)


def _curves(panel: str, history: Sequence[Mapping[str, float]]) -> list[tuple[str, str]]:
    """Return the names of a panel's curves, and their labels."""
    validation, raw = f"val_{panel}", f"val_raw_{panel}"
    if any(raw in row for row in history):
        both = [(validation, "validation, averages"), (raw, "validation, raw weights")]
        return [(panel, "training"), *both]
    return [(panel, "training"), (validation, "validation")]


def _panels(history: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the names of the panels, at least one."""
    names = list(dict.fromkeys(name for row in history for name in row if name != "epoch"))
    training = [name for name in names if not name.startswith("val_")] or names
    varying = [
        name
        for name in training
        if len(history) == 1
        or f"val_{name}" in names
        or len({row[name] for row in history if name in row}) > 1
    ]
    return varying or training or [""]
