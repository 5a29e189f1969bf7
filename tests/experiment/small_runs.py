"""Trainings of a few batches, to be interrupted, extended and branched."""

from __future__ import annotations

import keras
import pytest

from nadam_suite.callbacks.snapshot import read
from nadam_suite.config import TrainConfig
from nadam_suite.experiment import run_training

OWN = "tests.experiment.parts_of_a_user"
WSD = {"kind": "wsd", "warmup": 2, "cooldown": "1ep"}


def config(epochs, schedule=WSD, optimizer=None, **changes):
    """A training of epochs of 12, 12 and 8 examples, with dropout and averages."""
    options = {"learning_rate": 0.05, "weight_decay": 0.1, "use_ema": True}
    return TrainConfig(
        model=changes.pop("model", f"{OWN}:network"),
        data=changes.pop("data", f"{OWN}:points"),
        epochs=epochs,
        batch_size=12,
        schedule=schedule,
        optimizer={**options, **(optimizer or {})},
        **changes,
    )


def train(folder, epochs, schedule=WSD, *, stop=None, **options):
    """Train in a folder, begun before or not; `stop` is the epoch whose first batch interrupts."""
    settings = {key: options.pop(key) for key in ("resume", "extend", "tell") if key in options}
    settings["callbacks"] = [Stop(stop)] if stop is not None else []
    keras.utils.clear_session(free_memory=False)
    return run_training(config(epochs, schedule, **options), output=folder, **settings)


class Stop(keras.callbacks.Callback):
    """Interrupts a training as Ctrl-C does, at the beginning of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """Leave out the drawing of the curves, which takes longer than these trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nadam_suite.experiment.run.plot_curves", _note)
        yield


def _note(history, path, title):
    path.write_text(f"{title}: {len(history)} epochs")


def contents(folder):
    """Every file below a folder, with what is in it."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def damage(folder):
    """Change one number in the state of a run, which its checksum then does not fit; its file."""
    path = folder / "state" / "training_state.npz"
    number = read(path).arrays["model"][0].tobytes()
    data = path.read_bytes()
    assert data.count(number) >= 1
    path.write_bytes(data.replace(number, bytes(byte ^ 0xFF for byte in number), 1))
    return path
