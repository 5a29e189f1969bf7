"""Each recipe begins with what it shows, its command, hardware and seconds, and what to expect."""

from __future__ import annotations

import ast
import re

import pytest

from nadam_suite.experiment import list_recipes, recipe_path
from tests.docs.pages import page, rows
from tests.processes import ROOT

pytestmark = pytest.mark.once

FOLDER = ROOT / "recipes"
PAGE = page("recipes/README.md")
TABLE = {row[0].strip("`"): row[1].strip("`") for row in rows(PAGE.text.partition("\n## ")[0])}
BUILT_IN = [recipe.name for recipe in list_recipes()]
WANTED = {
    *("digits", "text_lm", "mixed_precision", "data_parallel", "multi_worker", "layerwise"),
    *("tune_digits", "bring_your_own", "custom_loop", "compare"),
}
# These end as a training on one device does: tests/experiment/test_distributed.py.
ON_DEVICES = ("data_parallel", "multi_worker")
# A mean with the lowest and the highest value of the seeds.
FIGURE = re.compile(r"\d+\.\d+ \(\d+\.\d+ to \d+\.\d+\)")


def header(name):
    """The docstring of a module, or the comment that a config begins with."""
    if (FOLDER / f"{name}.py").exists():
        return ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text("utf-8")))
    path = recipe_path(name) if name in BUILT_IN else FOLDER / f"{name}.toml"
    lines = path.read_text("utf-8").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:end])


def test_the_table_has_all_recipes():
    """Those that there must be, those of the command, and a row for each file of the folder."""
    files = {path.stem for path in FOLDER.iterdir() if path.suffix in (".py", ".toml", ".sh")}
    assert TABLE.keys() >= WANTED
    assert files | set(BUILT_IN) == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_a_header_is_complete(name):
    """A sentence, the command of the table, the hardware, the seconds, a figure of five seeds."""
    text = header(name)
    assert text.partition("\n\n")[0].endswith(".")
    assert f"\n\n    {TABLE[name]}\n" in text
    assert re.search(r"^Hardware: \S.*\bCPU cores\b", text, re.MULTILINE)
    assert re.search(r"\bSeconds: \d", text)
    expected = text.partition("\nExpected: ")[2]
    assert re.search(r"\d\.\d", expected)
    if name not in ON_DEVICES:
        assert re.search(r"\b\d seeds", expected)
        assert FIGURE.search(" ".join(expected.split()))


@pytest.mark.parametrize("name", [name for name in TABLE if name not in ON_DEVICES])
def test_the_figures_of_a_header_stand_on_the_page(name):
    """Nobody has to ask which of the two is old."""
    figures = FIGURE.findall(" ".join(header(name).split()))
    assert figures
    assert [figure for figure in figures if figure not in PAGE.text] == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_recipe_can_be_read_in_one_go(path):
    """It has 80 to 200 lines."""
    assert 80 <= len(path.read_text("utf-8").splitlines()) <= 200


@pytest.mark.parametrize("name", TABLE)
def test_a_command_names_its_own_file(name):
    """And that file is there."""
    words = TABLE[name].split()
    named = [word for word in words if word.startswith("recipes/")]
    assert all((ROOT / word).is_file() for word in named)
    assert {word.rpartition("/")[2].partition(".")[0] for word in named or [words[-1]]} == {name}
