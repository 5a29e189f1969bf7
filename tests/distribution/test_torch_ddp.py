"""PyTorch: what `DistributedDataParallel` around a Keras model does with our optimizer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.distribution.cluster import run_cluster
from tests.distribution.comparing import assert_equal_training
from tests.processes import installed

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.multi_device,
    pytest.mark.skipif(not installed("torch"), reason="torch is not installed: pip install torch"),
]
MEMBER = "from tests.distribution.torch_process import main\nmain(*sys.argv[1:])"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes of one gloo group end with."""
    where = tmp_path_factory.mktemp("ddp")
    run_cluster(MEMBER, str(where), backend="torch")
    return where


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", ["defaults", "together"])
def test_a_custom_loop_trains_both_ranks_as_one_process(folder, name, rank):
    """Backward through the wrapper, then `apply`: both end as one process on the global batch."""
    alone = dict(np.load(folder / f"{name}-alone.npz"))
    assert int(alone["iteration"]) == 26
    assert_equal_training(dict(np.load(folder / f"{name}-of-{rank}.npz")), alone)


@pytest.mark.parametrize("poison", [0, 1])
def test_an_overflow_on_one_rank_skips_the_step_on_both(folder, poison):
    """The gradients are summed before the wrapper of the loss scale looks at them."""
    ends = [dict(np.load(folder / f"overflow-{poison}-of-{rank}.npz")) for rank in (0, 1)]
    for end in ends:
        assert int(end["iteration"]) == 25
        assert end["dynamic_scale"] == 4.0
        assert np.all(np.isfinite(end["weight_1"]))
    assert_equal_training(ends[0], ends[1], rtol=0.0)


def _facts(folder):
    return [json.loads((folder / f"facts-of-{rank}.json").read_text()) for rank in (0, 1)]


def test_fit_does_not_train_the_ranks_together(folder):
    """`fit()` of the wrapped model never asks the wrapper: each rank trains on its own rows.

    When Keras' `fit()` sums gradients some day, this fails, and the README has to say so.
    """
    first, second = (np.asarray(facts["fit"]) for facts in _facts(folder))
    assert np.abs(first - second).max() > 1e-4


def test_batch_statistics_stay_those_of_each_rank(folder):
    """Keras' moving means are no buffers of PyTorch, so the wrapper does not send them round."""
    first, second = (facts["batch statistics"][0] for facts in _facts(folder))
    assert second - first == pytest.approx(1.0)
