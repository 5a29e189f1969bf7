"""`nadam-suite tune`: what it refuses, what it prints, and searches in this process."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess

import keras
import pytest

from nadam_suite.cli import main, tune_workers
from nadam_suite.config import load_config
from nadam_suite.tuner import run_search, runs, search_lock
from nadam_suite.tuner.report import report
from nadam_suite.tuner.search_folder import read_search
from nadam_suite.tuner.trials import TrialResult
from tests.cli.running import SMALL, run

CONFIG = ("digits", *(change for change in SMALL if not change.startswith("schedule")))
POINTLESS = "tuner.points=none"
# Arguments of `tune`; then what the message must say.
CASES = {
    "no workers": (("-n", "0"), ["--workers", ">= 1", "--workers=0"]),
    "no trials": (("--trials", "0"), ["`tuner.trials`", ">= 1"]),
    "kind": (("--tuner", "halton"), ["`tuner.kind`", "'halton'", "'quasi_random'"]),
    "preset": (("--preset", "large"), ["`tuner.preset`", "'large'", "'wide'"]),
    "seed": (("--seed", "-1"), ["`tuner.seed`", ">= 0"]),
    "trials of hyperband": (
        ("--tuner", "hyperband", "--trials", "5"),
        ["`tuner.trials`", "left out", "=5"],
    ),
    "unclear objective": (("--objective", "val_x"), ["`tuner.mode`", "'val_x'", "best"]),
    "misspelt key": (("tuner.trails=3",), ["Unknown key `tuner.trails`", "`trials`"]),
    "no chief": (("--print-env", "-n", "2"), ["--chief", "no value", "10.0.0.1:12345"]),
    "two chiefs": (
        ("--print-env", "--chief", "a:1,b:2"),
        ["--chief", "one address", "a:1,b:2"],
    ),
    "chief without a port": (("--print-env", "--chief", "a"), ["--chief", "host:port", "'a'"]),
    "chief alone": (("--chief", "a:1"), ["--chief", "--print-env", "'a:1'"]),
}


@pytest.fixture
def nothing_starts(monkeypatch):
    """Fail if a process is started or something is trained."""

    def started(*arguments, **options):
        raise AssertionError("something was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(runs, "run_training", started)


def _tune(capsys, folder, *arguments):
    return run(capsys, "tune", *CONFIG, POINTLESS, *arguments, "--output", folder)


def _epochs(score):
    """Return what a trial comes to, whatever it has trained."""
    return lambda history, objective: TrialResult({"val_loss": score}, 0)


def _trials(folder):
    """Return what was tried, by trial."""
    found = {}
    for trial in read_search(folder).trials:
        found[trial.id] = (dict(trial.values), trial.score, trial.best_step, trial.status)
    return found


@pytest.mark.once
@pytest.mark.parametrize("case", CASES)
def test_refused_before_anything_starts(nothing_starts, capsys, tmp_path, case):
    """Status 2, one sentence that names argument, value and remedy, and no folder."""
    arguments, expected = CASES[case]
    outcome = run(capsys, "tune", *CONFIG, *arguments, "--output", tmp_path / "search")
    assert outcome.status == 2
    for text in expected:
        assert text in outcome.errors
    assert "Traceback" not in outcome.errors
    assert outcome.errors.count("Error: ") == 1
    assert not (tmp_path / "search").exists()


def test_a_metric_that_no_run_has_is_refused_before_training(nothing_starts, capsys, tmp_path):
    """The nearest one is named, and nothing is written."""
    outcome = _tune(capsys, tmp_path / "search", "--objective", "val_acuracy", "tuner.mode=max")
    assert outcome.status == 2
    assert "'val_acuracy'" in outcome.errors
    assert "Did you mean 'val_accuracy'?" in outcome.errors
    assert not (tmp_path / "search").exists()


@pytest.mark.once
class TestProcesses:
    """What tells the processes of a search who they are."""

    def test_half_an_environment_is_refused(self, nothing_starts, monkeypatch, capsys, tmp_path):
        """An address alone is no chief, and no worker."""
        monkeypatch.setenv("KERASTUNER_ORACLE_IP", "10.0.0.1")
        monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1234")
        outcome = _tune(capsys, tmp_path / "search")
        assert outcome.status == 2
        assert "`KERASTUNER_TUNER_ID`" in outcome.errors
        assert "--print-env" in outcome.errors

    def test_a_training_of_several_workers_is_refused(
        self, nothing_starts, monkeypatch, capsys, tmp_path
    ):
        """Its processes would wait for each other in different trials."""
        monkeypatch.setenv("TF_CONFIG", "{}")
        outcome = _tune(capsys, tmp_path / "search")
        assert outcome.status == 2
        assert "TF_CONFIG" in outcome.errors
        assert "--workers" in outcome.errors

    def test_workers_start_no_workers(self, nothing_starts, monkeypatch, capsys, tmp_path):
        """A process of a search is one of several already."""
        for name, value in (("IP", "10.0.0.1"), ("PORT", "1234")):
            monkeypatch.setenv(f"KERASTUNER_ORACLE_{name}", value)
        monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker0")
        outcome = _tune(capsys, tmp_path / "search", "--workers", "2")
        assert outcome.status == 2
        assert "--workers=2" in outcome.errors
        assert "'worker0'" in outcome.errors

    def test_role_is_what_keras_tuner_takes_it_for(self):
        """Without an address a process is alone."""
        variables = {"KERASTUNER_ORACLE_IP": "a", "KERASTUNER_ORACLE_PORT": "1"}
        roles = [
            tune_workers.role({**variables, "KERASTUNER_TUNER_ID": name})
            for name in ("chief", "worker0")
        ]
        assert [*roles, tune_workers.role({"KERASTUNER_TUNER_ID": "chief"})] == [
            "chief",
            "worker",
            None,
        ]

    def test_exports_are_read_by_a_shell(self, capsys, tmp_path):
        """A block for the chief and one for each worker, with the same command."""
        arguments = ("--print-env", "--chief", "10.0.0.1:1234", "-n", "2", "--backend")
        backend = keras.backend.backend()
        outcome = _tune(capsys, tmp_path / "a b", *arguments, backend, "--trials", "7", "--resume")
        note, *blocks = outcome.output.split("\n\n")
        assert note.startswith("#")
        shown = "".join(
            f'\nprintf "%s|" "${name}"'
            for name in (
                "KERASTUNER_TUNER_ID",
                "KERASTUNER_ORACLE_IP",
                "KERASTUNER_ORACLE_PORT",
                "KERAS_BACKEND",
            )
        )
        ids = []
        for block in blocks:
            script = block.replace("nadam-suite", "printf '%s|'") + shown
            done = subprocess.run(
                ["bash", "-c", script], capture_output=True, text=True, check=True
            )
            words = done.stdout.split("|")
            assert words[:2] == ["tune", "digits"]
            assert "tuner.trials=7" in words
            assert words[words.index("--output") + 1] == str(tmp_path / "a b")
            assert "--resume" in words
            assert words[-4:-1] == ["10.0.0.1", "1234", backend]
            ids.append(words[-5])
        assert ids == ["chief", "worker0", "worker1"]
        assert not (tmp_path / "a b").exists()

    def test_the_trial_of_a_worker_is_in_the_folder(self, tmp_path):
        """A worker between trials has none; so has a search that has not begun."""
        assert tune_workers.trial_of(tmp_path, 0) is None
        state = {"ongoing_trials": {"worker1": "07"}}
        (tmp_path / "oracle.json").write_text(json.dumps(state))
        assert [tune_workers.trial_of(tmp_path, number) for number in (0, 1)] == [None, "07"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Folder of a search of two trials, and what it printed."""
    folder = tmp_path_factory.mktemp("tune") / "search"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as exited:
        main(["tune", *CONFIG, POINTLESS, "--trials", "2", "--output", str(folder)])
    assert not exited.value.code
    return folder, printed.getvalue()


