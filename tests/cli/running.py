"""Run the command inside this process, as a user would type it."""

from __future__ import annotations

import dataclasses

import pytest

from nadam_suite.cli import main

SMALL = (
    "epochs=1",
    "batch_size=32",
    "data_options.train_examples=64",
    "model_options.width=4",
    "schedule.warmup=0",
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the command left on the screen, and its exit status."""

    status: int
    output: str
    errors: str


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Outcome:
    """Run `nadam-suite` with these arguments."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Outcome(int(exited.value.code or 0), captured.out, captured.err)
