"""Whether the private parts of keras-tuner do what the package relies on, each on a small search.

The checks are about stock's classes: that they call what ours override, and have what ours use.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from nadam_suite.doctor.cell import Observation

__all__ = [
    "building",
    "consecutive_failures",
    "duplicates",
    "initial_space",
    "project_folder",
    "random_values",
    "retry_queue",
    "running",
    "saved_trials",
]

_VALUES = {"rate": 0.5}


def _oracle(kind: str = "RandomSearchOracle", **methods: Any) -> Any:
    """Return an oracle of one hyperparameter, some of whose methods are replaced."""
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 0.0, 1.0)
    made = type(kind, (getattr(keras_tuner.oracles, kind),), methods)
    objective = keras_tuner.Objective("score", "min")
    oracle = made(objective, seed=0, hyperparameters=hp)
    oracle.verbose = 0
    return oracle


def _tuner(oracle: Any, folder: str, base: str = "Tuner", **methods: Any) -> Any:
    """Return a tuner of an oracle, some of whose methods are replaced."""
    import keras_tuner
    from keras_tuner.engine.base_tuner import BaseTuner

    kind = BaseTuner if base == "BaseTuner" else keras_tuner.Tuner
    made = type(base, (kind,), methods)
    return made(oracle, _model, directory=folder, project_name="search")


def _model(hp: Any) -> keras.Model:
    """Return the smallest model that a tuner takes."""
    hp.Float("rate", 0.0, 1.0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@contextlib.contextmanager
def _search(kind: str = "RandomSearchOracle", /, **methods: Any) -> Iterator[tuple[Any, Path]]:
    """Give an oracle that is ready to be asked, and the folder of its search."""
    with tempfile.TemporaryDirectory() as folder:
        oracle = _oracle(kind, **methods)
        _tuner(oracle, folder, "BaseTuner")
        yield oracle, Path(folder, "search")


def _ended(oracle: Any, trial: Any, status: str) -> None:
    """End a trial, well or not."""
    if status == "COMPLETED":
        oracle.update_trial(trial.trial_id, {"score": 1.0})
    trial.status = status
    oracle.end_trial(trial)


def project_folder() -> Observation:
    """Ask for the folder of a search that has one."""
    with _search() as (oracle, folder):
        found = Path(oracle._project_dir)
        return Observation(found == folder, f"of search/ it is …/{found.name}")


def random_values() -> Observation:
    """Replace the values that trials get, and ask for trials."""
    found = {}
    for kind in ("RandomSearchOracle", "HyperbandOracle"):
        with _search(kind, _random_values=lambda _: dict(_VALUES)) as (oracle, _):
            found[kind] = oracle.create_trial("tuner").hyperparameters.values.get("rate")
    right = all(rate == _VALUES["rate"] for rate in found.values())
    return Observation(right, f"where it returns {_VALUES['rate']}, trials get {found}")


def duplicates() -> Observation:
    """Ask for values before a trial has them, and after."""
    with _search(_random_values=lambda _: dict(_VALUES)) as (oracle, _):
        before = oracle._duplicate(_VALUES)
        oracle.create_trial("tuner")
        after, other = oracle._duplicate(_VALUES), oracle._duplicate({"rate": 0.25})
    return Observation(
        (before, after, other) == (False, True, False),
        f"of a trial's values it says {before} before and {after} after, of others {other}",
    )


def saved_trials() -> Observation:
    """Replace what writes a trial, and run one."""
    saved: list[str] = []

    def note(_: Any, trial: Any) -> None:
        saved.append(str(trial.status))

    with _search(_save_trial=note) as (oracle, folder):
        _ended(oracle, oracle.create_trial("tuner"), "COMPLETED")
        written = sorted(path.name for path in folder.rglob("trial.json"))
    return Observation(
        bool(saved) and saved[0] == "RUNNING" and saved[-1] == "COMPLETED" and not written,
        f"it was called for a trial that was {saved}; written without it: {written}",
    )


def consecutive_failures() -> Observation:
    """Replace what counts failures, and let a trial fail."""
    called: list[bool] = []
    methods = {"_check_consecutive_failures": lambda _: called.append(True)}
    with _search(**methods) as (oracle, folder):
        trial = oracle.create_trial("tuner")
        _ended(oracle, trial, "FAILED")
        file = folder / f"trial_{trial.trial_id}" / "trial.json"
        status = json.loads(file.read_text("utf-8"))["status"]
    return Observation(
        called == [True] and status == "FAILED",
        f"called {len(called)} times when one trial failed, whose file then says {status!r}",
    )


def retry_queue() -> Observation:
    """Queue two trials, and ask for one."""
    with _search() as (oracle, _):
        first, second = oracle.create_trial("one"), oracle.create_trial("two")
        oracle.ongoing_trials.clear()
        oracle._retry_queue += [second.trial_id, first.trial_id]
        again = oracle.create_trial("one")
        left = list(oracle._retry_queue)
    return Observation(
        again.trial_id == first.trial_id and left == [second.trial_id],
        f"of a queue {[second.trial_id, first.trial_id]} comes trial {again.trial_id!r}, and "
        f"{left} is left",
    )


def initial_space() -> Observation:
    """Replace what declares the space, and make a tuner."""
    called: list[bool] = []

    def note(tuner: Any) -> None:
        called.append(bool(tuner.oracle and tuner.hypermodel))

    with tempfile.TemporaryDirectory() as folder:
        _tuner(_oracle(), folder, _populate_initial_space=note)
    return Observation(called == [True], f"the constructor calls it {len(called)} times")


def running() -> Observation:
    """Replace what runs a trial, and search."""
    seen: list[tuple[Any, ...]] = []

    def run(tuner: Any, trial: Any, *args: Any, **kwargs: Any) -> None:
        seen.append((*args, *kwargs))
        tuner.oracle.update_trial(trial.trial_id, {"score": 1.0})
        trial.status = "COMPLETED"

    with tempfile.TemporaryDirectory() as folder:
        oracle = _oracle()
        oracle.max_trials = 2
        _tuner(oracle, folder, _try_run_and_update_trial=run).search("x", verbose=0)
        ended = [trial.status for trial in oracle.trials.values()]
    return Observation(
        seen == [("x", "verbose")] * 2 and ended == ["COMPLETED"] * 2,
        f"a search of two trials calls it with {seen}; they ended {ended}",
    )


def building() -> Observation:
    """Replace what builds a model, and have one built."""
    called: list[Any] = []

    def build(tuner: Any, hp: Any) -> Any:
        called.append(hp)
        return tuner.hypermodel.build(hp)

    with tempfile.TemporaryDirectory() as folder:
        oracle = _oracle()
        model = _tuner(oracle, folder, _build_hypermodel=build)._try_build(oracle.hyperparameters)
    right = isinstance(model, keras.Model) and len(called) == 1
    return Observation(
        right, f"`_try_build` calls `_build_hypermodel` {len(called)} times, and returns {model!r}"
    )
