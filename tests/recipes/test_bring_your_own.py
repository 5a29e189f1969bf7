"""A model and data of one's own: the functions that the config names, and what comes of them."""

from __future__ import annotations

import numpy as np
import pytest

from nadam_suite import TrainConfig, load_config
from nadam_suite.experiment import find_part
from recipes import bring_your_own as recipe
from tests.processes import ROOT

pytestmark = pytest.mark.once

CONFIG = ROOT / "recipes" / "bring_your_own.toml"


def test_the_config_names_functions_that_fit():
    """Both are found under the name in the file, and take the options in it."""
    config = load_config(CONFIG, kind=TrainConfig)
    for key in ("model", "data"):
        reference = getattr(config, key)
        assert reference == f"recipes.bring_your_own:{key}"
        find_part(key, reference, getattr(config, f"{key}_options"))()


def test_every_tumour_is_in_one_split():
    """And the scale of the features is that of the training examples."""
    splits = recipe.data()
    parts = [splits.train[0], splits.validation[0], splits.test[0]]
    assert [len(part) for part in parts] == [398, 57, 114]
    assert len(np.unique(np.concatenate(parts), axis=0)) == 569
    np.testing.assert_allclose(parts[0].mean(axis=0), np.zeros(30), atol=1e-5)
    np.testing.assert_allclose(parts[0].std(axis=0), np.ones(30), atol=1e-5)
    assert np.abs(parts[2].mean(axis=0)).max() > 1e-2


def test_the_recipe_trains_and_prints(capsys):
    """Five epochs are better than to call all tumours what most are."""
    recipe.main(["epochs=5", "model_options.width=8", "--seeds", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["seed 0", "seed 1"]
    assert lines[0].split()[-1] != lines[1].split()[-1]
    found = {line.split()[1]: float(line.split()[2]) for line in lines[2:4]}
    assert 0.0 < found["loss"] < np.log(2.0)
    most = recipe.data().test[1].mean()
    assert max(most, 1.0 - most) + 0.05 < found["accuracy"] <= 1.0
    assert float(lines[4].split()[-1]) == pytest.approx(recipe.regression(), abs=5e-5)
    assert recipe.regression() > 0.9
