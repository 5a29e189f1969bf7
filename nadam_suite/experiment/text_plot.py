"""A curve drawn with characters: braille dots, or plain ASCII where there is nothing better."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

__all__ = ["Axis", "Style", "draw_curve", "label_width", "round_ticks"]


@dataclasses.dataclass(frozen=True)
class Style:
    """The characters of a drawing.

    Args:
        columns: Dots beside each other in a character.
        rows: Dots above each other.
        cells: Characters by the number whose bits are the dots, the top left one the lowest, row
            by row.
        upright: Line of the vertical axis.
        label: Where a label meets it.
        corner: Where it meets the horizontal one.
        level: Line of the horizontal axis.
        tick: Where a label meets that one.
    """

    columns: int
    rows: int
    cells: str
    upright: str
    label: str
    corner: str
    level: str
    tick: str


def _braille() -> str:
    """Return the braille patterns in the order of `Style.cells`; Unicode counts by columns."""
    bits = (0, 3, 1, 4, 2, 5, 6, 7)
    patterns = (sum(1 << bits[d] for d in range(8) if cell >> d & 1) for cell in range(256))
    return "".join(chr(0x2800 + pattern) for pattern in patterns).replace("\u2800", " ")


BRAILLE = Style(2, 4, _braille(), "│", "┤", "└", "─", "┬")
ASCII = Style(1, 3, " '-'.|.|", "|", "+", "+", "-", "+")


@dataclasses.dataclass(frozen=True)
class Axis:
    """A row of labels below a curve.

    Args:
        name: What is counted.
        per_unit: Steps in one of it.
    """

    name: str
    per_unit: float


def draw_curve(
    x: np.ndarray,
    y: np.ndarray,
    *,
    end: float,
    axes: Sequence[Axis],
    width: int = 80,
    height: int = 9,
    margin: int = 0,
    ascii_only: bool = False,
) -> list[str]:
    r"""Return the lines of a drawing of a curve over [0, end].

    Args:
        x: Where the curve is known, increasing.
        y: Its values.
        end: Where the horizontal axis ends, in units of x.
        axes: Rows of labels; the ticks are round numbers of the last one.
        width: Columns of the whole drawing, at least 24.
        height: Lines of the curve alone, an odd number >= 3.
        margin: Least number of columns for the labels on the left, see `label_width`.
        ascii_only: Use no other characters.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.experiment.text_plot import Axis, draw_curve
    >>> x = np.arange(33)
    >>> options = {"end": 32, "axes": [Axis("step", 1)], "width": 32, "ascii_only": True}
    >>> print("\n".join(draw_curve(x, x / 32, height=5, **options)))
       1 +                    ...-''
         |               ...-''
     0.5 +          ...'''
         |     ..-'''
       0 +..-'''
         ++-------+-------+-------+-
    step  0      10      20      30
    """
    style = ASCII if ascii_only else BRAILLE
    low, high = _range(y)
    places = (0, height // 2, height - 1)
    texts = dict(zip(places, _labels(low, high), strict=True))
    margin = max(margin, label_width(y), *(len(axis.name) for axis in axes))
    columns = max(width - margin - 2, 8)
    dots = _dots(x, y, end, (low, high), columns * style.columns, height * style.rows)
    lines = [
        f"{texts.get(row, ''):>{margin}} {style.label if row in texts else style.upright}{cells}"
        for row, cells in enumerate(_cells(dots, style))
    ]
    return [line.rstrip() for line in [*lines, *_scale(end, axes, columns, margin, style)]]


def label_width(y: np.ndarray) -> int:
    """Return the width of the labels of a curve, so that several can be drawn in line.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.experiment.text_plot import label_width
    >>> label_width(np.array([0.0, 0.003]))
    6
    """
    return max(map(len, _labels(*_range(y))))


def round_ticks(end: float, most: int) -> list[int]:
    """Return round integers from 0 to at most `end`, not more than `most` of them.

    Example:

    >>> from nadam_suite.experiment.text_plot import round_ticks
    >>> round_ticks(600, 5)
    [0, 200, 400, 600]
    """
    least = max(end / max(most - 1, 1), 1.0)
    power = 10 ** math.floor(math.log10(least))
    stride = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    return list(range(0, math.floor(end) + 1, int(stride)))


def _range(y: np.ndarray) -> tuple[float, float]:
    """Return the ends of the vertical axis: from zero, unless that would flatten the curve."""
    low, high = float(y.min()), float(y.max())
    if 0.0 <= low <= 0.4 * high:
        low = 0.0
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _labels(low: float, high: float) -> list[str]:
    return [f"{value:.4g}" for value in (high, (high + low) / 2, low)]


def _dots(
    x: np.ndarray,
    y: np.ndarray,
    end: float,
    limits: tuple[float, float],
    columns: int,
    rows: int,
) -> np.ndarray:
    """Return which dots are set, by row from the top and column."""
    low, high = limits
    edges = np.linspace(0.0, end, columns + 1)
    at_edges = np.interp(edges, x, y)
    inside = np.clip((x / end * columns).astype(int), 0, columns - 1)
    least = np.minimum(at_edges[:-1], at_edges[1:])
    most = np.maximum(at_edges[:-1], at_edges[1:])
    np.minimum.at(least, inside, y)
    np.maximum.at(most, inside, y)
    level = [np.clip((part - low) / (high - low) * rows, 0, rows - 1) for part in (least, most)]
    first, last = (part.astype(int)[None, :] for part in level)
    row = np.arange(rows)[::-1, None]
    return (first <= row) & (row <= last)


def _cells(dots: np.ndarray, style: Style) -> list[str]:
    """Return one line of characters for so many rows of dots."""
    rows, columns = dots.shape
    cells = dots.reshape(rows // style.rows, style.rows, columns // style.columns, style.columns)
    bits = 1 << np.arange(style.rows * style.columns).reshape(style.rows, 1, style.columns)
    numbers = (cells * bits).sum(axis=(1, 3))
    return ["".join(style.cells[number] for number in line) for line in numbers]


def _scale(end: float, axes: Sequence[Axis], columns: int, margin: int, style: Style) -> list[str]:
    """Return the horizontal axis and its labels."""
    unit = axes[-1].per_unit
    widest = max(len(_short(end / axis.per_unit)) for axis in axes)
    ticks = [tick * unit for tick in round_ticks(end / unit, max(columns // (widest + 3), 2))]
    places = [min(round(tick / end * columns), columns - 1) for tick in ticks]
    line = [style.level] * columns
    for place in places:
        line[place] = style.tick
    lines = [" " * (margin + 1) + style.corner + "".join(line)]
    for axis in axes:
        row = [" "] * (columns + margin + 2)
        row[:margin] = f"{axis.name:>{margin}}"
        for tick, place in zip(ticks, places, strict=True):
            text = _short(tick / axis.per_unit)
            # In the middle below its tick, but inside of the drawing.
            start = place + margin + 2 - len(text) // 2
            start = max(min(start, len(row) - len(text)), margin + 1)
            row[start : start + len(text)] = text
        lines.append("".join(row))
    return lines


def _short(number: float) -> str:
    """Return a number for a tick, thousands and millions by their letters."""
    for size, least, letter in ((1e6, 1e6, "M"), (1e3, 1e4, "k")):
        if number >= least:
            return f"{number / size:.5g}{letter}"
    return f"{number:.5g}"
