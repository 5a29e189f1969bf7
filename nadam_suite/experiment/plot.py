"""The curves of a run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nadam_suite.callbacks.files import replace_file

__all__ = ["plot_curves"]


def plot_curves(history: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """Draw each metric over the epochs, training and validation in one panel, into a PNG file.

    Args:
        history: One row per epoch; names that begin with "val_" are of the validation.
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
    # The figure is made without pyplot, which would choose a window system for the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(name for row in history for name in row if name != "epoch"))
    panels = [name for name in names if not name.startswith("val_")] or names
    figure = Figure(figsize=(4.5 * max(len(panels), 1), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=False):
        for name, label in ((panel, "training"), (f"val_{panel}", "validation")):
            points = [(row["epoch"] + 1, row[name]) for row in history if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=label, marker=".", linewidth=1.2)
        axis.set_xlabel("epoch")
        axis.set_title(panel.replace("_", " "))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if panel != "learning_rate":
            axis.legend()
    figure.suptitle(title)
    replace_file(path, lambda file: figure.savefig(file, format="png", dpi=110))
