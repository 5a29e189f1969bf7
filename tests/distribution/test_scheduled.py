"""Schedules, their logs and the plateau's scale on several devices are what they are on one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.distribution.cluster import run_cluster
from tests.distribution.comparing import assert_equal_training
from tests.processes import installed, run_python

pytestmark = [pytest.mark.once, pytest.mark.multi_device, pytest.mark.slow]

TENSORFLOW = (
    "import runpy; sys.argv[0] = 'worker'; "
    "runpy.run_module('tests.distribution.tensorflow_worker', {}, '__main__')"
)
JAX = "from tests.distribution.jax_worker import main\nmain(*sys.argv[1:])"
FOUR_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
SETUPS = {
    "tensorflow": ("one-8", "mirrored-2", "workers"),
    "jax": ("one-8", "data-4", "model-2x2"),
}
WINDOWS = (None, 2)


@pytest.fixture(scope="module", params=SETUPS)
def folder(request, tmp_path_factory):
    """What one backend has computed in all its setups."""
    backend, target = request.param, tmp_path_factory.mktemp(f"scheduled-{request.param}")
    if not installed(backend):
        pytest.skip(f"{backend} is not installed")
    if backend == "jax":
        arguments = ("scheduled", str(target), "one,one-8,data-4,model-2x2")
        run_python(JAX, *arguments, backend="jax", **FOUR_DEVICES)
    else:
        run_python(TENSORFLOW, "scheduled", str(target), "one,one-8,mirrored-2", backend=backend)
        cluster = ("scheduled", str(target), "workers")
        run_cluster(TENSORFLOW, *cluster, backend=backend)
    return backend, target


def read(target, setup, window):
    return [dict(np.load(path)) for path in sorted(target.glob(f"{setup}-{window}-*.npz"))]


@pytest.mark.parametrize("window", WINDOWS)
def test_one_device_follows_the_schedules(folder, window):
    """K36: the history has the rates of each epoch's last update, times the plateau's scale."""
    from tests.distribution.scheduled import EPOCHS, EVERY, STEPS

    [one] = read(folder[1], "one", window)
    last = STEPS * np.arange(1, EPOCHS + 1) - 1
    scale = one["history_learning_rate"] / [float(EVERY(int(step))) for step in last]
    # The metric stalls from epoch 5 on (counted from 0): halved after 6, after 8 and after 10.
    expected = [1.0] * 7 + [0.5] * 2 + [0.25] * 2 + [0.125]
    np.testing.assert_allclose(scale, expected, rtol=1e-6)
    assert one["scale"] == 0.125 == one["learning_rate_scale"]
    assert int(one["iteration"]) == STEPS * EPOCHS


@pytest.mark.parametrize("window", WINDOWS)
def test_all_setups_agree(folder, window):
    """K35, K36: weights, state and history of replicas, workers and executions of eight steps."""
    backend, target = folder
    [one] = read(target, "one", window)
    for setup in SETUPS[backend]:
        found = read(target, setup, window)
        assert len(found) == (2 if setup == "workers" else 1), setup
        for each in found:
            assert_equal_training(each, one)
