"""Reports on searches: what is said, the page, the pictures, and the best trial's config."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import json
import math
import re

import keras_tuner
import pytest

from nadam_suite.tuner import report_plots
from nadam_suite.tuner.importance import Importance, Importances
from nadam_suite.tuner.report import FILES, SearchReport, boundaries, report
from nadam_suite.tuner.report_html import page
from nadam_suite.tuner.report_plots import plot_parallel, plot_slices, ticks
from nadam_suite.tuner.search_record import CONFIGURED, Dimension, SearchRecord
from tests.tuner.recorded import (
    ALL,
    DECAY,
    FLAG,
    KIND,
    RATE,
    WIDTH,
    changed,
    formula,
    record,
    stock,
)

pytestmark = pytest.mark.once

NOTHING = Importances((), None, 0, "Nothing <can> be said.")


def reported(found, importances=NOTHING):
    return SearchReport(found, importances, boundaries(found))


def at(values, count=30, dimensions=ALL, best=3):
    """A search whose best trials have these values, and whose others are anywhere."""
    found = record(lambda v, r: 10 + r.random(), count, dimensions)
    first = {
        f"_{n:02}": {
            "score": float(n),
            "values": {**found.trials[n].values, **values[n % len(values)]},
        }
        for n in range(best)
    }
    return changed(found, **first)


def test_best_trials_at_an_end_of_a_range_are_a_warning():
    """In the range's own scale, with the number of trials, the end, and what to do."""
    found = boundaries(at([{"rate": 0.09, "decay": 1.0, "width": 30}]))
    assert "".join(map(str, found)) == (
        "rate: 3 of the 3 best trials lie at its upper end 0.1. Better values may lie beyond it: "
        "widen the range upwards and search again in another folder."
    )
    low = boundaries(at([{"rate": 1.2e-4, "decay": 0.05, "width": 30}]))
    assert [(b.name, b.end, b.value) for b in low] == [
        ("rate", "lower", 1e-4),
        ("decay", "lower", 0.0),
    ]
    # A thousandth of the range, but a third of its decades.
    assert not boundaries(at([{"rate": 1e-3, "decay": 1.0, "width": 30}]))


def test_most_of_the_best_must_lie_there():
    """Two of three, but neither one nor some at either end; of many trials a tenth is looked at."""
    end, middle, other = ({"rate": r, "decay": 1.0, "width": 30} for r in (0.1, 0.003, 1e-4))
    assert [(b.hits, b.looked) for b in boundaries(at([end, end, middle]))] == [(2, 3)]
    assert not boundaries(at([end, middle, middle]))
    assert not boundaries(at([end, middle, other]))
    assert [(b.hits, b.looked) for b in boundaries(at([end], 60, best=6))] == [(6, 6)]
    assert not boundaries(at([end], 60, best=3))


def test_few_trials_have_no_best_ones():
    """Half of them at the most."""
    end = {"rate": 0.1, "decay": 1.0, "width": 30}
    assert boundaries(at([end], 6))
    assert not boundaries(at([end], 5))


def test_of_few_values_all_must_be_the_outermost():
    """And of words, or of two values, none is an end."""
    batch = Dimension("batch", "choice", "batch", values=(8, 16, 32), ordered=True)
    dimensions = (batch, KIND, FLAG)
    found = at([{"batch": 32, "kind": "wsd", "flag": True}], 12, dimensions)
    assert [(b.name, b.end, b.value) for b in boundaries(found)] == [("batch", "upper", 32)]
    assert not boundaries(at([{"batch": 32}, {"batch": 32}, {"batch": 16}], 12, dimensions))
    two = dataclasses.replace(batch, values=(8, 16))
    assert not boundaries(at([{"batch": 16}], 12, (two,)))


def test_trials_that_go_on_with_one_another_are_one_configuration():
    """Three rungs of the same values are no three best trials."""
    found = at([{"rate": 0.1, "decay": 1.0, "width": 30}], 8)
    rungs = {"_00": {"past": "01"}, "_01": {"past": "02"}}
    assert boundaries(found)
    assert not boundaries(changed(found, **rungs))


def test_the_summary_counts_and_compares():
    """How trials ended, the best one, and what the default point had."""
    found = changed(
        record(lambda v, r: 1 + r.random(), 8, (RATE,)),
        _00={"origin": "default", "score": 0.75},
        _01={"score": 0.0123456789},
        _02={"status": "FAILED", "score": None, "reason": "Diverged: val_loss is nan"},
        _03={"status": "FAILED", "score": None, "reason": "OSError: full"},
        _04={"status": "RUNNING", "score": None},
    )
    assert reported(found).summary() == [
        "8 trials: 5 ended well, 1 diverged, 1 failed, 1 not finished.",
        "The least val_loss: 0.0123457, of trial 01.",
        "At the default point of the space (trial 00): 0.75.",
    ]
    most = reported(dataclasses.replace(found, direction="max")).summary()
    assert most[1].startswith("The greatest val_loss: ")
    nothing = reported(dataclasses.replace(found, trials=())).summary()
    assert nothing == [
        "0 trials: none yet.",
        "No trial has ended well yet, so there is none to recommend.",
    ]


