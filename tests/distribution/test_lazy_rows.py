"""Lazy embeddings on several replicas: the rows of the global batch, alike on all of them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.distribution import lazy_problem as problem
from tests.distribution.cluster import run_cluster
from tests.processes import installed, run_python
from tests.reference.nadam import initial_state, nadam_step

pytestmark = [
    pytest.mark.once,
    pytest.mark.multi_device,
    pytest.mark.skipif(not installed("tensorflow"), reason="tensorflow is not installed"),
]
RUN = (
    "import runpy; sys.argv[0] = 'worker'; "
    "runpy.run_module('tests.distribution.lazy_worker', {}, '__main__')"
)


@pytest.mark.parametrize(
    ("setup", "workers"),
    [
        ("mirrored-2", 1),
        pytest.param("shared-2", 1, marks=pytest.mark.slow),
        pytest.param("central-2", 1, marks=pytest.mark.slow),
        pytest.param("workers", 2, marks=pytest.mark.slow),
    ],
)
def test_replicas_see_the_rows_of_the_global_batch(tmp_path, setup, workers):
    """A row that one replica alone has seen moves on all; table and moments are the twin's."""
    if workers == 1:
        run_python(RUN, str(tmp_path), setup, backend="tensorflow", timeout=240)
    else:
        run_cluster(RUN, str(tmp_path), setup, backend="tensorflow", timeout=240)
    files = sorted(tmp_path.glob("lazy-*.npy"))
    assert len(files) == workers
    x, state, expected = [problem.start()], initial_state([problem.start()]), []
    for step in range(problem.STEPS):
        gradient = problem.together(step)
        x, state = nadam_step(x, [gradient], state, lazy_embeddings=True, **problem.OPTIONS)
        expected.append([x[0], state.m[0], state.v[0]])
    for path in files:
        copies = np.load(path)
        # Of CentralStorageStrategy there is one copy, which all replicas share.
        assert copies.shape[1] == (1 if setup == "central-2" else problem.REPLICAS // workers)
        for replica in range(copies.shape[1]):
            np.testing.assert_array_equal(copies[:, replica], copies[:, 0])
            np.testing.assert_allclose(copies[:, replica], expected, rtol=2e-5, atol=2e-6)
