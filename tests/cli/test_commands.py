"""The commands that work: what they print and what they write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import nadam_suite
from nadam_suite.config import NadamConfig, list_presets, load_config
from nadam_suite.experiment import list_recipes, recipe_path
from tests.cli.running import SMALL, run
from tests.processes import COMMAND, environment, run_python


@pytest.mark.slow
def test_train_leaves_a_folder(tmp_path, capsys, monkeypatch):
    """Training ends with the test accuracy on the screen and everything in the folder."""
    monkeypatch.chdir(tmp_path)
    outcome = run(capsys, "train", "digits", *SMALL)
    assert outcome.status == 0, outcome.errors
    assert "epoch 1/1  loss" in outcome.output
    assert "val_accuracy" in outcome.output
    assert "Test accuracy: 0." in outcome.output
    names = {path.name for path in (tmp_path / "runs" / "digits").iterdir()}
    assert names == {
        "config.toml",
        "curves.png",
        "environment.json",
        "history.csv",
        "model.keras",
        "norms.csv",
        "result.json",
        "sessions.json",
        "state",
        "tensorboard",
    }
    again = run(capsys, "train", "digits", *SMALL)
    assert again.status == 2
    finished = run(capsys, "train", "digits", *SMALL, "--resume")
    assert finished.status == 0
    assert "This run is finished: 1 epoch. Nothing was trained." in finished.output


@pytest.mark.slow
def test_resume_without_a_run_begins_it(tmp_path, capsys):
    """A command that always says --resume can be repeated until it has finished."""
    outcome = run(capsys, "train", "digits", *SMALL, "--output", tmp_path / "new", "--resume")
    assert outcome.status == 0
    assert (tmp_path / "new" / "result.json").is_file()


def test_train_with_functions_of_ones_own(tmp_path, capsys, monkeypatch):
    """A config may name functions in a module of the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("own_module_of_a_test.py").write_text(
        "import keras, numpy as np\n"
        "from nadam_suite.experiment import Splits, Task\n"
        "def model(units=1):\n"
        "    return Task(keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)]), 'mse')\n"
        "def data():\n"
        "    x = np.ones((10, 2), 'float32')\n"
        "    return Splits(train=(x, x[:, :1]))\n"
    )
    Path("own.toml").write_text(
        'name = "own"\nmodel = "own_module_of_a_test:model"\ndata = "own_module_of_a_test:data"\n'
        "epochs = 2\nbatch_size = 4\n"
    )
    outcome = run(capsys, "train", "own.toml")
    assert outcome.status == 0, outcome.errors
    assert (tmp_path / "runs" / "own" / "model.keras").is_file()
    assert "epoch 2/2" in outcome.output


@pytest.mark.once
def test_the_version(capsys):
    """`--version` prints that of the package."""
    assert run(capsys, "--version").output == f"nadam-suite {nadam_suite.__version__}\n"


@pytest.mark.once
def test_flags_are_shown_as_flags(capsys):
    """The help shows no type for an option that takes no value."""
    for command in ([], ["train"], ["launch"], ["doctor"]):
        assert "bool" not in run(capsys, *command, "--help").output


def test_ls_names_all(capsys):
    """`ls` has every recipe and every preset."""
    outcome = run(capsys, "ls")
    assert outcome.status == 0
    for row in (*list_recipes(), *list_presets()):
        assert row.name in outcome.output


@pytest.mark.parametrize("name", [row.name for row in (*list_recipes(), *list_presets())])
def test_show_prints_a_config_that_loads(tmp_path, capsys, name):
    """What `show` prints is a config file that means the same."""
    outcome = run(capsys, "show", name)
    assert outcome.status == 0
    path = tmp_path / "shown.toml"
    path.write_text(outcome.output)
    recipes = [row.name for row in list_recipes()]
    expected = load_config(recipe_path(name)) if name in recipes else NadamConfig.preset(name)
    assert load_config(path, kind=type(expected)) == expected


def test_show_applies_overrides(capsys):
    """Overrides are part of what is shown."""
    outcome = run(capsys, "show", "digits", "epochs=7", "~optimizer.weight_decay")
    assert "epochs = 7\n" in outcome.output
    assert "\nweight_decay = " not in outcome.output


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_cp_copies_a_config_that_trains_the_same(tmp_path, capsys, suffix):
    """The copy is the recipe; as TOML with its comments."""
    destination = tmp_path / f"my.{suffix}"
    outcome = run(capsys, "cp", "digits", destination)
    assert outcome.status == 0
    assert load_config(destination) == load_config(recipe_path("digits"))
    assert destination.read_text().startswith("#") == (suffix == "toml")


