"""The results of the contract table for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import platform
import textwrap
from collections.abc import Sequence
from typing import Any

import keras

import nadam_suite
from nadam_suite.doctor.cell import BACKENDS, CellResult, Observation
from nadam_suite.doctor.private import PrivateResult, keras_as_dict
from nadam_suite.versions import installed

__all__ = ["environment", "render", "to_json"]

_WIDTH = 100


def environment() -> dict[str, str]:
    """Return the running backend and the versions that the results hold for.

    Example:

    >>> from nadam_suite.doctor import environment
    >>> sorted(environment())[:3]
    ['backend', 'jax', 'keras']
    """
    return {
        "backend": keras.backend.backend(),
        "nadam-suite": nadam_suite.__version__,
        "keras": keras.__version__,
        **{name: installed(name) for name in BACKENDS},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def to_json(results: Sequence[CellResult], private: Sequence[PrivateResult] | None = None) -> str:
    """Return the environment and the results as JSON text.

    Args:
        results: What `run_cells` returned.
        private: What `nadam_suite.doctor.private.try_private` returned, for the key "keras".

    Example:

    >>> import json
    >>> from nadam_suite.doctor import run_cells, to_json
    >>> table = json.loads(to_json(run_cells(["K33/typed"])))
    >>> table["cells"][0]["ours"]["holds"]
    True
    """
    cells = [
        {
            "id": result.cell.id,
            "promise": result.cell.title,
            "setting": result.cell.setting,
            "stock": _as_dict(result.stock),
            "ours": _as_dict(result.ours),
            "stock_expected": result.cell.stock_should_hold(result.backend),
            "seconds": round(result.seconds, 2),
        }
        for result in results
    ]
    table = {
        "environment": environment(),
        **({} if private is None else {"keras": keras_as_dict(private)}),
        "summary": _summary(results),
        "cells": cells,
    }
    return json.dumps(table, indent=2, ensure_ascii=False)


def render(results: Sequence[CellResult], *, details: bool = False) -> Any:
    """Return the table as a rich renderable, for `rich.console.Console.print`.

    Args:
        results: What `run_cells` returned.
        details: Whether to show in full what was measured, also where a promise is kept.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    here = environment()
    frameworks = " · ".join(f"{name} {here[name]}" for name in BACKENDS)
    header = (
        f"nadam-suite {here['nadam-suite']} · Keras {here['keras']} on {here['backend']} · "
        f"Python {here['python']} · {here['platform']}\n{frameworks}"
    )
    table = Table(show_lines=False, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("what is promised", ratio=3)
    table.add_column("setting", ratio=2)
    table.add_column("keras.optimizers.Nadam", ratio=3)
    table.add_column("nadam_suite.Nadam", ratio=2)
    for result in results:
        table.add_row(
            result.cell.id,
            Text(result.cell.title),
            Text(result.cell.setting),
            _shown(result.stock, details),
            _shown(result.ours, details),
        )
    return Group(Text(header), table, Text(_summary(results)))


def _shown(observation: Observation | None, details: bool) -> Any:
    from rich.text import Text

    if observation is None:
        return Text("–", style="dim")
    if not observation.holds:
        detail = observation.detail if details else textwrap.shorten(observation.detail, _WIDTH)
        return Text(f"✗ {detail}", style="red")
    return Text(f"✓ {observation.detail}" if details else "✓", style="green")


def _summary(results: Sequence[CellResult]) -> str:
    """Count kept promises, and name what is not as the table says."""
    parts = []
    for name, label in (("stock", "keras.optimizers.Nadam"), ("ours", "nadam_suite.Nadam")):
        seen = [getattr(r, name) for r in results if getattr(r, name) is not None]
        if seen:
            parts.append(f"{label} keeps {sum(o.holds for o in seen)} of {len(seen)} promises")
    broken = [r.cell.id for r in results if not r.as_promised]
    if broken:
        parts.append(f"broken by nadam_suite: {', '.join(broken)}")
    surprising = [r.cell.id for r in results if not r.stock_as_expected]
    if surprising:
        parts.append(f"otherwise than expected of this Keras: {', '.join(surprising)}")
    return "; ".join(parts) + "." if parts else "No promise was tried."


def _as_dict(observation: Observation | None) -> dict[str, Any] | None:
    return None if observation is None else dataclasses.asdict(observation)
