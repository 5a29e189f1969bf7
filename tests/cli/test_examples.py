"""Every command that the help, the README and the recipes print is run, small and in place."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import keras
import pytest
from typer.main import get_command

import nadam_suite.doctor
from nadam_suite.cli import app, workers
from nadam_suite.config import load_config
from nadam_suite.experiment import recipe_path, run_training
from tests.cli.running import SMALL, run
from tests.docs.pages import page
from tests.processes import ROOT

pytestmark = pytest.mark.once

GROUP = get_command(app)
PAGES = ("README.md", "recipes/README.md", "docs/search.md")
# Commands that have a test of their own, which is named.
ELSEWHERE = {"nadam-suite --install-completion": "test_completion.py: test_it_can_be_installed"}
# What makes an example short, or lets it find what is here. All else is run as it is printed.
SHORTER = {
    r"checkpoints/20": "checkpoints/1",
    r"\b(5|10)ep\b": "1ep",
    r"\bRUN\b": "runs/digits",
    r"--backend (jax|torch|tensorflow)": f"--backend {keras.backend.backend()}",
}
LENGTHS = ("checkpoint_every=1", "epochs=2")
STABLE = ("schedule.kind=wsd", "schedule.cooldown=1ep", *LENGTHS)
TEXT = (
    "epochs=1",
    "schedule.warmup=0",
    "data_options={train_windows=64, validation_windows=8, context=16}",
    "model_options={width=8, depth=1, context=16}",
)


def paragraphs(text: str) -> list[str]:
    """The commands among the paragraphs of an epilog, each in one line."""
    found = (re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text))
    return [part for part in found if part.startswith("nadam-suite ")]


def printed(page: str) -> list[str]:
    """The commands of a page, in blocks of shell code and within sentences."""
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(nadam-suite [^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=16 | 8))
    return [line for line in lines if line.startswith("nadam-suite ")]


EPILOGS = {name: paragraphs(command.epilog or "") for name, command in GROUP.commands.items()}
EXAMPLES = dict.fromkeys(
    [example for found in EPILOGS.values() for example in found]
    + [example for page in PAGES for example in printed(page)]
)
# A command that is only named, as in "`nadam-suite report` says so", has nothing to run.
NAMED = {f"nadam-suite {name}" for name in GROUP.commands} - {
    "nadam-suite ls",
    "nadam-suite doctor",
}
RUN = [example for example in EXAMPLES if example not in NAMED | ELSEWHERE.keys()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A working folder with two runs: one that can be extended, one that kept averages."""
    folder = tmp_path_factory.mktemp("trained")
    averages = ("optimizer.averaging=power_ema", "optimizer.use_ema=false")
    kept = ('callbacks=[{kind="average_snapshots", count=4}]', "batch_size=8", *averages)
    for name, changes in (("stable", STABLE), ("averaged", kept)):
        config = load_config(recipe_path("digits"), [*SMALL, *changes])
        run_training(config, output=folder / name)
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    recipe = recipe_path("digits").read_text()
    Path("my.toml").write_text(recipe)
    Path("other.json").write_text('{"model": "digits", "data": "digits"}')
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    for name, text in page("README.md").files().items():
        Path(name).write_text(text)


def words_of(example: str) -> list[str]:
    """The arguments of an example, made short."""
    for long, short in SHORTER.items():
        example = re.sub(long, short, example)
    return shlex.split(example)[1:]


def small(words: list[str]) -> list[str]:
    """The changes that make a training short, for its recipe."""
    if "text_lm" in words:
        return list(TEXT)
    if "mine.toml" in words:
        return ["epochs=1"]
    goes_on = "--resume" in words or "--cooldown-from" in words
    return [*SMALL, *STABLE] if goes_on else list(SMALL)


def train(words, capsys, patch, trained):
    """Train for an epoch, from the beginning or on from what is there."""
    if "--resume" in words or "--cooldown-from" in words:
        shutil.copytree(trained / "stable", "runs/digits")
    own = [] if "--cooldown-from" in words else small(words)
    return run(capsys, *words, *own)


