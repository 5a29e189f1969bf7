"""What can go wrong, the command that shows it, and the text that the user then sees.

`python -m tests.cli.faults` writes the table docs/faults.md; tests/cli/test_faults.py compares it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import pytest

from tests.cli.running import SMALL, Outcome
from tests.processes import ROOT

TARGET = "NADAM_SUITE_FAULTS"  # the environment's name for the file that gets the rows
PAGE = ROOT / "docs" / "faults.md"
GOOD = 'model = "digits"\ndata = "digits"\n'
TRAIN = ("train", "digits", *SMALL)
Prepare = Callable[[pytest.MonkeyPatch], object]


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        command: Arguments of `nadam-suite`, with files named by what they hold.
        said: What the message must say.
        prepare: Called before, with what undoes it.
        status: Exit status.
        run: Whether `run` must be a finished run.
        shown: What the table prints for the command, where that is shorter.
    """

    command: Sequence[str]
    said: Sequence[str]
    prepare: Prepare | None = None
    status: int = 2
    run: bool = False
    shown: str | None = None


def files() -> None:
    """Write into the current folder the files that the commands name."""
    Path("good.toml").write_text(GOOD)
    Path("newer.toml").write_text(GOOD + "schema_version = 99\n")
    Path("misspelt.toml").write_text(GOOD + "epoch = 3\n")
    Path("options.toml").write_text(GOOD + "[model_options]\nwidht = 8\n")
    Path("optimizer.toml").write_text("learning_rate = 0.1\n")
    Path("broken.toml").write_text('model = "digits"\ndata = \n')
    Path("broken.json").write_text('{"model": "digits",, }')
    Path("twice.json").write_text('{"epochs": 1, "epochs": 2}')
    Path("list.json").write_text("[1, 2]")
    Path("latin.toml").write_bytes(b'name = "\xe9"\n')
    Path("notes.txt").write_text("notes")
    Path("taken").mkdir()
    Path("taken/mine.txt").write_text("mine")
    Path("mine.png").write_text("mine")


def sealed(patch: pytest.MonkeyPatch) -> None:
    """Have the system say that nothing may be written, whoever asks."""
    patch.setattr(os, "access", lambda path, mode: False)


def uninstalled(patch: pytest.MonkeyPatch) -> None:
    from importlib import util

    found = util.find_spec
    patch.setattr(util, "find_spec", lambda name, *a: None if name == "jax" else found(name, *a))


