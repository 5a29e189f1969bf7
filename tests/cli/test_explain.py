"""`nadam-suite explain`: the plan, the durations and what each variable gets."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from nadam_suite.averaging.power import exponent
from nadam_suite.config import NadamConfig, load_config
from nadam_suite.experiment import find_part, recipe_path
from nadam_suite.experiment.average_rows import average_rows
from nadam_suite.experiment.explanation import describe_optimizer, explain_config
from nadam_suite.experiment.preview import preview
from nadam_suite.schedules import TrainingPlan
from tests.cli.running import run

pytestmark = pytest.mark.once

KNOWN = ("--examples", "1280")  # so that no data are loaded


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder of its own, and a screen that is no terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


def cells(outcome):
    """The words of each line, by the line's first word."""
    assert outcome.status == 0, outcome.errors
    return {line.split()[0]: line.split() for line in outcome.output.splitlines() if line.split()}


def test_plan_and_durations_of_digits(capsys):
    """Every number of the plan, and each duration as typed, in steps and in epochs."""
    outcome = run(capsys, "explain", "digits", "schedule.total=20ep")
    found = cells(outcome)
    assert found["training"] == ["training", "examples", "1,280"]
    assert found["batch"] == ["batch", "size", "64"]
    assert found["steps"] == ["steps", "per", "epoch", "20"]
    assert found["epochs"] == ["epochs", "30"]
    assert [line for line in outcome.output.splitlines() if "total" in line and "600" in line]
    assert found["schedule.warmup"] == ["schedule.warmup", "10%", "40", "2"]
    assert found["schedule.total"] == ["schedule.total", "20ep", "400", "20"]
    assert found["digits:"][1].startswith("Nadam(learning_rate=cosine(peak=0.003,")


def test_a_row_for_each_variable_of_digits(capsys):
    """Path, shape, type, size, multipliers, peak rate, first and last decay, rules."""
    outcome = run(capsys, "explain", "digits", "schedule.start=3e-4", *KNOWN)
    found = cells(outcome)
    variables = find_part("model", "digits", {})().model.trainable_variables
    assert len(variables) == 10
    for variable in variables:
        path, shape = variable.path, "x".join(map(str, variable.shape))
        size = 1
        for length in variable.shape:
            size *= length
        bias = path.endswith("bias")
        # The last of 600 steps is a quarter of a cosine's square away from its end.
        decays = ["0", "0", "1"] if bias else ["1.5e-05", "1.27e-09"]
        expected = [path, shape, "float32", f"{size:,}", "1", "0" if bias else "1", "0.003"]
        assert found[path] == [*expected, *decays]
    assert found["max_ndim=1"] == ["max_ndim=1", "1", "1", "0", "5"]
    assert "10 variables with 75,242 parameters, of which 75,040 are decayed and 0 frozen." in (
        " ".join(outcome.output.split())
    )


def test_json_says_the_same(capsys):
    """It parses, and has the plan, the rows and the totals as numbers."""
    rule = 'optimizer.parameter_rules=[{match="conv_1/", learning_rate=0}, {match="nowhere"}]'
    changes = ["optimizer.gradient_accumulation_steps=4", rule]
    outcome = run(capsys, "explain", "digits", *changes, "--json", *KNOWN)
    assert outcome.status == 0, outcome.errors
    table = json.loads(outcome.output)
    assert table["name"] == "digits"
    assert table["plan"] == {
        "steps_per_epoch": 20,
        "epochs": 30,
        "accumulation": 4,
        "batch_size": 64,
        "examples": 1280,
        "total_steps": 600,
        "total_updates": 150,
    }
    assert table["durations"][0] == {
        "key": "schedule.warmup",
        "typed": "10%",
        "steps": 60,
        "epochs": 3.0,
    }
    kernel = table["variables"][0]
    assert kernel["path"] == "digits/conv_1/kernel"
    assert kernel["shape"] == [3, 3, 1, 32]
    assert kernel["rules"] == ["match='conv_1/'"]
    assert kernel["learning_rate_multiplier"] == kernel["peak_learning_rate"] == 0.0
    assert (kernel["decayed"], kernel["first_decay"]) == (False, 0.0)
    other = table["variables"][2]
    # The first update reads the fourth batch's rate: 3/60 of the way up.
    assert other["first_decay"] == pytest.approx(0.05 * 3e-3 * 3 / 60, rel=1e-6)
    assert other["peak_learning_rate"] == pytest.approx(3e-3, rel=1e-4)
    assert [row["variables"] for row in table["rules"]] == [2, 0]
    assert table["notes"] == ["The parameter rule (match='nowhere') matches no variable."]
    assert table["totals"] == {
        "variables": 10,
        "parameters": 75_242,
        "decayed_parameters": 75_242 - 320,
        "frozen_parameters": 320,
    }


