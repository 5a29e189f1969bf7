"""Cells about searches with keras-tuner: what they keep, go on with, and say."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.harness import compare, scratch
from nadam_suite.doctor.probes.searching import (
    ROWS,
    STEPS,
    Watch,
    builder,
    data_of_search,
    quiet,
    random_tuner,
    run_search,
    small_model,
)

__all__ = ["CELLS"]

_WORKER = {
    "KERASTUNER_TUNER_ID": "worker-1",
    "KERASTUNER_ORACLE_IP": "127.0.0.1",
    "KERASTUNER_ORACLE_PORT": "1",  # nobody listens: nothing of this process may need the chief
}


@quiet
def _rungs(subject: Subject) -> Observation:
    watch = Watch()
    with scratch() as folder:
        tuner = subject.search().hyperband(
            builder(subject),
            "val_loss",
            max_epochs=2,
            factor=2,
            seed=1,
            directory=str(folder),
            project_name="search",
        )
        run_search(tuner, watch, epochs=None)
    later = [(epoch, updates) for epoch, updates in watch.begun if epoch]
    holds = bool(later) and all(updates == epoch * STEPS for epoch, updates in later)
    begun = ", ".join(f"epoch {epoch + 1} at update {updates}" for epoch, updates in later)
    return Observation(holds, f"rungs begin {begun or 'never'}; {STEPS} updates an epoch")


@quiet
def _best_model(subject: Subject) -> Observation:
    def build(hp: Any) -> keras.Model:
        rate = hp.Float("learning_rate", 0.05, 0.3, default=0.1)
        return small_model(subject.averages.optimizer(rate, 0.9))

    with scratch() as folder:
        tuner = random_tuner(subject, folder, hypermodel=build, max_trials=2)
        run_search(tuner, *subject.averages.validating(), epochs=3)
        logged = tuner.oracle.get_best_trials(1)[0].score
        best = tuner.get_best_models(1)[0]
        seen = best.evaluate(*data_of_search(), batch_size=ROWS // STEPS, verbose=0)
    return compare(seen, logged, 1e-6, f"evaluates to {seen:.4g}, scored {logged:.4g}")


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@quiet
def _late_worker(subject: Subject) -> Observation:
    with scratch() as folder:
        run_search(random_tuner(subject, folder))
        before = sorted(path.name for path in folder.rglob("*.json"))
        said = "no word"
        with _environment(**_WORKER):
            try:
                random_tuner(subject, folder, overwrite=True)
            except ValueError as error:
                said = (
                    f"{type(error).__name__} about overwrite" if "overwrite" in str(error) else ""
                )
        left = sorted(path.name for path in folder.rglob("*.json"))
    holds = left == before and "overwrite" in said
    return Observation(holds, f"{len(before)} files before, {len(left)} after a worker; {said}")


@quiet
def _other_range(subject: Subject) -> Observation:
    with scratch() as folder:
        run_search(random_tuner(subject, folder))
        try:
            again = random_tuner(subject, folder, hypermodel=builder(subject, low=1e-2, high=1.0))
        except OSError as error:
            told = all(text in str(error) for text in ("learning_rate", "0.001", "0.01"))
            return Observation(told, "refused, " + ("both ranges told" if told else str(error)))
        (space,) = again.oracle.get_space().space
    holds = (space.min_value, space.max_value) == (1e-2, 1.0)
    return Observation(holds, f"goes on in [{space.min_value:g}, {space.max_value:g}], unsaid")


@quiet
def _misspelt(subject: Subject) -> Observation:
    import keras_tuner

    fits: list[str] = []

    class Model(keras.Sequential):
        def fit(self, *args: Any, **options: Any) -> Any:
            fits.append(self.name)
            return super().fit(*args, **options)

    def build(hp: Any) -> keras.Model:
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
        return small_model(subject.optimizer(rate), Model)

    with scratch() as folder:
        objective = keras_tuner.Objective("val_los", "min")
        tuner = random_tuner(subject, folder, hypermodel=build, objective=objective, max_trials=5)
        try:
            run_search(tuner)
        except Exception as error:  # noqa: BLE001 - which kind it is does not matter here
            said = str(error).strip().splitlines()[0]
        else:
            said = "nothing"
    return Observation(not fits, f"{len(fits)} trainings, then: {said}")


@quiet
def _reason(subject: Subject) -> Observation:
    x = np.full((ROWS, 2), np.nan, "float32")
    with scratch() as folder:
        tuner = random_tuner(subject, folder, max_trials=4)
        try:
            run_search(tuner, x=x)
        except Exception as error:  # noqa: BLE001 - the same
            said = " ".join(str(error).split())
        else:
            said = "nothing"
    return Observation(re.search(r"\bnan\b", said) is not None, f"said: {said}")


@quiet
def _dashboards(subject: Subject) -> Observation:
    with scratch() as folder:
        tuner = random_tuner(subject, folder, max_trials=2)
        run_search(tuner, keras.callbacks.TensorBoard(str(folder / "logs")))
        ids = sorted(tuner.oracle.trials)
        logs = folder / "logs"
        found = {path.relative_to(logs).parts[0] for path in logs.rglob("*tfevents*")}
        written = [_has_hparams(list((logs / name).rglob("*tfevents*"))) for name in ids]
    holds = found == set(ids) and all(written)
    return Observation(
        holds, f"log folders {sorted(found)}, of {sum(written)} of {len(ids)} trials HParams"
    )


def _has_hparams(files: Sequence[Path]) -> bool:
    """Return whether event files tell a trial's hyperparameters, in the form that is read."""
    return any(b"_hparams_/session_start_info" in path.read_bytes() for path in files)


CELLS: tuple[Cell, ...] = (
    Cell(
        "T1/rungs",
        "A trial that a Hyperband promotes goes on with its optimizer, where it had ended.",
        "Hyperband of 2 epochs, updates counted at the beginning of each rung",
        _rungs,
    ),
    Cell(
        "T2/best-model",
        "The best model of a search evaluates to its score, also where averages are scored.",
        "random search of 2 trials with an average of the weights, get_best_models()",
        _best_model,
    ),
    Cell(
        "T6/overwrite",
        "A worker that comes late deletes nothing.",
        "overwrite=True in a worker's process, where a search is going on",
        _late_worker,
    ),
    Cell(
        "T7/range",
        "A search that goes on in another range says so.",
        "a search's folder opened again with another range of the rate",
        _other_range,
    ),
    Cell(
        "T8/objective",
        "A misspelt objective is found before anything is trained.",
        "objective val_los",
        _misspelt,
    ),
    Cell(
        "T8/nan",
        "A search that fails on NaN says that it was NaN.",
        "a search whose losses are NaN",
        _reason,
    ),
    Cell(
        "T9/dashboards",
        "Each trial has its own logs for TensorBoard, with its hyperparameters.",
        "random search of 2 trials with a TensorBoard callback",
        _dashboards,
        stock_holds_on=("tensorflow",),
        slow=True,
    ),
)