@pytest.mark.once
class TestSearch:
    """Searches by this process."""

    @pytest.fixture
    def searched(self, original, tmp_path):
        """A copy of that folder."""
        return shutil.copytree(original[0], tmp_path / "search")

    def test_a_search_ends_with_a_config(self, original, capsys, tmp_path):
        """A line for each trial, the ranking, and a config that trains to the trial's metric."""
        folder, output = original
        lines = output.splitlines()
        assert [line.split()[1] for line in lines if line.startswith("trial ")] == ["0", "1"]
        best = read_search(folder).best
        assert f"{best.score:.6g}, of trial {best.id}" in output
        assert f"nadam-suite train {folder / 'best.toml'}" in output
        again = tmp_path / "again"
        assert run(capsys, "train", folder / "best.toml", "-o", again).status == 0
        (row,) = json.loads((again / "result.json").read_text())["history"]
        assert row["val_loss"] == best.score

    def test_it_goes_on_with_more_trials(self, searched, capsys):
        """The first trials stay as they were, and are not told again."""
        before = _trials(searched)
        outcome = _tune(capsys, searched, "--trials", "3", "--resume")
        assert outcome.status == 0, outcome.errors
        assert "Going on: 2 of 3 trials have ended before." in outcome.output
        lines = [line for line in outcome.output.splitlines() if line.startswith("trial ")]
        assert [line.split()[1] for line in lines] == ["2"]
        after = _trials(searched)
        assert {name: after[name] for name in before} == before
        assert len(after) == 3

    def test_a_finished_search_trains_nothing(self, searched, nothing_starts, capsys):
        """It shows its result once more."""
        before = _trials(searched)
        outcome = _tune(capsys, searched, "--trials", "2", "--resume")
        assert outcome.status == 0, outcome.errors
        assert _trials(searched) == before

    def test_the_best_config_follows_the_search(self, searched, monkeypatch, capsys):
        """Another best trial replaces the config of the last one, which nobody has edited."""
        path = searched / "best.toml"
        first = load_config(path).optimizer.learning_rate.peak
        best = json.loads((searched / "trial_0" / "trial.json").read_text())["score"]
        monkeypatch.setattr(runs, "best_epoch", _epochs(best - 1.0))
        outcome = _tune(capsys, searched, "--trials", "3", "--resume")
        assert outcome.status == 0, outcome.errors
        assert f"Replaced {path}, the config of the best trial 2." in outcome.output
        rate = read_search(searched).best.values["learning_rate"]
        assert load_config(path).optimizer.learning_rate.peak == rate != first

    def test_what_is_there_is_refused(self, searched, nothing_starts, capsys):
        """Without --resume, with another config, and in a folder of something else."""
        known = (searched / run_search.SEARCH).read_bytes()
        outcome = _tune(capsys, searched, "--trials", "3")
        assert (outcome.status, "--resume" in outcome.errors) == (2, True)
        outcome = _tune(capsys, searched, "--trials", "3", "--resume", "epochs=2", "--seed", "4")
        assert outcome.status == 2
        assert "epochs: 1 -> 2" in outcome.errors
        assert "tuner.seed: None -> 4" in outcome.errors
        outcome = _tune(capsys, searched.parent, "--resume")
        assert (outcome.status, "search.toml" in outcome.errors) == (2, True)
        assert (searched / run_search.SEARCH).read_bytes() == known

    def test_a_folder_has_one_search_at_a_time(self, searched, nothing_starts, capsys):
        """A second one is refused for as long as the first one runs."""
        with search_lock.locked(searched):
            outcome = _tune(capsys, searched, "--resume")
        assert outcome.status == 2
        assert "another process is searching" in outcome.errors
        with search_lock.locked(searched):
            assert (searched / "oracle.json").is_file()

    def test_another_backend_is_refused(self, searched, nothing_starts, capsys, monkeypatch):
        """Its trials would not be comparable."""
        monkeypatch.setattr(run_search.keras.backend, "backend", lambda: "other")
        config = load_config(searched / run_search.SEARCH)
        with pytest.raises(OSError, match=r"backend='other'. Pass --backend") as caught:
            run_search.check_same(config, searched)
        assert "new search" in str(caught.value)


