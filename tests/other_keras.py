"""`python -m tests --keras VERSION`: the contract table on another Keras, in its own environment.

A virtual environment is built for each release, with all that the tests need, and kept in a cache;
the package itself is installed anew at each run. Nothing of the running environment is changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

from tests.processes import ROOT, names_tests

# What runs where the command line names no tests: the table, and each step against the twin.
TESTS = ("tests/contract", "tests/optimizers/test_twin.py")
LATEST = "latest"
MARKER = "complete.json"  # written last: an environment without it is built anew
SHOWN = ("keras", "keras-tuner", "tensorflow", "jax", "torch", "numpy")
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc|\.dev|\.post)\d+)*")


class OtherKerasError(Exception):
    """Why the tests cannot run on another Keras; the message is for the user."""


def run(wanted: str, arguments: Sequence[str]) -> int:
    """Run tests on another Keras, and return the exit status.

    Args:
        wanted: A release, or "latest".
        arguments: What else the command line has: backends, tests, options.
    """
    try:
        release = resolve(wanted)
        python = environment_of(release)
    except OtherKerasError as error:
        print(f"python -m tests --keras {wanted}: {error}", file=sys.stderr, flush=True)
        return 2
    print(versions_in(python), flush=True)
    given = list(arguments)
    if not names_tests(given):
        given += TESTS
    command = [os.fspath(python), "-m", "tests", "--no-lint", *given]
    # Its own children leave the checkout's copy of the package aside; see `tests.processes`.
    return subprocess.run(command, cwd=ROOT, env=clean(), check=False).returncode


def clean() -> dict[str, str]:
    """The environment variables of a process of another Python."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in dropped}


def resolve(wanted: str) -> str:
    """Return the release that is meant, having asked the package index for it.

    Raises:
        OtherKerasError: There is no such release, or the index cannot be reached.
    """
    if wanted != LATEST and not _VERSION.fullmatch(wanted):
        raise OtherKerasError(
            f"the release must be a version such as 3.12.0, or `{LATEST}`. Received: {wanted!r}."
        )
    requirement = "keras" if wanted == LATEST else f"keras=={wanted}"
    if wanted != LATEST and (folder_of(wanted) / MARKER).is_file():
        return wanted  # known to exist; works without a network
    options = ["--dry-run", "--no-deps", "--ignore-installed", "--quiet", "--report", "-"]
    done = pip(Path(sys.executable), "install", *options, requirement)
    if done.returncode:
        raise OtherKerasError(_why_not_found(wanted, done.stderr))
    return str(json.loads(done.stdout)["install"][0]["metadata"]["version"])


def _why_not_found(wanted: str, told: str) -> str:
    """Tell a release that does not exist from an index that does not answer."""
    found = re.search(r"\(from versions: ([^)]*)\)", told)
    names = [name for name in found[1].split(", ") if name != "none"] if found else []
    if names:
        newest = ", ".join([name for name in names if name.startswith("3.")][-8:])
        return f"there is no such release of Keras for this Python. The newest are {newest}."
    if found or "connection" in told.lower() or "network" in told.lower():
        return (
            "the package index cannot be reached, or does not have Keras. Look at the network and "
            "at `pip config list`. An environment that was built before needs no network: give "
            f"its version instead of `{LATEST}`.\n{told.strip()[-600:]}"
        )
    return f"pip cannot look up Keras {wanted}:\n{told.strip()[-1500:]}"


def folder_of(release: str) -> Path:
    """Return where the environment of a release is kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    python = "".join(platform.python_version_tuple()[:2])
    return Path(cache, "nadam-suite-tests", f"keras-{release}-python{python}")


def environment_of(release: str) -> Path:
    """Return the Python of a release's environment, which is built if there is none that fits.

    Raises:
        OtherKerasError: Something cannot be installed.
    """
    folder = folder_of(release)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    needed = {"keras": release, "python": platform.python_version(), "project": _project_hash()}
    marker = folder / MARKER
    if _read(marker) != needed:
        print(f"Building an environment with Keras {release} in {folder} …", flush=True)
        marker.unlink(missing_ok=True)
        venv.create(folder, clear=True, with_pip=True)
        install(python, *_build_requirements(), f"{ROOT}[test]")
        # Afterwards, so that a release that the package does not ask for can be tried too.
        install(python, f"keras=={release}")
        marker.write_text(json.dumps(needed), encoding="utf-8")
    else:
        print(f"Using the environment with Keras {release} in {folder}", flush=True)
    # The checkout may have changed since. What builds it is there already: no network is needed.
    again = ("--no-deps", "--no-build-isolation", "--force-reinstall")
    install(python, *again, os.fspath(ROOT))
    return python


def _read(marker: Path) -> object:
    try:
        return json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _project_hash() -> str:
    """What changes when the environment must be built anew: what the project depends on."""
    project = _project()["project"]
    asked = [project["dependencies"], project["optional-dependencies"]["test"]]
    return hashlib.sha256(json.dumps([asked, _build_requirements()]).encode()).hexdigest()


def _build_requirements() -> list[str]:
    return list(_project()["build-system"]["requires"])


def install(python: Path, *arguments: str) -> None:
    """Install something into an environment.

    Raises:
        OtherKerasError: Pip could not; its last words are in the message.
    """
    done = pip(python, "install", "--quiet", *arguments)
    if done.returncode:
        what = " ".join(arguments)
        raise OtherKerasError(
            f"`pip install {what}` failed. Look at the network, at the space on the disk, and at "
            f"what pip says:\n{(done.stderr or done.stdout).strip()[-2000:]}"
        )


def pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the pip of an environment."""
    return subprocess.run(
        [os.fspath(python), "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT.parent,
        env=clean(),
    )


def versions_in(python: Path) -> str:
    """Return one line: the Python of an environment and the versions of what is tested there."""
    code = (
        "import importlib.metadata as m, platform, sys\n"
        "def version(name):\n"
        "    try: return m.version(name)\n"
        "    except m.PackageNotFoundError: return 'not installed'\n"
        "told = [f'{name} {version(name)}' for name in sys.argv[1:]]\n"
        "print(' · '.join([*told, f'Python {platform.python_version()}']))"
    )
    command = [os.fspath(python), "-c", code, *SHOWN]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean())
    return done.stdout.strip() or done.stderr.strip()
