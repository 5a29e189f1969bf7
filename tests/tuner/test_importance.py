"""Importances of hyperparameters: of functions whose importances are known, and when none is."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from nadam_suite.tuner.importance import ENOUGH, importances
from nadam_suite.tuner.search_record import CONFIGURED
from tests.tuner.recorded import ALL, COOLDOWN, DECAY, FLAG, KIND, RATE, WIDTH, changed, record

pytestmark = pytest.mark.once


def of(found):
    return {row.name: row for row in found.rows}


ONE = {
    "rate": lambda v: math.log10(v["rate"]),
    "decay": lambda v: v["decay"] ** 2,
    "width": lambda v: v["width"],
    "kind": lambda v: {"cosine": 0.0, "linear": 2.0, "wsd": 1.0}[v["kind"]],
    "flag": lambda v: v["flag"],
}


@pytest.mark.parametrize("name", ONE)
def test_the_only_one_that_matters_is_found(name):
    """On every kind of range: nearly all of the variance, and nothing for the others."""
    noise = 0.02
    found = importances(record(lambda v, r: ONE[name](v) + noise * r.standard_normal(), 40))
    rows = of(found)
    assert found.note is None
    assert found.trials == 40
    assert found.rows[0].name == name
    assert 0.75 < rows[name].mean < 1.25
    assert rows[name].clear
    assert found.explained > 0.75
    for other in {*rows} - {name}:
        assert not rows[other].clear
        assert abs(rows[other].mean) < 0.05
    assert len(rows) == len(ALL)


def test_a_log_scale_counts_by_its_logarithm():
    """Half of the decades has half of the trials, though not half of the range."""
    found = importances(record(lambda v, r: v["rate"] > 10**-2.5, 40, (RATE, DECAY)))
    assert of(found)["rate"].mean > 0.75


def test_shares_of_a_sum_are_those_of_its_variances():
    """Of 4:1 in variance, 0.8 and 0.2."""
    shares = lambda v, r: 2 * v["decay"] + v["width"] / 63 * 2  # noqa: E731
    rows = of(importances(record(shares, 120, (DECAY, WIDTH, FLAG))))
    assert rows["decay"].mean == pytest.approx(0.8, abs=0.12)
    assert rows["width"].mean == pytest.approx(0.2, abs=0.12)
    assert abs(rows["flag"].mean) < 0.05


def test_what_two_do_together_counts_for_both():
    """Shares may add up to more than one."""
    product = lambda v, r: (v["decay"] - 1) * (v["flag"] - 0.5)  # noqa: E731
    rows = of(importances(record(product, 100, (DECAY, FLAG, WIDTH))))
    assert rows["decay"].mean + rows["flag"].mean > 0.9
    assert {row.name for row in rows.values() if row.clear} == {"decay", "flag"}


def test_the_trial_of_the_config_as_it_is_does_not_count():
    """What it has in place of the space's settings is told by no hyperparameter."""
    found = record(lambda v, r: v["decay"], ENOUGH, (DECAY,))
    assert importances(found).trials == ENOUGH
    own = importances(changed(found, _00={"origin": CONFIGURED}))
    assert own.trials == ENOUGH - 1
    assert own.note.endswith(f"; this search has {ENOUGH - 1} besides that of the config.")


@pytest.mark.parametrize("seed", range(3))
def test_where_none_matters_it_says_so(seed):
    """Instead of figures."""
    found = importances(record(lambda v, r: r.standard_normal(), 24, seed=seed))
    assert found.rows == ()
    assert "either none matters within its range, or more trials are needed" in found.note
    assert "these 24 trials" in found.note


def test_without_enough_trials_it_says_how_many_are_needed():
    """Trials that failed or run do not count."""
    enough = record(lambda v, r: v["flag"], ENOUGH, (FLAG,))
    assert importances(enough).rows
    short = changed(enough, _00={"status": "FAILED", "score": None, "reason": "Diverged: x"})
    found = importances(short)
    assert found.rows == ()
    assert found.note == ("Importance needs at least 8 trials that ended well; this search has 7.")
    short = changed(enough, _00={"score": math.nan})
    assert importances(short).rows == ()