@pytest.mark.once
def test_the_config_itself_is_tried_first(capsys, tmp_path):
    """What is tried is said before the first trial, and what was gained after the last."""
    folder = tmp_path / "search"
    own = ("optimizer.learning_rate=0.5", "optimizer.epsilon=1e-5", "optimizer.use_ema=false")
    outcome = run(capsys, "tune", *CONFIG, *own, "--trials", "2", "--output", folder)
    assert outcome.status == 0, outcome.errors
    first, *lines = outcome.output.splitlines()
    assert first == "Preset algoperf, searched for (quasi_random, 2 trials):"
    assert "  learning_rate: 0.0001 to 0.01, log" in lines
    assert "  optimizer.epsilon: 1e-05 -> 1e-08" in lines
    trials = [line for line in lines if line.startswith("trial ")]
    assert trials[0].startswith("trial 0 (as configured)  val_loss ")
    assert "learning_rate 0.5" in trials[0]
    assert trials[1].startswith("trial 1 (centre of preset algoperf)  val_loss ")
    record = read_search(folder)
    assert lines[-1] == report(folder).verdict()
    config = load_config(record.configured.folder / "run" / "config.toml")
    assert (config.optimizer.learning_rate, config.optimizer.epsilon) == (0.5, 1e-5)
    again = run(capsys, "train", *CONFIG, *own, "--output", tmp_path / "run")
    assert again.status == 0, again.errors
    (row,) = json.loads((tmp_path / "run" / "result.json").read_text())["history"]
    assert row["val_loss"] == record.configured.score
