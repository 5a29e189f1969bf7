"""Fine-tuning by layers: what is frozen stays, what is unfrozen moves, and the table is whole."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from nadam_suite.experiment.recipes import digits
from recipes import layerwise

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def source():
    """A narrow network that was trained for an epoch."""
    return layerwise.pretrained(0, width=4, epochs=1)


def changes(way, source, rate=3e-3, decay=0.5):
    """How far each layer has moved, in the mean of its kernel's elements."""
    pair = layerwise.part(digits.data().train, range(5, 10), 2)
    model = layerwise.begun(way, source, 1, width=4)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    layerwise.tune(way, model, rate, pair, 4, decay)
    return {
        layer.name: float(np.abs(layer.get_weights()[0] - before[layer.name][0]).mean())
        for layer in model.layers
        if before[layer.name]
    }


def test_a_table_of_all_ways(capsys):
    """Each way has a row with accuracies between 0 and 1, in order."""
    options = {"seeds": 1, "epochs": 2, "pretraining": 1, "each": 2, "width": 4}
    layerwise.main([*(f"--{name}={value}" for name, value in options.items()), "--rates=3e-3"])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("10 images to learn from, ")
    assert [line.partition("  test")[0].strip() for line in lines] == [
        "from scratch",
        "one rate",
        "head only",
        "head, then all",
        "layer-wise decay",
    ]
    for line in lines:
        mean, low, high = map(float, re.findall(r"0\.\d{3}|1\.000", line)[:3])
        assert 0.0 <= low <= mean <= high <= 1.0
        assert float(re.search(r"rate (\S+)", line)[1]) == 3e-3


def test_head_only_moves_the_head_alone(source):
    """Frozen layers keep their weights to the last bit, also from the weight decay."""
    moved = changes("head only", source)
    assert moved.pop("logits") > 1e-4
    assert len(moved) == 4
    assert set(moved.values()) == {0.0}


def test_unfrozen_layers_move(source):
    """After half of the epochs the rules are others, and all layers learn."""
    assert min(changes("head, then all", source).values()) > 1e-5


def test_layers_move_the_less_the_lower_they_are(source):
    """The steps of Nadam are as long as the rate says, which falls tenfold from layer to layer."""
    moved = list(changes("layer-wise decay", source, decay=0.1).values())
    assert all(low < 0.5 * high for low, high in itertools.pairwise(moved))
    alike = list(changes("one rate", source).values())
    assert alike[0] > 10 * moved[0]


def test_a_new_network_has_the_old_layers_and_a_head_of_its_own(source):
    """From scratch it has nothing of the old one."""
    model, blank = (
        layerwise.begun(way, source, 1, width=4) for way in ("one rate", "from scratch")
    )
    for layer in source.layers:
        if layer.get_weights():
            own, new = layer.get_weights()[0], model.get_layer(layer.name).get_weights()[0]
            assert np.array_equal(own, new) == (layer.name != "logits")
            assert not np.array_equal(own, blank.get_layer(layer.name).get_weights()[0])


def test_so_many_images_of_each_digit():
    """And none of another."""
    images, labels = layerwise.part(digits.data().train, range(5, 10), 3)
    assert len(images) == 15
    assert np.bincount(labels).tolist() == [0] * 5 + [3] * 5
