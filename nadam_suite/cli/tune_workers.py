"""The processes of a search: keras-tuner's chief, which hands out trials, and its workers."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nadam_suite.cli.cluster import device_variables, free_addresses, parse_hosts, without_cluster
from nadam_suite.cli.guard import advice, say
from nadam_suite.cli.status import REFUSED
from nadam_suite.cli.worker import command_line
from nadam_suite.cli.workers import Failure, Workers
from nadam_suite.errors import ArgumentError, NadamSuiteError

__all__ = ["exports", "report_failure", "role", "run_here", "trial_of"]

_ADDRESS, _PORT, _ID = "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"
_CHIEF, _WORKER = "chief", "worker"
_NOTE = """\
# All hosts need the same package, data and command, and see the search's folder under the
# same path. The chief trains nothing: give its host a worker too.
"""


def role(environment: Mapping[str, str]) -> str | None:
    """Return what this process is in a search of several: "chief", "worker", or None if alone.

    Raises:
        ArgumentError: The environment says only half of it.
    """
    if _ADDRESS not in environment:
        return None
    missing = [name for name in (_PORT, _ID) if not environment.get(name)]
    if missing:
        raise ArgumentError(
            f"Argument `{missing[0]}` must be set in the environment together with {_ADDRESS}. "
            f"Received: {_ADDRESS}={environment[_ADDRESS]!r} alone. `nadam-suite tune --print-env` "
            "prints all that is needed; unset it for a search in one process."
        )
    return _CHIEF if _CHIEF in environment[_ID] else _WORKER  # as keras-tuner tells them apart


def run_here(command: Sequence[str], backend: str, workers: int) -> Failure | None:
    """Run a chief and workers on this machine until the search is over.

    Args:
        command: Arguments of the command for each of them.
        backend: Framework.
        workers: Number of workers.

    Returns:
        The first that failed; all have ended then. The chief has the number after the workers'.

    Raises:
        ArgumentError: There are fewer GPUs than workers.
        NadamSuiteError: The system has no process groups.
    """
    if sys.platform == "win32":
        raise NadamSuiteError(
            "`tune --workers` must run on Linux or macOS, whose process groups it needs. Received: "
            f"platform={sys.platform!r}. Leave it out, or start the workers yourself; --print-env "
            "says how."
        )
    own = _without_search(without_cluster(os.environ))
    shares = device_variables(backend, workers, None, own, together=False)
    # The chief must not take memory of a device that trains.
    shares.append({"CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "1"})
    if backend == "jax":
        shares[-1]["JAX_PLATFORMS"] = "cpu"
    (address,) = free_addresses(1)
    environments = [
        {
            **own,
            "KERAS_BACKEND": backend,
            "PYTHONUNBUFFERED": "1",
            "no_grpc_proxy": "127.0.0.1",
            **_variables(address, number, workers),
            **share,
        }
        for number, share in enumerate(shares)
    ]

    def write(worker: int, is_error: bool, line: str) -> None:
        stream = sys.stderr if is_error else sys.stdout
        stream.write(f"[{_name(worker, workers)}] {line}\n")
        stream.flush()

    return Workers(command_line(command), environments, write, serving={workers}).run()


def report_failure(failed: Failure, workers: int, folder: Path) -> None:
    """Say who failed at which trial, and how to go on if the search itself was not refused."""
    who = _name(failed.worker, workers).capitalize()
    if failed.signal:
        what = f"{who} (process {failed.pid}) was killed by {failed.signal}"
    else:
        what = f"{who} failed with exit status {failed.returncode}; see above"
    trial = trial_of(folder, failed.worker) if failed.worker < workers else None
    where = "" if trial is None else f" It was at trial {trial}, in {folder / f'trial_{trial}'}."
    how = "" if failed.returncode == REFUSED else f" {advice()}"
    say("Error: ", "bold red", f"{what}.{where} The others were ended.{how}")


def trial_of(folder: Path, worker: int) -> str | None:
    """Return the trial that a worker has been given and has not ended."""
    try:
        state = json.loads((folder / "oracle.json").read_text("utf-8"))
        return dict(state["ongoing_trials"]).get(f"{_WORKER}{worker}")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def exports(backend: str, chief: str | None, workers: int, command: Sequence[str]) -> str:
    """Return a shell script for the chief, and one for each worker.

    Raises:
        ArgumentError: The chief's address is missing, or is none.
    """
    if chief is None:
        raise ArgumentError(
            "Argument `--chief` must be given with --print-env. Received: no value. Write the "
            "address of the host that hands out the trials: --chief 10.0.0.1:12345"
        )
    addresses = parse_hosts(chief, "--chief")
    if len(addresses) != 1:
        raise ArgumentError(
            f"Argument `--chief` must be one address. Received: --chief={chief!r}. Workers need "
            "none of their own; --workers says how many there are."
        )
    blocks = [_NOTE]
    for number in (workers, *range(workers)):
        variables = {**_variables(addresses[0], number, workers), "KERAS_BACKEND": backend}
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        lines.append(shlex.join(["nadam-suite", *command]))
        where = f", on {addresses[0]}" if number == workers else ""
        name = _name(number, workers).capitalize()
        blocks.append(f"# {name}{where}:\n" + "\n".join(lines) + "\n")
    return "\n".join(blocks)


def _variables(address: str, number: int, workers: int) -> dict[str, str]:
    """Return what tells keras-tuner who a process is, and where the chief is."""
    host, _, port = address.rpartition(":")
    name = _CHIEF if number == workers else f"{_WORKER}{number}"
    return {_ID: name, _ADDRESS: host, _PORT: port}


def _without_search(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name not in (_ADDRESS, _PORT, _ID)}


def _name(number: int, workers: int) -> str:
    return _CHIEF if number == workers else f"{_WORKER} {number}"
