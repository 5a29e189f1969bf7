"""`nadam-suite plot`: pictures, tables and curves of characters, of a config before it trains."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import pytest
from matplotlib import image

from tests.cli.running import run
from tests.processes import run_python

pytestmark = pytest.mark.once

KNOWN = ("--examples", "1280")  # so that no data are loaded


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder of its own, and a screen of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_is_the_default(folder, capsys):
    """It has the config's name, and the data are loaded for its length."""
    outcome = run(capsys, "plot", "digits", "name=mine", "data_options.train_examples=64")
    assert outcome.status == 0, outcome.errors
    assert outcome.output == "Wrote mine-schedule.png\n"
    assert names(folder) == ["mine-schedule.png"]
    assert image.imread("mine-schedule.png").shape[1] == 880


def test_overrides_change_the_picture(folder, capsys):
    """Another schedule is another picture."""
    for kind in ("cosine", "linear"):
        changes = f"schedule.kind={kind}", "-o", f"{kind}.png"
        assert run(capsys, "plot", "digits", *changes, *KNOWN).status == 0
    assert Path("cosine.png").read_bytes() != Path("linear.png").read_bytes()


def test_a_file_is_not_replaced_unless_forced(folder, capsys):
    """What is there stays as it is, and the message has the remedy."""
    Path("a.png").write_text("mine")
    outcome = run(capsys, "plot", "digits", "-o", "a.png", *KNOWN)
    assert outcome.status == 2
    assert "--output='a.png'" in outcome.errors
    assert "--force" in outcome.errors
    assert Path("a.png").read_text() == "mine"
    assert run(capsys, "plot", "digits", "-o", "a.png", "--force", *KNOWN).status == 0
    assert Path("a.png").read_bytes()[1:4] == b"PNG"


def test_nothing_is_written_if_one_of_two_files_cannot_be(folder, capsys):
    """The table exists, so there is no picture either."""
    Path("a.csv").write_text("mine")
    outcome = run(capsys, "plot", "digits", "-o", "a.png", "--csv", "a.csv", *KNOWN)
    assert outcome.status == 2
    assert "--csv='a.csv'" in outcome.errors
    assert names(folder) == ["a.csv"]


def test_a_folder_gets_a_file_with_the_name(folder, capsys):
    """As `cp` does it."""
    Path("pictures").mkdir()
    assert run(capsys, "plot", "digits", "-o", "pictures", *KNOWN).status == 0
    assert names(folder / "pictures") == ["digits-schedule.png"]


