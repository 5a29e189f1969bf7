"""The source files of the package, as what rules about them are read off."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from tests.processes import ROOT

PACKAGE = ROOT / "nadam_suite"
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    """The path below the package, as test id and in messages."""
    return path.relative_to(PACKAGE).as_posix()


@functools.cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))
