"""README and docs: their code runs as printed, on every backend; their links lead somewhere."""

from __future__ import annotations

import ast

import pytest

from nadam_suite.doctor.table import CELLS
from tests.docs.pages import PAGES, Page, page, rows
from tests.processes import BACKENDS, ROOT, in_ci, installed, run_python

pytestmark = pytest.mark.once
WITH_CODE = [found for found in PAGES if found.blocks("python")]
EACH_PAGE = """
import pathlib, runpy
import keras
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    keras.utils.clear_session()
    keras.config.set_dtype_policy("float32")
    runpy.run_path(str(path), run_name="__main__")
"""


def test_the_pages_are_found():
    """The other tests look at something: pages with text, four of them with code."""
    names = {"README.md", "docs/equations.md", "docs/integrations.md", "docs/migration.md"}
    assert names <= {p.name for p in WITH_CODE}
    assert all(len(found.text) > 500 for found in PAGES)
    assert len(page("docs/migration.md").blocks("python")) >= 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_python_examples_run_in_order(backend, tmp_path):
    """All python blocks of a page, one after the other in one namespace, run on each backend.

    One process runs all pages: to import a framework takes as long as most of them.
    """
    if not installed(backend):
        pytest.skip(f"{backend} is not installed: pip install '.[{backend}]'")
    missing = set()
    for number, found in enumerate(WITH_CODE):
        blocks = found.blocks("python")
        missing |= {block.needs for block in blocks if not (block.is_runnable or block.optional)}
        code = "\n".join(block.code for block in blocks if block.is_runnable)
        name = found.name.replace("/", "-")  # a traceback names the page
        (tmp_path / f"{number}-{name}.py").write_text(code, encoding="utf-8")
    assert not (missing and in_ci()), f"{missing} must be installed where it counts"
    work = tmp_path / "work"  # where the examples may write files
    work.mkdir()
    run_python(EACH_PAGE, str(tmp_path), backend=backend, cwd=work)
    if missing:
        pytest.skip(f"blocks that need {', '.join(missing)} were left out: pip install '.[test]'")


@pytest.mark.parametrize("found", WITH_CODE, ids=lambda found: found.name)
def test_all_python_is_python(found):
    """Also a block that is not run here, because it needs what nothing of ours installs."""
    for number, block in enumerate(found.blocks("python"), 1):
        tree = ast.parse(block.code, f"{found.name}, block {number}")
        assert tree.body, f"{found.name}, block {number} is empty"


def test_optional_blocks_are_told_from_others():
    """Both kinds of remark are read, and one that is misspelt would show in the page."""
    blocks = page("docs/integrations.md").blocks("python")
    optional = {block.needs for block in blocks if block.optional}
    needed = {block.needs for block in blocks if block.needs and not block.optional}
    assert (optional, needed) == ({"mlflow", "wandb"}, {"torch", "optuna_integration"})
    for found in PAGES:
        assert "<!-- needs" not in found.prose, found.name
        assert "<!-- optional" not in found.prose, found.name


@pytest.mark.parametrize("found", PAGES, ids=lambda found: found.name)
def test_links_lead_somewhere(found):
    """A link within the checkout names a file that is there, and a heading that it has."""
    for file, anchor in found.links():
        target = (found.path.parent / file).resolve() if file else found.path
        assert target.is_relative_to(ROOT), file
        assert target.exists(), f"{found.name}: {file}"
        if anchor is not None:
            assert anchor in Page(target).anchors(), f"{found.name}: {file}#{anchor}"


def test_every_page_can_be_reached_from_the_readme():
    """The README links to each page of docs/, and to its picture."""
    linked = {file for file, _ in page("README.md").links()}
    assert {found.name for found in PAGES if found.name.startswith("docs/")} <= linked


def test_rows_of_the_table_are_cells_of_the_contract():
    """What the README says of stock Keras is what a cell of the contract finds it to break."""
    section = page("README.md").section("What differs from `keras.optimizers.Nadam`")
    table = rows(section)
    assert len(table) >= 20
    for promise, _, _, ids in table:
        for row in ids.split(", "):
            cells = [cell for cell in CELLS if cell.row == row]
            assert cells, f"{promise}: there is no row {row}"
            assert any(set(cell.backends) - set(cell.stock_holds_on) for cell in cells), promise
