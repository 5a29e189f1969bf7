"""The formulas of docs/equations.md are those of the docstrings, and give what the code gives."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from nadam_suite import averaging, schedules
from nadam_suite.averaging.power import exponent
from nadam_suite.optimizers.rule import momentum_schedule, weight_decay
from tests.docs.pages import page, rows
from tests.schedules.cases import CASES, IDS, landmarks

pytestmark = pytest.mark.once  # every backend's schedules have their own tests
PAGE = page("docs/equations.md")
FORMULAS = {row[0].strip("`"): row[1] for row in rows(PAGE.section("Schedules"))}
COOLDOWNS = {name.strip('"'): cell for name, cell in FORMULAS.items() if name.startswith('"')}
CLASSES = [
    name
    for name in schedules.__all__
    if inspect.isclass(getattr(schedules, name)) and name != "TrainingPlan"
]


def pieces(cell: str) -> list[tuple[str, str]]:
    """Formula and condition of each piece in a cell; "True" where there is none."""
    found = re.findall(r"`([^`]+)`(?: for `([^`]+)`)?", cell)
    return [(formula, condition or "True") for formula, condition in found]


def value(cell: str, names: Mapping[str, Any]) -> float:
    """What the first piece gives whose condition holds."""
    functions = {name: getattr(math, name) for name in ("pi", "sqrt", "cos")}
    known = functions | {"min": min, "max": max} | dict(names)
    for formula, condition in pieces(cell):
        if eval(condition, {"__builtins__": {}}, known):  # noqa: S307 - our own page
            return float(eval(formula, {"__builtins__": {}}, known))  # noqa: S307
    raise AssertionError(f"no piece of {cell} holds for t = {names.get('t')}")


def way(kind: str) -> Callable[[float], float]:
    """The function that the page calls h."""
    if kind == "constant":
        return lambda z: 0.0
    return (lambda z: z) if kind == "linear" else lambda z: (1 - math.cos(math.pi * z)) / 2


def names_of(s: Any, t: int) -> dict[str, Any]:
    """The names in the formula of a schedule, as the notes below the table explain them."""
    names = {name: getattr(s, name) for name in inspect.signature(type(s)).parameters} | {"t": t}
    total, cool = getattr(s, "total_steps", 0), getattr(s, "cooldown_steps", 0)
    names |= {"W": getattr(s, "warmup_steps", 0), "T": total, "C": cool, "e": total - cool}
    if cool and hasattr(s, "shape"):
        x = (t - (total - cool)) / cool
        cell, end = COOLDOWNS[s.shape], s.end
        names["cooldown"] = lambda v: value(cell, {"v": v, "x": x, "end": end})
    return names | _OWN.get(type(s).__name__, lambda *_: {})(s, t)


def _exponential(s: Any, t: int) -> dict[str, Any]:
    per = s.decay_steps or s.total_steps - s.warmup_steps

    def n(step: int) -> float:
        done = (step - s.warmup_steps) / per
        return math.floor(done) if s.staircase else done

    return {"n": n}


def _one_cycle(s: Any, t: int) -> dict[str, Any]:
    i = s.peak / s.div_factor
    last = i / s.final_div_factor
    return {"i": i, "last": last, "b": i if s.cooldown_steps else last, "h": way(s.anneal)}


def _cyclical(s: Any, t: int) -> dict[str, Any]:
    up, down = s.step_size, s.step_size_down or s.step_size
    cycle, p = divmod(t, up + down)
    factors = {"triangular": 1.0, "triangular2": 2.0**-cycle, "exp_range": s.gamma**t}
    return {"p": p, "up": up, "down": down, "factor": factors[s.mode]}


def _restarts(s: Any, t: int) -> dict[str, Any]:
    k, start, n = 0, 0, s.first_period
    while t >= start + n:
        start, k = start + n, k + 1
        n = math.floor(s.first_period * s.t_mul**k + 0.5)
    return {"k": k, "d": t - start, "n": n, "cycles": s.cycles or math.inf}


def _piecewise(s: Any, t: int) -> dict[str, Any]:
    index = max(i for i, (step, _) in enumerate(s.points) if step <= t)
    here, after = s.points[index], s.points[min(index + 1, len(s.points) - 1)]
    names = dict(zip(("s", "v", "s_next", "v_next"), (*here, *after), strict=True))
    return names | {"h": way(s.interpolation), "last_step": s.last_step}


def _joined(s: Any, t: int) -> dict[str, Any]:
    j = sum(boundary <= t for boundary in s.boundaries)
    inner = [
        lambda step, each=each: float(schedules.sample(each, [step])[0]) for each in s.schedules
    ]
    return {"j": j, "b": ([0, *s.boundaries])[j], "schedules": inner}


def _around(s: Any, t: int) -> dict[str, Any]:
    return {"schedule": lambda step: float(schedules.sample(s.schedule, [step])[0])}


_OWN: dict[str, Callable[[Any, int], dict[str, Any]]] = {
    "WarmupExponential": _exponential,
    "WarmupInverseSqrt": lambda s, t: {"s": s.timescale or s.warmup_steps or 10_000},
    "OneCycle": _one_cycle,
    "OneCycleMomentum": lambda s, t: {"h": way(s.anneal)},
    "Cyclical": _cyclical,
    "CosineRestarts": _restarts,
    "Piecewise": _piecewise,
    "Joined": _joined,
    "Scaled": _around,
    "WithCooldown": _around,
}


def test_every_schedule_has_a_row():
    """The table has each class of nadam_suite.schedules once, and the cases below all of them."""
    listed = [name for name in FORMULAS if not name.startswith('"')]
    assert sorted(listed) == sorted(CLASSES)
    assert {type(case).__name__ for case in CASES} == set(CLASSES)
    assert len(COOLDOWNS) == 4


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_formula_gives_the_value_of_the_schedule(case):
    """The formula in float64 and the schedule agree at corners and random steps."""
    steps = landmarks(number=20)
    cell = FORMULAS[type(case).__name__]
    expected = [value(cell, names_of(case, int(t))) for t in steps]
    scale = max(expected)
    np.testing.assert_allclose(
        schedules.sample(case, steps), expected, rtol=2e-6, atol=1e-7 * scale
    )


@pytest.mark.parametrize("name", CLASSES)
def test_formulas_of_docstrings_are_those_of_the_page(name):
    """Each formula of t in a docstring stands in the schedule's row, in the same words."""
    documented = re.sub(r"\s+", " ", inspect.getdoc(getattr(schedules, name)))
    quoted = re.findall(r"`([^`]*)`", documented)
    written = [text for text in quoted if re.search(r"\bt\b.* [*/] | [*/] .*\bt\b", text)]
    row = [formula for formula, _ in pieces(FORMULAS[name])]
    if name == "WarmupExponential":  # n(t) is short for the exponent
        row = [formula.replace("n(t)", "((t - W) / D)") for formula in row]
    if name.startswith("Warmup") or name in {"Polynomial", "Noam"}:
        assert written
    for formula in written:
        assert formula in row


