"""Models that are built by their first batch: subclasses of `keras.Model`, and without a shape."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite.config import save_config
from nadam_suite.errors import ConfigError
from nadam_suite.experiment import find_part
from nadam_suite.experiment.explanation import explain_config
from nadam_suite.experiment.preview import preview
from tests.cli.running import run
from tests.experiment.comparing import assert_same
from tests.experiment.small_runs import OWN, config, no_pictures, train

__all__ = ["no_pictures"]  # a fixture that every test of this file uses

LAYERED = {"model": f"{OWN}:layered"}
HALF_BUILT = {**LAYERED, "model_options": {"half_built": True}}


@pytest.mark.parametrize("options", [LAYERED, HALF_BUILT], ids=["unbuilt", "half built"])
def test_a_subclass_trains_and_resumes_exactly(tmp_path, options):
    """It is called on the first example, so that all its variables are there to be restored."""
    train(tmp_path / "whole", 3, **options)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", 3, stop=2, **options)
    keras.utils.set_random_seed(5)
    assert train(tmp_path / "run", 3, resume=True, **options).resumed_from == 2
    assert_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.once
def test_what_trains_was_built_as_any_other(tmp_path):
    """The optimizer has state for each weight, and averages of it for the final model."""
    result = train(tmp_path / "run", 2, model=f"{OWN}:unshaped")
    model = keras.saving.load_model(result.folder / "model.keras")
    assert len(model.trainable_variables) == 4
    assert len(model.optimizer.average_tensors("ema")) == 4
    assert np.isfinite(result.metrics["validation"]["loss"])


@pytest.mark.once
@pytest.mark.parametrize("model", ["layered", "unshaped"])
def test_its_variables_are_explained(model):
    """`explain` builds it as the training does."""
    found = explain_config(preview(config(2, model=f"{OWN}:{model}")))
    assert [row.shape for row in found.variables] == [(1, 8), (8,), (8, 1), (1,)]


@pytest.mark.once
def test_a_model_that_cannot_be_called_leaves_no_folder(tmp_path, monkeypatch, capsys):
    """Its error is told in a line before a folder is made, so that the next start finds none."""
    monkeypatch.chdir(tmp_path)
    save_config(config(2, name="own", model=f"{OWN}:broken_call"), "own.toml")
    found = run(capsys, "train", "own.toml")
    assert found.status == 2
    assert "which raised RuntimeError: " in found.errors
    assert "my own bug (" in found.errors
    assert "parts_of_a_user.py:" in found.errors
    assert ") on ndarray of shape (1, 1). Correct the model" in found.errors
    assert len(found.errors.strip().splitlines()) == 1
    assert "\x1b" not in found.errors
    assert not (tmp_path / "runs").exists()


def test_a_built_model_is_not_called():
    """Whatever its call would do, and draw."""
    from nadam_suite.experiment.assemble import built_task

    make = find_part("model", f"{OWN}:line", {})
    assert built_task(make, config(1), x="no data are read").model.built


@pytest.mark.once
def test_data_are_read_where_no_example_is_given():
    """And an error names the model and what it was called on."""
    from nadam_suite.experiment.assemble import built_task

    assert built_task(find_part("model", f"{OWN}:layered", {}), config(1)).model.weights
    with pytest.raises(ConfigError, match=r"can be called on.*broken_call.*Correct the model"):
        built_task(find_part("model", f"{OWN}:broken_call", {}), config(1))
