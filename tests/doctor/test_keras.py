"""What `doctor` says of the Keras that is installed, above all of one that was not tested."""

from __future__ import annotations

import builtins
import json
import tomllib

import keras
import pytest

from nadam_suite import versions
from nadam_suite.doctor import to_json
from nadam_suite.doctor.private import PRIVATE, keras_as_dict, summary, try_private
from nadam_suite.doctor.table import MEASURED_WITH
from tests.cli.running import run
from tests.processes import ROOT

HERE = keras.__version__
NEWER, OLDER = ("3.0.0", "3.1.0"), ("99.0.0", "99.1.0")


@pytest.fixture
def results():
    """Of one private name."""
    return try_private(names=["optimizer._var_key"])


def say_tested(monkeypatch, oldest, newest):
    """Have other releases tested than were."""
    monkeypatch.setitem(versions.TESTED, "keras", (oldest, newest))


def lose(monkeypatch):
    """Take a private method from Keras that nothing needs here."""
    (owner,) = [c for c in keras.optimizers.Nadam.__mro__ if "_untrack_variable" in vars(c)]
    monkeypatch.delattr(owner, "_untrack_variable")


def test_the_oldest_tested_release_is_the_oldest_allowed():
    """`pyproject.toml` asks for it, and the defects were measured with the newest."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (asked,) = [each for each in project["dependencies"] if each.startswith("keras>")]
    oldest, newest = versions.TESTED["keras"]
    assert versions.compared("keras", asked.partition("=")[2].partition(",")[0]) == 0
    assert asked.startswith(f"keras>={oldest.removesuffix('.0')}")
    assert f"Keras {newest}" == MEASURED_WITH
    assert f"Keras {oldest} to {newest} are tested." in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("version", "side"),
    [
        ("3.11.3", -1),
        ("3.12.0", 0),
        ("3.13", 0),
        ("3.15.1", 0),
        ("3.15.1rc1", 0),
        ("3.15.2", 1),
        ("3.16.0.dev20260101", 1),
        ("4", 1),
        ("2.15.0", -1),
    ],
)
def test_releases_are_compared_by_their_numbers(monkeypatch, version, side):
    """Older, tested, or newer."""
    say_tested(monkeypatch, "3.12.0", "3.15.1")
    assert versions.compared("keras", version) == side


def test_a_tested_release_is_told_in_one_line(monkeypatch, results):
    """With the range, and how many private names are as expected."""
    say_tested(monkeypatch, "3.0.0", "99.0.0")
    assert "was tested with Keras 3.0.0 to 99.0.0. Here 1 of 1 private names" in summary(results)
    assert "tried all the same" not in summary(results)
    assert "\n" not in summary(results)


@pytest.mark.parametrize(("ends", "word"), [(NEWER, "newer"), (OLDER, "older")])
def test_another_release_is_told_with_what_is_known_to_work(monkeypatch, results, ends, word):
    """One line: the range, the command, what the checks found, and that rows are tried."""
    say_tested(monkeypatch, *ends)
    line = summary(results)
    assert line.startswith(f"Keras {HERE} is {word} than what nadam-suite")
    assert f"Keras {ends[0]} to {ends[1]}: these are known to work" in line
    assert f"`pip install keras=={ends[1]}`" in line
    assert "1 of 1 private names that it relies on are as expected" in line
    assert line.endswith("Every row below is tried all the same.")
    assert "\n" not in line


def test_json_has_the_same(monkeypatch, results):
    """The release, the tested ones, and each private name with what was found."""
    table = json.loads(to_json([], results))["keras"]
    assert table == keras_as_dict(results)
    assert table["version"] == HERE
    assert table["tested"] == list(versions.TESTED["keras"])
    (private,) = table["private"]
    assert private["name"] == "optimizer._var_key"
    assert private["as_expected"] is True
    assert private["found"]
    say_tested(monkeypatch, *NEWER)
    assert keras_as_dict(results)["is_tested"] is False
    assert "keras" not in json.loads(to_json([]))


def test_the_command_says_it_first(capsys, monkeypatch):
    """The line, each changed name in full, then the rows, whose promises decide the status."""
    say_tested(monkeypatch, *NEWER)
    lose(monkeypatch)
    outcome = run(capsys, "doctor", "K33/typed")
    assert outcome.status == 0, outcome.errors
    first, second, *rest = outcome.output.splitlines()
    assert first.startswith(f"Keras {HERE} is newer than")
    assert "but not optimizer._untrack_variable." in first
    assert second.startswith(f"Keras {HERE} has changed optimizer._untrack_variable")
    assert any("relied on" in line for line in rest)
    assert any("K33/typed" in line for line in rest)


def test_the_command_has_it_in_json(capsys, monkeypatch):
    """And nothing but JSON on stdout."""
    lose(monkeypatch)
    outcome = run(capsys, "doctor", "K33/typed", "--json")
    table = json.loads(outcome.output)
    wrong = [each["name"] for each in table["keras"]["private"] if not each["as_expected"]]
    assert wrong == ["optimizer._untrack_variable"]
    backend = keras.backend.backend()
    assert len(table["keras"]["private"]) == len([p for p in PRIVATE if backend in p.backends])
    assert table["cells"][0]["id"] == "K33/typed"


@pytest.mark.parametrize("known", [False, True], ids=["untested", "tested"])
def test_a_keras_that_the_package_cannot_be_imported_with(capsys, monkeypatch, known):
    """What is known to work is told; on a tested Keras it is a fault that shows its traceback."""
    real = builtins.__import__

    def refusing(name, *arguments, **options):
        if name == "nadam_suite.doctor":
            raise AttributeError("module 'keras' has no attribute 'optimizers'")
        return real(name, *arguments, **options)

    if not known:
        say_tested(monkeypatch, *NEWER)
    monkeypatch.setattr(builtins, "__import__", refusing)
    if known:
        with pytest.raises(AttributeError, match="no attribute 'optimizers'"):
            run(capsys, "doctor")
        return
    outcome = run(capsys, "doctor")
    assert outcome.status == 2
    assert f"Keras {HERE}" in outcome.errors
    assert "AttributeError: module 'keras' has no attribute 'optimizers'" in outcome.errors
    assert "Known to work: Keras 3.0.0 to 3.1.0" in outcome.errors
    assert "pip install" in outcome.errors
