"""The search's own config as its first trial: what is told of it, and what it trains."""

from __future__ import annotations

import keras_tuner
import pytest

from nadam_suite.config import TrainConfig
from nadam_suite.tuner import oracles, run_search
from nadam_suite.tuner.check import declared_space
from nadam_suite.tuner.configured import configured_point, configured_values
from nadam_suite.tuner.overview import overview, replaced
from nadam_suite.tuner.run_search import make_tuner, open_folder
from nadam_suite.tuner.runs import RunHyperModel
from nadam_suite.tuner.search_record import CONFIGURED, POINT
from nadam_suite.tuner.spaces import nadam_space

pytestmark = pytest.mark.once

EVERYTHING = [
    *("learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay"),
    *("warmup", "clipping", "averaging", "accumulation"),
]
OWN = {"learning_rate": 0.05, "beta_1": 0.9, "epsilon": 1e-7, "weight_decay": 0.01}


def _config(**values):
    return TrainConfig(**{"model": "digits", "data": "digits", "epochs": 4, **values})


# Settings of a config; then what is known of it, None for what no hyperparameter can say.
SAID = {
    "nothing": (
        {},
        {"learning_rate": 1e-3, "schedule": "constant", "warmup": 0.0, "decay": False},
    ),
    "numbers": (
        {"optimizer": {**OWN, "global_clipnorm": 2.0, "gradient_accumulation_steps": 4}},
        {"learning_rate": 0.05, "epsilon": 1e-7, "decay": True, "weight_decay": 0.01}
        | {"clipping": True, "global_clipnorm": 2.0, "accumulation": 4},
    ),
    "a share": ({"schedule": {"warmup": "10%"}}, {"schedule": "cosine", "warmup": 0.1}),
    "epochs": ({"schedule": {"warmup": "1ep"}}, {"warmup": 0.25}),
    "steps": ({"schedule": {"warmup": 7}}, {"warmup": None}),
    "own schedule": (
        {"optimizer": {"learning_rate": {"kind": "wsd", "peak": 0.1, "cooldown": "20%"}}},
        {"learning_rate": 0.1, "schedule": "wsd", "wsd/cooldown": 0.2, "warmup": 0.0},
    ),
    "other clips": ({"optimizer": {"clipvalue": 1.0}}, {"clipping": None}),
    "an average": (
        {"optimizer": {"averaging": {"kind": "ema", "half_life": "5%"}}},
        {"averaging": "ema", "averaging_half_life": 0.05},
    ),
    "a half-life in updates": (
        {"optimizer": {"averaging": {"kind": "ema", "half_life": 20.5}}},
        {"averaging": "ema", "averaging_half_life": None},
    ),
    "several averages": (
        {"optimizer": {"averaging": {"fast": {"half_life": 20}, "tail": {"kind": "swa"}}}},
        {"averaging": None},
    ),
    "a course of beta_1": (
        {"optimizer": {"beta_1": {"kind": "one_cycle_momentum"}}},
        {"one_minus_beta_1": None},
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_hyperparameters_can_say_of_a_config(case):
    """The rest is left out."""
    settings, expected = SAID[case]
    found = configured_values(_config(**settings))
    assert {name: found.get(name) for name in expected} == expected


def test_its_numbers_may_lie_beyond_the_ranges():
    """They are shown as they are; a choice that the space lacks has the default."""
    config = _config(
        optimizer={**OWN, "gradient_accumulation_steps": 3, "weight_decay": None},
        schedule={"kind": "linear"},
        tuner={"tune": EVERYTHING, "schedules": ["cosine", "wsd"]},
    )
    point = configured_point(config, declared_space(RunHyperModel(config)))
    assert (point.name, dict(point.extra)) == (CONFIGURED, {POINT: CONFIGURED})
    values = point.values
    assert (values["learning_rate"], values["weight_decay"]) == (0.05, 0.0)
    assert values["one_minus_beta_1"] == pytest.approx(0.1)
    assert (values["schedule"], values["accumulation"]) == ("cosine", 2)


CONFIGS = {
    "another schedule": {"schedule": {"kind": "piecewise", "points": [[0, 1.0], ["50%", 0.1]]}},
    "no schedule": {"optimizer": {**OWN, "clipnorm": 1.0}},
    "shares": {"optimizer": OWN, "schedule": {"warmup": "10%"}},
}


@pytest.mark.parametrize("kind", ["quasi_random", "random", "bayesian", "grid", "hyperband"])
@pytest.mark.parametrize("case", CONFIGS)
def test_the_first_trial_trains_the_config_as_it_is(tmp_path, case, kind):
    """Whatever the ranges allow; the preset's centre is the second one."""
    config = _config(**CONFIGS[case], output="elsewhere", tuner={"kind": kind})
    hypermodel = RunHyperModel(config)
    oracle = make_tuner(config, tmp_path / "search", hypermodel).oracle
    first, second = (oracle.create_trial(f"tuner{number}") for number in range(2))
    asked = config.replace(tuner=None, output=None)
    assert hypermodel.trial_config(first.hyperparameters) == asked
    assert hypermodel.trial_config(second.hyperparameters) != asked
    names = [oracle.origins[trial.trial_id]["name"] for trial in (first, second)]
    assert names == ["as configured", "centre of preset algoperf"]


def test_a_worker_is_told_of_it(tmp_path):
    """The mark goes with the values through the messages to a worker, and through files."""
    config = _config(optimizer=OWN)
    oracle = make_tuner(config, tmp_path / "search", RunHyperModel(config)).oracle
    trial = oracle.create_trial("tuner0")
    sent = keras_tuner.engine.trial.Trial.from_proto(trial.to_proto()).hyperparameters
    kept = keras_tuner.HyperParameters.from_config(trial.hyperparameters.get_config())
    for hp in (sent, kept):
        assert RunHyperModel(config).trial_config(hp) == config


def test_rungs_of_hyperband_go_on_with_it(tmp_path):
    """A trial that goes on with the config's is the config's too."""
    config = _config(optimizer=OWN, tuner={"kind": "hyperband", "factor": 2})
    hypermodel = RunHyperModel(config)
    oracle = make_tuner(config, tmp_path / "search", hypermodel).oracle
    later = None
    for number in range(12):
        trial = oracle.create_trial("tuner0")
        own = trial.hyperparameters.values.get(POINT) == CONFIGURED
        if own and "tuner/trial_id" in trial.hyperparameters.values:
            later = trial
            break
        oracle.update_trial(trial.trial_id, {"val_loss": 0.0 if own else 1.0 + number})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert hypermodel.trial_config(later.hyperparameters) == config.replace(tuner=None)


def test_bayesian_optimization_learns_nothing_from_it(tmp_path, monkeypatch):
    """Its score is due to settings that the space does not tell, such as its schedule."""
    config = _config(optimizer=OWN, tuner={"kind": "bayesian"})
    oracle = make_tuner(config, tmp_path / "search", RunHyperModel(config)).oracle
    seen = []
    monkeypatch.setattr(oracles, "promising", lambda *given, **options: seen.append(given) or [])
    oracle.num_initial_points, count = 1, oracle.points_left
    for number in range(count):
        trial = oracle.create_trial("tuner0")
        oracle.update_trial(trial.trial_id, {"val_loss": float(number)})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    oracle.create_trial("tuner0")
    ((known, scores, running),) = seen
    assert (len(known), len(running)) == (count - 1, 0)
    assert sorted(scores) == list(range(1, count))


@pytest.mark.parametrize("points", ["published", "none"])
def test_it_can_be_left_out(points):
    """The preset's points alone, or none."""
    config = _config(tuner={"points": points})
    hp = declared_space(nadam_space)
    names = [point.name for point in RunHyperModel(config).points(hp)]
    assert names[:1] == (["centre of preset algoperf"] if points == "published" else [])


def test_a_search_goes_on_with_the_points_that_it_began_with(tmp_path):
    """One that did not try the config first, by its file, does not begin to."""
    old = _config(tuner={"points": "published"})
    open_folder(old, tmp_path / "search", resume=False)
    before = make_tuner(old, tmp_path / "search", RunHyperModel(old))
    first = before.oracle.create_trial("tuner0")
    before.save()
    new = _config()
    assert open_folder(new, tmp_path / "search", resume=True)
    again = run_search.as_begun(new, tmp_path / "search")
    assert again.tuner.points == "published"
    tuner = make_tuner(again, tmp_path / "search", RunHyperModel(again))
    assert (
        tuner.oracle.create_trial("tuner0").hyperparameters.values == first.hyperparameters.values
    )
    assert run_search.as_begun(new, tmp_path / "other") is new


class TestOverview:
    """What a search says before its first trial."""

    def test_it_has_the_ranges_and_what_the_preset_replaces(self):
        """By the keys of the config, old and new; nothing that is searched for."""
        config = _config(
            optimizer={**OWN, "momentum_decay": 0.5},
            schedule={"warmup": "10%"},
            tuner={"trials": 5},
        )
        said = "All trials but the first, which is the config as it is, have the preset's values of"
        assert overview(config) == [
            "Preset algoperf, searched for (quasi_random, 5 trials):",
            "  learning_rate: 0.0001 to 0.01, log",
            "  one_minus_beta_1: 0.004 to 0.1, log (beta_1: 0.9 to 0.996)",
            "  weight_decay: 0.005 to 1, log",
            f"{said} these keys of the config:",
            "  optimizer.epsilon: 1e-07 -> 1e-08",
            "  optimizer.momentum_decay: 0.5 -> None",
            "  schedule.warmup: '10%' -> '5%'",
        ]

    def test_choices_and_conditions(self):
        """A hyperparameter that depends on a choice says on which."""
        config = _config(tuner={"preset": "wide", "tune": ["clipping", "averaging"]})
        lines = overview(config.replace(tuner={"points": "published", "trials": 1}))
        assert lines[0] == "Preset wide, searched for (quasi_random, 1 trial):"
        assert "  clipping: true or false" in lines
        assert "  global_clipnorm: 0.1 to 10, log, where clipping true" in lines
        assert "  averaging: none or ema" in lines
        assert "All trials have the preset's values of these keys of the config:" in lines

    def test_a_schedule_of_the_optimizer_s_own_is_called_so(self):
        """Where the config's keys lie."""
        rate = {"kind": "linear", "peak": 0.1, "end": 0.01}
        config = _config(optimizer={"learning_rate": rate})
        changes = {change.key: (change.before, change.after) for change in replaced(config)}
        assert changes["optimizer.learning_rate.kind"] == ("linear", "cosine")
        assert "optimizer.learning_rate" not in changes

    def test_a_config_that_is_the_preset_s_loses_nothing(self):
        """Then there is nothing to say."""
        config = _config(optimizer={"preset": "algoperf-current"}, tuner={"preset": "wide"})
        assert replaced(config) == []
