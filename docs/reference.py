"""Write the reference as HTML: the public names by their docstrings, and the pages of docs/.

    pip install '.[docs]'
    python docs/reference.py site

`site/index.html` is where to start. The pages need no network.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

AREAS = ("averaging", "callbacks", "config", "experiment", "precision", "schedules", "tuner")
MODULES = ("nadam_suite", *(f"nadam_suite.{area}" for area in AREAS))
# Modules of their own, and bases whose methods the documented classes inherit.
SINGLE = (
    "nadam_suite.averaging.posthoc",
    "nadam_suite.errors",
    "nadam_suite.optimizers.averages",
    "nadam_suite.optimizers.rate",
    "nadam_suite.schedules.base",
)
HERE = Path(__file__).resolve().parent
PAGES = ("equations", "migration", "integrations", "search", "faults")


def prepared(docstring: str) -> str:
    """Make a heading of "Example:", whose lines are not indented; keep the stars of **kwargs."""
    docstring = re.sub(r"^Example:\s+(?=>>>|see )", "###### Example:\n\n", docstring, flags=re.M)
    return re.sub(
        r"^( +)(\*+)(?=\w+:)", lambda found: found[1] + r"\*" * len(found[2]), docstring, flags=re.M
    )


def linked(text: str, below: str) -> str:
    """Let links between pages lead to their HTML files; what has none is named without a link.

    Args:
        text: A page in Markdown.
        below: Path from the page's HTML file to the folder of the other pages'.
    """
    text = re.sub(r"\]\((?:docs/)?(\w+)\.md(?=[)#])", rf"]({below}\1.html", text)
    text = re.sub(r"\]\(\.\./README\.md(?=[)#])", "](../guide.html", text)
    return re.sub(
        r"(?<!!)\[([^\]]+)\]\((?!https?:|#)[^)]*(?<!\.html)(?<!svg)(?<!png)\)", r"\1", text
    )


def write_guide(folder: Path) -> None:
    """Write a package whose docstrings are the README and the pages."""
    guide = folder / "guide"
    shutil.copytree(HERE, guide / "docs", ignore=shutil.ignore_patterns("*.py", "*.md", "*.jinja2"))
    sources = {"__init__": HERE.parent / "README.md"} | {p: HERE / f"{p}.md" for p in PAGES}
    for name, source in sources.items():
        text = source.read_text(encoding="utf-8")
        text = linked(text, "guide/" if name == "__init__" else "")
        shown = list(PAGES) if name == "__init__" else []
        module = f"{text!r}\n__docformat__ = 'markdown'\n__all__ = {shown!r}\n"
        (guide / f"{name}.py").write_text(module, encoding="utf-8")


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Hold back what frameworks write to stderr when they are loaded."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def write(folder: Path) -> None:
    """Write the whole reference into a folder."""
    import jinja2
    import pdoc
    import pdoc.render

    with muted():  # before pdoc keeps what it imports from starting programs
        for name in (*MODULES, *SINGLE):
            importlib.import_module(name)
    # In a checkout there is a folder of that name as well, which is what is installed or a copy.
    warnings.filterwarnings("ignore", ".* may refer to either the installed", RuntimeWarning)
    pdoc.render.configure(
        docformat="google", show_source=False, template_directory=HERE / "templates"
    )
    plain = pdoc.render.env.filters["to_markdown"]

    @jinja2.pass_context
    def to_markdown(context: jinja2.runtime.Context, docstring: str) -> str:
        return plain(context, prepared(docstring))

    pdoc.render.env.filters["to_markdown"] = to_markdown
    chosen = [spec for name in MODULES for spec in (name, rf"!{re.escape(name)}\.")]
    with tempfile.TemporaryDirectory() as temporary:
        write_guide(Path(temporary))
        guide = Path(temporary) / "guide"
        pdoc.pdoc(guide, *chosen, *SINGLE, output_directory=folder)


def main(arguments: list[str] | None = None) -> None:
    """Write the reference, or say what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", default="site", type=Path)
    chosen = parser.parse_args(arguments)
    try:
        write(chosen.folder)
    except ModuleNotFoundError as error:
        if error.name != "pdoc":
            raise
        sys.exit("pdoc is not installed. Install it: pip install '.[docs]'")
    print(f"{chosen.folder / 'index.html'}")


if __name__ == "__main__":
    main()
