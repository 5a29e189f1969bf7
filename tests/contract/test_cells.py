"""The contract table: on every backend, what stock Keras breaks and this package keeps."""

from __future__ import annotations

import keras
import pytest

from nadam_suite.doctor import observe, ours, select, stock
from nadam_suite.doctor.run import lacking
from nadam_suite.doctor.table import MEASURED_WITH

BACKEND = keras.backend.backend()


def _parameters():
    for cell in select(backend=BACKEND):
        missing = lacking(cell)
        marks = [pytest.mark.slow] if cell.slow else []
        marks += [pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")]
        yield pytest.param(cell, id=cell.id, marks=marks)


CELLS = list(_parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_this_package_keeps_the_promise(cell):
    """Our optimizer does what the cell promises."""
    seen = observe(cell, ours())
    assert seen.holds, f"{cell.id} on {BACKEND}: {cell.title} {cell.setting}: {seen.detail}"


@pytest.mark.parametrize("cell", CELLS)
def test_stock_keras_does_what_the_table_says(cell):
    """The stock optimizer breaks the promise, but where the table says that it keeps it."""
    seen, expected = observe(cell, stock()), cell.stock_should_hold(BACKEND)
    change = "keeps" if seen.holds else "breaks"
    assert seen.holds == expected, (
        f"Keras {keras.__version__} {change} {cell.id} on {BACKEND} ({seen.detail}); the table was "
        f"measured with {MEASURED_WITH}: update `stock_holds_on` of the cell."
    )
