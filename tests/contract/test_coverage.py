"""The contract table is complete: every defect of this part of the package has its cells."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

from nadam_suite.doctor import CELLS, probes
from nadam_suite.doctor.cell import BACKENDS
from nadam_suite.versions import compared

pytestmark = pytest.mark.once

# The single-device rows that concern the optimizer and its state.
ROWS = [f"K{n}" for n in (6, 7, 16, 19, *range(21, 28), *range(30, 35), 38)]
ROWS += ["D01", "D02", "D03", "D05", "D09", "D11", "D15", "D27", "D30", "D38", "D39", "D41"]
ROWS += [f"K{n}" for n in (28, 29, 35, 36)]
ROWS += ["D50", "D51", "D52", "D58", "D59", "D62", "D63", "D64"]

# The rows about averages.
ROWS += [f"K{n}" for n in (*range(11, 16), 17, 18, 20)]
ROWS += ["D04", "D19", "D20", "D22", "D23", "D28", "D65", "D67"]

# What several replicas do; R1 is what stock Keras gets right there.
ROWS += ["K1", "K2", "K3", "K4", "K5", "D07", "D33", "D34", "D45", "D66"]

# The rows about half precision.
ROWS += ["K8", "K9", "K10", "D43", "D44", "D49", "D53", "D54", "D57"]

# The rows about searches.
ROWS += [f"T{n}" for n in range(1, 11)]


# Rows whose cells are tried on several replicas too.
REPLICATED = ["K8", "K9", "K10", "K11", "K12", "K13", "K14", "K16", "K17", "K18", "K20"]
REPLICATED += ["D04", "D19", "D23"]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_a_cell_that_stock_breaks(row):
    """Each defect is shown at least once, on a backend where stock Keras has it."""
    cells = [cell for cell in CELLS if cell.row == row]
    assert cells, f"{row} has no cell"
    assert any(set(cell.backends) - set(cell.stock_holds_on) for cell in cells)


@pytest.mark.parametrize("row", REPLICATED)
def test_promises_of_one_device_are_tried_on_replicas(row):
    """The cell of several replicas has the promise of one device, and runs on both backends."""
    (cell,) = [cell for cell in CELLS if cell.id == f"{row}/replicas"]
    assert cell.backends == ("tensorflow", "jax")
    assert cell.title in [other.title for other in CELLS if other.row == row and other != cell]
    assert set(cell.backends) - set(cell.stock_holds_on)


@pytest.mark.parametrize("replicas", [2, 4])
def test_each_replica_overflows_once(replicas):
    """Wherever the overflow is, a cell has it; on TensorFlow stock asks the first replica only."""
    cells = {cell.id: cell for cell in CELLS}
    every = [cells[f"K4/{index}-of-{replicas}"] for index in range(1, replicas + 1)]
    assert all(cell.backends == ("tensorflow", "jax") for cell in every)
    assert [cell.stock_should_hold("tensorflow") for cell in every] == [True] + [False] * (
        replicas - 1
    )


def test_ids_are_unique_and_well_formed():
    """An id is its row, a stroke and a word, and names one cell."""
    ids = [cell.id for cell in CELLS]
    assert len(set(ids)) == len(ids)
    for cell in CELLS:
        assert re.fullmatch(r"[KDTR]\d+/[a-z0-9]+(-[a-z0-9]+)*", cell.id), cell.id


def test_cells_are_told_in_plain_words():
    """A promise is a sentence, its setting a phrase, and its backends are known ones."""
    for cell in CELLS:
        assert cell.title.endswith("."), cell.id
        assert cell.setting, cell.id
        assert cell.backends, cell.id
        assert set(cell.backends) | set(cell.needs) <= set(BACKENDS), cell.id
        assert set(cell.stock_holds_on) <= set(cell.backends), cell.id
        assert not cell.since or not compared("keras", cell.since), cell.id


def test_no_probe_is_left_out_of_the_table():
    """Each module of probes gives all its cells to the table."""
    shared = ("averaged", "harness", "searching")
    names = [info.name for info in pkgutil.iter_modules(probes.__path__) if info.name not in shared]
    modules = [importlib.import_module(f"nadam_suite.doctor.probes.{name}") for name in names]
    assert len(modules) > 5
    assert sorted(cell.id for module in modules for cell in module.CELLS) == sorted(
        cell.id for cell in CELLS
    )
