"""The README begins with what counts, and its test command is the one that decides.

Its Python examples, like those of docs/, are run by tests/docs/test_pages.py.
"""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.docs.pages import page
from tests.processes import ROOT, run_python

pytestmark = pytest.mark.once
PAGE = page("README.md")
README = PAGE.text


def command(marker: str) -> str:
    """The one command in the block that follows a marker comment."""
    found = re.search(rf"<!-- {marker} -->\n```bash\n(.*)\n```", README)
    assert found, f"README.md has no command after <!-- {marker} -->"
    return found.group(1)


def test_both_commands_stand_on_the_first_screen():
    """The two commands come before the first heading of a section, within forty lines."""
    top = README.splitlines()[:40]
    for marker in ("train-command", "test-command"):
        line = command(marker)
        assert line in top
        assert line.startswith("python3 -m venv .venv && ")
    assert "nadam-suite train digits" in command("train-command")
    assert command("test-command").endswith(".venv/bin/python -m tests")


def test_it_begins_with_sentences_commands_picture_and_table():
    """Three sentences, two commands, one picture, the table of what differs; then the rest."""
    sentences = README.split("\n\n")[1]
    assert len(re.findall(r"\.(?:\n|$)", sentences)) == 3
    wanted = (
        "<!-- train-command -->",
        "<!-- test-command -->",
        "](docs/averages.svg)",
        "| promise |",
    )
    places = [README.index(text) for text in wanted]
    assert places == sorted(places)
    assert re.findall(r"^## (.*)$", README, re.M)[0].startswith("What differs")


def test_ci_runs_the_readmes_command():
    """.ci/run executes the README's test command word for word."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    shell = script.replace('bash -euo pipefail -c "$command"', 'printf %s "$command"')
    assert shell != script
    shell = shell.replace('cd "$(dirname "${BASH_SOURCE[0]}")/.."', "true")
    done = subprocess.run(
        ["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == command("test-command")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_every_shell_line_names_an_existing_command():
    """Each `nadam-suite` line in the README names a command that the program has."""
    lines = [line for block in PAGE.blocks("bash") for line in block.code.splitlines()]
    names = {m.group(1) for line in lines for m in re.finditer(r"nadam-suite ([a-z]+)", line)}
    assert "train" in names
    code = (
        "import contextlib, io\n"
        "from nadam_suite.cli import main\n"
        "sys.argv = ['nadam-suite', '--help']\n"
        "with contextlib.suppress(SystemExit): main()"
    )
    helped = run_python(code, NO_COLOR="1", COLUMNS="120").stdout
    for name in names:
        assert re.search(rf"\b{name}\b", helped), f"no command {name!r} in --help"
