"""The README's examples run as printed, and its test command is the one that decides."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.processes import BACKENDS, ROOT, installed, run_python

pytestmark = pytest.mark.once
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def command(marker: str) -> str:
    """The one command in the block that follows a marker comment."""
    found = re.search(rf"<!-- {marker} -->\n```bash\n(.*)\n```", README)
    assert found, f"README.md has no command after <!-- {marker} -->"
    return found.group(1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_python_examples_run_in_order(backend, tmp_path):
    """All python blocks, one after the other in one namespace, run on each backend."""
    if not installed(backend):
        pytest.skip(f"{backend} is not installed: pip install '.[{backend}]'")
    found = blocks("python")
    assert len(found) >= 2
    code = "\n".join(found).replace("from __future__ import annotations\n", "")
    run_python(code, backend=backend, cwd=tmp_path)  # where the examples may write files


def test_both_commands_stand_on_the_first_screen():
    """The two commands come before the first heading of a section, within forty lines."""
    top = README.splitlines()[:40]
    for marker in ("train-command", "test-command"):
        line = command(marker)
        assert line in top
        assert line.startswith("python3 -m venv .venv && ")
    assert "nadam-suite train digits" in command("train-command")
    assert command("test-command").endswith(".venv/bin/python -m tests")


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
    lines = [line for block in blocks("bash") for line in block.splitlines()]
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
