"""TensorFlow: Nadam on several replicas is Nadam on one device with the same global batch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.distribution.cluster import run_cluster
from tests.distribution.problem import SCENARIOS
from tests.processes import installed, run_python

pytestmark = [
    pytest.mark.once,
    pytest.mark.multi_device,
    pytest.mark.skipif(not installed("tensorflow"), reason="tensorflow is not installed"),
]
RUN = (
    "import runpy; sys.argv[0] = 'worker'; "
    "runpy.run_module('tests.distribution.tensorflow_worker', {}, '__main__')"
)
# A half-precision scenario is chosen so that every sum of gradients is exact in any order.
QUICK = ["together"]


def run(folder, *arguments):
    """Run one task in a process of its own."""
    task, *rest = arguments
    run_python(RUN, task, str(folder), *rest, backend="tensorflow")


LEFT_OUT = {
    # Each replica is traced, so that four take twice as long as two and can do little that two
    # cannot: all arguments together, and averages whose copies are compared.
    "mirrored-4": set(SCENARIOS) - {"together", "averaging"},
    # TensorFlow's workers cannot send each other bfloat16 variables, whichever optimizer has them.
    # What each replica computes by itself is the same in one process, and is in "together".
    "workers": {"slot_dtype", "bfloat16"}
    | {"accumulation", "clipnorm", "clipvalue", "decay-rules", "momentum_decay", "schedule"},
    # One copy of each variable: what differs from the other setups is how it is written. (Keras'
    # wrapper for loss scaling has variables of its own that this strategy refuses to assign.)
    "central-2": set(SCENARIOS) - {"together", "defaults", "global_clipnorm", "bfloat16"},
}


class Trained:
    """Trains scenarios in a setup when a test asks for them: all that it may ask for at once."""

    def __init__(self, folder, slow):
        self.folder = folder
        self.names = list(SCENARIOS) if slow else QUICK

    def __call__(self, setup, name):
        """The arrays of a setup, and what it says of its copies; worker by worker."""
        if not list(self.folder.glob(f"facts-{setup}-*.json")):
            names = ",".join(n for n in self.names if n not in LEFT_OUT.get(setup, ()))
            if setup == "workers":
                arguments = ("train", str(self.folder), setup, names)
                run_cluster(RUN, *arguments, backend="tensorflow")
            else:
                run(self.folder, "train", setup, names)
        facts = sorted(self.folder.glob(f"facts-{setup}-*.json"))
        arrays = sorted(self.folder.glob(f"{name}-{setup}*.npz"))
        return [np.load(path) for path in arrays], [json.loads(f.read_text())[name] for f in facts]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, request):
    return Trained(tmp_path_factory.mktemp("trained"), request.config.getoption("--slow"))


def deviation(found, expected):
    """The largest difference in each array, relative to the largest number in it."""
    assert sorted(found.files) == sorted(expected.files)
    return {
        name: np.abs(found[name] - expected[name]).max() / (np.abs(expected[name]).max() or 1.0)
        for name in expected.files
    }


def assert_same(found, expected, tolerance=1e-5):
    """All arrays agree, batch by batch where they have a row for each."""
    worst = {name: d for name, d in deviation(found, expected).items() if not d <= tolerance}
    assert not worst


def _cases():
    """Every setup with every scenario that it can train; one of them is quick."""
    for setup, processes, replicas in (
        ("mirrored-2", 1, 2),
        ("mirrored-4", 1, 4),
        ("workers", 2, 2),
        ("central-2", 1, 2),
    ):
        for name in SCENARIOS:
            if name in LEFT_OUT.get(setup, ()):
                continue
            quick = setup == "mirrored-2" and name in QUICK
            marks = () if quick else pytest.mark.slow
            yield pytest.param(setup, processes, replicas, name, marks=marks, id=f"{setup}-{name}")


@pytest.mark.parametrize(("setup", "processes", "replicas", "name"), list(_cases()))
def test_replicas_train_as_one_device(trained, name, setup, processes, replicas):
    """K1-K3, D33, D34: weights and state agree after each of 50 batches, and all copies are equal.

    The setups are MirroredStrategy with two and with four replicas, MultiWorkerMirroredStrategy
    with two processes, and CentralStorageStrategy with two replicas.
    """
    [expected], _ = trained("one", name)
    found, facts = trained(setup, name)
    assert len(found) == processes
    assert facts == [{"unlike": [], "replicas": replicas}] * processes
    for arrays in found:
        assert arrays["iteration"].tolist() == list(range(1, 51))
        assert_same(arrays, expected)


@pytest.fixture(scope="module")
def looped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("looped")
    for setup in ("one", "mirrored-2", "central-2"):
        run(folder, "loops", setup)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("setup", ["mirrored-2", "central-2"])
@pytest.mark.parametrize("kind", ["loop", "outside", "eager"])
def test_custom_loops_agree_with_one_device(looped, setup, kind):
    """A compiled loop that builds late, calls outside of replicas, and eager calls in them."""
    found, expected = (np.load(looped / f"{kind}-{name}.npz") for name in (setup, "one"))
    if kind == "loop":
        assert_same(found, expected)
        return
    assert len(found.files) == (2 if setup == "mirrored-2" else 1)
    for copy in found.files:
        np.testing.assert_allclose(found[copy], expected["arr_0"], rtol=1e-6)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Files written in the midst of a window by one and by two replicas, trained on by 1, 2, 4."""
    folder = tmp_path_factory.mktemp("saved")
    for setup in ("one", "mirrored-2"):
        run(folder, "save", setup)
    for setup in ("one", "mirrored-2", "mirrored-4"):
        run(folder, "resume", setup)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("writer", ["one", "mirrored-2"])
