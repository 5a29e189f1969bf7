"""Line charts as inline SVG, whose colours follow the page and whose text can be read aloud."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from html import escape

__all__ = ["Curve", "chart", "ticks"]

_WIDTH, _HEIGHT = 360.0, 210.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 10.0, 8.0, 34.0
_COLOURS = 8
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_DOTS = 40  # points of a curve up to which each is marked
_LEGEND = 12
_DECADES = 2.0  # from which on an axis of positive numbers is logarithmic


@dataclasses.dataclass(frozen=True)
class Curve:
    """A curve.

    Args:
        label: Its name in the legend.
        points: Places and values; what is not finite leaves a gap.
        colour: Number of its colour, from 0; they repeat after eight.
        dash: Number of its dashes, from 0, which has none.
    """

    label: str
    points: tuple[tuple[float, float], ...]
    colour: int = 0
    dash: int = 0


def chart(title: str, curves: Sequence[Curve], across: str = "epoch") -> str:
    """Return a figure with its legend.

    Numbers that are all positive and span two powers of ten or more have a logarithmic axis.

    Args:
        title: What is drawn.
        curves: The curves, with at least one finite point among them.
        across: Name of the horizontal axis.

    Example:

    >>> from nadam_suite.experiment.report.chart import Curve, chart
    >>> drawn = chart("loss", [Curve("training", ((1, 0.5), (2, 0.25)))])
    >>> drawn.startswith("<figure>"), 'training: 0.25 at 2' in drawn
    (True, True)
    """
    points = [p for curve in curves for p in curve.points if math.isfinite(p[1])]
    if not points:
        return ""
    log = _is_log([y for _, y in points])
    frame = _Frame.around(points, log=log)
    scale = ", logarithmic" if log else ""
    told = f"{title}{scale}, over {across}. " + "; ".join(
        _told(curve) for curve in curves[:_LEGEND] if curve.points
    )
    lines = [*frame.grid(), *(_line(curve, frame, across) for curve in curves)]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    lines.append(
        f'<text x="{middle:g}" y="{_HEIGHT - 4:g}" text-anchor="middle">{escape(across)}</text>'
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>\n"
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(told)}">\n'
        + "\n".join(lines)
        + f"\n</svg>\n{_legend(curves)}</figure>"
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers in a range, about so many.

    Args:
        low: Lower end.
        high: Upper end, above it.
        count: How many at most, about.

    Example:

    >>> from nadam_suite.experiment.report.chart import ticks
    >>> ticks(0.13, 0.92)
    [0.2, 0.4, 0.6, 0.8]
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1.0, 2.0, 2.5, 5.0, 10.0) if f * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    digits = 12 - math.floor(math.log10(step))
    return [round(index * step, digits) for index in range(first, last + 1)]


@dataclasses.dataclass(frozen=True)
class _Frame:
    """The axes: from numbers to places."""

    left: float
    right: float
    low: float
    high: float
    log: bool

    @classmethod
    def around(cls, points: Sequence[tuple[float, float]], *, log: bool) -> _Frame:
        """Return axes that hold all points, with a margin above and below."""
        xs = [x for x, _ in points]
        ys = [math.log10(y) if log else y for _, y in points]
        left, right, low, high = min(xs), max(xs), min(ys), max(ys)
        if left == right:
            left, right = left - 0.5, right + 0.5
        margin = 0.06 * (high - low)
        if high - low <= 1e-9 * max(abs(low), abs(high)):
            margin = 0.1 * abs(high) or 0.5
        return cls(left, right, low - margin, high + margin, log)

    def x(self, value: float) -> float:
        """Return where a place is on the horizontal axis."""
        share = (value - self.left) / (self.right - self.left)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return where a value is on the vertical axis."""
        value = math.log10(value) if self.log else value
        share = (value - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def grid(self) -> list[str]:
        """Return the lines of the grid with their numbers."""
        marks = ticks(self.low, self.high)
        if self.log:
            powers = [10.0**p for p in range(math.ceil(self.low), math.floor(self.high) + 1)]
            marks = powers[:: -(-len(powers) // 5)]
        bottom, end = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        found = []
        for mark in marks:
            y = self.y(mark)
            found.append(f'<path class="grid" d="M{_LEFT:g} {y:.1f}H{end:g}"/>')
            found.append(
                f'<text x="{_LEFT - 5:g}" y="{y + 4:.1f}" text-anchor="end">{_short(mark)}</text>'
            )
        for mark in _whole(self.left, self.right):
            x = self.x(mark)
            found.append(f'<path class="axis" d="M{x:.1f} {bottom:g}v4"/>')
            found.append(
                f'<text x="{x:.1f}" y="{bottom + 15:g}" text-anchor="middle">{_short(mark)}</text>'
            )
        return [*found, f'<path class="axis" d="M{_LEFT:g} {bottom:g}H{end:g}"/>']


def _is_log(values: Sequence[float]) -> bool:
    low, high = min(values), max(values)
    return low > 0.0 and math.log10(high) - math.log10(low) >= _DECADES


def _line(curve: Curve, frame: _Frame, across: str) -> str:
    """Return one curve with its points, each of which tells its number when pointed at."""
    pieces: list[list[str]] = [[]]
    dots = []
    colour = f"var(--c{curve.colour % _COLOURS})"
    finite = [p for p in curve.points if math.isfinite(p[1])]
    for x, y in curve.points:
        if not math.isfinite(y):
            pieces.append([])
            continue
        place = f"{frame.x(x):.1f} {frame.y(y):.1f}"
        pieces[-1].append(place)
        if len(finite) <= _DOTS:
            left, top = place.split()
            told = escape(f"{curve.label}, {across} {x:g}: {y:.6g}")
            dots.append(
                f'<circle cx="{left}" cy="{top}" r="2" fill="{colour}"><title>{told}</title>'
                "</circle>"
            )
    path = "".join("M" + "L".join(piece) for piece in pieces if piece)
    dash = _DASHES[curve.dash % len(_DASHES)]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    drawn = f'<path class="curve" stroke="{colour}"{dashes} d="{path}"/>' if path else ""
    return drawn + "".join(dots)


def _legend(curves: Sequence[Curve]) -> str:
    """Return the names of the curves, if there are several and not too many."""
    if len(curves) < 2:
        return ""
    items = []
    for curve in curves[:_LEGEND]:
        dash = _DASHES[curve.dash % len(_DASHES)]
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        stroke = f'stroke="var(--c{curve.colour % _COLOURS})"{dashes}'
        items.append(
            f'<li><svg viewBox="0 0 26 8" aria-hidden="true"><path class="curve" {stroke} '
            f'd="M0 4H26"/></svg>{escape(curve.label)}</li>'
        )
    if len(curves) > _LEGEND:
        items.append(f"<li>and {len(curves) - _LEGEND} more</li>")
    return f'<ul class="legend">{"".join(items)}</ul>\n'


def _told(curve: Curve) -> str:
    x, y = curve.points[-1]
    return f"{curve.label}: {y:.4g} at {x:g}"


def _whole(left: float, right: float) -> list[float]:
    """Return marks of an axis of epochs or steps, which are whole."""
    found = ticks(left, right, 6) if right > left else [left]
    return [mark for mark in found if mark == int(mark)] or [float(math.ceil(left))]


def _short(value: float) -> str:
    """Return a number for an axis, in few characters."""
    text = f"{value:.4g}"
    if "e" in text:
        head, _, tail = text.partition("e")
        return f"{head}e{int(tail)}"
    if value and abs(value) < 1e-3:
        head, _, tail = f"{value:.3e}".partition("e")
        return f"{float(head):g}e{int(tail)}"
    return text
