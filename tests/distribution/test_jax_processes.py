"""JAX: two processes of `jax.distributed` train as one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.distribution.cluster import run_cluster
from tests.distribution.comparing import assert_equal_training
from tests.distribution.test_jax_agreement import FOUR_DEVICES, WORKER
from tests.processes import installed, run_python

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.multi_device,
    pytest.mark.skipif(not installed("jax"), reason="jax is not installed: pip install jax"),
]
NAMES = ("defaults", "callable", "together", "mixed_float16")
MEMBER = "from tests.distribution.jax_process import main\nmain(*sys.argv[1:])"
# One device each: XLA's collectives between processes hang now and then where a process has
# several devices of the host (openxla/xla#16430), whichever optimizer trains.
ONE_DEVICE = {"XLA_FLAGS": ""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes end with, and what one device does."""
    where = tmp_path_factory.mktemp("processes")
    names = ",".join(NAMES)
    run_python(WORKER, "train", str(where), names, "one", backend="jax", **FOUR_DEVICES)
    run_cluster(MEMBER, str(where), names, backend="jax", **ONE_DEVICE)
    return where


@pytest.mark.parametrize("process", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_processes_train_as_one_device(folder, name, process):
    """Both end with the weights and the state of one device on the same global batches.

    The processes' callables name different rates; that of the first is taken by both. The
    optimizer with all arguments is made before the distribution is set.
    """
    one = dict(np.load(folder / f"{name}-one.npz"))
    several = dict(np.load(folder / f"{name}-of-{process}.npz"))
    assert_equal_training(several, one)