def full(patch: pytest.MonkeyPatch) -> None:
    """Have the disk be full when a file is to be kept."""

    def refuse(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    patch.setattr(os, "fsync", refuse)


def full_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """Have the disk be full when the folder of a run gets its name."""

    def refuse(self: Path, target: object) -> None:
        raise OSError(28, "No space left on device")

    patch.setattr(Path, "rename", refuse)


def full_in_training(patch: pytest.MonkeyPatch) -> None:
    """Have the disk be full when the state of an epoch is written."""
    from nadam_suite.experiment import run

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device", "run/state/training_state.npz")

    patch.setattr(run.Training, "_fit", refuse)


def interrupted(patch: pytest.MonkeyPatch) -> None:
    from nadam_suite.experiment import run

    def refuse(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    patch.setattr(run.Training, "_fit", refuse)


def interrupted_at_once(patch: pytest.MonkeyPatch) -> None:
    from nadam_suite.experiment import run

    def refuse(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    patch.setattr(run, "find_part", refuse)


def killed(patch: pytest.MonkeyPatch) -> None:
    from nadam_suite.cli import workers

    patch.setattr(workers.Workers, "run", lambda self: workers.Failure(1, 4711, -9))
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def one_gpu(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("CUDA_VISIBLE_DEVICES", "0")


def no_gpu(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("CUDA_VISIBLE_DEVICES", "-1")


def variable(name: str, value: str) -> Prepare:
    return lambda patch: patch.setenv(name, value)


def environment(**changes: Any) -> Prepare:
    """Have the run been made in another environment."""

    def change(patch: pytest.MonkeyPatch) -> None:
        path = Path("run/environment.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def cut(name: str, size: int, *removed: str) -> Prepare:
    """Have a file of the run be cut off, and others be gone."""

    def cut(patch: pytest.MonkeyPatch) -> None:
        path = Path("run") / name
        path.write_bytes(path.read_bytes()[:size])
        for other in removed:
            (Path("run") / other).unlink()

    return cut


def newer_run(patch: pytest.MonkeyPatch) -> None:
    path = Path("run/config.toml")
    path.write_text(re.sub(r"schema_version = \d+", "schema_version = 99", path.read_text()))


def lost(patch: pytest.MonkeyPatch) -> None:
    """Have a module one of whose targets is no number."""
    Path("own_lost_data.py").write_text(
        "import keras\nimport numpy as np\n"
        "from nadam_suite.experiment import Splits, Task\n"
        "def model():\n"
        "    layers = [keras.Input((2,)), keras.layers.Dense(1)]\n"
        "    return Task(keras.Sequential(layers), 'mse')\n"
        "def data():\n"
        "    return Splits(train=(np.ones((12, 2)), np.array([np.nan] + [0.0] * 11)))\n"
    )
    Path("lost.toml").write_text(
        'name = "lost"\nmodel = "own_lost_data:model"\ndata = "own_lost_data:data"\n'
    )


def stuck(patch: pytest.MonkeyPatch) -> None:
    """Have a module whose data are never finite, of so many batches as may be skipped."""
    Path("own_spoilt_data.py").write_text(
        "import numpy as np\n"
        "from nadam_suite.experiment import Splits\n"
        "def data():\n"
        "    return Splits(train=(np.full((12, 8, 8, 1), np.nan), np.zeros(12, 'int64')))\n"
    )
    Path("stuck.toml").write_text(
        'name = "stuck"\nmodel = "digits"\ndata = "own_spoilt_data:data"\nskip_nonfinite = true\n'
        "batch_size = 4\n[model_options]\nwidth = 4\n[loss_scale]\nmax_consecutive_skips = 3\n"
    )


def own_modules(patch: pytest.MonkeyPatch) -> None:
    """Have modules of the user's own: one that is no Python, one whose data cannot be read."""
    Path("own_unfinished.py").write_text("def model(:\n")
    Path("own_failing.py").write_text(
        "def data():\n    raise ValueError('no such file: mine.npy')\ndef model():\n    return 1\n"
    )


RESUME = (*TRAIN, "--output", "run", "--resume")
SHOWN = "train digits --output run --resume"


def text_of(fault: Fault, outcome: Outcome) -> str:
    """What the user sees, the same on every backend."""
    text = re.sub(r"(Not finite in the last one:) .*", r"\1 ...", outcome.errors.strip())
    ours = f"backend={keras.backend.backend()!r}"
    return text.replace(ours, "backend='tensorflow'") if fault.run else text


def words_of(fault: Fault) -> list[str]:
    """The command as it is shown."""
    return fault.shown.split() if fault.shown else list(fault.command)


def row_of(name: str, fault: Fault, outcome: Outcome) -> str:
    """The row of the table."""
    command = " ".join(map(_quoted, words_of(fault)))
    cells = (name, f"`nadam-suite {command}`", str(outcome.status), text_of(fault, outcome))
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _quoted(word: str) -> str:
    return f"'{word}'" if re.search(r"[\s\"\[\]{}*~]", word) else word


def _cell(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return re.sub(r"\n\s*", "<br>", text)


def page(rows: Sequence[str]) -> str:
    """The page with all rows."""
    return "\n".join([*HEAD, *rows]) + "\n"


HEAD = (
    "# Faults, and what the command says",
    "",
    "Every row is run by the tests, which compare the text. `good.toml` and the other files hold",
    "what their names say; `run` is a finished run. Whatever is refused with status 2 is refused",
    "before anything is trained, and leaves every file as it was.",
    "",
    "| fault | command | status | text on standard error |",
    "| --- | --- | --- | --- |",
)


def write() -> None:
    """Run all faults, and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "rows.md"
        selection = ["-p", "no:randomly", "-k", "told", "tests/cli/test_faults.py"]
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *selection],
            cwd=ROOT,
            env={**os.environ, TARGET: str(target)},
            check=True,
        )
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(target.read_text("utf-8").splitlines()), encoding="utf-8")


if __name__ == "__main__":
    write()
