"""The reference: every public name has its sections, in its docstring and on its HTML page."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.pages import page
from tests.processes import LIMIT, ROOT, environment, in_ci, installed, run_python

pytestmark = pytest.mark.once
SCRIPT = ROOT / "docs" / "reference.py"
AREAS = ("averaging", "callbacks", "config", "experiment", "precision", "schedules", "tuner")
MODULES = (
    "nadam_suite",
    *(f"nadam_suite.{area}" for area in AREAS),
    "nadam_suite.averaging.posthoc",
)
# Neither wrong arguments nor a wrong state make them fail: data, bases, and looks at something.
CANNOT_FAIL = {
    "Average",
    "Change",
    "Enqueued",
    "Part",
    "PresetRow",
    "PublishedPoint",
    "Recipe",
    "Rule",
    "RunResult",
    "average_names",
    "batches",
    "diff",
    "fingerprint",
    "list_presets",
    "list_recipes",
    "loss_scale_report",
    "recipe_path",
    "show_raw",
    "shown",
}


def public(module: str) -> list[str]:
    """The names that a module shows and that can be called: classes and functions."""
    found = importlib.import_module(module)
    return [name for name in found.__all__ if callable(getattr(found, name))]


NAMES = [(module, name) for module in MODULES for name in public(module)]


def documented(module: str, name: str) -> str:
    return inspect.getdoc(getattr(importlib.import_module(module), name)) or ""


def items(text: str, section: str) -> list[str]:
    """The names that a section of a docstring describes, stars left out."""
    found = re.search(rf"^{section}:\n((?:[ \t]+.*\n|\n)+)", f"{text}\n", re.MULTILINE)
    return re.findall(r"^ {4}\*{0,2}(\w+):", found[1], re.MULTILINE) if found else []


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_docstring_has_its_sections(module, name):
    """Every argument is described, every error named, and there is an example."""
    text = documented(module, name)
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    assert sorted(items(text, "Args")) == sorted(parameters)
    assert bool(items(text, "Raises")) != (name in CANNOT_FAIL)
    assert ">>>" in text or "\nExample: see `" in text


def test_the_list_of_what_cannot_fail_has_no_dead_entries():
    """A name that is no longer public leaves the list."""
    assert {name for _, name in NAMES} >= CANNOT_FAIL


class Sections(HTMLParser):
    """What a page says of each name, methods apart from their class; and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.text: dict[str, str] = {}
        self.links: list[str] = []
        self.ids: set[str] = set()
        self._section = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids.add(values.get("id") or "")
        if tag == "section" or values.get("class") == "classattr":
            self._section = values.get("id") or ""
            self.text[self._section] = ""
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")

    def handle_data(self, data: str) -> None:
        if self._section:
            self.text[self._section] += data


def parsed(path: Path) -> Sections:
    found = Sections()
    found.feed(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the reference, written by the documented command, which writes no more."""
    if importlib.util.find_spec("pdoc") is None:
        assert not in_ci(), "pdoc must be installed where it counts"
        pytest.skip("pdoc is not installed: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("reference") / "site"
    # TensorFlow has most to say, and pdoc where another folder has the name of the package.
    settings = environment("tensorflow" if installed("tensorflow") else None)
    checkout = tmp_path_factory.mktemp("checkout")
    (checkout / "nadam_suite").mkdir()
    (checkout / "nadam_suite" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)],
        env={name: value for name, value in settings.items() if "MIN_LOG" not in name},
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines()[-1] == str(folder / "index.html")
    assert done.stderr == ""
    return folder


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_on_its_page(site, module):
    """A section for each name of `__all__`, with all arguments, errors and the example."""
    shown = parsed(site / f"{module.replace('.', '/')}.html")
    assert set(importlib.import_module(module).__all__) <= shown.text.keys()
    for name in public(module):
        text, section = documented(module, name), shown.text[name]
        for heading, key in (("Args", "Arguments:"), ("Raises", "Raises:")):
            assert (key in section) == bool(items(text, heading)), f"{name}: {key}"
            for item in items(text, heading):
                assert re.search(rf"\b{item}:", section), f"{name}: {item}"
        assert "Example:" in section
        for line in re.findall(r"^>>> .*$", text, re.MULTILINE):
            assert re.sub(r"\s+", "", line) in re.sub(r"\s+", "", section), f"{name}: {line}"


def test_the_pages_of_docs_are_part_of_it(site):
    """README and all pages are there, with their headings and their tables."""
    for name in ("equations", "migration", "integrations", "faults"):
        shown = parsed(site / "guide" / f"{name}.html")
        assert set(page(f"docs/{name}.md").anchors()) <= shown.ids
        assert f"guide/{name}.html" in parsed(site / "index.html").links
        html = (site / "guide" / f"{name}.html").read_text(encoding="utf-8")
        tables = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8").count("\n| ---")
        assert html.count("<table>") == html.count("</table>") == tables
        assert "| --- |" not in html
    assert set(page("README.md").anchors()) <= parsed(site / "guide.html").ids


def test_links_lead_to_pages(site):
    """Every link within the reference leads to a file, and from the guide to its heading."""
    pages = {path.resolve(): parsed(path) for path in site.rglob("*.html")}
    assert len(pages) >= len(MODULES) + 5
    for path, found in pages.items():
        for link in found.links:
            if link.startswith(("http://", "https://")):
                continue
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target in pages, f"{path.name}: {link}"
            if anchor and "guide" in path.relative_to(site.resolve()).parts[0]:
                assert anchor in pages[target].ids, f"{path.name}: {link}"


def test_it_says_what_is_missing():
    """Without pdoc the command ends with the line that installs it, before anything is loaded."""
    code = (
        "import runpy\n"
        "sys.modules['pdoc'] = None\n"
        "sys.argv = ['reference.py', 'nowhere']\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    done = run_python(code, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("pip install '.[docs]'")
