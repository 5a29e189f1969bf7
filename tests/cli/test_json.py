"""`--json`: one document on stdout, with keys that the README lists, for errors too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nadam_suite.cli import printing
from nadam_suite.config import load_config
from nadam_suite.experiment import recipe_path
from tests.cli.running import SMALL, run
from tests.processes import ROOT

pytestmark = pytest.mark.once

KNOWN = ("--examples", "1280")
# What each command is given, so that it has something to print.
COMMANDS = {
    "ls": (),
    "validate": ("digits", "vit"),
    "plot": ("vit", "--steps", "20"),
    "explain": ("digits", *KNOWN),
    "train": ("digits", *SMALL),
    "doctor": ("K33/typed",),
}
# What is wrong, the kind of error that it is, and how it ends.
ERRORS = {
    "train": (["digts"], "ConfigError"),
    "show": (["missing.toml"], "DataFileError"),
    "explain": (["digits", "epochs=0", "seed=-1"], "ConfigError"),
    "plot": (["vit", "--steps", "x"], "Usage"),
    "average": (["missing"], "RunFolderError"),
    "report": (["missing"], "DataFileError"),
    "doctor": (["K999"], "ArgumentError"),
    "ls": (["--all"], "Usage"),
}


def documented() -> dict[str, set[str]]:
    """The keys that the README lists, by command."""
    text = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+) --json` \| (.*) \|$", text, re.MULTILINE)
    return {command: set(re.findall(r"`(\w+)`", keys)) for command, keys in rows}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_stdout_is_one_document(capsys, command):
    """It has the documented keys, and progress and notes go elsewhere."""
    outcome = run(capsys, command, *COMMANDS[command], "--json")
    assert outcome.status == 0, outcome.errors
    table = json.loads(outcome.output)
    assert set(table) == documented()[command]


def test_every_command_with_json_is_documented():
    """In the README's table, and nothing else is."""
    from typer.main import get_command

    from nadam_suite.cli import app

    commands = get_command(app).commands.items()
    having = {
        name for name, c in commands if any("--json" in parameter.opts for parameter in c.params)
    }
    assert set(documented()) == having


def test_a_training_is_told_on_stderr(capsys):
    """Its figures are those of the folder's result, its lines those of a run without JSON."""
    outcome = run(capsys, "train", "digits", *SMALL, "--output", "a", "--json")
    table = json.loads(outcome.output)
    assert table["metrics"] == json.loads(Path("a/result.json").read_text())["metrics"]
    assert table["folder"] == "a"
    assert table["name"] == "digits"
    assert (table["epochs"], table["already_finished"]) == (1, False)
    assert "epoch 1/1  loss" in outcome.errors
    again = run(capsys, "train", "digits", *SMALL, "--output", "a", "--resume", "--json")
    assert json.loads(again.output)["already_finished"]


def test_show_is_a_config_file(capsys, tmp_path):
    """What it prints loads as the same config."""
    outcome = run(capsys, "show", "digits", "epochs=7", "--json")
    path = tmp_path / "shown.json"
    path.write_text(outcome.output)
    assert load_config(path) == load_config(recipe_path("digits"), ["epochs=7"])
    assert set(json.loads(outcome.output)) >= documented()["show"]


def test_validate_lists_the_faults_of_each(capsys, tmp_path):
    """A file with faults is a result and no error, but the status is 2."""
    (tmp_path / "bad.toml").write_text('model = "digits"\ndata = "digits"\nepochs = 0\nsed = 1\n')
    outcome = run(capsys, "validate", "digits", "bad.toml", "--json")
    assert outcome.status == 2
    good, bad = json.loads(outcome.output)["files"]
    assert good == {"file": "digits", "ok": True, "kind": "TrainConfig", "faults": []}
    assert (bad["file"], bad["ok"]) == ("bad.toml", False)
    assert [fault.split("`")[1] for fault in bad["faults"]] == ["epochs", "sed"]


def test_plot_has_the_values_of_each_update(capsys):
    """As many of each as there are updates; a picture is written if it has a name."""
    arguments = ("vit", "--steps", "20", "--json", "--output", "a.png")
    outcome = run(capsys, "plot", *arguments)
    table = json.loads(outcome.output)
    assert table["update"] == list(range(1, 21))
    assert {len(values) for values in table["values"].values()} == {20}
    assert "Wrote a.png" in outcome.errors


@pytest.mark.parametrize("command", ERRORS)
def test_an_error_is_a_document_too(capsys, command):
    """Its kind, message and faults; the status and stderr are those of the command without it."""
    arguments, kind = ERRORS[command]
    plain = run(capsys, command, *arguments)
    outcome = run(capsys, command, *arguments, "--json")
    assert plain.output == ""
    assert (outcome.status, outcome.errors) == (plain.status, plain.errors)
    error = json.loads(outcome.output)["error"]
    assert set(error) == {"kind", "message", "faults", "status"}
    assert (error["kind"], error["status"]) == (kind, outcome.status)
    head = outcome.errors.removeprefix("Error: ").strip()
    assert error["message"] == head
    assert all(fault in head for fault in error["faults"])
    assert len(error["faults"]) == (2 if "seed=-1" in arguments else 1)


def test_an_interruption_is_a_document_too(capsys, monkeypatch):
    """With its status."""

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("nadam_suite.cli.configs.list_all", stop)
    outcome = run(capsys, "ls", "--json")
    assert outcome.status == 130
    assert json.loads(outcome.output)["error"]["kind"] == "Interrupted"


def test_what_nobody_foresaw_is_a_document_too(capsys, monkeypatch):
    """The traceback comes as ever."""

    def fail(*arguments, **options):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("nadam_suite.cli.configs.list_all", fail)
    with pytest.raises(ZeroDivisionError):
        run(capsys, "ls", "--json")
    error = json.loads(capsys.readouterr().out)["error"]
    assert error == {
        "kind": "ZeroDivisionError",
        "message": "by zero",
        "faults": ["by zero"],
        "status": 1,
    }


def test_numbers_that_are_none(capsys):
    """JSON has no NaN: it becomes null, however deep it lies."""
    printing.print_json({"a": float("nan"), "b": [{"c": float("inf")}, 1.5], 3: ("x", None)})
    written = json.loads(capsys.readouterr().out)
    assert written == {"a": None, "b": [{"c": None}, 1.5], "3": ["x", None]}


def test_the_chief_of_several_workers_writes_the_document(capsys, monkeypatch):
    """As it is; what the others write, and all progress, goes to stderr with their names."""

    def say(self):
        for worker in (1, 0):
            self._write(worker, False, '{"epochs": 3}')
            self._write(worker, True, "epoch 1/3")

    monkeypatch.setattr("nadam_suite.cli.workers.Workers.run", say)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    words = ("launch", "-n", "2", "--backend", "jax", "--", "train", "digits")
    outcome = run(capsys, *words, "--json")
    assert json.loads(outcome.output) == {"epochs": 3}
    assert outcome.errors == "[worker 1] epoch 1/3\n[worker 0] epoch 1/3\n"
    assert run(capsys, *words).output.startswith('[worker 1] {"epochs": 3}\n[worker 0] {')


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["ls", "--json"], True),
        (["ls"], False),
        (["launch", "--", "train", "digits", "--json"], False),
    ],
)
def test_json_behind_the_dashes_is_anothers(arguments, wanted):
    """What stands behind `--` belongs to the workers' command."""
    assert printing.asks_for_json(arguments) == wanted
