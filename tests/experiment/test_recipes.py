"""The recipes: their data is real and split cleanly, their models and configs fit, they learn."""

from __future__ import annotations

import json
import math

import keras
import numpy as np
import pytest

from nadam_suite.config import load_config
from nadam_suite.errors import ArgumentError
from nadam_suite.experiment import find_part, list_recipes, recipe_path, run_training
from nadam_suite.experiment.recipes import digits, text_lm
from tests.processes import ROOT, run_python

pytestmark = pytest.mark.slow  # the models of the recipes are trained

NAMES = [row.name for row in list_recipes()]
SMALL_LM = [
    "epochs=2",
    "batch_size=8",
    "model_options.context=16",
    "model_options.width=16",
    "model_options.heads=2",
    "model_options.depth=1",
    "data_options.context=16",
    "data_options.train_windows=64",
    "data_options.validation_windows=8",
]


@pytest.mark.parametrize("name", NAMES)
def test_config_has_its_name_and_fits_its_parts(name):
    """A recipe's config is complete, and its options are those of its functions."""
    config = load_config(recipe_path(name))
    assert (config.name, config.model, config.data) == (name, name, name)
    for key in ("model", "data"):
        find_part(key, name, getattr(config, f"{key}_options"))


def test_digits_are_split_without_overlap():
    """All 1,797 images are there once."""
    splits = digits.data()
    parts = [splits.train, splits.validation, splits.test]
    assert [len(x) for x, _ in parts] == [1280, 157, 360]
    images = np.concatenate([x.reshape(len(x), -1) for x, _ in parts])
    assert len(np.unique(images, axis=0)) == 1797
    assert images.min() == 0.0
    assert images.max() == 1.0


def test_shift_moves_by_one_pixel_at_most():
    """Each augmented image is the image itself, moved by -1, 0 or 1 pixels each way."""
    x = digits.data().train[0][:200]
    moved = digits.data().augment(x, np.random.default_rng(0))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = set()
    for image in range(len(x)):
        places = [
            (i, j)
            for i in range(3)
            for j in range(3)
            if np.array_equal(padded[image, i : i + 8, j : j + 8], moved[image])
        ]
        assert places
        seen.update(places if len(places) == 1 else ())
    assert len(seen) == 9


def test_no_shift_on_request():
    """`shift=0` leaves the images as they are."""
    assert digits.data(shift=0).augment is None


def test_targets_are_the_next_bytes():
    """A window's targets are its bytes moved on by one, and the windows are source text."""
    (x, y) = text_lm.data(context=64, train_windows=16).train
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    assert b"    " in x.astype("uint8").tobytes()


def test_splits_of_text_come_from_different_files():
    """Training and validation windows do not overlap: each file is in one split."""
    parts = text_lm.data(context=64, train_windows=256)
    train = {row.tobytes() for row in parts.train[0]}
    assert not train & {row.tobytes() for row in parts.validation[0]}
    assert not train & {row.tobytes() for row in parts.test[0]}


def test_text_model_sees_no_future():
    """A byte changes no prediction before it."""
    model = text_lm.model(context=12, width=16, heads=2).model
    first = np.arange(12)[None]
    second = first.copy()
    second[0, 7] = 200
    a, b = (keras.ops.convert_to_numpy(model(x)) for x in (first, second))
    np.testing.assert_allclose(a[0, :7], b[0, :7], rtol=1e-5, atol=1e-6)
    assert np.abs(a[0, 7:] - b[0, 7:]).max() > 1e-3


def test_text_model_knows_positions():
    """The same bytes in another order give another last prediction."""
    model = text_lm.model(context=4, width=16, heads=2, depth=1).model
    a, b = (keras.ops.convert_to_numpy(model(np.array([x]))) for x in ([1, 2, 3, 4], [2, 1, 3, 4]))
    assert np.abs(a[0, 3] - b[0, 3]).max() > 1e-4


def test_bits_per_byte_of_a_uniform_guess():
    """Equal logits cost eight bits a byte."""
    value = text_lm.bits_per_byte(np.zeros((1, 3), "int32"), np.zeros((1, 3, 256), "float32"))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(value), np.full((1, 3), 8.0), rtol=1e-6)


