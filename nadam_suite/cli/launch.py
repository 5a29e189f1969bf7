"""`nadam-suite launch`: one training by several workers, here or on hosts of your own."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

import typer

from nadam_suite.cli.backend import configured_backend
from nadam_suite.cli.cluster import (
    check_backend,
    cluster_variables,
    device_variables,
    free_addresses,
    parse_hosts,
    without_cluster,
)
from nadam_suite.cli.guard import advice, say
from nadam_suite.cli.printing import asks_for_json
from nadam_suite.cli.status import REFUSED
from nadam_suite.cli.worker import command_line
from nadam_suite.cli.workers import Failure, Workers
from nadam_suite.errors import ArgumentError, NadamSuiteError

__all__ = ["launch"]

_COMMANDS = ("train",)
_NOISE = "[Gloo] Rank"  # JAX' transport tells each process that it has found the others
_NOTE = """\
# All hosts need the same package, data and command, and see the run's folder under the
# same path: only the chief writes it, and --resume reads it everywhere.
"""


def launch(
    command: Sequence[str],
    *,
    workers: int | None = None,
    backend: str | None = None,
    devices: int | None = None,
    print_env: bool = False,
    hosts: str | None = None,
) -> None:
    """Start local workers and wait for them, or print what starts them on other hosts.

    Args:
        command: What each worker runs, such as ["train", "digits"].
        workers: Their number; with `hosts`, theirs by default.
        backend: Framework, or None for what the command or Keras' settings say.
        devices: Devices of each worker on this machine.
        print_env: Print what to export on each host, and start nothing.
        hosts: Addresses of the hosts, with commas between.

    Raises:
        NadamSuiteError: Something is wrong with the arguments; nothing was started.
    """
    _check_command(command)
    chosen = configured_backend(_one_backend(command, backend))
    check_backend(chosen)
    if print_env or hosts is not None:
        addresses = _host_addresses(hosts, workers, devices, print_env=print_env)
        sys.stdout.write(_exports(chosen, addresses, command))
        return
    number = _positive("--workers", workers, "2")
    if devices is not None:
        _positive("--devices-per-worker", devices, "1")
    if sys.platform == "win32":
        raise NadamSuiteError(
            "`launch` must run on Linux or macOS, whose process groups it needs. Received: "
            f"platform={sys.platform!r}. Start the workers yourself; --print-env says how."
        )
    failed = _run_here(chosen, number, devices, command)
    if failed is not None:
        _report(failed, number)
        raise typer.Exit(failed.status)


def _run_here(
    backend: str, workers: int, devices: int | None, command: Sequence[str]
) -> Failure | None:
    """Run all workers on this machine."""
    own = without_cluster(os.environ)
    shares = device_variables(backend, workers, devices, own)
    addresses = free_addresses(workers)
    environments = [
        {**own, "PYTHONUNBUFFERED": "1", **cluster_variables(backend, addresses, index), **share}
        for index, share in enumerate(shares)
    ]
    write = _write_json if asks_for_json(command) else _write
    return Workers(command_line(command), environments, write).run()


def _write_json(worker: int, is_error: bool, line: str) -> None:
    """Write the chief's JSON as it is, and what all say on stderr."""
    if is_error:
        _write(worker, is_error, line)
    elif worker == 0 and not line.startswith(_NOISE):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _write(worker: int, is_error: bool, line: str) -> None:
    if line.startswith(_NOISE):
        return
    stream = sys.stderr if is_error else sys.stdout
    stream.write(f"[worker {worker}] {line}\n")
    stream.flush()


def _report(failed: Failure, workers: int) -> None:
    """Say who failed, and how to go on if the training itself was not refused."""
    others = "" if workers == 1 else " The others were ended."
    if failed.signal:
        what = f"Worker {failed.worker} (process {failed.pid}) was killed by {failed.signal}."
    else:
        what = f"Worker {failed.worker} failed with exit status {failed.returncode}; see above."
    how = "" if failed.returncode == REFUSED else f" {advice()}"
    say("Error: ", "bold red", f"{what}{others}{how}")


def _check_command(command: Sequence[str]) -> None:
    if not command:
        raise ArgumentError(
            "`launch` must be given the command that its workers run, after `--`. Received: none. "
            "Write for instance: nadam-suite launch --workers 2 -- train digits"
        )
    if command[0] not in _COMMANDS:
        raise ArgumentError(
            "`launch` must be given the command `train` after `--`. Received: "
            f"{command[0]!r}. Write for instance: nadam-suite launch --workers 2 -- train digits"
        )


def _one_backend(command: Sequence[str], backend: str | None) -> str | None:
    """Return the backend that options name, before or after `--`."""
    inner = None
    for index, word in enumerate(command):
        if word == "--backend" and index + 1 < len(command):
            inner = command[index + 1]
        elif word.startswith("--backend="):
            inner = word.partition("=")[2]
    if backend is not None and inner not in (None, backend):
        raise ArgumentError(
            "Argument `--backend` must be the same before and after `--`. Received: "
            f"--backend={backend!r} and {inner!r}. Give it once."
        )
    return inner if backend is None else backend


def _positive(name: str, value: int | None, example: str) -> int:
    if value is None or value < 1:
        received = "no value" if value is None else f"{name}={value}"
        raise ArgumentError(
            f"Argument `{name}` must be an integer >= 1. Received: {received}. Write for instance "
            f"{name} {example}."
        )
    return value


def _host_addresses(
    hosts: str | None, workers: int | None, devices: int | None, *, print_env: bool
) -> list[str]:
    """Return the hosts' addresses, checked against the other options."""
    if hosts is None:
        raise ArgumentError(
            "Argument `--hosts` must be given with --print-env. Received: no value. Write the "
            "address of each host, the chief's first: --hosts 10.0.0.1:12345,10.0.0.2:12345"
        )
    addresses = parse_hosts(hosts)
    if not print_env:
        raise ArgumentError(
            "Argument `--hosts` must come with --print-env: `launch` starts workers on this "
            f"machine alone. Received: --hosts={hosts!r}. Add --print-env, and run on each host "
            "what it prints."
        )
    if workers is not None and workers != len(addresses):
        raise ArgumentError(
            f"Argument `--workers` must be the number of hosts, {len(addresses)}. Received: "
            f"--workers={workers}. Leave it out."
        )
    if devices is not None:
        raise ArgumentError(
            "Argument `--devices-per-worker` must be left out with --print-env: each host uses "
            f"its own devices. Received: --devices-per-worker={devices}. Set "
            "CUDA_VISIBLE_DEVICES there to use fewer."
        )
    return addresses


def _exports(backend: str, addresses: Sequence[str], command: Sequence[str]) -> str:
    """Return a shell script for each host."""
    blocks = [_NOTE]
    for index, address in enumerate(addresses):
        role = "the chief" if index == 0 else f"worker {index}"
        variables = cluster_variables(backend, addresses, index)
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        lines.append(shlex.join(["nadam-suite", *command]))
        blocks.append(f"# On {address}, {role}:\n" + "\n".join(lines) + "\n")
    return "\n".join(blocks)