def average(words, capsys, patch, trained):
    """Try two widths."""
    shutil.copytree(trained / "averaged", "runs/digits")
    return run(capsys, *words)


def launch(words, capsys, patch, trained):
    """Check everything, and start no process."""
    started = []
    patch.setattr(workers.Workers, "run", lambda self: started.append(self._command))
    if "--backend" not in words and keras.backend.backend() == "torch":
        words = ["launch", "--backend", "jax", *words[1:]]
    elif keras.backend.backend() == "torch":
        words = [word.replace("torch", "jax") for word in words]
    outcome = run(capsys, *words)
    assert started or "--print-env" in words
    return outcome


def tune(words, capsys, patch, trained):
    """Check the config and the folder; tests/cli/test_tune.py searches."""
    from nadam_suite.cli import tune as tuning

    begun = []
    if "--print-env" not in words:
        patch.setattr(tuning, "_search", lambda *given, **options: begun.append(given))
    outcome = run(capsys, *words)
    assert begun or "--print-env" in words
    return outcome


def report(words, capsys, patch, trained):
    """Check the arguments; tests/cli/test_report*.py report."""
    from nadam_suite.cli import report_kind as reporting

    seen = []
    patch.setattr(reporting, "report", lambda *given, **options: seen.append(given))
    outcome = run(capsys, *words)
    assert seen
    return outcome


def doctor(words, capsys, patch, trained):
    """Try the first cell of those that are asked for."""
    from nadam_suite.doctor import run_cells, select

    def first(rows, **options):
        chosen = [cell for cell in select(rows) if cell.id == "K33/typed"] or select(["K33/typed"])
        return run_cells([chosen[0].id], slow=False)

    patch.setattr(nadam_suite.doctor, "run_cells", first)
    return run(capsys, *words)


def copy(words, capsys, patch, trained):
    """Copy to where nothing is."""
    Path(words[2]).unlink(missing_ok=True)
    return run(capsys, *words)


def others(words, capsys, patch, trained):
    """Run it."""
    return run(capsys, *words)


RUNNERS = {
    "train": train,
    "average": average,
    "cp": copy,
    "launch": launch,
    "tune": tune,
    "report": report,
    "doctor": doctor,
}


# A Transformer takes its time even where it is small.
SLOW = [pytest.param(e, marks=pytest.mark.slow if " text_lm" in e else ()) for e in RUN]


@pytest.mark.parametrize("example", SLOW)
def test_example_runs(example, capsys, monkeypatch, trained):
    """With status 0, and without a word of complaint."""
    words = words_of(example)
    with monkeypatch.context() as patch:
        outcome = RUNNERS.get(words[0], others)(words, capsys, patch, trained)
    assert outcome.status == 0, outcome.errors
    assert "Error" not in outcome.errors


def test_every_command_has_examples():
    """In its help; and every example is of the command in whose help it stands."""
    for name, found in EPILOGS.items():
        assert found, f"{name} --help has no example"
        own = [example for example in found if example.split()[1] == name]
        assert own, f"{name} --help has no example of {name}"


def test_every_example_is_run_or_has_its_reason():
    """Nothing that looks like a command in a help or a page is left out."""
    for name, command in GROUP.commands.items():
        assert len(EPILOGS[name]) == command.epilog.count("nadam-suite ") - sum(
            part.count("nadam-suite ")
            for part in re.split(r"\n\s*\n", command.epilog)
            if not part.strip().startswith("nadam-suite ")
        )
    assert len(RUN) > 30
    assert set(EXAMPLES) == {*RUN} | ((NAMED | ELSEWHERE.keys()) & set(EXAMPLES))
    for test in ELSEWHERE.values():
        file, name = test.split(": ")
        assert f"def {name}(" in (Path(__file__).parent / file).read_text("utf-8")
