"""The group of all commands: complaints about arguments look like every other error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from nadam_suite.cli.completion import is_key
from nadam_suite.cli.guard import say
from nadam_suite.cli.printing import print_error
from nadam_suite.cli.status import REFUSED

__all__ = ["Commands"]

# The base of all complaints about arguments has a name in no public module.
_UsageError: Any = typer.BadParameter.__base__
_GIVEN = "nadam_suite.arguments"


class Commands(TyperGroup):
    """Says in one line what is wrong with the arguments, and where the help is."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands before the command's name."""
        ctx.meta[_GIVEN] = tuple(args)
        if not args or ctx.resilient_parsing:  # the help, or a completion
            return super().parse_args(ctx, args)
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            _refuse(error, ctx)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options that stand before the command's name."""
        return _flags_without_type(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a name, or None."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _flags_without_type(command.get_params(ctx))
        return command

    def invoke(self, ctx: Any) -> Any:
        """Read the arguments of the command, and run it."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            _refuse(error, ctx)


def _flags_without_type(parameters: list[Any]) -> list[Any]:
    """Have the help show flags as what they are: options that take no value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


def _refuse(error: Any, ctx: Any) -> NoReturn:
    """Say what is wrong, and end the command."""
    message = error.format_message().strip().rstrip(".")
    message += "" if message.endswith("?") else "."
    parameter = getattr(error, "param", None)
    message += _as_key(error, ctx.meta[_GIVEN])
    message += _received(getattr(parameter, "opts", ()), ctx.meta[_GIVEN])
    message += f" `{(error.ctx or ctx).command_path} --help` shows what there is."
    say("Error: ", "bold red", message)
    print_error("Usage", message, REFUSED)
    raise typer.Exit(REFUSED)


def _as_key(error: Any, given: Sequence[str]) -> str:
    """Return how to write what is no option, but a key of a config."""
    name = getattr(error, "option_name", None)
    commands = getattr(error.ctx, "command", None)
    takes = {parameter.name for parameter in getattr(commands, "params", ())}
    if name is None or not takes & {"overrides", "sources", "command"}:
        return ""
    key = name.lstrip("-").replace("-", "_")
    if not is_key(key):
        return ""
    value = "VALUE"
    for word, following in zip(given, [*given[1:], "-"], strict=True):
        if word.startswith(f"{name}="):
            value = word.partition("=")[2]
        elif word == name and not following.startswith("-"):
            value = following
    return f" Keys of the config are written without dashes: {key}={value}."


def _received(options: Sequence[str], given: Sequence[str]) -> str:
    """Return a sentence with the value that an option was given, if it was."""
    for word, following in zip(given, [*given[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in options:
            return f" Received: {name}={(value if equals else following)!r}."
    return ""