@pytest.mark.parametrize("reader", ["one", "mirrored-2", "mirrored-4"])
def test_a_file_of_some_replicas_trains_on_with_others(saved, writer, reader):
    """What is saved under one strategy goes on under another as if nothing had happened."""
    expected = np.load(saved / f"{writer}-uninterrupted.npz")
    assert int(expected["iteration"]) == 24
    assert_same(np.load(saved / f"{writer}-on-{reader}.npz"), expected)


@pytest.fixture(scope="module")
def parted(tmp_path_factory):
    """What batches of 16, 13, 1, 3 and 16 examples lead to."""
    folder = tmp_path_factory.mktemp("parted")
    for setup in ("one", "shared-2"):
        run(folder, "uneven", setup)
    run_cluster(RUN, "uneven", str(folder), "workers", backend="tensorflow")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", ["mean", "mean-wrapped", "sum", "sum-wrapped"])
@pytest.mark.parametrize("setup", ["shared-2-0", "workers-0", "workers-1"])
def test_uneven_batches_train_as_on_one_device(parted, setup, case):
    """Every example weighs the same, also where a replica has fewer of them or none at all."""
    expected = np.load(parted / f"{case}-one-0.npz")
    assert int(expected["iteration"]) == 5
    assert_same(np.load(parted / f"{case}-{setup}.npz"), expected)


@pytest.fixture(scope="module")
def overflown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overflown")
    run(folder, "overflow", "mirrored-4")
    return json.loads((folder / "overflow.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("index", range(4))
def test_an_overflow_on_any_replica_skips_the_step_on_all(overflown, index):
    """K4: nothing changes but the loss scale, which is halved once; stock sees replica 0 alone."""
    skipped = {"changed": [], "scales": [1024.0, 512.0], "unlike": []}
    assert overflown[f"ours {index}"] == skipped
    if index < 2:
        assert (overflown[f"stock {index}"] == skipped) == (index == 0)


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refusals")
    run(folder, "refusals")
    return json.loads((folder / "refusals.json").read_text())


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (
            "optimizer outside",
            "an optimizer of no strategy for the variable 'embedding/embeddings'",
        ),
        ("model outside", "an optimizer of a MirroredStrategy for the variable"),
        ("another strategy", "must be created in the same strategy scope"),
        ("no gradients", "No gradients provided for any variable"),
        ("one replica without", "No gradients provided for any variable"),
        ("distributed outside of run", "Call `optimizer.apply` inside of the function"),
    ],
)
@pytest.mark.slow
def test_what_cannot_work_is_refused_before_a_step(refusals, case, words):
    """D66 and gradients that are missing or not summed: one clear error each, and no hang."""
    assert words in refusals[case]
    assert refusals["iterations"] == 0
