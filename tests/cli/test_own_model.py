"""The README's model and data of one's own, trained by the command as its reader would do it."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import keras
import pytest

from nadam_suite.config import load_config
from tests.cli.running import run
from tests.docs.pages import page

README = page("README.md")
FILES = README.files()
SECTION = README.section("Your own model and data")
SUBCLASSED = """
class Line(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = keras.layers.Dense(1)

    def call(self, x):
        return self.out(x)


def line():
    model = Line()
    {called}
    return Task(model, loss="mse")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the files of the README, of which none was imported before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mymodel", raising=False)
    for name, text in FILES.items():
        Path(name).write_text(text)
    return tmp_path


def test_it_trains_and_goes_on(folder, capsys):
    """The config of the README learns its sum, and each of its keys is one that counts."""
    assert run(capsys, "validate", "mine.toml").output == "mine.toml: ok\n"
    outcome = run(capsys, "train", "mine.toml")
    assert outcome.status == 0, outcome.errors
    assert load_config("mine.toml").model_options == {"units": 32}
    shown = re.search(r"test\s+\S+ (\d\.\d+) ", outcome.output)
    assert shown is not None
    assert float(shown[1]) < 1.0  # the targets have a variance of 6
    again = run(capsys, "train", "mine.toml", "--resume")
    assert "This run is finished: 10 epochs. Nothing was trained." in again.output


def test_the_last_line_loads_the_model(folder, capsys):
    """What `train` prints at its end is Python, and one epoch is one.."""
    outcome = run(capsys, "train", "mine.toml", "epochs=1")
    assert "\n1 epoch, " in outcome.output
    Path("loads.py").write_text(outcome.output.splitlines()[-1].removeprefix("In Python: "))
    found = runpy.run_path("loads.py")
    assert found["model"].input_shape == (None, 6)
    assert isinstance(found["model"], keras.Sequential)


def test_a_folder_without_a_run_is_told(folder, capsys):
    """Whoever has misspelt it sees that the training begins anew, also where JSON is printed."""
    text = "runs/mien has no run yet: starting anew.\n"
    resumed = ("train", "mine.toml", "epochs=1", "--resume", "--output", "runs/mien")
    assert text in run(capsys, *resumed).output
    assert text not in run(capsys, *resumed).output
    outcome = run(capsys, *resumed[:-1], "runs/other", "--json")
    assert "runs/other has no run yet: starting anew.\n" in outcome.errors
    assert "starting anew" not in run(capsys, "train", "mine.toml", "epochs=1").output


@pytest.mark.parametrize("called", ["pass", 'model(np.zeros((1, 6), "float32"))'])
def test_a_subclassed_model_is_built_on_the_data(folder, capsys, called):
    """As the section says, and one that is built already as well."""
    assert "A subclass of `keras.Model`" in SECTION
    Path("mymodel.py").write_text(FILES["mymodel.py"] + SUBCLASSED.format(called=called))
    changes = ("model=mymodel:line", "~model_options", "epochs=1")
    outcome = run(capsys, "train", "mine.toml", *changes)
    assert outcome.status == 0, outcome.errors
    assert "test" in outcome.output


@pytest.mark.once
@pytest.mark.parametrize(
    ("words", "said"),
    [([], "No epoch had begun."), (["--resume"], "All finished epochs are kept.")],
)
def test_ctrl_c_before_the_config_is_read(folder, capsys, monkeypatch, words, said):
    """Nothing is there to go on with, unless an earlier process has left it."""

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("nadam_suite.cli.train.load_backend", interrupted)
    outcome = run(capsys, "train", "mine.toml", *words)
    assert outcome.status == 130
    assert outcome.errors.startswith(f"Interrupted. {said}")


@pytest.mark.once
def test_the_section_is_short_and_found(folder, capsys):
    """A module of about 20 lines and a config of about 8, named at the top and in the help."""
    lines = {name: len(text.splitlines()) for name, text in FILES.items()}
    assert lines["mymodel.py"] <= 24
    assert lines["mine.toml"] <= 9
    top = README.text.partition("\n## ")[0]
    assert "[Your own model and data](#your-own-model-and-data)" in top
    helped = " ".join(run(capsys, "train", "--help").output.split())
    for text in ("Task and Splits of nadam_suite.experiment", '"Your own model and data"'):
        assert text in helped
