"""What the workers of one training find in their environment: the others, and their own devices."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from nadam_suite.errors import ArgumentError, NadamSuiteError

__all__ = [
    "check_backend",
    "cluster_variables",
    "device_variables",
    "free_addresses",
    "parse_hosts",
    "without_cluster",
]

_JAX = "KERAS_DISTRIBUTION_"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+):(?P<port>[0-9]{1,5})")
# Threads that compute. TensorFlow's others are left alone: they wait for the other workers.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def parse_hosts(text: str, argument: str = "--hosts") -> list[str]:
    """Return the addresses of a list such as "host1:12345,host2:12345".

    Args:
        text: The list.
        argument: What messages call it.

    Raises:
        ArgumentError: One is no host with a port, or is there twice.
    """
    addresses = [part.strip() for part in text.split(",")]
    for address in addresses:
        match = _HOST.fullmatch(address)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise ArgumentError(
                f"Argument `{argument}` must be host:port for each host, with commas between. "
                f"Received: {argument}={text!r}, where {address!r} is none. Write for instance "
                "10.0.0.1:12345,10.0.0.2:12345."
            )
        if addresses.count(address) > 1:
            raise ArgumentError(
                f"Argument `{argument}` must have each address once. Received: "
                f"{argument}={text!r}, where {address!r} is there twice. Give workers of one host "
                "ports of their own."
            )
    return addresses


def free_addresses(count: int) -> list[str]:
    """Return addresses of this machine that nothing listens at now."""
    with contextlib.ExitStack() as stack:
        addresses = []
        for _ in range(count):  # all are open at once, so that no number comes twice
            one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            one.bind(("127.0.0.1", 0))
            addresses.append(f"127.0.0.1:{one.getsockname()[1]}")
    return addresses


def cluster_variables(backend: str, addresses: Sequence[str], index: int) -> dict[str, str]:
    """Return the variables by which the framework of one worker finds the others.

    Args:
        backend: "tensorflow" or "jax".
        addresses: One for each worker; the first is the chief's.
        index: Number of the worker.
    """
    if backend == "tensorflow":
        task = {"type": "worker", "index": index}
        table = {"cluster": {"worker": list(addresses)}, "task": task}
        return {"KERAS_BACKEND": backend, "TF_CONFIG": json.dumps(table)}
    return {
        "KERAS_BACKEND": backend,
        f"{_JAX}JOB_ADDRESSES": ",".join(addresses),
        f"{_JAX}NUM_PROCESSES": str(len(addresses)),
        f"{_JAX}PROCESS_ID": str(index),
    }


def device_variables(
    backend: str,
    workers: int,
    devices: int | None,
    environment: Mapping[str, str],
    *,
    together: bool = True,
) -> list[dict[str, str]]:
    """Return for each worker on this machine the variables that give it devices of its own.

    Args:
        backend: "tensorflow" or "jax".
        workers: Their number.
        devices: Devices of each. None shares out all GPUs, or gives each worker the CPU.
        environment: That of this process; what it says of threads stays.
        together: Whether they share one training, rather than have one each.

    Raises:
        ArgumentError: There are too few GPUs, or a CPU is to be several devices of a worker.
    """
    gpus = _gpus(backend, environment)
    if gpus:
        each = devices or len(gpus) // workers
        if not each or each * workers > len(gpus):
            raise ArgumentError(
                f"Argument `--workers` must leave each worker {devices or 1} of this machine's "
                f"GPUs for itself. Received: --workers={workers}, where {len(gpus)} are visible. "
                f"Start fewer, or set {_VISIBLE}=-1 to train on the CPU."
            )
        shares = [gpus[index * each : (index + 1) * each] for index in range(workers)]
        return [{_VISIBLE: ",".join(share)} for share in shares]
    if (devices or 1) > 1:
        # TensorFlow's worker is one replica; JAX workers with several each may wait for ever.
        raise ArgumentError(
            "Argument `--devices-per-worker` must be 1 without GPUs, where a worker is one device. "
            f"Received: --devices-per-worker={devices}. Start more workers."
        )
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    shared = {name: environment.get(name, threads) for name in _THREADS}
    if backend == "jax" and together:
        shared |= {"JAX_NUM_CPU_DEVICES": "1"}
        shared |= {"JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo"}
    return [dict(shared) for _ in range(workers)]


def without_cluster(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what describes a cluster."""
    return {
        name: value
        for name, value in environment.items()
        if name != "TF_CONFIG" and not name.startswith(_JAX)
    }


def _gpus(backend: str, environment: Mapping[str, str]) -> list[str]:
    """Return the names of the GPUs that a process started from here would see."""
    if backend == "jax" and environment.get("JAX_PLATFORMS", "").strip() == "cpu":
        return []
    visible = environment.get(_VISIBLE)
    if visible is not None:
        names = [name.strip() for name in visible.split(",") if name.strip()]
        return names[: names.index("-1")] if "-1" in names else names
    try:
        found = sorted(Path("/proc/driver/nvidia/gpus").iterdir())
    except OSError:
        return []
    return [str(index) for index in range(len(found))]


def check_backend(backend: str) -> None:
    """Refuse a backend on which Keras trains on one device.

    Raises:
        NadamSuiteError: It is not TensorFlow or JAX.
    """
    if backend not in ("tensorflow", "jax"):
        raise NadamSuiteError(
            "`launch` must be used with backend tensorflow or jax: on PyTorch Keras trains on one "
            f"device. Received: backend={backend!r}. Pass --backend tensorflow or --backend jax, "
            "or start `nadam-suite train` alone."
        )
