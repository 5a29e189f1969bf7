"""Start several worker processes on this machine that form one cluster, and end them all."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from tests.processes import _BOOTSTRAP, LIMIT, environment, run_python


def free_ports(count: int) -> list[int]:
    """Ports that no one listens on now; all are held until the last is found."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]


def cluster_variables(backend: str, workers: int) -> list[dict[str, str]]:
    """What the environment of each worker says of the cluster."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    if backend == "tensorflow":
        table: dict[str, Any] = {"cluster": {"worker": addresses}}
        tasks = [{"type": "worker", "index": index} for index in range(workers)]
        return [{"TF_CONFIG": json.dumps(table | {"task": task})} for task in tasks]
    return [
        {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": ",".join(addresses),
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(workers),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
        }
        for index in range(workers)
    ]


def run_cluster(
    code: str, *arguments: str, backend: str, workers: int = 2, timeout: float = LIMIT, **extra: str
) -> list[str]:
    """Run `code` in every worker and return what each printed; when one fails, all are killed."""
    with contextlib.ExitStack() as stack:
        outputs: list[IO[str]] = []
        processes: list[subprocess.Popen[str]] = []
        for variables in cluster_variables(backend, workers):
            outputs.append(stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")))
            process = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP + code, *arguments],
                env=environment(backend, **(variables | extra)),
                stdout=outputs[-1],
                stderr=subprocess.STDOUT,
                text=True,
            )
            processes.append(process)
            stack.callback(_end, process)
        ended = _wait(processes, time.monotonic() + timeout)
        codes = [process.poll() for process in processes]
        for process in processes:
            _end(process)
        texts = [_read(output) for output in outputs]
    if ended and not any(codes):
        return texts
    told = [f"worker {i}, status {codes[i]}:\n{text[-5000:]}" for i, text in enumerate(texts)]
    raise AssertionError("\n".join(["failed" if ended else f"no end in {timeout} s", *told]))


def result_of(printed: str) -> Any:
    """What a child printed as JSON after the word RESULT."""
    lines = [line for line in printed.splitlines() if line.startswith("RESULT ")]
    assert len(lines) == 1, printed[-3000:]
    return json.loads(lines[0].removeprefix("RESULT "))


def on_two_devices_and_one(program: str, strategy: str, backend: str, folder: Path) -> list[Any]:
    """Results of a program on two devices that share batches, and on one.

    It is given the strategy and the number of devices, and runs in a folder of its own each time.
    """
    results = []
    for name, devices in ((strategy, 2), ("none", 1)):
        own = folder / name
        own.mkdir()
        done = run_python(program, name, str(devices), backend=backend, cwd=own)
        results.append(result_of(done.stdout))
    return results


def _wait(processes: list[subprocess.Popen[str]], deadline: float) -> bool:
    """Wait until all have ended, or one has failed; False at the deadline."""
    while time.monotonic() < deadline:
        codes = [process.poll() for process in processes]
        if any(codes) or None not in codes:
            return True
        time.sleep(0.1)
    return False


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a worker that still runs."""
    if process.poll() is None:
        process.kill()
    process.wait(30)


def _read(output: IO[str]) -> str:
    output.seek(0)
    return output.read()
