"""Cells of several replicas and several workers; they are tried in processes of their own."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes import averaging_fit, averaging_state, loss_scaling
from nadam_suite.doctor.probes.harness import scratch

__all__ = ["CELLS", "REPLICATED"]

_ROOT = Path(__file__).resolve().parents[3]
_CHILD = """
import sys
*arguments, root = sys.argv[1:]
sys.path.append(root)
from nadam_suite.doctor import trials
trials.main(arguments)
"""
# A child that is silent for so long hangs; it prints a line when it is ready, and one a trial.
_SECONDS = 300.0
# Workers may wait for each other for ever. A trial of theirs takes less time than their start,
# which tells how quick the machine is: silence for so many times as long, and seconds, is a hang.
_STARTS = 3.0
_SECONDS_AT_LEAST = 30.0


def _trial(name: str, task: str = "replicas") -> Callable[[Subject], Observation]:
    def probe(subject: Subject) -> Observation:
        seen, ended = _tried(keras.backend.backend(), subject.name, task)
        if name in seen:
            return Observation(**seen[name])
        return Observation(False, ended)

    return probe


@functools.cache
def _tried(backend: str, kind: str, task: str) -> tuple[dict[str, dict[str, Any]], str]:
    """Return what the children saw by trial, and how they ended."""
    environments = _cluster() if task == "workers" else [{}]
    with scratch() as folder, contextlib.ExitStack() as stack:
        children = []
        for number, extra in enumerate(environments):
            output = stack.enter_context((folder / f"{number}.out").open("w+"))
            errors = stack.enter_context((folder / f"{number}.err").open("w+"))
            child = subprocess.Popen(
                [sys.executable, "-c", _CHILD, kind, task, str(_ROOT)],
                env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"} | extra,
                stdout=output,
                stderr=errors,
            )
            stack.callback(child.wait)
            stack.callback(child.kill)
            children.append((child, output, errors))
        printed = [folder / f"{number}.out" for number in range(len(children))]
        ended = _end_of([child for child, _, _ in children], printed)
        for child, _, _ in children:
            child.kill()
            child.wait()
        seen = [_read(output) for _, output, _ in children]
        if ended == "failed":
            ended = next((line for _, _, e in children if (line := _last_line(e))), ended)
    # What one worker has not seen, or seen otherwise, none has.
    return {name: _worst([s[name] for s in seen]) for name in seen[0] if _in_all(name, seen)}, ended


def _in_all(name: str, seen: list[dict[str, Any]]) -> bool:
    return all(name in one for one in seen)


def _worst(observations: list[dict[str, Any]]) -> dict[str, Any]:
    return next((o for o in observations if not o["holds"]), observations[0])


def _end_of(children: list[subprocess.Popen[bytes]], printed: list[Path]) -> str:
    """Wait until all have ended, one has failed, or several have been silent for too long."""
    started = heard = time.monotonic()
    limit, sizes = _SECONDS, [0] * len(printed)
    while time.monotonic() < heard + limit:
        codes = [child.poll() for child in children]
        if any(codes):
            return "failed"
        if None not in codes:
            return "ended without a word"
        time.sleep(0.1)
        now = [path.stat().st_size for path in printed]
        if now != sizes:
            sizes, heard = now, time.monotonic()
            if len(children) > 1 and all(sizes) and limit == _SECONDS:
                limit = min(_SECONDS, max(_SECONDS_AT_LEAST, _STARTS * (heard - started)))
    return "the processes wait for each other"


def _read(output: Any) -> dict[str, dict[str, Any]]:
    output.seek(0)
    lines = [line for line in output.read().splitlines() if line.startswith("{")]
    return {name: seen for line in lines for name, seen in json.loads(line).items()}


def _last_line(errors: Any) -> str:
    errors.seek(0)
    return (errors.read().strip().splitlines() or [""])[-1]


def _cluster() -> list[dict[str, str]]:
    """Return TF_CONFIG of two workers on this machine."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{held.getsockname()[1]}" for held in sockets]
    cluster = {"worker": addresses}
    tasks = [{"type": "worker", "index": index} for index in range(2)]
    return [{"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})} for task in tasks]


def _argument(row: str, name: str, title: str, stock: tuple[str, ...] = ()) -> Cell:
    return Cell(
        f"{row}/{name}",
        title,
        f"fit() on 2 replicas against one device, {name.replace('-', ' ')}",
        _trial(name),
        backends=("tensorflow", "jax"),
        stock_holds_on=("jax", *stock),
        slow=True,
    )


def _overflow(name: str, setting: str, index: int = 2, replicas: int = 2) -> Cell:
    return Cell(
        f"K4/{name}",
        "An overflow on any replica skips the step on all, and lowers the loss scale once.",
        f"{setting}, inf in the part of replica {index} of {replicas}",
        _trial(f"K4/{name}", "scaling" if replicas == 2 else f"scaling-on-{replicas}"),
        backends=("tensorflow", "jax"),
        stock_holds_on=("tensorflow", "jax") if index == 1 else ("jax",),
        slow=True,
    )


def _replicated(cell: Cell, task: str) -> Cell:
    """Return the cell that tries the same promise on replicas."""
    return Cell(
        f"{cell.row}/replicas",
        cell.title,
        f"{cell.setting}, on 2 replicas",
        _trial(f"{cell.row}/replicas", task),
        backends=("tensorflow", "jax"),
        stock_holds_on=("jax",) if cell.row == "K17" else (),
        slow=True,
    )


_SAME = "It means on two replicas what it means on one device."
_T = ("tensorflow",)
# Modules whose probes are tried on replicas too, by the task that tries them.
REPLICATED: dict[str, tuple[Any, ...]] = {
    "averages": (averaging_fit, averaging_state),
    "scaling": (loss_scaling,),
}

CELLS = (
    _argument("K1", "accumulation", "gradient_accumulation_steps works on several replicas."),
    _argument("K1", "together", "All arguments together work on several replicas."),
    _argument("K2", "overwriting", "ema_overwrite_frequency works on several replicas."),
    _argument("K3", "clipnorm", "The sum of the replicas' gradients is what is clipped."),
    _argument("K3", "clipvalue", "The sum of the replicas' gradients is what is clipped."),
    _argument("K3", "global-clipnorm", "The sum of the replicas' gradients is what is clipped."),
    *(
        _argument("R1", name, _SAME, _T)
        for name in ("averages", "weight-decay", "loss-scale-factor", "schedule", "callable")
    ),
    *(
        _overflow(f"{index}-of-{replicas}", "loss scaling", index, replicas)
        for replicas in (2, 4)
        for index in range(1, replicas + 1)
    ),
    _overflow("mixed-float16", "policy mixed_float16"),
    _overflow("other-optimizer", "loss scaling around SGD"),
    Cell(
        "K5/verdict",
        "All replicas take the same branch, also where each is a program of its own.",
        "check_finite on 2 replicas, one of which overflows",
        _trial("K5/verdict"),
        backends=_T,
        slow=True,
    ),
    Cell(
        "D07/overflow",
        "An overflow on one worker does not leave the workers waiting for each other.",
        "custom loop with loss scaling, 2 processes, inf on the second",
        _trial("D07/overflow", "workers"),
        backends=_T,
        slow=True,
    ),
    Cell(
        "D33/central",
        "CentralStorageStrategy trains as one device does.",
        "fit() with 2 replicas against one device",
        _trial("D33/central"),
        backends=_T,
        slow=True,
    ),
    Cell(
        "D34/fit",
        "fit() trains on several workers.",
        "fit() with 2 processes against one device",
        _trial("D34/fit", "workers"),
        backends=_T,
        slow=True,
    ),
    Cell(
        "D45/before",
        "An optimizer made before the distribution is set trains all the same.",
        "Nadam(), then DataParallel on 2 devices, then fit()",
        _trial("D45/before"),
        backends=("jax",),
        slow=True,
    ),
    Cell(
        "D66/outside",
        "An optimizer made outside of the model's scope is refused at once, with the remedy.",
        "Nadam(), then strategy.scope(), then fit()",
        _trial("D66/outside"),
        backends=_T,
        slow=True,
    ),
    # Of each cell that is tried on replicas too, the promise and the setting are the same.
    *(
        _replicated(cell, task)
        for task, modules in REPLICATED.items()
        for module in modules
        for cell in module.CELLS
        if cell.probe in module.REPLICATED.values()
    ),
)