def test_equal_scores_and_spaces_without_a_choice_have_no_importance():
    """Each with its own sentence."""
    assert "same score" in importances(record(lambda v, r: 1.0)).note
    fixed = dataclasses.replace(WIDTH, high=1)
    assert "varies no" in importances(record(lambda v, r: r.random(), 24, (fixed,))).note


def test_the_same_search_has_the_same_figures():
    """To the bit; other resamples give others, within the uncertainty."""
    searched = record(lambda v, r: v["decay"] + 0.1 * r.standard_normal(), 24, (DECAY, FLAG))
    first, again, other = (importances(searched, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    row, others = of(first)["decay"], of(other)["decay"]
    assert row.mean == pytest.approx(others.mean, abs=row.std)


def test_the_global_generator_is_left_alone():
    """A report between two trainings changes neither."""
    np.random.seed(0)  # noqa: NPY002 - it is this one that must not move
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    importances(record(lambda v, r: v["decay"], 10, (DECAY, FLAG)))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_what_is_maximized_has_the_importances_of_its_negative():
    """The direction counts for what is far worse only, and alike."""
    score = lambda v, r: v["decay"] + 0.1 * r.standard_normal() + 50 * (v["width"] > 56)  # noqa: E731
    least = record(score, 24, (DECAY, WIDTH))
    greatest = dataclasses.replace(
        record(lambda v, r: -score(v, r), 24, (DECAY, WIDTH)), direction="max"
    )
    assert importances(least) == importances(greatest)


def test_the_presence_of_another_is_put_down_to_what_it_depends_on():
    """`cooldown` is there for one kind only, and has no part in what that kind does."""
    found = of(importances(record(lambda v, r: v["kind"] == "wsd", 40, (KIND, COOLDOWN, FLAG))))
    assert found["kind"].mean > 0.8
    assert abs(found["cooldown"].mean) < 0.05


def test_what_is_not_always_there_has_its_part_where_it_is():
    """Both matter: whether it is there, and its value."""
    score = lambda v, r: 2 * v["cooldown"] if v["kind"] == "wsd" else 0.0  # noqa: E731
    found = of(importances(record(score, 80, (KIND, COOLDOWN, FLAG))))
    assert found["kind"].clear
    assert found["cooldown"].clear
    assert found["kind"].mean > found["cooldown"].mean > 0.05
    assert not found["flag"].clear


def test_one_terrible_trial_does_not_hide_what_the_others_show():
    """Its squared error would be all that a forest sees."""
    searched = record(lambda v, r: v["decay"] + 0.02 * r.standard_normal(), 30, (DECAY, FLAG))
    found = of(importances(changed(searched, _07={"score": 1e9})))
    assert found["decay"].mean > 0.6
    assert not found["flag"].clear


def test_trials_of_different_lengths_are_compared_among_their_like():
    """Longer trials have better scores, whatever their values; trials alone of a length are out."""
    lengths = {f"_{n:02}": {"epochs": (1, 3, 9)[n % 3]} for n in range(39)}
    penalty = {1: 5.0, 3: 2.0, 9: 0.0}

    def searched(score):
        made = changed(record(score, 40, (DECAY, FLAG)), **lengths, _39={"epochs": 27})
        worse = {f"_{t.id}": {"score": t.score + penalty.get(t.epochs, 0)} for t in made.trials}
        return changed(made, **worse)

    found = importances(searched(lambda v, r: v["decay"]))
    assert found.trials == 39
    assert of(found)["decay"].mean > 0.75
    found = importances(searched(lambda v, r: 0.01 * r.standard_normal()))
    assert found.rows == ()
    assert found.explained < 0.1
    few = changed(
        record(lambda v, r: v["decay"], 12, (DECAY,)),
        **{f"_{n:02}": {"epochs": n} for n in range(12)},
    )
    assert importances(few).note == (
        "Importance needs at least 8 trials of the same lengths; this search has 0."
    )