def test_the_best_trial_is_compared_with_the_config_as_it_is():
    """The config's trial and the centre of the preset are named as such, and the best is told."""
    found = changed(
        record(lambda v, r: 1 + r.random(), 8, (RATE,)),
        _00={"origin": CONFIGURED, "score": 0.5},
        _01={"origin": "centre of preset wide", "score": 0.75},
        _02={"score": 0.25},
    )
    assert reported(found).summary()[1:] == [
        "The least val_loss: 0.25, of trial 02.",
        "As configured (trial 00): 0.5.",
        "At the centre of preset wide (trial 01): 0.75.",
    ]
    better = "Trial 02 is better than the config as it is: val_loss 0.25, as configured 0.5"
    assert reported(found).verdict() == f"{better} (trial 00)."
    none = "No trial is better than the config as it is (trial 00, val_loss 0.5)."
    assert reported(changed(found, _02={"score": 0.6})).verdict() == none
    failed = changed(found, _00={"score": None, "status": "FAILED", "reason": "Diverged: x"})
    assert reported(failed).summary()[2] == "As configured (trial 00): no score."
    assert "as configured no score (trial 00)" in reported(failed).verdict()
    assert reported(changed(found, _00={"origin": None})).verdict() is None


def test_plain_data_is_json_whatever_the_scores_are():
    """And has all that the screen shows."""
    found = changed(
        at([{"rate": 0.1, "decay": 1.0, "width": 30}], 8),
        _05={"score": math.nan, "metrics": {"val_loss": math.inf}, "reason": "Diverged: x"},
        _01={"metrics": {"loss": math.nan}},
    )
    rows = Importances((Importance("rate", 0.9, 0.1), Importance("decay", 0.1, 0.1)), 0.8, 7)
    table = json.loads(json.dumps(reported(found, rows).to_dict(2), allow_nan=False))
    assert [row["id"] for row in table["ranked"]] == ["00", "01"]
    assert [row["rank"] for row in table["ranked"]] == [1, 2]
    assert table["ranked"][1]["metrics"] == {"loss": None}
    assert table["trials"]["ended_well"] == 7
    assert table["failed"][0]["id"] == "05"
    assert table["failed"][0]["metrics"] == {"val_loss": None}
    assert table["boundaries"][0]["message"].startswith("rate: 3 of the 3 best")
    assert [row["clear"] for row in table["importances"]["rows"]] == [True, False]


