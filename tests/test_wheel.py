"""What is tested is what is installed: the wheel, with all of the package and nothing else."""

from __future__ import annotations

import importlib.metadata
import sysconfig
import tomllib
from pathlib import Path

import pytest

import nadam_suite
from tests.processes import ROOT, in_ci

pytestmark = pytest.mark.once
IMPORTED = Path(nadam_suite.__file__).resolve().parent
CHECKOUT = ROOT / "nadam_suite"


def files(folder: Path) -> dict[str, bytes]:
    """Content by path below the folder, without caches."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def need_an_installed_package() -> None:
    if IMPORTED == CHECKOUT and not in_ci():
        pytest.skip("the checkout is tested; `pip install .` first to test the wheel")


def test_the_imported_package_is_the_installed_one():
    """In CI nadam_suite comes from site-packages, not from the checkout beside the tests."""
    need_an_installed_package()
    assert IMPORTED.is_relative_to(Path(sysconfig.get_path("purelib")).resolve())


def test_the_wheel_has_every_file_of_the_checkout():
    """The installed files are the checkout's, byte for byte: data files and py.typed included."""
    need_an_installed_package()
    here, there = files(CHECKOUT), files(IMPORTED)
    assert sorted(there) == sorted(here)
    assert [name for name in here if here[name] != there[name]] == []
    assert "py.typed" in here


def test_the_distribution_installs_the_package_alone():
    """The wheel brings no `tests`, `recipes` or `notebooks` into site-packages."""
    need_an_installed_package()
    listed = importlib.metadata.files("nadam-suite") or []
    top = {Path(str(path)).parts[0] for path in listed} - {".."}
    assert {name for name in top if not name.endswith(".dist-info")} == {"nadam_suite"}


def test_one_version():
    """pyproject.toml and __version__ agree; so does the installed distribution."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert nadam_suite.__version__ == project["version"]
    if IMPORTED != CHECKOUT:
        assert importlib.metadata.version("nadam-suite") == project["version"]


def test_the_command_is_declared():
    """The console script points to a function that exists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"]["nadam-suite"].partition(":")
    found = __import__(module, fromlist=[function])
    assert callable(getattr(found, function))
