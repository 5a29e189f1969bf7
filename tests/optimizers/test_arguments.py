"""Every argument refuses what it cannot mean, naming argument, value and remedy."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest

from nadam_suite import Nadam, ParameterRule
from nadam_suite.averaging import EMA, PowerEMA
from nadam_suite.errors import ArgumentError, ArgumentTypeError, NadamSuiteError
from nadam_suite.schedules import Linear
from tests.optimizers.driver import make_variables

NAN, INF = float("nan"), float("inf")


class NotANumber:
    """Something that no argument accepts."""

    def __repr__(self) -> str:
        return "NotANumber()"


# argument -> values out of its range, values of a wrong type
REFUSED = {
    "learning_rate": (
        [-1.0, -1e-9, NAN, INF, np.float32(-1)],
        ["0.1", None, True, [0.1], NotANumber(), lambda x: x],
    ),
    "beta_1": ([-0.1, 1.0, 2.0, NAN], ["0.9", None, False, (0.9,), lambda step: 0.9]),
    "beta_2": ([-0.1, 1.0, 1.5, INF], ["0.999", None, True, NotANumber()]),
    "epsilon": ([0.0, -1e-7, NAN, INF], ["1e-7", None, True, lambda: 1e-7]),
    "weight_decay": ([-0.1, NAN, INF], ["0.1", True, [0.1], lambda a, b: a]),
    "clipnorm": ([0.0, -1.0, NAN, INF], ["1", True, NotANumber()]),
    "clipvalue": ([0.0, -0.5, NAN], ["1", False, {}]),
    "global_clipnorm": ([0, -1.0, INF], ["1.0", True, [1.0]]),
    "use_ema": ([], ["yes", None, 1, 0.5]),
    "ema_momentum": ([-0.01, 1.01, NAN], ["0.99", None, True]),
    "ema_overwrite_frequency": ([0, -3], [1.5, "10", True]),
    "loss_scale_factor": ([0.0, -2.0, NAN, INF], ["128", True]),
    "gradient_accumulation_steps": ([1, 0, -4], [2.5, "4", True]),
    "name": ([], [3, True, b"nadam"]),
    "momentum_decay": ([-0.004, NAN, INF], ["paper", True]),
    "schedule_step": (["epoch", "Batch", ""], [None, 3]),
    "slot_dtype": (["int32", "float128"], [16, np.float32]),
    "weight_decay_mode": (["adamw", "LR", ""], [None, 1]),
    "max_learning_rate": ([0.0, -1.0, NAN, INF, 0.1], ["1", True]),  # 0.1: mode "lr" uses none
    "lazy_embeddings": ([], ["rows", None, 1]),
    "parameter_rules": ([{"match": "x", "rate": 1.0}], ["bias", 3, [3]]),
    "averaging": (
        [{"a b": EMA()}, {"a": PowerEMA(0.1), "a_0.1": EMA()}],
        ["ema", 0.99, {}, [EMA()]],
    ),
}
CASES = [
    pytest.param(name, value, kind, id=f"{name}={value!r}"[:60])
    for name, (ranges, types) in REFUSED.items()
    for kind, values in (("range", ranges), ("type", types))
    for value in values
]


def test_every_argument_has_cases_and_they_are_at_least_forty():
    """A new argument without a refusal case fails here."""
    arguments = set(inspect.signature(Nadam.__init__).parameters) - {"self"}
    assert arguments == set(REFUSED)
    assert len(CASES) >= 40


@pytest.mark.parametrize(("name", "value", "kind"), CASES)
def test_bad_value_is_refused_with_argument_value_and_remedy(name, value, kind):
    """K27, D62: the error is a ValueError or TypeError of ours that names argument and value."""
    with pytest.raises(NadamSuiteError) as caught:
        Nadam(**{name: value})
    assert isinstance(caught.value, (ValueError, TypeError))
    message = str(caught.value)
    assert f"Argument `{name}`" in message
    assert "must" in message
    assert "Received" in message
    shown = "lambda" if inspect.isfunction(value) else repr(value)
    if isinstance(value, np.generic):
        shown = str(float(value))
    if not isinstance(value, (list, dict)) or name != "parameter_rules":
        assert shown in message
    assert len(message.splitlines()) <= 5
    # Beyond the range and the value there is advice: a sentence after "Received: ...".
    after = message.split("Received", 1)[1]
    assert ". " in after or ", " in after or message.index("must") < message.index("Received")


@pytest.mark.parametrize(
    "arguments",
    [
        {"clipnorm": 1.0, "clipvalue": 1.0},
        {"clipnorm": 1.0, "global_clipnorm": 1.0},
        {"clipvalue": 1.0, "global_clipnorm": 1.0},
        {"clipnorm": 1.0, "clipvalue": 1.0, "global_clipnorm": 1.0},
    ],
)
def test_two_ways_to_clip_are_refused(arguments):
    """Only one of the three clipping arguments may be set; the message names those given."""
    with pytest.raises(ValueError, match="clip") as caught:
        Nadam(**arguments)
    for name in arguments:
        assert name in str(caught.value)


def test_an_unknown_argument_is_refused():
    """A misspelt argument raises and is named."""
    with pytest.raises(TypeError, match="learning_rat"):
        Nadam(learning_rat=0.1)


def test_ours_only_arguments_are_keyword_only():
    """What stock Nadam does not have cannot be given by position."""
    kinds = inspect.signature(Nadam.__init__).parameters
    ours = ("momentum_decay", "parameter_rules", "schedule_step", "slot_dtype")
    ours += ("weight_decay_mode", "max_learning_rate", "averaging", "lazy_embeddings")
    assert all(kinds[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ours)
    stock = [
        n for n in inspect.signature(keras.optimizers.Nadam.__init__).parameters if n != "kwargs"
    ]
    assert [n for n in kinds if n not in ours] == stock


@pytest.mark.parametrize(
    "value",
    [-0.1, "text", None, True, float("nan")],
    ids=["negative", "text", "None", "bool", "nan"],
)
@pytest.mark.parametrize("argument", ["learning_rate", "beta_1", "beta_2", "weight_decay"])
def test_a_callable_that_returns_nonsense_is_refused_at_the_step(argument, value):
    """What a callable returns is checked like a constant, in a message that names the argument."""
    variables = make_variables([np.ones(2)])
    optimizer = Nadam(**{argument: lambda: value})
    with pytest.raises((ArgumentError, ArgumentTypeError), match=argument):
        optimizer.apply([keras.ops.ones(2)], variables)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("match", 3),
        ("match", "("),
        ("max_ndim", -1),
        ("max_ndim", 1.5),
        ("max_ndim", True),
        ("learning_rate", -1.0),
        ("learning_rate", "1"),
        ("weight_decay", NAN),
        ("weight_decay", None),
    ],
)
def test_parameter_rule_refuses_what_it_cannot_mean(argument, value):
    """A rule checks its own fields, and the message names the field."""
    with pytest.raises(NadamSuiteError, match=f"`{argument}`"):
        ParameterRule(**{argument: value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("beta_1", 0.5),
        ("beta_2", 0.5),
        ("epsilon", 1e-3),
        ("weight_decay", 0.1),
        ("clipnorm", 1.0),
        ("use_ema", True),
        ("ema_momentum", 0.5),
        ("gradient_accumulation_steps", 4),
        ("momentum_decay", None),
        ("schedule_step", "update"),
        ("parameter_rules", [ParameterRule()]),
    ],
)
def test_a_built_optimizer_refuses_assignments_it_would_ignore(argument, value):
    """D59: assigning after build raises and names replace()."""
    optimizer = Nadam()
    optimizer.build(make_variables([np.ones(2)]))
    with pytest.raises(AttributeError, match=rf"(?s){argument}.*replace"):
        setattr(optimizer, argument, value)


def test_gradients_that_do_not_match_the_variables_are_refused():
    """A wrong number of gradients, a strange variable, or no variables at all raise ValueErrors."""
    variables = make_variables([np.ones(2), np.ones(3)])
    optimizer = Nadam()
    with pytest.raises(ValueError, match="trainable_variables"):
        optimizer.apply([keras.ops.ones(2)])
    optimizer.build(variables)
    with pytest.raises(ValueError, match="1"):
        optimizer.apply([keras.ops.ones(2)])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply([keras.ops.ones(2)], make_variables([np.ones(2)]))


@pytest.mark.parametrize("name", ["beta_1", "beta_2"])
def test_a_schedule_that_will_leave_the_range_is_refused(name):
    """A beta that reaches 1 at some step is refused before the first one."""
    with pytest.raises(ArgumentError, match=rf"`{name}` must be in \[0, 1\).*highest value is 1.5"):
        Nadam(**{name: Linear(0.5, 1.5, 100)})
    Nadam(**{name: Linear(0.5, 0.999, 100)})