def test_csv_has_a_row_per_update(folder, capsys):
    """All of them, with the values of the config's schedule; no picture is asked for."""
    changes = ["schedule.kind=linear", "optimizer.gradient_accumulation_steps=4"]
    outcome = run(capsys, "plot", "digits", *changes, "--csv", "a.csv", *KNOWN)
    assert outcome.status == 0, outcome.errors
    assert outcome.output == "Wrote a.csv: 150 updates\n"
    assert names(folder) == ["a.csv"]
    with Path("a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 150
    assert [int(row["step"]) for row in rows[:2]] == [3, 7]
    for row in rows:
        step, peak = int(row["step"]), 3e-3
        rate = peak * step / 60 if step < 60 else peak * (600 - step) / 540
        assert float(row["learning_rate"]) == pytest.approx(rate, rel=1e-5)
        assert float(row["decay_per_update"]) == pytest.approx(0.05 * rate, rel=1e-5)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_curves_fit_the_screen(folder, capsys, monkeypatch, width):
    """One per quantity that varies, as wide as the terminal, and a line for each constant."""
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = run(capsys, "plot", "digits", "--ascii", *KNOWN)
    assert outcome.status == 0, outcome.errors
    lines = outcome.output.splitlines()
    assert lines[0] == "digits: 600 steps, 30 epochs"
    assert max(len(line) for line in lines if "│" in line or "└" in line) == width
    for head in ("learning rate: 0 to 0.003;", "momentum u_t: 0.468 to 0.9"):
        assert sum(line.startswith(head) for line in lines) == 1
    assert "warm-up ends at step 60" in " ".join(outcome.output.split())
    assert lines[-2:] == ["weight decay: 0.05, constant", "beta_1: 0.9, constant"]
    assert len({line.index("└") for line in lines if "└" in line}) == 1
    assert names(folder) == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
def test_curves_use_what_the_terminal_can_show(folder, monkeypatch, encoding):
    """Where the encoding is not Unicode the curves are plain ASCII, and nothing fails."""
    from nadam_suite.cli import main

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    with pytest.raises(SystemExit) as exited:
        main(["plot", "digits", "--ascii", *KNOWN])
    sys.stdout.flush()
    assert not exited.value.code
    text = raw.getvalue().decode(encoding)
    assert text.isascii() == (encoding != "utf-8")
    assert "warm-up ends" in text


def test_picture_and_curves_together(folder, capsys):
    """With a name the picture is written as well."""
    outcome = run(capsys, "plot", "digits", "--ascii", "-o", "a.png", "--csv", "a.csv", *KNOWN)
    assert outcome.status == 0, outcome.errors
    assert "learning rate" in outcome.output
    assert names(folder) == ["a.csv", "a.png"]


def test_a_preset_with_a_length(folder, capsys):
    """An optimizer's config is drawn over what the options say."""
    lengths = ("--examples", "1000", "--batch-size", "10", "--epochs", "5")
    outcome = run(capsys, "plot", "vit", "--ascii", *lengths)
    assert outcome.status == 0, outcome.errors
    assert outcome.output.startswith("vit: 500 steps, 5 epochs\n")
    assert run(capsys, "plot", "vit", "--steps", "500").output == "Wrote vit-schedule.png\n"


def test_ten_million_steps(folder, capsys):
    """A long plan is drawn from some of its updates, and its table says so."""
    outcome = run(capsys, "plot", "vit", "--steps", "10000000", "--ascii", "-o", "a.png")
    assert outcome.status == 0, outcome.errors
    assert "warm-up ends at step 500,000" in " ".join(outcome.output.split())


def test_what_scaling_would_change_is_said(folder, capsys):
    """A rate that follows the number of devices is shown for one, with a note."""
    change = "distribution.scale_learning_rate=sqrt"
    outcome = run(capsys, "plot", "digits", change, "--ascii", *KNOWN)
    assert outcome.output.startswith("Note: The learning rate is that of one device.")


def test_data_of_ones_own(folder, capsys):
    """A data function in the current folder is found, and counted."""
    Path("own_data_of_a_plot.py").write_text(
        "import numpy as np\n"
        "from nadam_suite.experiment import Splits\n"
        "def data():\n"
        "    return Splits(train=(np.zeros((70, 2)), np.zeros(70)))\n"
    )
    Path("own.toml").write_text(
        'name = "own"\nmodel = "digits"\ndata = "own_data_of_a_plot:data"\nepochs = 2\n'
    )
    outcome = run(capsys, "plot", "own.toml", "--ascii")
    assert outcome.output.startswith("own: 6 steps, 2 epochs\n")


WINDOW_OF_NINE = ("schedule.warmup=0", "optimizer.gradient_accumulation_steps=9")
REFUSED = {
    "unknown": (["plot", "digts"], ["NAME", "'digts'", "Did you mean 'digits'?"]),
    "fault": (["plot", "digits", "epochs=0"], ["epochs", ">= 1"]),
    "no length": (["plot", "vit"], ["length", "--steps 10000"]),
    "steps of a training": (
        ["plot", "digits", "--ascii", "--steps", "9"],
        ["`steps`", "Pass examples"],
    ),
    "no examples": (["plot", "digits", "--ascii", "--examples", "0"], ["examples=0"]),
    "short": (
        ["plot", "digits", "--ascii", "--examples", "64", "epochs=1", *WINDOW_OF_NINE],
        ["9 batches", "total_steps=1", "Train longer"],
    ),
    "no folder": (["plot", "digits", "-o", "no/a.png"], ["'no/a.png'", "no folder", "--output"]),
    "below a file": (["plot", "digits", "-o", "mine.txt/a.png"], ["mine.txt", "no folder"]),
    "another suffix": (["plot", "digits", "-o", "a.jpg"], ["'a.jpg'", ".png", "'a.png'"]),
    "table's suffix": (["plot", "digits", "--csv", "a.txt"], ["'a.txt'", "'a.csv'"]),
    "table without a folder": (["plot", "digits", "--csv", "no/a.csv"], ["no/a.csv", "--csv"]),
    "default exists": (["plot", "digits"], ["digits-schedule.png", "--force", "--output"]),
    "folder of that name": (["plot", "digits", "--force", "-o", "x.png/y.png"], ["no folder"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_message(folder, capsys, case):
    """Status 2, key, value and remedy; nothing is written."""
    Path("mine.txt").write_text("mine")
    Path("digits-schedule.png").write_text("mine")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    arguments, expected = REFUSED[case]
    outcome = run(capsys, *arguments)
    assert outcome.status == 2
    assert outcome.output == ""
    for text in expected:
        assert text in outcome.errors
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_may_not_be_written_to(folder, capsys, monkeypatch):
    """It is said before anything is computed."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    outcome = run(capsys, "plot", "digits", *KNOWN)
    assert outcome.status == 2
    assert "may not be written to" in outcome.errors


def test_a_disk_that_is_full(folder, capsys, monkeypatch):
    """The error of the system becomes a message, and no part of a file stays."""

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    outcome = run(capsys, "plot", "digits", "--csv", "a.csv", *KNOWN)
    assert outcome.status == 2
    assert "--csv='a.csv': No space left on device" in outcome.errors
    assert names(folder) == []


def test_help_loads_no_framework():
    """Both commands explain themselves at once."""
    code = (
        "import contextlib, sys\n"
        "sys.argv[0] = 'nadam-suite'\n"
        "from nadam_suite.cli import main\n"
        "for command in ('plot', 'explain'):\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main([command, '--help'])\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'sklearn', 'matplotlib', 'numpy'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = run_python(code)
    assert "HEAVY []" in done.stdout
    assert done.stdout.count("Usage") == done.stdout.count("Examples:") == 2