class Page(html.parser.HTMLParser):
    """What a browser would see: tags with their attributes, and the text of cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data)


EVIL = "<script>alert('1')</script> & \"x\""


def evil():
    """A search all of whose names and texts are markup."""
    dimensions = (
        Dimension(EVIL, "float", EVIL, low=0.0, high=1.0),
        Dimension("kind", "choice", "kind", values=(EVIL, "b")),
    )
    searched = dataclasses.replace(record(lambda v, r: v[EVIL], 9, dimensions), objective=EVIL)
    found = changed(
        searched,
        _01={"origin": EVIL},
        _02={"status": "FAILED", "reason": EVIL, "score": None},
        _03={"status": "RUNNING", "score": None},
    )
    return dataclasses.replace(found, notes=(EVIL,), folder=found.folder / "<script>")


def test_the_page_is_whole_in_itself_and_escapes_what_it_shows():
    """No script, no file of elsewhere, every tag closed, every name as it is."""
    rows = Importances((Importance(EVIL, 0.9, 0.1),), 0.8, 7)
    pictures = {"importance": b"first", "slices": b"second", "parallel": b"third"}
    text = page(reported(evil(), rows), pictures)
    seen = Page(text)
    assert seen.open == []
    assert "script" not in {tag for tag, _ in seen.tags}
    sources = [given["src"] for tag, given in seen.tags if tag == "img"]
    data = [source.removeprefix("data:image/png;base64,") for source in sources]
    assert [base64.b64decode(part) for part in data] == [b"first", b"second", b"third"]
    assert all(given["alt"] for tag, given in seen.tags if tag == "img")
    assert not {"href", "onload", "onclick"} & {name for _, given in seen.tags for name in given}
    assert "url(" not in text
    assert "http" not in text
    assert sum(shown == EVIL for shown in seen.texts) >= 6


def test_the_page_has_the_trials_by_rank_and_what_failed():
    """With values, points, warnings, and why there is no importance."""
    found = changed(
        at([{"rate": 0.1, "decay": 1.0, "width": 30}], 8),
        _00={"origin": "winner-1", "best_step": 4},
        _05={"status": "FAILED", "score": None, "reason": "OSError: full"},
    )
    pictures = dict.fromkeys(("importance", "slices", "parallel"), b"")
    text = page(reported(found), pictures)
    shown = Page(text).texts
    order = [trial.id for trial in found.configurations]
    assert [cell for cell in shown if re.fullmatch(r"0\d", cell)][: len(order)] == order
    for part in ("winner-1", "best epoch", "OSError: full", "Nothing <can> be said."):
        assert part in shown
    assert any(part.startswith("rate: 3 of the 3 best trials") for part in shown)
    assert text.count("<img") == 2


def test_a_report_is_four_files(tmp_path):
    """The page has the pictures that lie beside it; another report replaces them."""
    _, folder = stock(keras_tuner.RandomSearch, tmp_path, formula, max_trials=10)
    found = report(folder)
    for _ in range(2):
        written = found.write(tmp_path / "new" / "report")
    assert [path.name for path in written] == list(FILES)
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted(FILES)
    seen = Page(written[0].read_text(encoding="utf-8"))
    inside = [
        base64.b64decode(given["src"].partition(",")[2]) for tag, given in seen.tags if tag == "img"
    ]
    pictures = [path.read_bytes() for path in written[1:]]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert inside == pictures[-len(inside) :]
    assert len(inside) >= 2


def test_a_search_without_any_score_is_reported_on(tmp_path):
    """As it is before its first trial has ended."""
    found = SearchRecord(tmp_path, "score", "min", ALL, ())
    reported(found).write(tmp_path / "report")
    assert (tmp_path / "report" / "report.html").exists()


ODD = {
    "one trial": lambda: record(lambda v, r: 1.0, 1),
    "equal scores": lambda: record(lambda v, r: 0.0, 9),
    "negative and huge": lambda: record(lambda v, r: -1e12 * r.random(), 12, direction="max"),
    "one outlier": lambda: changed(record(lambda v, r: r.random(), 12), _03={"score": 1e30}),
    "within a decade": lambda: record(
        lambda v, r: r.random(), 5, (dataclasses.replace(RATE, low=2e-3, high=8e-3),)
    ),
    "reverse log": lambda: record(
        lambda v, r: r.random(), 5, (dataclasses.replace(DECAY, low=0.1, sampling="reverse_log"),)
    ),
    "many values": lambda: record(
        lambda v, r: r.random(), 9, (dataclasses.replace(KIND, values=tuple("abcdefghijklmn")),)
    ),
    "names to be escaped": lambda: dataclasses.replace(evil(), objective="a $x$ _{b}"),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_searches_can_be_drawn(tmp_path, case):
    """Without a warning, and as pictures."""
    found = ODD[case]()
    plot_slices(found, tmp_path / "slices.png")
    plot_parallel(found, tmp_path / "parallel.png")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


@pytest.mark.parametrize("count", [2, 3, 24])
def test_trials_are_numbered_as_in_the_tables(tmp_path, monkeypatch, count):
    """The marks beside the bar of colours are different whole numbers, from 0 to the last trial."""
    seen = []
    monkeypatch.setattr(report_plots, "save_figure", lambda figure, path: seen.append(figure))
    plot_slices(record(lambda v, r: r.random(), count, (RATE,)), tmp_path / "slices.png")
    (bar,) = [axis for axis in seen[0].axes if "order of their start" in axis.get_ylabel()]
    low, high = bar.get_ylim()
    assert (low, high) == (0, count - 1)
    marks = [label.get_text() for label in bar.get_yticklabels()]
    inside = [text for text, at in zip(marks, bar.get_yticks(), strict=True) if low <= at <= high]
    assert inside[0] == "0"
    assert inside == [str(int(text)) for text in dict.fromkeys(inside)]


def test_marks_of_an_axis_are_round_values_and_its_ends():
    """In its own scale, none too near to another."""
    rate = dataclasses.replace(RATE, low=9e-5, high=0.05)
    assert [text for _, text in ticks(rate)] == ["9e-05", "0.001", "0.01", "0.05"]
    assert [text for _, text in ticks(WIDTH)] == ["1", "20", "40", "64"]
    assert [text for _, text in ticks(KIND)] == ["cosine", "linear", "wsd"]
    assert [place for place, _ in ticks(KIND)] == [0.0, 0.5, 1.0]
