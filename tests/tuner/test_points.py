"""Published points: what they are, and the nearest ones of any space."""

from __future__ import annotations

import math
from functools import partial

import keras_tuner
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras_tuner.engine import hyperparameters as kinds

from nadam_suite.config import NadamConfig
from nadam_suite.errors import ArgumentError
from nadam_suite.tuner.points import PublishedPoint, projected, published_points
from nadam_suite.tuner.ranges import PARTS, SPACES, TUNABLE
from nadam_suite.tuner.spaces import nadam_space
from tests.tuner.spacing import OPTIONS, active, declared

ALL = [point for name in ("algoperf", "finetune") for point in published_points(name)]

# The points of AlgoPerf as its repository writes them: rate, 1 - beta_1, beta_2, decay, warm-up.
ALGOPERF = {
    "algoperf-current": (
        0.00190834618600756,
        0.09090652249,
        0.998898321921855,
        0.08121616522670176,
        0.1,
    ),
    "algoperf-1": (
        0.001308209823469072,
        0.02686663061,
        0.9981232922116359,
        0.16375311233774334,
        0.1,
    ),
    "algoperf-2": (
        0.0008445074561975979,
        0.11042418465,
        0.9978504782314613,
        0.08135402759553023,
        0.05,
    ),
    "algoperf-4": (
        0.004958460849689891,
        0.13625575743,
        0.6291854735396584,
        0.1147386261512052,
        0.02,
    ),
    "algoperf-5": (
        0.0017486387539278373,
        0.06733926164,
        0.9955159689799007,
        0.08121616522670176,
        0.02,
    ),
    "algoperf-resnet": (
        0.004126541534675243,
        0.00780309833,
        0.9966054696718922,
        0.05371805022820654,
        0.05,
    ),
}


def test_the_points_of_algoperf_are_those_of_its_repository():
    """Every digit of every number, each point once, the most recent first."""
    found = {}
    for point in published_points("algoperf"):
        values = point.values
        beta_2 = 1.0 - values["one_minus_beta_2"]
        rate, first = values["learning_rate"], values["one_minus_beta_1"]
        found[point.name] = (rate, first, beta_2, values["weight_decay"], values["warmup"])
        assert point.source.startswith("MLCommons algorithmic-efficiency")
    assert found == ALGOPERF
    assert next(iter(found)) == "algoperf-current"
    assert published_points("wide") == published_points() == published_points("algoperf")


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("algoperf-current", "algoperf-current"),
        ("algoperf-5", "algoperf-v05"),
        ("algoperf-resnet", "algoperf-resnet"),
        ("algoperf-2", "vit"),
        ("bert-5e-5", "finetune"),
    ],
)
def test_points_are_the_presets_of_the_same_settings(name, preset):
    """A point within a space makes the config that the preset makes, to the last bit."""
    schedule = ("constant", NadamConfig.preset(preset).learning_rate.kind)
    space = "finetune" if preset == "finetune" else "wide"
    hp = everything(space, schedule)
    hp.values = next(point.values for point in projected(ALL, hp) if point.name == name)
    made = nadam_space(hp, space, tune=tuple(TUNABLE), schedule=schedule)
    assert made == NadamConfig.preset(preset)


def everything(space: str, schedule: tuple[str, ...] = tuple(PARTS)) -> keras_tuner.HyperParameters:
    """A space with all that can be tuned."""
    return declared(partial(nadam_space, preset=space, tune=tuple(TUNABLE), schedule=schedule))


@pytest.mark.parametrize("space", ["wide", "finetune"])
def test_spaces_have_room_for_their_published_points(space):
    """In "wide" no published setting is out of range, nor BERT's in "finetune"."""
    hp = everything(space, ("constant", "cosine", "linear"))
    points = published_points(space)
    found = projected(points, hp)
    assert [point.name for point in found] == ["default", *(point.name for point in points)]
    for point, published in zip(found[1:], points, strict=True):
        assert point.values == dict(published.values)
        assert point.changed == ()


def test_the_papers_space_has_no_room_for_the_winners():
    """What is out of range goes to the end, and is named."""
    hp = declared(nadam_space)
    found = {point.name: point for point in projected(published_points(), hp)}
    assert found["algoperf-2"].values["one_minus_beta_1"] == 0.1
    assert "one_minus_beta_1" in found["algoperf-2"].changed
    assert "one_minus_beta_1" not in found["algoperf-1"].changed


def test_what_the_space_holds_fixed_is_not_called_changed():
    """Only where the fixed value is another one."""
    hp = declared(partial(nadam_space, tune=("learning_rate",)))
    point = PublishedPoint("mine", {"learning_rate": 1e-3, "epsilon": 1e-8, "warmup": 0.1}, "")
    fixed = {"epsilon": 1e-8, "warmup": 0.05}
    assert projected([point], hp)[1].changed == ("epsilon", "warmup")
    assert projected([point], hp, fixed=fixed)[1].changed == ("warmup",)
    assert projected([point], hp, fixed={**fixed, "learning_rate": 0.5})[1].changed == ("warmup",)


