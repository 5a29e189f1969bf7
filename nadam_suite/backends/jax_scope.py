"""JAX: which `keras.distribution` shares out a training, and the cluster that it joins."""

from __future__ import annotations

import os

import jax
import keras

from nadam_suite.errors import ArgumentError, NadamSuiteError

__all__ = ["join", "process"]

_PREFIX = "KERAS_DISTRIBUTION_"


def process() -> tuple[int, int]:
    """Return (index, number) of this process: of the environment, or of the cluster that runs.

    Raises:
        ArgumentError: The variables KERAS_DISTRIBUTION_* contradict each other.
    """
    from_environment = _read_environment()
    if from_environment[1] == 1 and jax.distributed.is_initialized():
        return jax.process_index(), jax.process_count()
    return from_environment


def _read_environment() -> tuple[int, int]:
    """Return (index, number) as the variables say that `keras.distribution.initialize` reads."""
    addresses = [a for a in os.environ.get(_PREFIX + "JOB_ADDRESSES", "").split(",") if a.strip()]
    count = _integer("NUM_PROCESSES", max(len(addresses), 1))
    index = _integer("PROCESS_ID", 0 if count == 1 else -1)
    if count == 1:
        return 0, 1
    if not 0 <= index < count:
        raise _malformed("PROCESS_ID", f"an integer from 0 to {count - 1}")
    if not addresses:
        raise _malformed("JOB_ADDRESSES", "the address of process 0, such as 'host1:12345'")
    if len(addresses) not in (1, count):
        raise _malformed("JOB_ADDRESSES", f"one address, or one for each of {count} processes")
    return index, count


def _integer(name: str, default: int) -> int:
    text = os.environ.get(_PREFIX + name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or (name == "NUM_PROCESSES" and int(text) == 0):
        raise _malformed(name, "an integer")
    return int(text)


def _malformed(name: str, allowed: str) -> ArgumentError:
    received = os.environ.get(_PREFIX + name)
    return ArgumentError(
        f"Environment variable {_PREFIX}{name} must be {allowed}. Received: "
        f"{_PREFIX}{name}={received!r}. Correct it, or unset all {_PREFIX}* to train alone."
    )


def join() -> None:
    """Join the cluster of the environment once; process 0 waits for the others, and they for it.

    Raises:
        NadamSuiteError: JAX has opened its devices already.
    """
    index, count = _read_environment()
    if count == 1 or jax.distributed.is_initialized():
        return
    try:
        # Every argument is given: Keras would take a missing process number from elsewhere.
        keras.distribution.initialize(
            os.environ[_PREFIX + "JOB_ADDRESSES"].strip(), num_processes=count, process_id=index
        )
    except RuntimeError as error:
        raise NadamSuiteError(
            f"The cluster that {_PREFIX}* describes must be joined before JAX computes anything, "
            f"and within JAX' time limit. JAX said: {error}. Call training_scope() before anything "
            "else builds a layer or an array, and see that all processes run."
        ) from error
