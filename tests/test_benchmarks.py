"""The benchmark command: every subject measures what it should, on whatever backend there is."""

from __future__ import annotations

import json

import keras
import pytest

from tests.benchmarks import training
from tests.benchmarks.__main__ import SUBJECTS as NAMES
from tests.benchmarks.__main__ import main
from tests.benchmarks.rows import Plan, Row, compared
from tests.benchmarks.targets import judge
from tests.benchmarks.timing import ways
from tests.benchmarks.worker import SUBJECTS, measured

BACKEND = keras.backend.backend()
STEPS = {f"{side}, {s}" for side in ("ours", "stock") for s in ("plain", "all options")}
NULL = {f"floor, {settings}" for settings in ("plain", "all options")}
RIVALS = {
    "jax": {"optax.nadam, plain", "optax.nadam, all options"},
    "torch": {
        "torch.optim.NAdam(foreach=True), plain",
        "torch.optim.NAdam, compiled, plain",
        "torch.optim.Adam(fused=True), plain",
    },
}
EXPECTED = {
    "steps": STEPS
    | {f"{step}, first step" for step in STEPS}
    | NULL
    | {"x - g alone, plain"}
    | RIVALS.get(BACKEND, set()),
    "accumulation": {
        f"{side}, {part}"
        for side in ("ours", "stock")
        for part in ("micro-batch", "update", "whole window")
    },
    "averages": {
        "floor, a copy of the weights",
        "show, the average",
        "show, the raw weights",
        *(f"{side}, {part}" for side in ("ours", "stock") for part in ("with EMA", "EMA alone")),
    },
    "precision": {"ours, loss scale, beyond the bare step", "stock, loss scale", "ours, bare"},
    "training": {"ours, plain", "stock, plain"},
    "growth": {"ours, plain", "stock, plain"},
    "memory": STEPS | {f"{step}, first step" for step in STEPS},
}


def plan() -> Plan:
    """As little as there can be: two small variables, each step timed once."""
    return Plan(
        shapes={"small": [(3, 2), (2,)]},
        rounds=1,
        epochs=1,
        examples=16,
        variables=(2,),
        parameters=(10**3, 10**15),
        patience=0,
        fresh=False,
    )


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_has_its_rows(subject, monkeypatch):
    """Ours stands beside the stock optimizer, and on TensorFlow both with XLA, too."""
    monkeypatch.setattr(training, "MODELS", {"digits": training.MODELS["digits"]})
    monkeypatch.setattr(training, "SETTINGS", {"plain": {}})  # compiled models take seconds
    rows = list(measured([subject], plan()))
    found = {row.what for row in rows}
    assert found >= EXPECTED[subject]
    if len(ways()) > 1 and subject not in ("training", "precision", "memory"):
        assert any(what.endswith("XLA") or "XLA, " in what for what in found)
    for row in rows:
        assert row.subject == subject
        assert (row.value is None) == bool(row.note)
        stock = [r for r in rows if (r.shapes, r.what) == (row.shapes, _stock(row.what))]
        if stock and row.value is not None and row.what.startswith("ours, ") and row.value > 0:
            assert row.stock == pytest.approx(stock[0].value / row.value)


def _stock(what: str) -> str:
    return what.replace("ours", "stock", 1)


def test_what_does_not_fit_is_said():
    """More parameters than the memory holds are a row with a note, not a crash."""
    rows = [row for row in measured(["growth"], plan()) if row.note]
    assert [row.shapes for row in rows] == ["1e15 parameters"]


def test_factors_are_of_partners_with_the_same_settings():
    """Stock by this, ours by this, and this by the floor."""
    found = {"stock, plain": 6.0, "ours, plain": 2.0, "other, plain": 4.0, "ours, rest": 1.0}
    stock, ours, other, rest = compared("steps", "few", found, {"plain": 0.5})
    assert (stock.stock, stock.ours, stock.floor) == (None, None, 12.0)
    assert (ours.stock, ours.ours, ours.floor) == (3.0, None, 4.0)
    assert (other.stock, other.ours, other.floor) == (1.5, 0.5, 8.0)
    assert (rest.stock, rest.ours, rest.floor) == (None, None, None)


@pytest.mark.parametrize(
    ("backend", "row", "targets"),
    [
        (
            "tensorflow",
            Row("steps", "few", "ours, plain", 1.0, stock=4.0, floor=1.4),
            [(">= 4 of stock", True), ("<= 1.3 of the floor", False)],
        ),
        ("torch", Row("steps", "many", "ours, all options", 1.0, stock=39.0), [(None, False)]),
        ("jax", Row("accumulation", "tiny", "ours, micro-batch", 1.0, stock=2.0), [(None, True)]),
        ("jax", Row("steps", "tiny", "ours, plain, first step", 1.0, stock=0.9), [(None, False)]),
        ("jax", Row("averages", "few", "ours, EMA alone", 1.0, floor=1.25), [(None, True)]),
        ("jax", Row("memory", "few", "ours, plain", 1.0, stock=1.0), [(None, True)]),
        (
            "torch",
            Row("steps", "few", "torch.optim.NAdam(foreach=True), plain", 1.0, ours=1.1),
            [(None, False)],
        ),
        ("torch", Row("steps", "few", "stock, plain", 1.0, floor=9.0), []),
    ],
)
def test_a_row_is_judged_by_its_targets(backend, row, targets):
    """At the number itself the target is met."""
    found = judge(backend, row)
    assert [met for _, met in found] == [met for _, met in targets]
    assert all(text in (None, said) for (text, _), (said, _) in zip(targets, found, strict=True))


def test_the_command_prints_and_writes_what_a_backend_measures(tmp_path, capsys):
    """The backend is measured in a process of its own; the file has the machine and all rows."""
    if BACKEND != "torch":
        pytest.skip("one backend is enough, and PyTorch compiles nothing here")
    path = tmp_path / "found.json"
    asked = ["averages", "--backends", BACKEND, "--shapes", "tiny", "--rounds", "1"]
    assert main([*asked, "--json", str(path)]) == 0
    ((machine, rows),) = [(one["machine"], one["rows"]) for one in json.loads(path.read_text())]
    assert machine["backend"] == BACKEND
    assert {row["subject"] for row in rows} == {"averages"}
    assert "ours, with EMA" in capsys.readouterr().out


def test_an_unknown_subject_is_refused(capsys):
    """And the known ones are named; they are those that a backend's process knows."""
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "steps" in capsys.readouterr().err
    assert tuple(SUBJECTS) == NAMES