@pytest.mark.parametrize("mode", ["lr", "independent", "corrected"])
def test_decay_of_variables_with_a_rate_of_their_own(mode):
    """They decay with their rate, unless the mode keeps the two apart, and not if they are frozen.

    The optimizer's own multipliers, of which a frozen variable uses none, say the same.
    """
    rules = '[{match="logits/kernel", learning_rate=2.0, weight_decay=0.5}, '
    rules += '{match="conv_4/", learning_rate=0.0}]'
    changes = [f"optimizer.parameter_rules={rules}", f"optimizer.weight_decay_mode={mode}"]
    seen = preview(load_config(recipe_path("digits"), changes), examples=1280)
    rows = explain_config(seen).variables
    optimizer = seen.optimizer()
    optimizer.build(find_part("model", "digits", {})().model.trainable_variables)
    for row, slot in zip(rows, optimizer._layout.slots, strict=True):
        decay = 0.0 if slot.frozen else slot.decay
        assert row.last_decay == pytest.approx(rows[0].last_decay * decay)
        assert row.peak_learning_rate == pytest.approx(
            rows[0].peak_learning_rate * slot.learning_rate
        )
        assert row.decayed == (decay > 0)
    assert rows[-2].last_decay / rows[0].last_decay == pytest.approx(
        0.5 if mode == "independent" else 1.0
    )


def test_the_optimizer_in_one_line():
    """Tables of every kind are short: what is the default of the kind is left out."""
    config = NadamConfig(
        learning_rate={"kind": "wsd", "peak": 0.1, "cooldown": "20%", "end": 0.01},
        weight_decay={
            "kind": "joined",
            "parts": [{"kind": "constant", "peak": 0.1}, {"kind": "linear", "peak": 0.1}],
            "boundaries": [10],
        },
        gradient_accumulation_steps=4,
    )
    assert describe_optimizer(config) == (
        "Nadam(learning_rate=wsd(peak=0.1, end=0.01, cooldown='20%'), "
        "weight_decay=joined(parts=[constant(peak=0.1), linear(peak=0.1)], boundaries=[10]), "
        "gradient_accumulation_steps=4)"
    )


def test_averages_have_a_row_each(capsys):
    """Name, kind, start, interval, how often, length and how far it looks back, in updates."""
    averages = (
        "optimizer.use_ema=false",
        "optimizer.averaging.fast.momentum=0.5",
        "optimizer.averaging.tail.kind=swa",
        "optimizer.averaging.last={kind='window', k=3, every=1}",
        "optimizer.averaging.p={kind='power_ema', sigma_rel=0.1}",
    )
    outcome = run(capsys, "explain", "digits", *averages, "epochs=4", *KNOWN)
    found = cells(outcome)
    assert found["fast"] == ["fast", "ema", "0", "1", "80", "half-life", "1", "1"]
    assert found["tail"] == ["tail", "swa", "60", "20", "1", "all", "alike", "0"]
    assert found["last"] == ["last", "window", "0", "1", "80", "the", "last", "3", "1"]
    assert found["p_0.1"][:7] == ["p_0.1", "power_ema", "0", "1", "80", "sigma_rel", "0.1"]
    table = json.loads(run(capsys, "explain", "digits", *averages, "--json", *KNOWN).output)
    assert [row["name"] for row in table["averages"]] == ["fast", "tail", "last", "p_0.1"]
    assert [row["copies"] for row in table["averages"]] == [1, 1, 4, 1]
    # The mean age of a power function average is T / (gamma + 2), but for the first few updates.
    gamma = exponent(0.1)
    age = table["averages"][3]["mean_age"]
    assert age == pytest.approx(600 / (gamma + 2), rel=2e-2)


@pytest.mark.parametrize(
    ("averaging", "half_life", "shown"),
    [
        ({"momentum": 0.999, "warmup": None}, 692.8, "half-life 693"),
        ({"half_life": 7}, 7.0, "half-life 7"),
        ({"momentum": 1.0, "warmup": None}, None, "all alike"),
        ({"momentum": 0.0}, 0.0, "half-life 0"),
    ],
)
def test_half_lives_follow_from_momentums(averaging, half_life, shown):
    """The extreme ones included: an average that loses nothing, and one that keeps nothing."""
    (row,) = average_rows(NadamConfig(averaging=averaging), TrainingPlan(10, 1))
    assert row.half_life == (half_life if half_life is None else pytest.approx(half_life, 1e-3))
    assert row.describe() == shown
    (stock,) = average_rows(NadamConfig(use_ema=True), TrainingPlan(10, 1))
    assert (stock.name, stock.half_life) == ("ema", pytest.approx(68.97, 1e-3))


