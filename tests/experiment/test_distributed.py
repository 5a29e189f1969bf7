"""Trainings that several devices share: the parts of the stream, and what the recipes end with."""

from __future__ import annotations

import json
import os
import subprocess

import keras
import numpy as np
import pytest

from nadam_suite.experiment import Splits, batches
from nadam_suite.experiment.folder import RunFolder
from nadam_suite.experiment.recipes import digits
from nadam_suite.experiment.stream import Evaluation, SharedBatches
from tests.processes import COMMAND, LIMIT, ROOT, environment

BACKEND = keras.backend.backend()
RECIPES = sorted((ROOT / "recipes").glob("*.sh"))


@pytest.mark.once
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_make_up_the_batch(parts):
    """In every step the parts of all processes are the global batch, augmented as a whole."""
    splits = digits.data(train_examples=20)  # batches of 8, 8 and 4
    streams = [SharedBatches(splits, 8, 3, replicas=4, part=(i, parts)) for i in range(parts)]
    for index, (x, y) in zip(range(9), batches(splits, 8, 3), strict=False):
        own = [stream[index] for stream in streams]
        assert len({len(part[0]) for part in own}) == 1
        np.testing.assert_array_equal(np.concatenate([part[0] for part in own]), x)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in own]), y)


@pytest.mark.once
def test_last_batch_is_cut_to_a_multiple_of_the_replicas():
    """Of 4 + 4 + 3 examples two replicas train on 4 + 4 + 2, four on 4 + 4."""
    splits = Splits(train=(np.arange(11), np.arange(11)))
    expected = list(zip(range(3), batches(splits, 4, 0), strict=False))
    for replicas, sizes in ((2, [4, 4, 2]), (4, [4, 4])):
        assert SharedBatches.examples(splits, 4, replicas) == sum(sizes)
        stream = SharedBatches(splits, 4, 0, replicas=replicas)
        for (index, (x, _)), size in zip(expected, sizes, strict=False):
            np.testing.assert_array_equal(stream[index][0], x[:size])
        # The next epoch begins where this one ends.
        later = SharedBatches(splits, 4, 0, replicas=replicas, epoch=1)
        np.testing.assert_array_equal(stream[len(sizes)][0], later[0][0])


@pytest.mark.once
def test_stream_can_be_read_again():
    """Batches do not depend on which were read before."""
    stream = SharedBatches(Splits(train=(np.arange(9), np.arange(9))), 4, 0, replicas=2)
    first = [stream[index][0] for index in (5, 0, 3)]
    again = [stream[index][0] for index in (3, 0, 5)][::-1]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.once
@pytest.mark.parametrize("devices", [1, 2, 3])
@pytest.mark.parametrize("examples", [1, 5, 6, 12])
def test_evaluation_weighs_examples_alike(examples, devices):
    """Every batch divides by the devices, and every example comes equally often."""
    evaluation = Evaluation((np.arange(examples), np.arange(examples)), 4, devices=devices)
    seen = [evaluation[index][0] for index in range(evaluation.num_batches)]
    assert all(len(batch) % devices == 0 for batch in seen)
    numbers, counts = np.unique(np.concatenate(seen), return_counts=True)
    assert list(numbers) == list(range(examples))
    assert len(set(counts)) == 1


@pytest.mark.once
def test_folder_is_written_by_the_chief_alone(tmp_path):
    """Another process of the training changes nothing, and does not mind what the chief made."""
    folder = RunFolder(tmp_path / "run", chief=False)
    assert folder.check(resume=False) is False
    folder.create(None, {})
    assert not folder.path.exists()
    (tmp_path / "run").mkdir()
    assert folder.check(resume=False) is False
    assert folder.check(resume=True) is False
    folder.write_text("history.csv", "epoch\n")
    folder.finish({})
    assert not list(folder.path.iterdir())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Test accuracy of each recipe after five epochs, and of the training on one device."""
    if BACKEND == "torch":
        pytest.skip("Keras trains on one device with PyTorch")
    folder = tmp_path_factory.mktemp("recipes")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "nadam-suite").symlink_to(_program(programs))
    # More threads than one let workers wait for each other while they compute.
    values = environment(BACKEND, threads=2, CUDA_VISIBLE_DEVICES="-1")
    values["PATH"] = f"{programs}{os.pathsep}{values['PATH']}"
    single = ["nadam-suite", "train", str(ROOT / "recipes" / "data_parallel.toml")]
    single += ["distribution.strategy=none", "~distribution.devices"]
    commands = {"single": single} | {path.stem: ["bash", str(path)] for path in RECIPES}
    found = {}
    for name, command in commands.items():
        output = folder / name
        done = subprocess.run(
            [*command, "epochs=5", "--output", str(output)],
            env=values,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        found[name] = json.loads((output / "result.json").read_text())["metrics"]["test"]
        told = json.loads((output / "environment.json").read_text())["distribution"]
        assert f"replicas: {1 if name == 'single' else 2}" in told
    return found


def _program(folder):
    """Write the command as a program; the checkout or the installed package is what it runs."""
    path = folder / "program"
    path.write_text(f"#!{COMMAND[0]}\nimport sys\n{COMMAND[2]}\n")
    path.chmod(0o755)
    return path


@pytest.mark.once
def test_recipes_are_found():
    """The folder has a data-parallel and a multi-worker recipe, each with its config."""
    assert [path.stem for path in RECIPES] == ["data_parallel", "multi_worker"]
    assert all(path.with_suffix(".toml").is_file() for path in RECIPES)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.multi_device
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_ends_like_one_device(results, path):
    """The test accuracy is within half a point of that of one device."""
    assert results["single"]["accuracy"] >= 0.95
    assert abs(results[path.stem]["accuracy"] - results["single"]["accuracy"]) <= 0.005
