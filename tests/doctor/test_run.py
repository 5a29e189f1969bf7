"""Running cells: which are chosen, what counts as broken, and what is left behind."""

from __future__ import annotations

import dataclasses
import logging
import random
import warnings

import keras
import numpy as np
import pytest

from nadam_suite.doctor import (
    CELLS,
    Cell,
    Observation,
    observe,
    ours,
    run,
    run_cells,
    select,
    stock,
)
from nadam_suite.doctor.cell import BACKENDS
from nadam_suite.doctor.run import lacking
from nadam_suite.errors import ArgumentError

BACKEND = keras.backend.backend()


def _cell(probe, **fields):
    return Cell("K0/test", "A promise.", "a setting", probe, **fields)


def test_rows_and_cells_are_selected_in_any_case():
    """A row brings all its cells, a cell itself alone."""
    assert [cell.id for cell in select(["k6"])] == ["K6/bfloat16", "K6/float16"]
    assert [cell.id for cell in select(["K6/Float16"])] == ["K6/float16"]
    assert [cell.id for cell in select("K33")] == ["K33/typed", "K33/saved"]


def test_rows_are_in_the_order_of_their_numbers():
    """K7 comes before K16, every K row before the D rows, and R rows at the end."""
    rows = list(dict.fromkeys(cell.row for cell in CELLS))
    assert rows == sorted(rows, key=lambda row: ("KDTR".index(row[0]), int(row[1:])))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_has_its_own_cells(backend):
    """Only cells that concern a backend are selected for it."""
    chosen = select(backend=backend)
    assert chosen == [cell for cell in CELLS if backend in cell.backends]
    assert 0 < len(chosen) < len(CELLS)


def test_unknown_ids_are_refused_with_the_rows():
    """A misspelt id is named, and the rows are listed."""
    with pytest.raises(ArgumentError, match=r"(?s)`ids`.*'K999'.*K6, K7"):
        select(["K6", "K999"])


def test_unknown_backends_are_refused():
    """A backend that has no cells is named, with those that have."""
    with pytest.raises(ArgumentError, match=r"`backend`.*tensorflow, jax, torch.*'numpy'"):
        select(backend="numpy")


def test_another_backend_is_refused_with_the_remedy():
    """A running process cannot try another backend; the message says how to."""
    other = next(name for name in BACKENDS if name != BACKEND)
    with pytest.raises(ArgumentError, match=f"KERAS_BACKEND={other}"):
        run_cells(["K33"], backend=other)


def test_an_unknown_side_is_refused():
    """Only stock, ours or both can be tried."""
    with pytest.raises(ArgumentError, match="which='theirs'"):
        run_cells(["K33"], which="theirs")


@pytest.mark.parametrize("which", ["stock", "ours"])
def test_one_side_can_be_tried_alone(which):
    """The side that is not asked for has no observation."""
    (result,) = run_cells(["K33/typed"], which=which)
    assert (result.stock is None, result.ours is None) == (which == "ours", which == "stock")
    assert result.as_promised
    assert result.stock_as_expected


def test_results_come_as_they_are_measured():
    """`progress` sees every result, in order, and the list has the same ones."""
    seen = []
    results = run_cells(["K33/typed", "K27/range"], backend=BACKEND, progress=seen.append)
    assert seen == results
    assert [result.cell.id for result in results] == ["K27/range", "K33/typed"]


@pytest.mark.skipif(BACKEND == "torch", reason="the slow cells concern the other two backends")
def test_slow_cells_can_be_left_out():
    """Without the slow cells no other process is started."""
    assert any(cell.slow for cell in select(["K31/file"], BACKEND))
    assert run_cells(["K31/file"], slow=False) == []


def test_a_cell_may_need_a_newer_keras():
    """What an older release cannot build is not tried, and no promise is broken by that."""
    probe = next(cell for cell in CELLS if cell.id == "K33/typed").probe
    assert lacking(_cell(probe, since="99.1.0")) == ["Keras 99.1.0"]
    assert lacking(_cell(probe, since="3.0.0")) == []
    assert lacking(_cell(probe, needs=("no_such_module",))) == ["no_such_module"]


def test_what_is_lacking_is_left_out(monkeypatch):
    """A cell that cannot be tried has no result."""
    monkeypatch.setattr(run, "lacking", lambda cell: ["Keras 99.1.0"] * (cell.id == "K33/saved"))
    assert [result.cell.id for result in run_cells(["K33"])] == ["K33/typed"]


def test_an_exception_is_an_observation():
    """A probe that raises has seen a broken promise; its first line says which."""

    def probe(subject):
        raise ValueError("first line\nsecond line")

    assert observe(_cell(probe), stock()) == Observation(False, "ValueError: first line")


def test_long_details_are_cut():
    """A detail stays on one line of bounded length."""
    seen = observe(_cell(lambda subject: Observation(True, "x" * 1000)), ours())
    assert len(seen.detail) == 200
    assert seen.detail.endswith("…")


def test_a_surprise_is_told_from_what_is_expected():
    """A stock optimizer that keeps a promise is expected where the cell says so, and only there."""
    (result,) = run_cells(["D39/registered"])
    assert result.stock.holds
    assert result.stock_as_expected
    cell = dataclasses.replace(result.cell, stock_holds_on=())
    assert not dataclasses.replace(result, cell=cell).stock_as_expected
    assert not dataclasses.replace(result, ours=Observation(False, "")).as_promised


def test_a_probe_leaves_the_process_as_it_was(recwarn):
    """Types, random states, log levels and warnings are as before, also after an exception."""

    def probe(subject):
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("mixed_bfloat16")
        keras.utils.set_random_seed(7)
        warnings.warn("from a probe", stacklevel=1)
        raise KeyError("broken")

    def state():
        return (
            keras.config.dtype_policy().name,
            keras.config.floatx(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002 - the state that must not change
            logging.getLogger("tensorflow").level,
        )

    before = state()
    observe(_cell(probe), stock())
    assert state() == before
    assert not recwarn.list


def test_a_probe_starts_from_float32():
    """What the user has set for the types does not change what the table shows."""
    keras.config.set_dtype_policy("bfloat16")
    (result,) = run_cells(["K16/decay"], which="ours")
    assert result.ours.holds
    assert keras.config.dtype_policy().name == "bfloat16"
