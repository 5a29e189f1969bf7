"""Searches that are killed, interrupted, or shared by workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nadam_suite.tuner.search_folder import read_search
from tests.cli.running import SMALL
from tests.processes import COMMAND, LIMIT, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.skipif(sys.platform == "win32", reason="needs process groups"),
]
CHANGES = tuple(change for change in SMALL if not change.startswith("schedule"))
SEARCH = ("tune", "digits", *CHANGES, "epochs=2", "tuner.points=none", "--trials", "3")


def _started(folder, *arguments):
    return subprocess.Popen(
        [*COMMAND, *SEARCH, "--output", str(folder), *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _done(folder, *arguments):
    process = _started(folder, *arguments)
    output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output[-3000:] + errors[-3000:]
    return output


def _trials(folder):
    """Return what was tried, by trial, and the best of them."""
    record = read_search(folder)
    found = {}
    for trial in record.trials:
        found[trial.id] = (dict(trial.values), trial.score, trial.best_step, trial.status)
    return found, record.best.id


def _wait_for(process, happened):
    deadline = time.monotonic() + LIMIT
    while not (found := happened()):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError("".join(process.communicate()))
        time.sleep(0.02)
    return found


def _states(folder, number=1):
    """Return the states that runs have saved, once there are so many."""
    states = list(folder.glob("trial_*/run/state/training_state.npz"))
    return states if len(states) >= number else []


def _processes(folder, name=""):
    """Return the processes of a search that its launcher has started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text() if entry.name.isdecimal() else ""
            variables = (entry / "environ").read_text().split("\0") if words else []
        except OSError:
            continue
        own = str(folder) in words and "nadam_suite.cli.worker" in words
        if own and any(v.startswith(f"KERASTUNER_TUNER_ID={name}") for v in variables):
            found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search by one process that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "search"
    _done(folder)
    return folder


def test_a_killed_search_goes_on_exactly(whole, tmp_path):
    """SIGKILL in its first trial, then in a later one; the same trials and the same best."""
    folder = tmp_path / "search"
    for states in (1, 2):
        process = _started(folder, "--resume")
        _wait_for(process, lambda: _states(folder, states))  # noqa: B023 - called here
        process.kill()
        process.communicate()
    assert not (folder / "best.toml").exists()
    output = _done(folder, "--resume")
    assert "Going on: " in output
    assert _trials(folder) == _trials(whole)
    assert (folder / "best.toml").read_bytes() == (whole / "best.toml").read_bytes()


def test_workers_find_the_same_points_and_one_may_die(whole, tmp_path):
    """The worker is named with its trial, all end in time, and the search goes on from there."""
    folder = tmp_path / "search"
    process = _started(folder, "--workers", "2")
    other, victim = _stopped_in_a_trial_each(process, folder, ("worker0", "worker1"))
    os.kill(other, signal.SIGCONT)
    _wait_for(process, lambda: _states(folder))
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 137
    assert f"Worker 1 (process {victim}) was killed by SIGKILL" in errors
    trial = _trial_of(folder, "worker1")
    assert f"It was at trial {trial}, in {folder / f'trial_{trial}'}." in errors
    assert "--resume" in errors.splitlines()[-1]
    assert not _processes(folder)
    output = _done(folder, "--workers", "2", "--resume")
    assert not _processes(folder)
    assert "best.toml" in output
    (found, _), (expected, _) = _trials(folder), _trials(whole)
    assert found.keys() == expected.keys()
    for name, (values, score, _, status) in expected.items():
        assert found[name][0] == values
        assert found[name][1] == pytest.approx(score, rel=1e-3)  # other threads, other rounding
        assert found[name][3] == status


def _stopped_in_a_trial_each(process, folder, names):
    """Stop each worker in its trial: one that begins late would find that none are left.

    Returns:
        The workers' processes, which wait for SIGCONT.
    """
    stopped = {}

    def all_are():
        for name in names:
            pids = [] if name in stopped else _processes(folder, name)
            if pids and _trial_of(folder, name):
                os.kill(pids[0], signal.SIGSTOP)
                stopped[name] = pids[0]
                if not _trial_of(folder, name):  # it had just ended
                    os.kill(stopped.pop(name), signal.SIGCONT)
        return len(stopped) == len(names)

    _wait_for(process, all_are)
    return [stopped[name] for name in names]


def _trial_of(folder, name):
    try:
        state = json.loads((folder / "oracle.json").read_text())
    except (FileNotFoundError, ValueError):  # not yet written, or just being written
        return None
    return state["ongoing_trials"].get(name)


def test_interruption_ends_all_and_says_how_to_go_on(tmp_path):
    """Ctrl-C ends the launcher with status 130 and leaves no process."""
    folder = tmp_path / "search"
    process = _started(folder, "--workers", "2", "epochs=500")
    _wait_for(process, lambda: _states(folder))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "Interrupted" in errors
    assert "Traceback" not in errors
    assert f"--output {folder}" in errors
    assert errors.rstrip().endswith("--resume")
    assert not _processes(folder)
