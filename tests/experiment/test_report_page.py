"""The page of a report: whole in itself, well formed, and with every section and number."""

from __future__ import annotations

import itertools
import math
import re
from html.parser import HTMLParser

import pytest

from nadam_suite.experiment.report import page, read_runs
from nadam_suite.experiment.report.chart import Curve, chart, ticks
from tests.experiment.fake_runs import make, session

pytestmark = pytest.mark.once

SECTIONS = [
    "results",
    "curves",
    "schedules",
    "updates-and-gradients",
    "loss-scale",
    "timing",
    "config",
    "environment",
    "numbers",
]
EVIL = "<script>alert('1')</script> & \"x\""


class Page(HTMLParser):
    """Checks that tags are closed in order, and gathers what is there."""

    VOID = ("meta", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sections, self.labels, self.texts = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        assert not set(values) & {"src", "href", "onclick", "onload"}
        if tag == "section":
            self.sections.append(values["id"])
        if values.get("role") == "img":
            self.labels.append(values["aria-label"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def shown(tmp_path):
    """The page of some runs."""

    def show(*runs):
        return Page(page(read_runs(runs)))

    return show


def test_one_run_has_every_section_and_chart(tmp_path, shown):
    """Curves raw and averaged, schedules, norms by layer, times, config, environment."""
    found = shown(make(tmp_path / "run", scale=True, precision="mixed_float16"))
    assert found.sections == SECTIONS
    assert "script" not in found.tags
    labels = "\n".join(found.labels)
    for name in ("loss", "accuracy", "learning rate", "weight decay", "beta 1", "momentum"):
        assert f"{name}" in labels
    assert "validation, averages: 0.7333 at 3; validation, raw weights: 0.8 at 3" in labels
    assert "update over weights, by layer, over epoch. hidden: 0.01 at 3; out: 0.05 at 3" in labels
    assert "loss scale of the next step" in labels
    assert "skipped steps of the epoch" in labels
    assert "seconds of an epoch" in labels
    assert len(found.labels) == found.tags.count("figure")
    text = "".join(found.texts)
    assert 'kind = "ema"' in text
    assert "0.9" in text
    assert "3.15.1" in text


def test_several_runs_are_overlaid_and_compared(tmp_path, shown):
    """One chart for each metric and kind of weights, a curve for each run."""
    runs = [make(tmp_path / f"seed-{seed}", seed=seed) for seed in (0, 1)]
    found = shown(*runs)
    assert found.sections == [
        "results",
        "differences-of-the-configs",
        "differences-of-the-environments",
        *SECTIONS[1:],
    ]
    labels = "\n".join(found.labels)
    assert "loss, validation, averages, over epoch. seed-0: 0.7333 at 3; seed-1:" in labels
    text = "".join(found.texts)
    assert "0.85 ± 0.071" in text
    assert "All of them are alike." in text
    assert "There was no loss scale" in text


def test_a_run_without_an_epoch_has_a_page_too(tmp_path, shown):
    """It says what there is not."""
    failed = session("failed", 0, f"ValueError: {EVIL}")
    found = shown(make(tmp_path / "run", trained=0, result=False, sessions=[failed]))
    assert found.sections == SECTIONS
    assert found.labels == []
    text = "".join(found.texts)
    assert f"Failed: ValueError: {EVIL}; 0 of 3 epochs." in text
    assert "No epoch has ended yet." in text


def test_nothing_that_is_shown_is_taken_for_html(tmp_path, shown):
    """Names of runs and what is in their files."""
    run = make(tmp_path / "<script>x", environment={"platform": EVIL}, name="a")
    found = shown(run, make(tmp_path / "b&c"))
    assert "script" not in found.tags
    text = "".join(found.texts)
    assert EVIL in text
    assert "<script>x" in text


def test_the_page_asks_for_nothing(tmp_path):
    """No address of any kind, no script, no import."""
    text = page(read_runs([make(tmp_path / "run")]))
    assert not re.search(r"https?:|//|@import|url\(|<script|<link", text)
    assert text == page(read_runs([tmp_path / "run"]))
    assert "prefers-color-scheme: dark" in text


def test_ticks_are_round_and_within_the_range():
    """For ranges of any size, and about as many as asked for."""
    for low, high in ((0.0, 1.0), (0.13, 0.92), (-5.0, 1e6), (1e-9, 3e-9), (99.5, 100.5)):
        marks = ticks(low, high)
        assert 2 <= len(marks) <= 7
        assert all(low - 1e-9 * abs(low) <= m <= high + 1e-9 * abs(high) for m in marks)
        steps = {f"{b - a:.6e}" for a, b in itertools.pairwise(marks)}
        assert len(steps) == 1


def places(drawn):
    """The points of the first curve, from its path."""
    path = re.search(r'class="curve"[^>]* d="([^"]*)"', drawn).group(1)
    return [
        [tuple(map(float, p.split())) for p in piece.split("L")] for piece in path[1:].split("M")
    ]


def test_a_curve_is_drawn_where_its_numbers_are():
    """Evenly spaced numbers are evenly spaced, higher ones higher up, gaps are gaps."""
    points = ((1, 1.0), (2, 2.0), (3, math.nan), (4, 4.0), (5, 3.0))
    first, second = places(chart("loss", [Curve("a", points)]))
    assert [len(first), len(second)] == [2, 2]
    (x1, y1), (x2, y2) = first
    (x4, y4), (x5, y5) = second
    assert x2 - x1 == pytest.approx(x5 - x4, abs=0.11)
    assert y1 - y2 == pytest.approx(y5 - y4, abs=0.11)
    assert y4 < y5 < y2 < y1
    assert 0 < x1 < x5 <= 360
    assert 0 < y4 < y1 < 210


def test_numbers_over_many_powers_of_ten_have_a_logarithmic_axis():
    """Equal factors are equal distances, and the label says so."""
    drawn = chart("rate", [Curve("a", ((1, 1.0), (2, 0.1), (3, 0.01)))])
    ((_, y1), (_, y2), (_, y3)) = places(drawn)[0]
    assert y2 - y1 == pytest.approx(y3 - y2, abs=0.11)
    assert "rate, logarithmic, over epoch" in drawn
    assert "logarithmic" not in chart("rate", [Curve("a", ((1, 1.0), (2, 0.0)))])


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-30, 1e30])
def test_one_point_and_constant_curves_are_drawn(value):
    """In the middle, with numbers on the axis."""
    for points in (((1, value),), ((1, value), (2, value))):
        drawn = chart("flat", [Curve("a", points)])
        assert "nan" not in drawn.lower()
        assert drawn.count("<circle") == len(points)
    assert chart("none", [Curve("a", ((1, math.nan),))]) == ""


def test_of_many_curves_the_legend_has_the_first():
    """The others are counted."""
    drawn = chart("x", [Curve(f"run {n}", ((1, n), (2, n))) for n in range(20)])
    assert "run 11</li>" in drawn
    assert "run 12</li>" not in drawn
    assert "and 8 more" in drawn
