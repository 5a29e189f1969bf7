"""No dead option: a test or an example uses each one, and the command does something with it."""

from __future__ import annotations

import ast
import functools
import inspect
from pathlib import Path

import pytest
from typer.main import get_command

from nadam_suite.cli import app
from tests.cli.test_examples import EXAMPLES

pytestmark = pytest.mark.once

GROUP = get_command(app)
HERE = Path(__file__)
OPTIONS = [
    (name, parameter.name)
    for name, command in GROUP.commands.items()
    for parameter in command.params
    if parameter.param_type_name == "option" and parameter.name != "help"
]
# `--debug` is one option of all commands, tried once, in test_bad_input.py.
SHARED = {"debug": "train"}


def strings(node: ast.AST) -> frozenset[str]:
    """The words of all string constants below a node."""
    constants = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return frozenset(word for text in constants if isinstance(text, str) for word in text.split())


@functools.cache
def uses() -> tuple[tuple[str, frozenset[str]], ...]:
    """For each function of a test, and each row of a table: its file, and the words in it."""
    found = []
    for path in sorted(HERE.parent.glob("*.py")):
        if path == HERE:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
        found += [(path.stem, strings(node)) for node in functions]
        for node in tree.body:
            for table in ast.walk(node):
                if isinstance(table, ast.Dict):
                    found += [(path.stem, strings(value)) for value in table.values]
    found += [("examples", frozenset(example.split())) for example in EXAMPLES]
    return tuple(found)


def used(command: str, spellings: set[str]) -> bool:
    """Whether one place names both the command, or is in its file, and the option."""
    return any(
        spellings & words and (command in words or file.startswith(f"test_{command}"))
        for file, words in uses()
    )


@pytest.mark.parametrize(("command", "name"), OPTIONS)
def test_option_is_used(command, name):
    """By a test, or by an example, which are run too."""
    (option,) = (p for p in GROUP.commands[command].params if p.name == name)
    assert used(SHARED.get(name, command), set(option.opts)), f"{command} {option.opts}"


def test_an_option_that_nothing_uses_is_found():
    """So that the test above can fail."""
    assert not used("plot", {"--no-such-option"})
    assert not used("no-such-command", {"--json"})


@pytest.mark.parametrize("command", GROUP.commands)
def test_every_argument_is_passed_on(command):
    """What the command line reads, the function's body names."""
    function = inspect.unwrap(GROUP.commands[command].callback)
    body = ast.parse(inspect.getsource(function)).body[0].body
    names = {n.id for statement in body for n in ast.walk(statement) if isinstance(n, ast.Name)}
    assert set(inspect.signature(function).parameters) <= names
    parameters = {p.name for p in GROUP.commands[command].params} - {"help"}
    assert parameters == set(inspect.signature(function).parameters)
