"""Execute a notebook of the checkout with this Python, and tell what its outputs are."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import nbformat
import numpy as np
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from tests.processes import LIMIT, ROOT, environment

NOTEBOOKS = tuple(sorted((ROOT / "notebooks").glob("*.ipynb")))
# What TensorFlow's libraries write as they are loaded, before they read any setting about logs.
_LOADING = re.compile(r"(?:WARNING: All log messages before absl::|[IW]0000 00:00:).*\n?")
_LAUNCH = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


class _ThisPython(KernelSpecManager):
    """Knows one kernel, that of this Python; others need to be installed for the user."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(argv=_LAUNCH, display_name=kernel_name, language="python")


def read(path: Path) -> Any:
    """A notebook as it is committed."""
    return nbformat.read(path, as_version=4)


def execute(path: Path, backend: str, folder: Path) -> Any:
    """Execute a notebook as a user would, and return it; an error in a cell is raised.

    Args:
        path: Its file, which is left as it is.
        backend: Backend of Keras.
        folder: An empty folder. The notebook works in "work" below it.
    """
    variables = environment(backend, IPYTHONDIR=str(folder / "ipython"))
    # What the tests set for themselves: a notebook has to be quiet, and to draw, without it.
    for name in ("TF_CPP_MIN_LOG_LEVEL", "MPLBACKEND"):
        variables.pop(name, None)
    work = folder / "work"
    work.mkdir()
    notebook = read(path)
    manager = AsyncKernelManager(
        kernel_spec_manager=_ThisPython(), connection_file=str(folder / "kernel.json")
    )
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=LIMIT,
        startup_timeout=LIMIT,
        coalesce_streams=True,
        resources={"metadata": {"path": str(work)}},
    )
    return _without_loading(client.execute(env=variables, cleanup_kc=True))


def _without_loading(notebook: Any) -> Any:
    """The notebook without the lines of libraries that are loaded, which depend on the machine."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.get("name") == "stderr":
                output.text = _LOADING.sub("", output.text)
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr" or o.text]
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    """The cells that can be executed."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: Any) -> Iterator[Any]:
    """All outputs, in order."""
    for cell in code_cells(notebook):
        yield from cell.outputs


def kinds(notebook: Any) -> list[list[tuple[str, ...]]]:
    """What each cell has put out: streams by name, and data by its types, without their content."""
    return [
        [
            (output.output_type, output.get("name", ""), *sorted(output.get("data", ())))
            for output in cell.outputs
        ]
        for cell in code_cells(notebook)
    ]


def told(notebook: Any, stream: str) -> str:
    """All that was written to a stream, "stdout" or "stderr"."""
    return "".join(output.text for output in outputs(notebook) if output.get("name") == stream)


def pictures(notebook: Any) -> list[np.ndarray]:
    """The pictures, each an array of rows, columns and colours from 0 to 1."""
    return [
        matplotlib.image.imread(io.BytesIO(base64.b64decode(output.data["image/png"])))
        for output in outputs(notebook)
        if "image/png" in output.get("data", ())
    ]
