"""A training goes on where it stopped on other devices, and on another framework's."""

from __future__ import annotations

import numpy as np
import pytest

from tests.distribution.comparing import assert_equal_training
from tests.distribution.jax_transfer import ENDS, LEGS
from tests.distribution.test_jax_agreement import FOUR_DEVICES
from tests.processes import installed, run_python

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.multi_device,
    pytest.mark.skipif(not installed("jax"), reason="jax is not installed: pip install jax"),
]
LEG = "from tests.distribution.jax_transfer import main\nmain(*sys.argv[1:])"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The state after every leg, of the training that moves and of the one that stays."""
    where = tmp_path_factory.mktemp("transfer")
    position = 0
    while position < len(LEGS):
        backend = LEGS[position][0]
        legs = [position]
        while legs[-1] + 1 < len(LEGS) and LEGS[legs[-1] + 1][0] == backend:
            legs.append(legs[-1] + 1)
        extra = FOUR_DEVICES if backend == "jax" else {}
        run_python(LEG, str(where), *map(str, legs), backend=backend, **extra)
        position = legs[-1] + 1
    return where


@pytest.mark.parametrize("leg", range(len(LEGS)), ids=lambda i: "-".join(map(str, LEGS[i])))
def test_the_training_that_moves_equals_the_one_that_stays(folder, leg):
    """All options on, every file written amid an accumulation window: equal to 1e-5 after all."""
    assert ENDS[leg] % 4, "the leg must end amid a window"
    moved, whole = (dict(np.load(folder / f"{kind}-{leg}.npz")) for kind in ("moved", "whole"))
    assert int(whole["iteration"]) == ENDS[leg]
    assert np.abs(whole["accumulator_0"]).max() > 0
    assert_equal_training(moved, whole)
