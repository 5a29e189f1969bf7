"""The contract table as data: every cell, in the order of the list of defects."""

from __future__ import annotations

from collections.abc import Iterable

from nadam_suite.doctor.cell import BACKENDS, Cell
from nadam_suite.doctor.probes import (
    arguments,
    averaging,
    averaging_fit,
    averaging_state,
    configs,
    costs,
    exclusions,
    gradients,
    loss_scale_state,
    loss_scaling,
    precision,
    replicas,
    schedules,
    search_points,
    searches,
    states,
)
from nadam_suite.errors import ArgumentError
from nadam_suite.versions import TESTED

__all__ = ["CELLS", "MEASURED_WITH", "select"]

# The release whose defects `stock_holds_on` of the cells tells.
MEASURED_WITH = f"Keras {TESTED['keras'][1]}"


def _order(cell: Cell) -> tuple[int, int]:
    """Sort K7 before K16, and the rows named K before those named D, T and R."""
    return "KDTR".index(cell.row[0]), int(cell.row[1:])


CELLS: tuple[Cell, ...] = tuple(
    sorted(
        (
            *precision.CELLS,
            *loss_scaling.CELLS,
            *loss_scale_state.CELLS,
            *averaging.CELLS,
            *averaging_fit.CELLS,
            *averaging_state.CELLS,
            *gradients.CELLS,
            *arguments.CELLS,
            *exclusions.CELLS,
            *configs.CELLS,
            *states.CELLS,
            *costs.CELLS,
            *replicas.CELLS,
            *schedules.CELLS,
            *searches.CELLS,
            *search_points.CELLS,
        ),
        key=_order,
    )
)


def select(ids: Iterable[str] | None = None, backend: str | None = None) -> list[Cell]:
    """Return the cells with some ids, on one backend.

    Args:
        ids: Rows ("K6") or cells ("K6/bfloat16"), in any case; None for all of them.
        backend: Keep the cells that concern this backend; None keeps all.

    Raises:
        ArgumentError: An id names no cell, or the backend is none of the three.

    Example:

    >>> from nadam_suite.doctor import select
    >>> [cell.id for cell in select(["K6"])]
    ['K6/bfloat16', 'K6/float16']
    """
    if backend is not None and backend not in BACKENDS:
        raise ArgumentError(
            f"Argument `backend` must be one of {', '.join(BACKENDS)}. Received: "
            f"backend={backend!r}. Set KERAS_BACKEND to the one to look at."
        )
    chosen = list(CELLS)
    if ids is not None:
        wanted = [ids] if isinstance(ids, str) else list(ids)
        names = {name.lower() for cell in CELLS for name in (cell.row, cell.id)}
        unknown = [name for name in wanted if name.lower() not in names]
        if unknown:
            rows = ", ".join(dict.fromkeys(cell.row for cell in CELLS))
            raise ArgumentError(
                f"Argument `ids` must hold rows or cells of the table. Received: {unknown}. "
                f"The rows are {rows}."
            )
        lower = {name.lower() for name in wanted}
        chosen = [cell for cell in chosen if {cell.row.lower(), cell.id.lower()} & lower]
    return [cell for cell in chosen if backend is None or backend in cell.backends]
