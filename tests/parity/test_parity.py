"""The three backends compute the same numbers, and train on from each other's files (K31)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.parity.scenarios import FILES, OPTIONS, STEPS
from tests.processes import BACKENDS, in_ci, installed, run_python
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory

pytestmark = [pytest.mark.parity, pytest.mark.once]
PRESENT = [name for name in BACKENDS if installed(name)]
RUN = (
    "import runpy; sys.argv[0] = 'worker'; runpy.run_module('tests.parity.worker', {}, '__main__')"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What every installed backend wrote, and what each made of the others' files."""
    where = tmp_path_factory.mktemp("parity")
    for task in ("write", "read"):
        for backend in PRESENT:
            run_python(RUN, task, str(where), backend=backend)
    return where


def test_no_backend_is_missing():
    """Parity of fewer than three backends proves less than it seems; CI must have all."""
    if list(BACKENDS) != PRESENT and not in_ci():
        pytest.skip(f"only {PRESENT} are installed")
    assert list(BACKENDS) == PRESENT


@pytest.mark.parametrize("backend", PRESENT)
@pytest.mark.parametrize("name", OPTIONS)
def test_every_backend_follows_the_twin(folder, backend, name):
    """Each backend's trajectory is within 1e-5 of the float64 twin at every step."""
    ours = np.load(folder / f"{backend}.npz")[name]
    twin = trajectory(start_values(), gradient_list(STEPS), **OPTIONS[name])
    twin = np.stack([np.concatenate([np.ravel(a) for a in row]) for row in twin])
    np.testing.assert_allclose(ours, twin, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(PRESENT, 2)))
@pytest.mark.parametrize("name", OPTIONS)
def test_backends_agree_at_every_step(folder, one, other, name):
    """Two backends differ by float32 rounding only."""
    a, b = (np.load(folder / f"{backend}.npz")[name] for backend in (one, other))
    np.testing.assert_allclose(a, b, rtol=4e-6, atol=4e-6)


@pytest.mark.parametrize(("writer", "reader"), list(itertools.product(PRESENT, PRESENT)))
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_one_backend_trains_on_another(folder, writer, reader, name):
    """K31: after one more batch the weights are those of the backend that wrote the file."""
    expected = np.load(folder / f"{writer}-{name}.npz")
    actual = np.load(folder / f"{writer}-{name}-on-{reader}.npz")
    assert len(expected.files) == len(actual.files) == 4
    for key in expected.files:
        np.testing.assert_allclose(actual[key], expected[key], rtol=1e-5, atol=1e-6)