def test_points_that_come_to_the_same_are_there_once():
    """The first name stays; the default is the first of all."""
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", 1e-3, 2e-3, default=1e-3)
    low = [PublishedPoint(name, {"learning_rate": v}, "") for name, v in (("a", 1e-4), ("b", 3e-3))]
    high = PublishedPoint("c", {"learning_rate": 1.0}, "")
    found = projected([*low, high], hp)
    assert [(p.name, p.values["learning_rate"]) for p in found] == [("default", 1e-3), ("b", 2e-3)]


@pytest.mark.parametrize("name", ["algoperff", "", None, ["algoperf"]])
def test_unknown_points_are_refused(name):
    """The message lists what there is."""
    with pytest.raises(ArgumentError, match="`name` must be one of 'algoperf', 'wide', 'finetune'"):
        published_points(name)


@pytest.mark.parametrize("point", ALL, ids=lambda point: point.name)
def test_published_points_are_full(point):
    """Each has a value for all that is active in the widest space of its kind, and no other."""
    space = "finetune" if point.name.startswith("bert") else "wide"
    hp = everything(space, ("constant", point.values["schedule"]))
    found = [p for p in projected([point], hp) if p.changed == () and p.name == point.name]
    assert len(found) == 1
    assert found[0].values.keys() == point.values.keys()
    with pytest.raises(TypeError):
        point.values["learning_rate"] = 1.0


# Spaces of any kind of hyperparameter, and points that have nothing to do with them.

NUMBERS = st.floats(-1e3, 1e3) | st.integers(-1000, 1000)
ANYTHING = NUMBERS | st.booleans() | st.sampled_from(["a", "b", "c"]) | st.just(float("nan"))
NAMES = ["x", "y", "z", "choice", "switch", "inner", "grid", "words"]


def space_of(
    low: float, span: float, step: int, sampling: str, nested: bool
) -> keras_tuner.HyperParameters:
    """A space with every kind of hyperparameter, some of them in scopes within scopes."""
    hp = keras_tuner.HyperParameters()
    begin = low if sampling == "linear" else abs(low) + 0.5
    hp.Float("x", begin, begin + span, sampling=sampling)
    hp.Int("y", int(low), int(low) + 1 + step * 3, step=step)
    hp.Choice("choice", [1, 2, 4, 8], default=4)
    hp.Boolean("switch", default=nested)
    with hp.conditional_scope("switch", [True]):
        hp.Float("inner", begin, begin + span, step=2 if sampling == "log" else 0.5, default=begin)
        hp.Choice("words", ["a", "b"], default="b")
        with hp.conditional_scope("words", ["a"]):
            hp.Int("grid", 1, 9, default=5)
    with hp.conditional_scope("switch", [False]):
        hp.Choice("z", [0.5, 1.5, 2.5])
    hp.Fixed("constant", 7)
    return hp


SPACES_OF_ANY_KIND = st.builds(
    space_of,
    st.floats(-100.0, 100.0),
    st.floats(0.5, 100.0),
    st.integers(1, 5),
    st.sampled_from(["linear", "log"]),
    st.booleans(),
)
POINTS = st.lists(
    st.dictionaries(st.sampled_from(NAMES), ANYTHING).map(
        lambda values: PublishedPoint("point", values, "drawn")
    ),
    max_size=4,
)


def distance(value: float, other: float) -> float:
    return abs(float(value) - float(other))


def possible(parameter: kinds.HyperParameter) -> list[float] | None:
    """All values of a hyperparameter, or None where they are without number."""
    if getattr(parameter, "step", None) is None and isinstance(parameter, kinds.Float):
        return None
    if isinstance(parameter, kinds.Int) and parameter.step is None:
        return list(range(parameter.min_value, parameter.max_value + 1))
    return [parameter.value] if isinstance(parameter, kinds.Fixed) else list(parameter.values)


@given(SPACES_OF_ANY_KIND, POINTS)
def test_projections_lie_in_the_space_and_stay_where_they_are(hp, points):
    """Each has a possible value for exactly what is active there, and is its own projection."""
    found = projected(points, hp)
    for point in found:
        there = hp.copy()
        there.values = dict(point.values)
        assert set(point.values) == active(there)
        for parameter in there.space:
            if parameter.name in point.values:
                value, allowed = point.values[parameter.name], possible(parameter)
                if allowed is None:
                    assert parameter.min_value <= value <= parameter.max_value
                    assert type(value) is float
                else:
                    assert value in allowed
        again = projected([PublishedPoint(point.name, point.values, "")], hp)
        assert again[-1].values == point.values
        assert again[-1].changed == ()
    values = [point.values for point in found]
    assert all(values.count(each) == 1 for each in values)
    assert found[0].name == "default"


