"""Pictures of a search: importances, the score along each hyperparameter, all trials at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nadam_suite.experiment.plot import new_figure, save_figure
from nadam_suite.tuner.importance import Importances
from nadam_suite.tuner.search_record import Dimension, SearchRecord, TrialRecord

__all__ = ["plot_importances", "plot_parallel", "plot_slices", "ticks"]

_COLUMNS = 4
_BEST, _TOP, _REST, _FAILED = "C3", "C0", "0.75", "C1"
_OFF = -0.12  # where a line passes the axis of what its trial does not have


def plot_importances(found: Importances, path: Path) -> None:
    """Draw a bar for each hyperparameter with the standard deviation of its importance.

    Args:
        found: The importances. Where nothing can be said, the picture says why.
        path: PNG file, which is replaced.

    Example:

    >>> import pathlib, tempfile
    >>> from nadam_suite.tuner.importance import Importance, Importances
    >>> from nadam_suite.tuner.report_plots import plot_importances
    >>> path = pathlib.Path(tempfile.mkdtemp(), "importance.png")
    >>> rows = (Importance("learning_rate", 0.8, 0.1), Importance("epsilon", 0.01, 0.02))
    >>> plot_importances(Importances(rows, 0.7, 24), path)
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    if not found.rows:
        _write_text(found.note or "", path)
        return
    figure = new_figure(7.5, 1.3 + 0.38 * len(found.rows))
    axis = figure.subplots()
    places = np.arange(len(found.rows))
    axis.barh(
        places,
        [max(row.mean, 0.0) for row in found.rows],
        xerr=[row.std for row in found.rows],
        color=[_TOP if row.clear else _REST for row in found.rows],
        error_kw={"ecolor": "0.25", "capsize": 3, "elinewidth": 1},
    )
    axis.set_yticks(places, [row.name for row in found.rows])
    axis.invert_yaxis()
    axis.set_xlim(left=0.0)
    axis.set_xlabel("share of the scores' variance (gray: cannot be told from none)")
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    figure.suptitle(f"Importance, from {found.trials} trials", fontsize="medium")
    save_figure(figure, path)