@pytest.mark.once
def test_text_lm_learns(tmp_path):
    """Two short epochs beat the uniform guess, and loss and bits say the same."""
    config = load_config(recipe_path("text_lm"), SMALL_LM)
    result = run_training(config, output=tmp_path / "run")
    values = result.metrics["validation"]
    assert values["bits_per_byte"] < 7.8
    assert values["bits_per_byte"] * math.log(2) == pytest.approx(values["loss"], rel=1e-5)


@pytest.mark.slow
def test_digits_reach_the_stated_accuracy(tmp_path):
    """The whole recipe, as the README runs it."""
    result = run_training(load_config(recipe_path("digits")), output=tmp_path / "run")
    assert result.metrics["test"]["accuracy"] >= 0.98


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_labels_are_flipped_to_others_and_in_training_only(share):
    """So many targets change, the same ones every time; none keeps its label by chance."""
    clean, noisy = digits.data(), digits.data(flipped=share)
    changed = clean.train[1] != noisy.train[1]
    assert changed.sum() == round(share * len(changed))
    assert set(np.unique(noisy.train[1])) <= set(range(10))
    np.testing.assert_array_equal(noisy.train[1], digits.data(flipped=share).train[1])
    for one, other in ((clean.validation, noisy.validation), (clean.test, noisy.test)):
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_labels_that_is_none_is_refused(share):
    """With the value and a remedy."""
    with pytest.raises(ArgumentError, match=f"flipped={share}. Pass 0.2"):
        digits.data(flipped=share)


@pytest.mark.once
def test_averages_beat_raw_weights_on_noisy_labels():
    """The recipe runs as it says, and each of its averages is better than the raw weights."""
    source = ROOT / "recipes" / "noisy_labels.py"
    code = (
        "import runpy; sys.argv = ['noisy_labels', '--seeds', '1']\n"
        f"runpy.run_path({str(source)!r}, run_name='__main__')"
    )
    lines = run_python(code, backend="jax").stdout.splitlines()
    raw, *averages = map(float, lines[1].split()[1:])
    assert len(averages) == 3
    assert raw > 0.9
    assert min(averages) > raw + 0.005


@pytest.mark.once
def test_half_precision_ends_where_float32_ends():
    """The recipe runs as it says: one seed, whose losses differ less than seeds do."""
    source = ROOT / "recipes" / "mixed_precision.py"
    code = (
        "import runpy; sys.argv = ['mixed_precision', '--seeds', '1', '--problem', 'digits']\n"
        f"runpy.run_path({str(source)!r}, run_name='__main__')"
    )
    lines = run_python(code, backend="torch").stdout.splitlines()
    assert [line.split()[1] for line in lines] == [
        "float32",
        "mixed_bfloat16",
        "bfloat16",
        "mixed_float16",
    ]
    losses = [float(line.split()[4]) for line in lines]
    assert max(losses) < 0.25
    assert max(losses) - min(losses) < 0.06


@pytest.mark.once
def test_a_search_gains_over_the_defaults(tmp_path):
    """The recipe runs as it says, here with five trials; what was found repeats its trial."""
    small = ["epochs=4", "model_options.width=8", "tuner.trials=5"]
    arguments = ["tune", "digits", *small, "--seeds", "1", "--output", str(tmp_path)]
    source = ROOT / "recipes" / "tune.py"
    code = (
        f"import runpy; sys.argv = {arguments!r}\n"
        f"runpy.run_path({str(source)!r}, run_name='__main__')"
    )
    lines = run_python(code, backend="torch").stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("digits: test metrics"))
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines[start + 1 : start + 4]]
    assert losses[0] < min(losses[1:])
    scores = [
        json.loads(path.read_text("utf-8"))["score"]
        for path in tmp_path.glob("gain_digits/search/trial_*/trial.json")
    ]
    assert len(scores) == 5
    assert lines[-1].endswith(f"[{min(scores)!r}]")
