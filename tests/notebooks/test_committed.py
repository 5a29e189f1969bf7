"""What is committed of the notebooks can be read on the web, and says nothing of a machine."""

from __future__ import annotations

import re

import nbformat
import numpy as np
import pytest

from tests.notebooks.refresh import cleaned
from tests.notebooks.running import NOTEBOOKS, code_cells, kinds, outputs, pictures, read, told
from tests.processes import ROOT

pytestmark = pytest.mark.once
NAMES = {"quickstart", "schedules_and_averaging", "mixed_precision_and_distribution", "search"}
# A path from the root of a file system, of this or of another kind; no division, no address.
ABSOLUTE = re.compile(r"(?<![\w.:/<)\]])/\w[\w.-]*/[\w.-]+|\b[A-Z]:\\\w")
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_they_are_found_and_the_readme_leads_to_them():
    """The other tests look at something, and so do readers."""
    assert {path.stem for path in NOTEBOOKS} == NAMES
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(f"](notebooks/{name}.ipynb)" in readme for name in NAMES)


@each
def test_it_was_executed_from_top_to_bottom(path):
    """Every cell with code has been executed, in order, and none of them failed or warned."""
    notebook = read(path)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert counts, "a notebook has code"
    assert all(output.output_type != "error" for output in outputs(notebook))
    assert told(notebook, "stderr") == ""
    assert "on tensorflow" in told(notebook, "stdout")
    assert "Traceback" not in path.read_text("utf-8")


@each
def test_it_says_what_it_shows_and_how_to_run_it(path):
    """It begins with a title, sentences, and the command that executes this very file."""
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert f"`jupyter execute notebooks/{path.name}`" in first.source
    assert "`pip install '.[notebooks]'`" in first.source


@each
def test_it_holds_nothing_of_the_machine(path):
    """No absolute path, no metadata of an execution, and what `refresh` would strip is stripped."""
    text = path.read_text("utf-8")
    assert not ABSOLUTE.findall(nbformat.writes(_without_pictures(read(path))))
    assert nbformat.writes(cleaned(read(path))) + "\n" == text, (
        "written by another editor? run `python -m tests.notebooks.refresh`"
    )


@each
def test_its_pictures_can_be_read_on_the_web(path):
    """They are on white, neither tiny nor wide, and the whole file is small."""
    found = pictures(read(path))
    assert len(found) >= 3
    for picture in found:
        height, width = picture.shape[:2]
        assert 80 <= height <= 700
        assert 500 <= width <= 900
        corners = picture[[0, 0, -1, -1], [0, -1, 0, -1], :3]
        np.testing.assert_array_equal(corners, np.ones((4, 3)))
    assert path.stat().st_size < 300_000


@each
def test_its_links_lead_somewhere(path):
    """A link to a file of the checkout names one that is there."""
    prose = "\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")
    links = re.findall(r"\]\((?!https?://)([^)#\s]+)", prose)
    assert links, "a notebook leads on"
    for link in links:
        target = (path.parent / link).resolve()
        assert target.is_relative_to(ROOT), link
        assert target.is_file(), link


def test_refresh_strips_what_an_execution_leaves():
    """Times, tags, counts that begin elsewhere, and the kernel's version go; the rest stays."""
    output = nbformat.v4.new_output("execute_result", {"text/plain": "1"}, execution_count=7)
    output.metadata = nbformat.from_dict({"image/png": {"width": 3}})
    cell = nbformat.v4.new_code_cell("1", outputs=[output], execution_count=7)
    cell.metadata = nbformat.from_dict({"execution": {"iopub.execute_input": "2020-01-01"}})
    python = {"name": "python", "version": "3"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"language_info": python})
    before = kinds(notebook)
    cleaned(notebook)
    assert kinds(notebook) == before == [[("execute_result", "", "text/plain")]]
    assert cell.source == "1"
    assert (cell.metadata, output.metadata, cell.execution_count) == ({}, {}, 1)
    assert output.execution_count == 1
    assert notebook.metadata.language_info == {"name": "python"}


def test_absolute_paths_are_told_from_other_slashes():
    """A home, a temporary folder and a drive are found; fractions, links and addresses are not."""
    for text in ("in /home/me/x", "'/tmp/a'", r"C:\Users"):
        assert ABSOLUTE.search(text), text
    for text in (
        "scaled / 2**15",
        "runs/digits",
        "https://keras.io/api/",
        "](../docs/a.md)",
        "1/2",
    ):
        assert not ABSOLUTE.search(text), text


def _without_pictures(notebook):
    """Their letters may spell anything."""
    for output in outputs(notebook):
        output.get("data", {}).pop("image/png", None)
    return notebook
