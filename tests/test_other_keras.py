"""`python -m tests --keras`: which release, in which environment, and what is run there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import __main__ as command
from tests import other_keras
from tests.other_keras import OtherKerasError
from tests.processes import ROOT

pytestmark = pytest.mark.once
UNKNOWN = (
    "ERROR: Could not find a version that satisfies the requirement keras==3.99 (from versions: "
    "2.15.0, 3.14.1, 3.15.0, 3.15.1)\nERROR: No matching distribution found for keras==3.99"
)
NO_NETWORK = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\n"
    "ERROR: Could not find a version that satisfies the requirement keras (from versions: none)"
)


class Pip:
    """Stands for pip: keeps its calls, and answers what it is told to."""

    def __init__(self, returncode=0, stdout="", stderr=""):
        self.calls = []
        self.answer = returncode, stdout, stderr

    def __call__(self, python, *arguments):
        self.calls.append([Path(python).name, *arguments])
        return subprocess.CompletedProcess([], *self.answer)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of this test alone, in which environments are empty folders."""

    def create(folder, clear, with_pip):
        assert clear
        assert with_pip
        Path(folder).mkdir(parents=True, exist_ok=True)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(other_keras.venv, "create", create)
    return tmp_path


def pip(monkeypatch, *answer):
    """Put a `Pip` in the place of pip."""
    made = Pip(*answer)
    monkeypatch.setattr(other_keras, "pip", made)
    return made


def test_the_release_is_what_pip_would_install(cache, monkeypatch):
    """`latest` is asked for by no version; the answer is pip's."""
    report = json.dumps({"install": [{"metadata": {"version": "3.99.1"}}]})
    asked = pip(monkeypatch, 0, report)
    assert other_keras.resolve("latest") == "3.99.1"
    assert other_keras.resolve("3.99") == "3.99.1"
    assert [call[-1] for call in asked.calls] == ["keras", "keras==3.99"]
    assert all("--dry-run" in call for call in asked.calls)


@pytest.mark.parametrize(
    ("wanted", "told", "said"),
    [
        ("3.99", UNKNOWN, "no such release of Keras.*3.14.1, 3.15.0, 3.15.1"),
        ("latest", NO_NETWORK, "package index cannot be reached.*network"),
        ("3.13.0", NO_NETWORK, "package index cannot be reached.*network"),
        ("latest", "ERROR: disk on fire", "cannot look up Keras latest.*disk on fire"),
    ],
)
def test_what_cannot_be_found_is_said(cache, monkeypatch, capsys, wanted, told, said):
    """An unknown release and a missing network are told apart, and the status is 2."""
    pip(monkeypatch, 1, "", told)
    with pytest.raises(OtherKerasError, match=f"(?s){said}"):
        other_keras.resolve(wanted)
    assert other_keras.run(wanted, []) == 2
    assert f"--keras {wanted}: " in capsys.readouterr().err


@pytest.mark.parametrize("wanted", ["newest", "3.12 --pre", "../..", "", ">=3"])
def test_what_is_no_release_is_refused(cache, monkeypatch, wanted):
    """Nothing but a version gets to pip."""
    asked = pip(monkeypatch)
    with pytest.raises(OtherKerasError, match=r"version such as 3\.12\.0"):
        other_keras.resolve(wanted)
    assert not asked.calls


def test_an_environment_is_built_once(cache, monkeypatch):
    """First all dependencies and then that Keras; later the package alone, without a network."""
    asked = pip(monkeypatch)
    python = other_keras.environment_of("3.12.0")
    assert python.is_relative_to(cache)
    assert "keras-3.12.0" in str(python)
    first, second, third = asked.calls
    assert first[-1] == f"{ROOT}[test]"
    assert any(word.startswith("hatchling") for word in first)
    assert second[-1] == "keras==3.12.0"
    assert {"--no-deps", "--no-build-isolation", "--force-reinstall"} < set(third)
    assert other_keras.environment_of("3.12.0") == python
    assert asked.calls[3:] == [third]
    assert other_keras.resolve("3.12.0") == "3.12.0"
    assert len(asked.calls) == 4


def test_an_environment_of_other_dependencies_is_built_anew(cache, monkeypatch):
    """So is one whose building was interrupted, and that of another release has its own folder."""
    asked = pip(monkeypatch)
    python = other_keras.environment_of("3.12.0")
    assert other_keras.environment_of("3.13.0") != python
    monkeypatch.setattr(other_keras, "_project_hash", lambda: "another")
    other_keras.environment_of("3.12.0")
    assert len(asked.calls) == 9
    (python.parents[1] / other_keras.MARKER).unlink()
    other_keras.environment_of("3.12.0")
    assert len(asked.calls) == 12


def test_a_failed_installation_is_no_environment(cache, monkeypatch, capsys):
    """What pip said is told, and the next run tries again."""
    pip(monkeypatch, 1, "", "ERROR: No space left on device")
    with pytest.raises(OtherKerasError, match=r"(?s)pip install hatchling.*No space left"):
        other_keras.environment_of("3.12.0")
    assert not list(cache.rglob(other_keras.MARKER))


@pytest.mark.parametrize(
    ("given", "added"),
    [
        (["torch"], other_keras.TESTS),
        (["torch", "--quick", "-k", "K33"], other_keras.TESTS),
        (["tests/contract/test_private.py"], ()),
        (["tests/contract/test_private.py::test_all"], ()),
    ],
)
def test_the_contract_runs_there(cache, monkeypatch, given, added):
    """This command itself, by that Python, on the contract unless other tests are named."""
    ran = []

    def note(arguments, cwd, env, check):
        ran.append((arguments, cwd, env))
        return subprocess.CompletedProcess([], 7)

    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setattr(other_keras, "resolve", lambda wanted: "3.12.0")
    monkeypatch.setattr(other_keras, "environment_of", lambda release: Path("other", "python"))
    monkeypatch.setattr(other_keras, "versions_in", lambda python: "Keras 3.12.0")
    monkeypatch.setattr(other_keras.subprocess, "run", note)
    assert command.main(["--keras", "3.12.0", *given]) == 7
    ((arguments, cwd, env),) = ran
    python = str(Path("other", "python"))
    assert sorted(arguments) == sorted([python, "-m", "tests", "--no-lint", *given, *added])
    assert cwd == ROOT
    assert "PYTHONSAFEPATH" not in env


def test_named_tests_run_once_a_backend():
    """They have no jobs of their own for what runs once and for several devices."""
    named = command._jobs(["torch", "jax"], ["tests/contract"])
    assert [label for label, _, _ in named] == ["torch", "jax"]
    every = command._jobs(["torch", "jax"], ["--slow"])
    assert sorted(label for label, _, _ in every) == ["devices", "jax", "once", "torch"]


def test_the_versions_are_printed():
    """Of the Python that is asked, what is not installed included."""
    line = other_keras.versions_in(Path(sys.executable))
    assert line.startswith("keras 3.")
    assert "Python 3." in line
