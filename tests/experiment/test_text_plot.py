"""Curves of characters: as wide as asked for, labelled, and in the right place."""

from __future__ import annotations

import numpy as np
import pytest

from nadam_suite.experiment.text_plot import Axis, draw_curve, label_width, round_ticks

pytestmark = pytest.mark.once
X = np.arange(601)
AXES = [Axis("step", 1), Axis("epoch", 20)]


def heights(lines):
    """Per column of the drawing, the line of its highest dot; the last three lines are the axis."""
    curve = [line[line.index(next(c for c in line if c in "┤│+|")) + 1 :] for line in lines[:-3]]
    width = max(map(len, curve))
    rows = [line.ljust(width) for line in curve]
    return [next((i for i, row in enumerate(rows) if row[c] != " "), None) for c in range(width)]


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("width", [24, 40, 80, 120])
def test_a_ramp_rises_from_corner_to_corner(width, ascii_only):
    """It fills the width and no more, each column at least as high as the one before."""
    options = {"end": 600, "axes": AXES, "width": width, "ascii_only": ascii_only}
    lines = draw_curve(X, X / 600 * 3e-3, **options)
    assert max(map(len, lines)) == width
    assert len(lines) == 9 + 3
    tops = heights(lines)
    assert len(tops) == width - label_width(X / 600 * 3e-3) - 2
    assert tops[0] == 8
    assert tops[-1] == 0
    assert tops == sorted(tops, reverse=True)
    if ascii_only:
        assert "".join(lines).isascii()


def test_braille_dots_are_where_unicode_has_them():
    """Dots 1, 2, 3, 7 are the left column from the top, 4, 5, 6, 8 the right one: a ramp rises."""
    lines = draw_curve(X, X / 600, end=600, axes=AXES, width=60)
    curve = [line[line.index("┤" if "┤" in line else "│") + 1 :] for line in lines[:-3]]
    width = max(map(len, curve))
    dots = np.zeros((4 * len(curve), 2 * width), bool)
    for row, line in enumerate(curve):
        for column, cell in enumerate(line.replace(" ", "\u2800")):
            for number, (down, right) in enumerate(
                [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]
            ):
                if (ord(cell) - 0x2800) >> number & 1:
                    dots[4 * row + down, 2 * column + right] = True
    assert dots.any(axis=0).all()
    tops, bottoms = dots.argmax(axis=0), len(dots) - 1 - dots[::-1].argmax(axis=0)
    expected = len(dots) - 1 - np.arange(2 * width) * len(dots) // (2 * width)
    np.testing.assert_array_equal(bottoms, expected)
    assert np.all(bottoms - tops <= 1)


def test_labels_say_values_steps_and_epochs():
    """Top, middle and bottom on the left; round epochs with their steps below."""
    lines = draw_curve(X, X / 600 * 3e-3, end=600, axes=AXES, width=80)
    assert lines[0].startswith(" 0.003 ┤")
    assert lines[4].startswith("0.0015 ┤")
    assert lines[8].startswith("     0 ┤")
    assert lines[10].split() == ["step", "0", "100", "200", "300", "400", "500", "600"]
    assert lines[11].split() == ["epoch", "0", "5", "10", "15", "20", "25", "30"]
    for mark, step in zip("┬┬", ("100", "200"), strict=True):
        column = lines[10].index(step) + 1
        assert lines[9][column] == mark


def test_a_step_is_upright_and_single_extremes_are_seen():
    """One value among thousands still has its dot."""
    y = np.zeros(100_000)
    y[54_321] = 1.0
    lines = draw_curve(np.arange(100_000), y, end=100_000, axes=AXES[:1], width=60)
    tops = heights([*lines, ""])
    (column,) = [c for c, top in enumerate(tops) if top == 0]
    assert column == int(54_321 / 100_000 * len(tops))


def test_values_far_from_zero_use_the_whole_height():
    """The axis begins at zero only where the curve comes near it."""
    lines = draw_curve(X, 0.9 + X / 60_000, end=600, axes=AXES)
    assert lines[8].split()[0] == "0.9"
    lines = draw_curve(X, 0.2 + X / 600, end=600, axes=AXES)
    assert lines[8].split()[0] == "0"


def test_a_constant_curve_is_a_level_line():
    """Nothing is divided by the range of zero."""
    tops = heights(draw_curve(X, np.full(601, 0.5), end=600, axes=AXES))
    assert len(set(tops)) == 1


def test_margins_line_up():
    """Curves with the widest label's margin have their axes below each other."""
    margin = label_width(np.array([1e-7, 3.333e-5]))
    for y in (X * 1e-5, X * 1.0):
        lines = draw_curve(X, y, end=600, axes=AXES, margin=margin)
        assert lines[9].index("└") == margin + 1


@pytest.mark.parametrize(
    ("end", "most", "expected"),
    [
        (30, 4, [0, 10, 20, 30]),
        (30, 3, [0, 20]),
        (1, 5, [0, 1]),
        (0.5, 5, [0]),
        (10_000_000, 6, [0, 2_000_000, 4_000_000, 6_000_000, 8_000_000, 10_000_000]),
        (7, 100, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_ticks_are_round_integers(end, most, expected):
    """At most so many, none beyond the end."""
    assert round_ticks(end, most) == expected


def test_large_numbers_are_short():
    """Thousands and millions have letters, and fit below their ticks."""
    x = np.linspace(0, 10_000_000, 1000)
    lines = draw_curve(x, x, end=10_000_000, axes=[Axis("step", 1)], width=60)
    assert lines[-1].split() == ["step", "0", "2M", "4M", "6M", "8M", "10M"]
    lines = draw_curve(x, x, end=10_000_000, axes=[Axis("epoch", 100)], width=60)
    assert lines[-1].split() == ["epoch", "0", "20k", "40k", "60k", "80k", "100k"]