def test_names_without_the_prefix_are_not_the_optimizers():
    """A hyperparameter of the model that ends alike keeps its default."""
    hp = keras_tuner.HyperParameters()
    for name in ("o/learning_rate", "a/learning_rate"):
        hp.Float(name, 1e-4, 1.0, default=0.5)
    point = PublishedPoint("here", {"learning_rate": 0.1}, "")
    expected = {"o/learning_rate": 0.1, "a/learning_rate": 0.5}
    assert projected([point], hp, "o/")[1].values == expected


NEAREST = [
    (lambda hp: hp.Int("x", 1, 9), 2.6, 3),
    (lambda hp: hp.Int("x", 1, 9, sampling="log"), 2.6, 3),
    (lambda hp: hp.Int("x", 1, 9), 11.2, 9),
    (lambda hp: hp.Int("x", 1, 9, step=4), 6.5, 5),
    (lambda hp: hp.Float("x", 1.0, 9.0), 3, 3.0),
    (lambda hp: hp.Float("x", 1.0, 9.0), True, 1.0),
    (lambda hp: hp.Choice("x", [1.0, 2.0], default=2.0), 1, 1.0),
    (lambda hp: hp.Choice("x", ["a", "b"], default="b"), "c", "b"),
    (lambda hp: hp.Boolean("x", default=True), 0, True),
]


@pytest.mark.parametrize(("declare", "wanted", "expected"), NEAREST)
def test_the_nearest_value_has_the_type_of_the_hyperparameter(declare, wanted, expected):
    """Numbers are rounded and clipped; what is no value at all leaves the default."""
    hp = keras_tuner.HyperParameters()
    declare(hp)
    value = projected([PublishedPoint("here", {"x": wanted}, "")], hp)[-1].values["x"]
    assert (value, type(value)) == (expected, type(expected))


@given(SPACES_OF_ANY_KIND, POINTS)
def test_no_possible_number_is_nearer(hp, points):
    """A projected number is the nearest of its range, of its grid or of its choices."""
    for point in points:
        found = projected([point], hp)[-1]
        for parameter in hp.space:
            wanted = point.values.get(parameter.name)
            number = isinstance(wanted, (int, float)) and not isinstance(wanted, bool)
            numeric = isinstance(parameter, (kinds.Float, kinds.Int, kinds.Choice))
            if not (number and numeric and math.isfinite(wanted)) or parameter.name == "words":
                continue
            if parameter.name not in found.values:
                continue
            value, allowed = found.values[parameter.name], possible(parameter)
            if allowed is None:
                allowed = [parameter.min_value, parameter.max_value]
                if parameter.min_value <= wanted <= parameter.max_value:
                    assert value == wanted
            assert all(distance(wanted, value) <= distance(wanted, each) for each in allowed)


@given(SPACES_OF_ANY_KIND, POINTS)
def test_what_differs_is_named(hp, points):
    """`changed` has exactly the names whose value the point's is not."""
    for point in points:
        found = projected([point], hp)[-1]
        if found.name == "default":
            continue
        differing = [n for n, value in point.values.items() if found.values.get(n) != value]
        assert list(found.changed) == differing


@given(SPACES_OF_ANY_KIND, POINTS)
def test_the_order_of_the_space_does_not_matter(hp, points):
    """A worker gets a space sorted by type, children before their parents."""
    config = hp.get_config()
    turned = keras_tuner.HyperParameters.from_config({**config, "space": config["space"][::-1]})
    assert projected(points, turned) == projected(points, hp)


@given(SPACES_OF_ANY_KIND)
def test_the_space_is_left_as_it_is(hp):
    """Neither its values nor its entries change."""
    before = hp.get_config()
    projected(ALL, hp)
    assert hp.get_config() == before


@given(OPTIONS)
def test_published_points_are_valid_in_every_space(options):
    """Wherever they are projected to, a config comes of it."""
    space = partial(nadam_space, **options)
    hp = declared(space)
    prefix = options.get("prefix", "")
    found = projected(published_points(options["preset"]), hp, prefix)
    for point in found:
        there = hp.copy()
        there.values = dict(point.values)
        assert isinstance(space(there), NadamConfig)
        assert there.values == point.values
        assert not any(name.startswith(prefix) for name in point.changed if prefix)
    wanted = next(iter(published_points(options["preset"]))).values["learning_rate"]
    if prefix + "learning_rate" in found[0].values:
        limits = SPACES[options["preset"]].parameters["learning_rate"]
        assert limits.low <= wanted <= limits.high
        assert found[0].values[prefix + "learning_rate"] == wanted
