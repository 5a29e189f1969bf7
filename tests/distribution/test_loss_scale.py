"""An overflow on any replica is one for all: K4, for ours and for optimizers of Keras inside."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

from tests.distribution.overflowing import INNER
from tests.processes import installed, run_python

pytestmark = [pytest.mark.once, pytest.mark.multi_device]
SLOW = pytest.mark.slow
RUN = (
    "import runpy; sys.argv[0] = 'worker'; "
    "runpy.run_module('tests.distribution.overflowing', {}, '__main__')"
)
FOUR_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}


@functools.cache
def found(backend, count):
    """What a process of a backend with so many replicas says."""
    if not installed(backend):
        pytest.skip(f"{backend} is not installed")
    extra = FOUR_DEVICES if backend == "jax" else {}
    done = run_python(RUN, str(count), backend=backend, **extra)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize(
    ("backend", "count"),
    [
        ("tensorflow", 2),
        pytest.param("jax", 2, marks=SLOW),
        pytest.param("jax", 4, marks=SLOW),
    ],
)
def test_an_overflow_on_any_replica_is_skipped_by_all(backend, count, inner):
    """All replicas end alike, as one device does that never sees the batch; the scale fell once."""
    alone = found(backend, count)[f"{inner}-alone"]
    for replica in range(count):
        seen = found(backend, count)[f"{inner}-{replica}"]
        for copy in seen["weights"]:
            assert copy == seen["weights"][0]
        np.testing.assert_allclose(seen["weights"][0], alone["weights"][0], rtol=1e-5)
        assert (seen["scale"], seen["skips"]) == (512.0, 1), replica
        assert seen["updates"] == alone["updates"] == (2 if inner == "accumulating" else 4)
        assert max(seen["shares"]) > 0.0