def test_averages_in_the_line():
    """One alone, and several by name."""
    one = NadamConfig(averaging={"half_life": "2ep", "warmup": None})
    assert describe_optimizer(one) == "Nadam(averaging=ema(half_life='2ep', warmup=None))"
    two = NadamConfig(averaging={"a": "ema", "b": {"kind": "power_ema", "sigma_rel": 0.1}})
    line = "Nadam(averaging={a: ema(), b: power_ema(sigma_rel=[0.1])})"
    assert describe_optimizer(two) == line


def test_precision_is_that_of_the_config(capsys):
    """The model is built under the policy of the training."""
    outcome = run(capsys, "explain", "digits", "precision=bfloat16", *KNOWN)
    assert cells(outcome)["digits/conv_1/kernel"][2] == "bfloat16"


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_narrow_screen_loses_nothing(capsys, monkeypatch, width):
    """What all variables have in common moves above the table; no number is cut."""
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = run(capsys, "explain", "text_lm", "model_options.depth=1", "--examples", "64")
    assert outcome.status == 0, outcome.errors
    assert "…" not in outcome.output
    assert max(map(len, outcome.output.splitlines())) <= max(width, 72)
    text = "".join(outcome.output.split())
    assert "24,576" in text
    assert ("Allvariables:typefloat32,ratex1,peakrate" in text) == (width < 160)


def test_a_preset_without_a_length(capsys):
    """Its settings are shown alone, with durations as typed, and how to see more."""
    outcome = run(capsys, "explain", "vit")
    assert outcome.status == 0, outcome.errors
    assert "warmup='5%'" in outcome.output
    assert "Plan" not in outcome.output
    assert "--steps 10000" in outcome.output
    table = json.loads(run(capsys, "explain", "vit", "--json").output)
    assert table["plan"] is table["variables"] is table["totals"] is None


def test_a_preset_with_a_length(capsys):
    """The plan and the durations are shown, and that there are no variables."""
    outcome = run(capsys, "explain", "vit", "--steps", "10000")
    assert cells(outcome)["learning_rate.warmup"] == ["learning_rate.warmup", "5%", "500", "0.05"]
    assert "no model" in outcome.output
    assert "Trainable" not in outcome.output


def test_parts_of_ones_own(capsys):
    """Functions in the current folder are found."""
    Path("own_parts_of_explain.py").write_text(
        "import keras, numpy as np\n"
        "from nadam_suite.experiment import Splits, Task\n"
        "def model(units=1):\n"
        "    return Task(keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)]), 'mse')\n"
        "def data():\n"
        "    return Splits(train=(np.zeros((70, 2)), np.zeros(70)))\n"
    )
    Path("own.toml").write_text(
        'name = "own"\nmodel = "own_parts_of_explain:model"\ndata = "own_parts_of_explain:data"\n'
    )
    outcome = run(capsys, "explain", "own.toml", "--json")
    assert outcome.status == 0, outcome.errors
    assert json.loads(outcome.output)["totals"]["parameters"] == 3


def test_a_terminal_without_unicode(monkeypatch):
    """Frames and text are plain ASCII there."""
    from nadam_suite.cli import main

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    with pytest.raises(SystemExit) as exited:
        main(["explain", "digits", *KNOWN])
    sys.stdout.flush()
    assert not exited.value.code
    assert b"digits/conv_1/kernel" in raw.getvalue()


def test_a_preset_over_epochs(capsys):
    """Examples, batch size and epochs are the length where the config has none."""
    lengths = ("--examples", "100", "--batch-size", "10", "--epochs", "3", "--json")
    plan = json.loads(run(capsys, "explain", "vit", *lengths).output)["plan"]
    assert (plan["epochs"], plan["total_steps"]) == (3, 30)


REFUSED = {
    "unknown": (["digts"], ["NAME", "'digts'", "Did you mean 'digits'?"]),
    "fault": (["digits", "epochs=0"], ["epochs", ">= 1"]),
    "half a length": (["vit", "--examples", "100"], ["examples=100", "--batch-size"]),
    "steps of a training": (["digits", "--steps", "9"], ["`steps`", "Pass examples"]),
    "model missing": (
        ["digits", "model=no_such_module:build", *KNOWN],
        ["`model`", "no_such_module:build"],
    ),
    "warm-up too long": (
        ["digits", "schedule.warmup=700", *KNOWN],
        ["schedule.warmup", "600 steps", "Shorten it"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_message(capsys, case):
    """Status 2, key, value and remedy, and nothing on stdout."""
    arguments, expected = REFUSED[case]
    outcome = run(capsys, "explain", *arguments)
    assert outcome.status == 2
    assert outcome.output == ""
    for text in expected:
        assert text in outcome.errors
