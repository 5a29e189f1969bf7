"""Workers that were given different folders find out before they train on different epochs."""

from __future__ import annotations

import pytest

from tests.distribution.cluster import result_of, run_cluster
from tests.processes import installed

pytestmark = [pytest.mark.once, pytest.mark.multi_device, pytest.mark.slow]

_PROGRAM = """
import json
from nadam_suite.backends import get_backend

backend = get_backend()
backend.join()
worker, _ = backend.process()
told = [backend.same_on_all(3), backend.same_on_all(0), backend.same_on_all(worker)]
print("RESULT", json.dumps(told))
"""

_RESUME = """
import json
from pathlib import Path
import nadam_suite.experiment.run as run
from nadam_suite.backends import get_backend
from nadam_suite.callbacks import TrainingState
from nadam_suite.config import load_config
from nadam_suite.experiment import recipe_path

backend = get_backend()
backend.join()
worker, _ = backend.process()


class Elsewhere(TrainingState):
    def restore(self, model):
        super().restore(model)
        return worker  # what a folder of its own would say


run.TrainingState = Elsewhere
changes = ["epochs=2", "data_options.train_examples=64", "model_options.width=4"]
config = load_config(recipe_path("digits"), [*changes, "schedule.warmup=0"])
try:
    run.run_training(config, output=sys.argv[1] + "/run")
    told = "it trained"
except OSError as error:
    told = str(error)
print("RESULT", json.dumps(told))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_numbers_are_compared_over_all_workers(backend):
    """Equal numbers are equal on all, others are so on none."""
    if not installed(backend):
        pytest.skip(f"{backend} is not installed")
    for text in run_cluster(_PROGRAM, backend=backend):
        assert result_of(text) == [True, True, False]


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_workers_with_different_states_are_stopped_before_a_step(backend, tmp_path):
    """Each worker says which epoch it found, and that the folder must be shared."""
    if not installed(backend):
        pytest.skip(f"{backend} is not installed")
    for worker, text in enumerate(run_cluster(_RESUME, str(tmp_path), backend=backend)):
        told = result_of(text)
        assert told.startswith("All workers must restore the same state")
        assert f"this worker finds epoch {worker} " in told
