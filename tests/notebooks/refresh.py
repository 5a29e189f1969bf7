"""Execute the notebooks and write their outputs anew: `python -m tests.notebooks.refresh [NAME]`.

Without names all of them, on TensorFlow, the default backend. What says when and where they were
executed is left out, so that a second run changes only what has changed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat

from tests.notebooks.running import NOTEBOOKS, code_cells, execute
from tests.processes import ROOT

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def cleaned(notebook: Any) -> Any:
    """The notebook without the time of its execution, its machine and its kernel's version."""
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    for number, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
    return notebook


def main(arguments: list[str] | None = None) -> int:
    """Execute and write those named; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.notebooks.refresh", description=__doc__)
    known = {path.stem: path for path in NOTEBOOKS}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(known)}")
    names = parser.parse_args(arguments).names
    if unknown := set(names) - known.keys():
        parser.error(f"no notebook {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in names or known:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notebook = cleaned(execute(known[name], "tensorflow", Path(folder)))
        nbformat.write(notebook, known[name])
        size, seconds = known[name].stat().st_size / 1000, time.monotonic() - begin
        print(f"{known[name].relative_to(ROOT)}: {size:.0f} kB, {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