def plot_slices(record: SearchRecord, path: Path) -> None:
    """Draw the score of each trial over each hyperparameter.

    Args:
        record: The search.
        path: PNG file, which is replaced.
    """
    dimensions = record.varied
    if not dimensions or not record.ranked:
        _write_text("There are no trials with a score to draw.", path)
        return
    rows = -(-len(dimensions) // _COLUMNS)
    columns = -(-len(dimensions) // rows)
    figure = new_figure(max(3.4 * columns, 6.8) + 0.9, 3.1 * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    limits = _limits(record, margin=0.05)
    drawn = None
    for axis, dimension in zip(axes.ravel(), dimensions, strict=False):
        drawn = _slice(axis, dimension, record, limits) or drawn
    for axis in axes.ravel()[len(dimensions) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel(record.objective)
    if drawn is not None and len(record.trials) > 1:
        _number(figure, drawn, axes)
    lost = " Crosses on the edge: trials that failed." if record.failed else ""
    title = f"{record.objective} of each trial. Star: the best.{lost}"
    if any(not limits[0] <= (trial.score or 0.0) <= limits[1] for trial in record.ranked):
        title += " Triangles: scores beyond the edge."
    figure.suptitle(title, fontsize="medium")
    save_figure(figure, path)


def _number(figure: Any, drawn: Any, axes: Any) -> None:
    """Add the bar of the colours of trials, which are numbered in the order of their start."""
    from matplotlib.ticker import MaxNLocator

    bar = figure.colorbar(drawn, ax=axes, label="trial, in the order of their start", shrink=0.9)
    bar.locator = MaxNLocator(7, integer=True)
    bar.update_ticks()


def _slice(axis: Any, dimension: Dimension, record: SearchRecord, limits: Sequence[float]) -> Any:
    """Draw one hyperparameter, and return the points, by whose colours trials are numbered."""
    order = {trial.id: number for number, trial in enumerate(record.trials)}
    there = [t for t in record.trials if dimension.level(t.values) is not None]
    scored = [trial for trial in there if trial.ended_well]
    inside = [trial for trial in scored if limits[0] <= (trial.score or 0.0) <= limits[1]]
    drawn = axis.scatter(
        [_place(dimension, trial, order) for trial in inside],
        [trial.score for trial in inside],
        c=[order[trial.id] for trial in inside],
        cmap=_blues(),
        vmin=0,
        vmax=max(len(order) - 1, 1),
        s=26,
        edgecolors="0.35",
        linewidths=0.5,
        zorder=2,
    )
    worst = limits[0] if record.direction == "max" else limits[1]
    beyond = [_place(dimension, trial, order) for trial in scored if trial not in inside]
    marker = "v" if record.direction == "max" else "^"
    edge = {"clip_on": False, "zorder": 3, "s": 26}
    axis.scatter(beyond, [worst] * len(beyond), marker=marker, c="0.4", **edge)
    failed = [_place(dimension, trial, order) for trial in there if trial.failed]
    axis.scatter(failed, [worst] * len(failed), marker="x", c=_FAILED, **edge)
    best = record.best
    if best is not None and best in scored:
        axis.scatter(
            [_place(dimension, best, order)], [best.score], marker="*", s=170, c=_BEST, zorder=4
        )
    axis.set_ylim(*limits)
    _horizontal(axis, dimension)
    return drawn if inside else None


def _blues() -> Any:
    """Return colours for numbers, of which the lightest can still be seen on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["Blues"](np.linspace(0.25, 1.0, 64)))


def _place(dimension: Dimension, trial: TrialRecord, order: dict[str, int]) -> float:
    """Return a trial's place on the horizontal axis; of few values trials lie beside each other.

    A value beyond an end, which the config's own may be, is drawn at it.
    """
    value = trial.values[dimension.name]
    if dimension.low is not None and dimension.high is not None:
        return min(max(float(value), dimension.low), dimension.high)
    width = 0.5 / max(len(dimension.values) - 1, 1)
    return dimension.position(value) + width * ((order[trial.id] * 0.618034) % 1.0 - 0.5)


def _horizontal(axis: Any, dimension: Dimension) -> None:
    """Give the horizontal axis the scale and the ends of the range."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    axis.set_title(dimension.label, fontsize="medium")
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize="small")
    if dimension.low is None or dimension.high is None:
        count = len(dimension.values)
        places = [dimension.position(value) for value in dimension.values]
        texts = [_short(value) for value in dimension.values]
        crowded = sum(map(len, texts)) > 24
        axis.set_xticks(places, texts, rotation=30 if crowded else 0)
        axis.set_xlim(-0.5 / max(count - 1, 1), 1.0 + 0.5 / max(count - 1, 1))
        return
    if dimension.sampling == "log":
        axis.set_xscale("log")
        places = [10.0**power for power in _powers(dimension.low, dimension.high)]
        if len(places) < 2:
            places = [dimension.low, math.sqrt(dimension.low * dimension.high), dimension.high]
        axis.set_xticks(places[:: -(-len(places) // 5)])
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        margin = (dimension.high / dimension.low) ** 0.04
        axis.set_xlim(dimension.low / margin, dimension.high * margin)
        return
    margin = 0.04 * (dimension.high - dimension.low)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=dimension.kind == "int"))
    axis.set_xlim(dimension.low - margin, dimension.high + margin)


def plot_parallel(record: SearchRecord, path: Path, top: int | None = None) -> None:
    """Draw each trial as a line through its values, in their own scales, to its score.

    Args:
        record: The search.
        path: PNG file, which is replaced.
        top: How many of the best are coloured; by default a tenth, and at least three.
    """
    dimensions, ranked = record.varied, record.configurations
    if not dimensions or not ranked:
        _write_text("There are no trials with a score to draw.", path)
        return
    top = min(top or max(3, -(-len(ranked) // 10)), len(ranked))
    figure = new_figure(max(1.55 * (len(dimensions) + 1) + 1.2, 6.5), 5.2)
    axis = figure.subplots()
    low, high = _limits(record)
    for trial in record.failed:
        places = _line(trial, dimensions)
        axis.plot(range(len(places)), places, color=_FAILED, linestyle=":", linewidth=0.9, zorder=1)
    for rank, trial in reversed(list(enumerate(ranked))):
        score = min(max(trial.score or 0.0, low), high)
        end = (score - low) / (high - low)
        places = [*_line(trial, dimensions), end if record.direction == "max" else 1.0 - end]
        colour = _BEST if rank == 0 else _TOP if rank < top else _REST
        width = 2.6 if rank == 0 else 1.5 if rank < top else 0.8
        axis.plot(range(len(places)), places, color=colour, linewidth=width, zorder=3 - rank / 1e4)
    for place, dimension in enumerate(dimensions):
        _vertical(axis, place, ticks(dimension))
    ends = [(0.0, f"{high:.4g}"), (0.5, f"{(low + high) / 2:.4g}"), (1.0, f"{low:.4g}")]
    if record.direction == "max":
        ends = [(1.0 - height, text) for height, text in ends]
    _vertical(axis, len(dimensions), ends)
    names = [dimension.label for dimension in dimensions]
    axis.set_xticks(range(len(names) + 1), [*map(_folded, names), _folded(record.objective)])
    axis.tick_params(axis="x", length=0, pad=6, labelsize="small", labeltop=True, labelbottom=False)
    axis.set_yticks([])
    axis.set_xlim(-0.25, len(names) + 0.55)
    missing = any(None in (d.level(t.values) for d in dimensions) for t in record.trials)
    axis.set_ylim((_OFF if missing else 0.0) - 0.05, 1.05)
    axis.spines[:].set_visible(False)
    if missing:
        axis.axhline(_OFF, color="0.85", linewidth=0.8, zorder=0)
        axis.text(-0.22, _OFF, "off", fontsize="small", va="center", color="0.4")
    failed = "; dotted: trials that failed" if record.failed else ""
    figure.suptitle(
        f"Red: the best trial; blue: the best {top} of {len(ranked)}{failed}", fontsize="medium"
    )
    save_figure(figure, path)


def _line(trial: TrialRecord, dimensions: Sequence[Dimension]) -> list[float]:
    """Return where a trial's line passes each axis."""
    levels = (dimension.level(trial.values) for dimension in dimensions)
    return [_OFF if level is None else level for level in levels]


def _vertical(axis: Any, place: int, marks: Sequence[tuple[float, str]]) -> None:
    """Draw one vertical axis with its marks."""
    axis.plot([place, place], [0.0, 1.0], color="0.35", linewidth=1.0, zorder=4)
    for height, text in marks:
        axis.plot([place - 0.02, place + 0.02], [height, height], color="0.35", zorder=4)
        axis.text(
            place + 0.04,
            height,
            text,
            fontsize="small",
            va="center",
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        )


def ticks(dimension: Dimension) -> list[tuple[float, str]]:
    """Return round values of a range with their positions in it, at most about seven.

    Args:
        dimension: The hyperparameter.

    Example:

    >>> from nadam_suite.tuner.report_plots import ticks
    >>> from nadam_suite.tuner.search_record import Dimension
    >>> ticks(Dimension("rate", "float", "rate", low=1e-4, high=1e-2, sampling="log"))
    [(0.0, '0.0001'), (0.5, '0.001'), (1.0, '0.01')]
    """
    from matplotlib.ticker import MaxNLocator

    if dimension.low is None or dimension.high is None:
        values: list[Any] = list(dimension.values)
        values = values[:: -(-len(values) // 7)]
    elif dimension.sampling == "linear":
        locator = MaxNLocator(4, integer=dimension.kind == "int")
        values = _with_ends(dimension, locator.tick_values(dimension.low, dimension.high))
    else:
        powers = [10.0**power for power in _powers(dimension.low, dimension.high)]
        values = _with_ends(dimension, powers[:: -(-len(powers) // 5)] if powers else [])
    return [(round(dimension.position(value), 12), _short(value)) for value in values]


def _with_ends(dimension: Dimension, values: Iterable[float]) -> list[float]:
    """Return both ends of a range, and those of the values that are not too near to one."""
    low, high = dimension.low or 0.0, dimension.high or 0.0
    inside = (float(value) for value in values if low < value < high)
    far = [value for value in inside if 0.07 < dimension.position(value) < 0.93]
    return [low, *far, high]


def _powers(low: float, high: float) -> range:
    """Return the powers of ten between two ends."""
    return range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)


def _short(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 16 else text[:15] + "…"


def _folded(name: str) -> str:
    """Return a name in lines that fit between two axes."""
    lines = [""]
    for part in name.replace("_", "_ ").replace("/", "/ ").replace("[", " [").split():
        if lines[-1] and len(lines[-1]) + len(part) > 14:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _limits(record: SearchRecord, margin: float = 0.0) -> tuple[float, float]:
    """Return the ends of the scores' axis, so that a few bad ones do not flatten the others."""
    sign = -1.0 if record.direction == "max" else 1.0
    scores = sign * np.array([trial.score for trial in record.ranked], float)
    lower, upper = np.quantile(scores, (0.25, 0.75))
    least = float(scores.min())
    most = min(float(scores.max()), float(upper + 1.5 * (upper - lower)))
    if upper == lower:
        most = float(scores.max())
    spread = most - least
    beyond = margin * spread if spread else 0.05 * abs(most) or 0.05
    ends = sign * (least - beyond), sign * (most + beyond)
    return min(ends), max(ends)


def _write_text(text: str, path: Path) -> None:
    """Write a picture that says why there is nothing to see."""
    figure = new_figure(7.5, 1.2)
    figure.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    save_figure(figure, path)
