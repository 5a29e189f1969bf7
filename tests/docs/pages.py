"""The Markdown pages of the checkout, and what stands in them: code, tables, links, headings."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import re
from pathlib import Path

from tests.processes import ROOT

# A block that needs a package which not every installation has says so in the line before it:
# "needs" one that the extra `test` brings, "optional" one that nothing of ours brings.
_BLOCK = re.compile(
    r"^(?:<!-- (?P<how>needs|optional): (?P<needs>\w+) -->\n)?"
    r"```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_LINK = re.compile(r"\]\((?!https?://)(?P<file>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?\)")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code: its language, its text, and the package that it needs beside our own.

    Args:
        language: Its language.
        code: Its text.
        needs: The package, or None.
        optional: Whether that package may be missing also where it counts.
    """

    language: str
    code: str
    needs: str | None
    optional: bool = False

    @property
    def is_runnable(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


@dataclasses.dataclass(frozen=True)
class Page:
    """A page.

    Args:
        path: Its file.
    """

    path: Path

    @property
    def name(self) -> str:
        """The path below the checkout."""
        return self.path.relative_to(ROOT).as_posix()

    @functools.cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    @functools.cached_property
    def prose(self) -> str:
        """All but blocks of code."""
        return _BLOCK.sub("", self.text)

    def blocks(self, language: str) -> list[Block]:
        """The blocks of a language, in order."""
        found = [
            Block(match["language"], match["code"], match["needs"], match["how"] == "optional")
            for match in _BLOCK.finditer(self.text)
        ]
        return [block for block in found if block.language == language]

    def files(self) -> dict[str, str]:
        """The files that the page has the reader write, with their text, by their names."""
        found = re.findall(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", self.text, re.M | re.S)
        return dict(found)

    def links(self) -> list[tuple[str, str | None]]:
        """File, "" for the page itself, and anchor of each link to something of the checkout."""
        return [(match["file"], match["anchor"]) for match in _LINK.finditer(self.prose)]

    def anchors(self) -> list[str]:
        """What links can point to: a heading in small letters, with hyphens for its spaces."""
        headings = re.findall(r"^#+ (.*)$", self.prose, re.MULTILINE)
        return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings]

    def section(self, title: str) -> str:
        """The text below a heading, up to the next one of its level or above."""
        start = re.search(rf"^(#+) {re.escape(title)}$", self.text, re.MULTILINE)
        assert start, f"{self.name} has no heading {title!r}"
        rest = self.text[start.end() :]
        end = re.search(rf"^#{{1,{len(start[1])}}} ", rest, re.MULTILINE)
        return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of the tables in a text, without heads and rules."""
    lines = text.splitlines()
    table = [line.startswith("|") for line in lines]
    rules = [line.startswith("| --- ") for line in lines]
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for number, line in enumerate(lines)
        if table[number] and not rules[number] and not rules[min(number + 1, len(lines) - 1)]
    ]


PAGES = tuple(
    Page(path)
    for path in (
        ROOT / "README.md",
        ROOT / "recipes" / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
)


def page(name: str) -> Page:
    """The page of that name."""
    return next(found for found in PAGES if found.name == name)
