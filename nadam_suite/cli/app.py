"""The commands and their arguments; what they do is imported when one of them runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nadam_suite import __version__
from nadam_suite.cli import ahead_command, completion, configs_command, status
from nadam_suite.cli.average_command import EPILOG as AVERAGE_EPILOG
from nadam_suite.cli.average_command import average
from nadam_suite.cli.group import Commands
from nadam_suite.cli.guard import guarded
from nadam_suite.cli.interrupt import ends_process
from nadam_suite.cli.launch_command import EPILOG as LAUNCH_EPILOG
from nadam_suite.cli.launch_command import launch
from nadam_suite.cli.options import AsJson, Backend, Debug
from nadam_suite.cli.printing import asks_for_json, json_errors
from nadam_suite.cli.report_command import EPILOG as REPORT_EPILOG
from nadam_suite.cli.report_command import report
from nadam_suite.cli.train_command import EPILOG as TRAIN_EPILOG
from nadam_suite.cli.train_command import train
from nadam_suite.cli.tune_command import EPILOG as TUNE_EPILOG
from nadam_suite.cli.tune_command import tune

__all__ = ["app", "main"]

app = typer.Typer(
    name="nadam-suite",
    cls=Commands,
    help="Train with Nadam on TensorFlow, JAX or PyTorch: from one config to a folder of results.",
    epilog=status.epilog(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(epilog=TRAIN_EPILOG)(train)


def _version(wanted: bool) -> None:
    """Print the version, and end."""
    if wanted:
        typer.echo(f"nadam-suite {__version__}")
        raise typer.Exit


@app.callback()
def before(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="Print the version."),
    ] = False,
) -> None:
    """Read what stands before the command's name."""
    del version


@app.command(
    epilog="""Examples:

  nadam-suite doctor

  nadam-suite doctor K6 K16 --backend torch

  nadam-suite doctor K33 --quick --json"""
)
def doctor(
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ROW]...",
            help="Rows to try, such as K6. Default: all.",
            autocompletion=completion.rows,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what starts another process.")
    ] = False,
    as_json: AsJson = False,
    backend: Backend = None,
    debug: Debug = False,
) -> None:
    """Show versions, and cell by cell what stock Nadam and this one keep of their promises."""
    with guarded(debug=debug):
        from nadam_suite.cli.doctor import doctor as run

        run(rows or [], backend=backend, quick=quick, as_json=as_json)


app.command("ls", epilog=configs_command.EPILOGS["ls"])(configs_command.list_names)
app.command(epilog=configs_command.EPILOGS["show"])(configs_command.show)
app.command("cp", epilog=configs_command.EPILOGS["cp"])(configs_command.copy)
app.command(epilog=configs_command.EPILOGS["validate"])(configs_command.validate)
app.command(epilog=ahead_command.EPILOGS["plot"])(ahead_command.plot)
app.command(epilog=ahead_command.EPILOGS["explain"])(ahead_command.explain)
app.command(epilog=AVERAGE_EPILOG)(average)


app.command(context_settings={"allow_interspersed_args": False}, epilog=LAUNCH_EPILOG)(launch)
app.command(epilog=TUNE_EPILOG)(tune)
app.command(epilog=REPORT_EPILOG)(report)


def main(argv: list[str] | None = None) -> None:
    """Run the command.

    Args:
        argv: Arguments; those of the process by default.
    """
    given = sys.argv[1:] if argv is None else argv
    with json_errors(asks_for_json(given)), ends_process(argv is None):
        app(args=argv, prog_name="nadam-suite")
