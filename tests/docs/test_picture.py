"""The README's picture is small, says what it shows, and comes from the script named beside it."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from tests.docs.pages import page
from tests.processes import LIMIT, ROOT, environment

pytestmark = pytest.mark.once
README = page("README.md").text
SCRIPT = ROOT / "docs" / "picture.py"


def texts(path) -> set[str]:
    """The words in a picture, which must be one."""
    tree = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own file
    return {text for node in tree.iter() if (text := (node.text or "").strip())}


def test_the_readme_shows_one_picture_with_its_command():
    """It is a file below 60 kB with a description, and the sentence below it draws it anew."""
    ((described, file),) = re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", README)
    assert len(described) > 30
    assert (ROOT / file).stat().st_size < 60_000
    assert {"weights", "average of the weights", "epoch", "test accuracy, %"} <= texts(ROOT / file)
    below = README.partition(f"]({file})")[2].strip().split("\n\n")[0]
    assert f"`python {SCRIPT.relative_to(ROOT).as_posix()}`" in below
    assert f"docs/{ROOT.joinpath(file).name}" in SCRIPT.read_text(encoding="utf-8")


def test_the_script_draws_it(tmp_path):
    """A short run trains, draws the same kind of picture, and prints what it ends with."""
    target = tmp_path / "averages.svg"
    short = ("--seeds", "2", "--epochs", "2", "--width", "4")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(target), *short],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = re.findall(r"^([a-z ]+): ([0-9.]+) \(([0-9.]+) to ([0-9.]+)\)$", done.stdout, re.M)
    assert [label for label, *_ in found] == ["weights", "average of the weights"]
    for _, mean, low, high in found:
        assert 0 < float(low) <= float(mean) <= float(high) < 1
    assert {"weights", "average of the weights", "epoch"} <= texts(target)