def test_cp_of_a_preset(tmp_path, capsys):
    """A preset becomes the config of an optimizer."""
    assert run(capsys, "cp", "vit", tmp_path / "vit.toml").status == 0
    assert load_config(tmp_path / "vit.toml") == NadamConfig.preset("vit")


@pytest.mark.once
def test_cp_applies_overrides(tmp_path, capsys):
    """A copy may be changed on the way, and be one of a file; then it is complete."""
    first, second = tmp_path / "short.toml", tmp_path / "again.json"
    assert run(capsys, "cp", "digits", first, "epochs=3", "~schedule.warmup").status == 0
    expected = load_config(recipe_path("digits"), ["epochs=3", "~schedule.warmup"])
    assert load_config(first) == expected
    assert run(capsys, "cp", first, second, "seed=5").status == 0
    assert load_config(second) == expected.replace(seed=5)


@pytest.mark.once
def test_cp_into_a_folder(tmp_path, capsys):
    """The copy has the name of the recipe, or of the file."""
    assert run(capsys, "cp", "digits", tmp_path).status == 0
    (tmp_path / "other").mkdir()
    assert run(capsys, "cp", tmp_path / "digits.toml", tmp_path / "other", "epochs=2").status == 0
    assert load_config(tmp_path / "other" / "digits.toml").epochs == 2


@pytest.mark.once
def test_validate_applies_overrides_to_each(tmp_path, capsys):
    """Files, names and changes may stand in any order."""
    path = tmp_path / "good.toml"
    path.write_text(recipe_path("digits").read_text())
    outcome = run(capsys, "validate", "seed=4", path, "text_lm", "~epochs")
    assert outcome.output.count(": ok\n") == 2
    outcome = run(capsys, "validate", path, "text_lm", "epochs=0", "keras")
    assert outcome.status == 2
    assert outcome.errors.count("epochs=0") == 3


def test_validate_names_good_files(tmp_path, capsys):
    """Files without faults are said to be fine."""
    path = tmp_path / "good.toml"
    path.write_text(recipe_path("digits").read_text())
    outcome = run(capsys, "validate", path)
    assert outcome.status == 0
    assert outcome.output == f"{path}: ok\n"


@pytest.mark.once
def test_validate_looks_at_functions_of_ones_own(tmp_path, capsys, monkeypatch):
    """They are found in the current folder and take their options; none of them is called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("own_validated.py").write_text("def model(units=1):\n    1 / 0\ndata = model\n")
    Path("own.toml").write_text('model = "own_validated:model"\ndata = "own_validated:data"\n')
    assert run(capsys, "validate", "own.toml").output == "own.toml: ok\n"
    changes = ("model=own_validated:modl", "data_options.unit=3")
    outcome = run(capsys, "validate", "own.toml", *changes)
    assert outcome.status == 2
    for text in ("2 faults", "Did you mean 'model'?", "{'unit': 3}", "Did you mean 'units'?"):
        assert text in outcome.errors


def test_doctor_prints_a_cell(capsys):
    """The doctor tries what it is asked for, and prints backend and versions."""
    outcome = run(capsys, "doctor", "K33/typed")
    assert outcome.status == 0, outcome.errors
    assert "K33/typed" in outcome.output
    assert "Keras" in outcome.output


@pytest.mark.once
@pytest.mark.parametrize(
    "command",
    ["", "train", "doctor", "ls", "show", "cp", "validate", "launch", "tune", "report"],
)
def test_help_loads_no_framework(command):
    """Help comes at once: neither Keras nor what lies on it is imported for it."""
    code = (
        "import sys\n"
        "sys.argv = ['nadam-suite', *sys.argv[1:]]\n"
        "from nadam_suite.cli import main\n"
        "try:\n    main()\n"
        "finally:\n"
        "    heavy = {'keras', 'tensorflow', 'jax', 'torch', 'sklearn', 'matplotlib'}\n"
        "    print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = run_python(code, *[command] if command else [], "--help")
    assert "HEAVY []" in done.stdout
    assert "Usage" in done.stdout
    assert not command or "Example" in done.stdout


@pytest.mark.slow
def test_screen_has_no_noise(tmp_path):
    """A whole run writes its progress to stdout, and to stderr nothing at all."""
    variables = environment()
    del variables["TF_CPP_MIN_LOG_LEVEL"]
    command = [*COMMAND, "train", "digits", *SMALL]
    done = subprocess.run(
        command, env=variables, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Test accuracy" in done.stdout
