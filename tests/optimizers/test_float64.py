"""In float64 ours is torch.optim.NAdam or optax.nadam, to 1e-9, whichever momentum_decay names."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.optimizers.oracle import CASES
from tests.processes import run_python

pytestmark = pytest.mark.slow  # two processes with frameworks of their own

_RUN = "import runpy; runpy.run_module('tests.optimizers.oracle', {}, '__main__')"


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Trajectories of ours on this backend, and of the other implementations."""
    folder = tmp_path_factory.mktemp("float64")
    backend = keras.backend.backend()
    run_python(_RUN, "ours", str(folder / "ours.npz"), backend=backend, JAX_ENABLE_X64="1")
    run_python(_RUN, "others", str(folder / "others.npz"), backend="torch")
    return np.load(folder / "ours.npz"), np.load(folder / "others.npz")


@pytest.mark.parametrize("name", CASES)
def test_float64_trajectory_equals_the_other_implementation(paths, name):
    """Every one of 150 steps in float64 agrees with PyTorch's or optax's to 1e-9."""
    ours, others = paths
    assert ours[name].dtype == np.float64
    assert ours[name].shape[0] == 150
    np.testing.assert_allclose(ours[name], others[name], rtol=1e-9, atol=1e-9)
