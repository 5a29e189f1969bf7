"""The contract table: what Nadam promises, tried on stock Keras and on this package."""

from __future__ import annotations

from nadam_suite.doctor.cell import Cell, CellResult, Observation, Subject
from nadam_suite.doctor.report import environment, render, to_json
from nadam_suite.doctor.run import observe, run_cells
from nadam_suite.doctor.subjects import ours, stock
from nadam_suite.doctor.table import CELLS, select

__all__ = [
    "CELLS",
    "Cell",
    "CellResult",
    "Observation",
    "Subject",
    "environment",
    "observe",
    "ours",
    "render",
    "run_cells",
    "select",
    "stock",
    "to_json",
]