AVERAGES = {row[0]: row[1] for row in rows(PAGE.section("Averages"))}


@pytest.mark.parametrize("cell", AVERAGES)
def test_share_of_an_average(cell):
    """The share of the k-th weights in the table is the rule's, and that of the first is one."""
    m, sigma = 0.97, 0.1
    kinds = {name: getattr(averaging, name) for name in ("EMA", "PowerEMA")}
    kinds["SWA"] = averaging.SWA(start=0, every=1)
    made = eval(cell.strip("`"), kinds | {"m": m, "sigma": sigma})  # noqa: S307 - our own page
    (rule,) = made.rules().values()
    k = np.arange(1.0, 400.0)
    gamma = exponent(sigma)
    expected = [value(AVERAGES[cell], {"m": m, "gamma": gamma, "k": each}) for each in k[1:]]
    np.testing.assert_allclose(
        np.broadcast_to(rule.share(k, np), k.shape), [1.0, *expected], rtol=1e-9
    )


def test_width_of_a_power_average():
    """The exponent of a width is the root of the equation on the page."""
    left, right = re.search(r"root of `([^`=]+) = ([^`]+)`", PAGE.text).groups()
    for sigma in (0.02, 0.1, 0.25):
        names = {"sigma": sigma, "gamma": exponent(sigma)}
        assert value(f"`{left}`", names) == pytest.approx(value(f"`{right}`", names), rel=1e-9)


def test_momentum_of_the_four_nadams():
    """The table of u_t has the values of the momentum schedule, rounded."""
    found = [row for row in rows(PAGE.section("Nadam")) if row[0][0].isdigit() or "None" in row[0]]
    assert len(found) == 3
    for name, values, _ in found:
        decay = None if name == "None" else float(name.partition(",")[0])
        exact = [momentum_schedule(0.9, float(t), decay, math) for t in (1, 1000, 10000)]
        assert values == ", ".join(f"{u:.3f}" for u in exact)


def test_modes_of_weight_decay():
    """The share that an update takes away is the one of the table, for all three modes."""
    found = rows(PAGE.section("Weight decay"))
    assert len(found) == 3
    for name, cell, _ in found:
        mode = re.search(r'"(\w+)"', name)[1]
        expected = value(cell, {"lr": 2e-3, "w": 0.1, "lr_max": 1e-2})
        assert weight_decay(mode, 0.1, 2e-3, 1e-2) == pytest.approx(expected)


def test_rules_for_another_batch_size():
    """Both formulas for the learning rate of another batch size give what the function gives."""
    section = PAGE.section("Batch size")
    root, straight = re.findall(r"`(lr \* [^`]+)`", section)
    names = {"lr": 1e-3, "B": 512, "B_0": 64}
    for formula, rule in ((root, "sqrt"), (straight, "linear")):
        scaled = schedules.scale_learning_rate(1e-3, 512, 64, rule)
        assert scaled == pytest.approx(value(f"`{formula}`", names))
