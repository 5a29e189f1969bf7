"""Print what things cost on this machine, on every installed backend, and what they should cost.

Each backend runs in a process of its own. Every row is a median of calls that are made in turn with
the others of its table; README.md beside this file says what the columns mean.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks.rows import SHAPES, Row
from tests.benchmarks.show import subject_table, target_table
from tests.processes import BACKENDS, ROOT, environment, installed

SUBJECTS = ("steps", "accumulation", "averages", "precision", "training", "growth", "memory")
# This checkout comes first: what is measured is what lies beside these files.
_CHILD = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    "from tests.benchmarks.worker import main\nmain(sys.argv[1])"
)
# Of what a backend writes before it breaks off, the end says why.
_LAST = 2000
# Columns of a table that goes into a file.
_WIDTH = 150

Found = tuple[dict[str, Any], list[Row]]


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return the exit status, which does not depend on the figures."""
    chosen = _parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    found: list[Found] = []
    status = 0
    for backend in chosen.backends:
        if not installed(backend):
            console.print(f"{backend}: not installed, left out")
            continue
        machine, rows, failed = _run(backend, chosen, console)
        found.append((machine, rows))
        status = status or failed
    console.print(target_table(found))
    if chosen.json is not None:
        table = [
            {"machine": machine, "rows": [vars(row) for row in rows]} for machine, rows in found
        ]
        chosen.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        console.print(f"written: {chosen.json}")
    return status


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    one = os.environ.get("KERAS_BACKEND")
    parser.add_argument(
        "subjects", nargs="*", default=list(SUBJECTS), help=f"of {', '.join(SUBJECTS)}"
    )
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=BACKENDS,
        default=[one] if one else list(BACKENDS),
        help="default: that of KERAS_BACKEND, else all that are installed",
    )
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=15, help="timed calls of each step")
    parser.add_argument(
        "--patience", type=float, default=150.0, help="seconds for torch.compile; 0 leaves it out"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows to a file, too")
    chosen = parser.parse_args(arguments)
    for subject in chosen.subjects:
        if subject not in SUBJECTS:
            parser.error(f"unknown subject {subject!r}: choose of {', '.join(SUBJECTS)}")
    return chosen


def _run(backend: str, chosen: argparse.Namespace, console: Console) -> tuple[Any, list[Row], int]:
    """Measure on one backend; print each subject's table when it is done."""
    asked = {name: getattr(chosen, name) for name in ("subjects", "shapes", "rounds", "patience")}
    machine: dict[str, Any] = {"backend": backend}
    rows: list[Row] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        with (
            subprocess.Popen(
                [sys.executable, "-c", _CHILD, json.dumps(asked)],
                env=environment(backend, threads=os.cpu_count() or 1),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process,
            console.status(f"{backend}: start") as progress,
        ):
            for line in process.stdout or ():
                ((kind, what),) = json.loads(line).items()
                if kind == "machine":
                    machine = what | {"date": dt.datetime.now(dt.UTC).date().isoformat()}
                elif kind == "say":
                    progress.update(f"{backend}: {what}")
                elif kind == "row":
                    rows.append(Row(**what))
                else:  # a subject is done
                    done = [row for row in rows if row.subject == what]
                    console.print(subject_table(what, done, machine))
        if failed := process.returncode:
            errors.seek(0)
            console.print(
                f"{backend}: exit status {failed}\n{errors.read()[-_LAST:]}", markup=False
            )
    return machine, rows, failed


if __name__ == "__main__":
    sys.exit(main())
