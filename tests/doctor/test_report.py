"""The table as text and as JSON: versions, both sides, and a summary that names surprises."""

from __future__ import annotations

import dataclasses
import io
import json

import keras
import pytest

import nadam_suite
from nadam_suite.doctor import Cell, CellResult, Observation, environment, render, to_json

CELL = Cell("K6/test", "Weights [stay] finite.", "bfloat16", lambda subject: None)
BROKEN = Observation(False, "TypeError: [no] such type " + "x" * 300)
KEPT = Observation(True, "off by 1e-08")
RESULT = CellResult(CELL, keras.backend.backend(), BROKEN, KEPT, 0.25)


def _text(results, width=160, **options):
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(render(results, **options))
    return out.getvalue()


def test_the_environment_names_backend_and_versions():
    """The results hold for these versions, so they are told."""
    here = environment()
    assert here["backend"] == keras.backend.backend()
    assert here["keras"] == keras.__version__
    assert here["nadam-suite"] == nadam_suite.__version__
    assert set(here) >= {"tensorflow", "jax", "torch", "python", "platform"}


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_shows_promise_setting_and_both_sides(width):
    """Each row has its words as they are, brackets too, and what was seen of both optimizers."""
    shown = _text([RESULT], width)
    words = " ".join(shown.replace("│", " ").split())
    assert "K6/test" in shown
    assert "[stay]" in words
    assert "✗ TypeError:" in words
    assert "[no]" in words
    assert "✓" in words
    assert f"Keras {keras.__version__} on {keras.backend.backend()}" in words
    assert max(map(len, shown.splitlines())) <= width


def test_details_of_kept_promises_are_shown_on_request():
    """What was measured where a promise is kept is left out, unless it is asked for."""
    assert KEPT.detail not in _text([RESULT])
    assert KEPT.detail in _text([RESULT], details=True)


def test_a_side_that_was_not_tried_is_a_dash():
    """Nothing is claimed about an optimizer that was not tried."""
    shown = _text([dataclasses.replace(RESULT, stock=None)])
    assert "–" in shown
    assert "keras.optimizers.Nadam keeps" not in shown


def test_the_summary_counts_and_names_surprises():
    """The last line says how many promises are kept, and which cells are not as expected."""
    assert "nadam_suite.Nadam keeps 1 of 1 promises." in _text([RESULT])
    surprising = dataclasses.replace(RESULT, stock=KEPT, ours=BROKEN)
    shown = " ".join(_text([surprising]).split())
    assert "broken by nadam_suite: K6/test" in shown
    assert "otherwise than expected of this Keras: K6/test" in shown
    assert "No promise was tried." in _text([])


def test_json_has_everything():
    """Programs read the environment, the summary, and both observations in full."""
    table = json.loads(to_json([RESULT, dataclasses.replace(RESULT, stock=None)]))
    assert table["environment"] == environment()
    first, second = table["cells"]
    assert first["id"] == "K6/test"
    assert first["promise"] == CELL.title
    assert first["stock"] == {"holds": False, "detail": BROKEN.detail}
    assert first["ours"] == {"holds": True, "detail": KEPT.detail}
    assert first["stock_expected"] is False
    assert first["seconds"] == 0.25
    assert second["stock"] is None
