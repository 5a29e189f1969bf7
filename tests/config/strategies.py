"""Hypothesis strategies of configs."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import strategies as st

from nadam_suite.config import AveragingConfig, NadamConfig, ScheduleConfig, TrainConfig
from nadam_suite.schedules import parse_duration

POSITIVE = st.floats(min_value=5e-324, max_value=1e300)
NUMBER = st.floats(min_value=0.0, max_value=1e300)
FRACTION = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
NAME = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", fullmatch=True)

DURATION = st.one_of(
    st.integers(0, 2**31 - 1),
    st.integers(0, 100).map(lambda n: f"{n}%"),
    st.decimals(0, 99, places=2).map(lambda n: f"{n}ep"),
    st.integers(0, 10**9).map(lambda n: f"{n}ex"),
)

KINDS = tuple(get_args(ScheduleConfig.model_fields["kind"].annotation))
FOR_RATES = tuple(kind for kind in KINDS if kind != "one_cycle_momentum")
FOR_MOMENTUM = tuple(kind for kind in KINDS if kind != "noam")
LENGTH = DURATION.filter(lambda duration: parse_duration(duration).number > 0)
SHAPE = st.sampled_from(["1-sqrt", "linear", "cosine"])


def _decay(peak, low, number, length):
    return {"peak": peak, "warmup": length, "total": length, "start": number, "end": low}


def _options(kind, peak, low, number, length):
    """A strategy for each key of a kind; `low` gives values of at most the peak's lowest one."""
    rise = {"peak": peak, "warmup": length, "start": number}
    decay = _decay(peak, low, number, length)
    cycle = {"total": length, "warmup": length, "anneal": st.sampled_from(["cosine", "linear"])}
    return {
        "constant": rise,
        "linear": {**decay, "end": number},
        "cosine": {**decay, "end": number},
        "polynomial": {**decay, "power": st.floats(0.1, 9.0)},
        "exponential": {
            **decay,
            "decay_rate": st.floats(1e-9, 1.0),
            "decay_every": length,
            "staircase": st.booleans(),
        },
        "inverse_sqrt": {**rise, "timescale": length},
        "noam": {"peak": peak, "d_model": st.integers(1, 10**5), "warmup": length},
        "wsd": {**decay, "cooldown": length, "shape": SHAPE},
        "one_cycle": {
            **cycle,
            "peak": peak,
            "cooldown": length,
            "div_factor": st.floats(1.0, 1e3),
            "final_div_factor": st.floats(1.0, 1e6),
        },
        "one_cycle_momentum": {
            **cycle,
            "cooldown": length,
            "base_momentum": st.floats(0.0, 0.85),
            "max_momentum": st.floats(0.85, 0.99),
        },
        "cyclical": {
            "peak": peak,
            "base": number,
            "step_size": length,
            "step_size_down": length,
            "mode": st.sampled_from(["triangular", "triangular2", "exp_range"]),
        },
        "cosine_restarts": {
            "peak": peak,
            "end": low,
            "first_period": length,
            "t_mul": st.just(1.0) | st.floats(1.01, 99.0),
            "m_mul": st.floats(0.01, 1.0),
            "cycles": st.integers(1, 99),
        },
        "piecewise": {"interpolation": st.sampled_from(["linear", "cosine", "constant"])},
        "joined": {},
    }[kind]


REQUIRED = {
    "wsd": {"cooldown"},
    "noam": {"d_model", "warmup"},
    "cyclical": {"step_size"},
    "cosine_restarts": {"first_period"},
}


@st.composite
def schedules(draw, kinds=KINDS, top=1e300, *, peaked=True, resolved=False):
    """Tables of schedules of these kinds, with values up to `top`.

    `peaked` gives each its peak; `resolved` gives all lengths as steps that fit each other.
    """
    kind = draw(st.sampled_from(kinds))
    middle = draw(st.floats(0.0, top))
    number, low = st.floats(0.0, top), st.floats(0.0, middle)
    length = st.integers(1, 10**6) if resolved else LENGTH
    keys = _options(kind, st.floats(middle, top), low, number, length)
    first = set(REQUIRED.get(kind, ())) | ({"peak"} & keys.keys() if peaked else set())
    if resolved:
        first |= {"total", "warmup", "cooldown"} & keys.keys()
    if not peaked:
        keys.pop("peak", None)
    optional = {key: value for key, value in keys.items() if key not in first}
    required = {key: keys[key] for key in sorted(first) if key in keys}
    table = {"kind": kind, **draw(st.fixed_dictionaries(required, optional=optional))}
    if kind == "piecewise":
        steps = sorted(draw(st.sets(st.integers(1, 10**6), max_size=4)))
        table["points"] = [[step, draw(number)] for step in (0, *steps)]
    if kind == "joined":
        others = [name for name in kinds if name != kind] or FOR_RATES[:-1]
        inner = schedules(others, top, peaked=peaked, resolved=resolved)
        table["parts"] = draw(st.lists(inner, min_size=1, max_size=3))
        steps = draw(st.sets(st.integers(1, 10**6), min_size=2, max_size=2))
        table["boundaries"] = sorted(steps)[: len(table["parts"]) - 1]
    if draw(st.booleans()):
        table["factor"] = draw(st.floats(0.0, 1.0))
    if "cooldown" not in keys and draw(st.booleans()):
        table["cooldown"] = draw(length)
        table["cooldown_shape"] = draw(SHAPE)
        table["cooldown_end"] = draw(number)
        table.setdefault("total", draw(length))
    if resolved and "total" in table:
        lengths = [table.get(key, 0) for key in ("total", "warmup", "cooldown")]
        table["total"] = sum(lengths) + 1
    return table


RATE = st.floats(1e-3, 1e300)
SCHEDULE = schedules(FOR_RATES, 1e-3, peaked=False)  # which do not end above such a rate
PEAKED = schedules(FOR_RATES)
MOMENTUM = schedules(FOR_MOMENTUM, 0.99)

RULE = st.fixed_dictionaries(
    {},
    optional={
        "match": st.sampled_from(["", "bias$", "(^|/)head/", "\\d+", "é"]),
        "max_ndim": st.none() | st.integers(0, 9),
        "learning_rate": NUMBER,
        "weight_decay": NUMBER,
    },
)

CLIP = st.one_of(
    st.just({}),
    *(POSITIVE.map(lambda v, k=k: {k: v}) for k in ("clipnorm", "clipvalue", "global_clipnorm")),
)

MODE = st.just({}) | st.fixed_dictionaries(
    {
        "weight_decay_mode": st.sampled_from(["independent", "corrected"]),
        "max_learning_rate": POSITIVE,
    }
)


def averages(length):
    """Tables of averages whose durations are drawn from `length`."""
    number = st.floats(1e-3, 1e300)
    by_momentum = {"momentum": st.none() | st.floats(0.0, 1.0)}
    by_length = {"half_life": number | length}
    ema = {"warmup": st.sampled_from(["inverse", "power", None]), "start": length}
    ema |= {"update_every": length, "kind": st.just("ema")}
    width = st.integers(1, 280).map(lambda number: number / 1000.0)
    widths = width.map(lambda w: [w]) | st.lists(width, min_size=1, max_size=3, unique=True)
    power = {"sigma_rel": widths, "update_every": length}
    window = {"k": st.integers(1, 99), "kind": st.just("window")}
    return st.one_of(
        st.fixed_dictionaries({}, optional={**by_momentum, **ema}),
        st.fixed_dictionaries({}, optional={**by_length, **ema}),
        st.fixed_dictionaries({"kind": st.just("power_ema")}, optional=power),
        st.fixed_dictionaries({"kind": st.just("swa"), "start": length, "every": length}),
        st.fixed_dictionaries({**window, "every": length}, optional={"start": length}),
    )


def averaging(length):
    """Tables of an optimizer that keeps no average, one, or several by name."""
    one = averages(length)
    # Names that end alike could come to the same name with the width of a power average.
    name = st.from_regex(r"[^/:\s._<>]{1,8}", fullmatch=True).filter(lambda name: name != "kind")
    name = name.filter(lambda name: name not in AveragingConfig.model_fields)
    several = st.dictionaries(name, one.filter(bool), min_size=1, max_size=3)
    keys = {"use_ema": st.just(False), "averaging": st.none() | one | several}
    return st.just({}) | st.fixed_dictionaries(keys)


def optimizer_tables(
    rate: st.SearchStrategy[Any],
    decay: st.SearchStrategy[Any] = PEAKED,
    momentum: st.SearchStrategy[Any] = MOMENTUM,
    average: st.SearchStrategy[Any] = LENGTH,
) -> st.SearchStrategy[dict[str, Any]]:
    """Tables of optimizers, any key set or left out."""
    others = st.fixed_dictionaries(
        {},
        optional={
            "learning_rate": rate,
            "beta_1": FRACTION | momentum,
            "beta_2": FRACTION,
            "epsilon": POSITIVE,
            "weight_decay": st.none() | NUMBER | decay,
            "use_ema": st.booleans(),
            "ema_momentum": st.floats(0.0, 1.0),
            "ema_overwrite_frequency": st.none() | st.integers(1, 10**6),
            "loss_scale_factor": st.none() | POSITIVE,
            "gradient_accumulation_steps": st.none() | st.integers(2, 10**6),
            "name": TEXT.filter(lambda name: "/" not in name),
            "momentum_decay": st.none() | NUMBER,
            "parameter_rules": st.lists(RULE, max_size=3),
            "schedule_step": st.sampled_from(["batch", "update"]),
            "slot_dtype": st.sampled_from([None, "float32", "bfloat16", "float16"]),
            "lazy_embeddings": st.booleans(),
        },
    ).filter(lambda t: not (t.get("lazy_embeddings") and t.get("gradient_accumulation_steps")))
    tables = st.tuples(others, CLIP, MODE, averaging(average))
    return tables.map(lambda parts: parts[0] | parts[1] | parts[2] | parts[3])


OPTIMIZER_TABLES = optimizer_tables(NUMBER | PEAKED)
NADAM_CONFIGS = OPTIMIZER_TABLES.map(NadamConfig.from_dict)
# A float32 variable holds a constant rate, so that larger numbers are no rates.
RESOLVED = schedules(FOR_RATES, resolved=True)
RESOLVED_CONFIGS = optimizer_tables(
    st.floats(0.0, 1e30) | RESOLVED,
    RESOLVED,
    schedules(FOR_MOMENTUM, 0.99, resolved=True),
    st.integers(1, 10**6),
).map(NadamConfig.from_dict)

JSON = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e300, 1e300) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OPTIONS = st.dictionaries(TEXT, JSON, max_size=3)

CALLBACK = st.one_of(
    st.just({"kind": "terminate_on_nan"}),
    st.fixed_dictionaries(
        {"kind": st.just("plateau_scale")},
        optional={
            "factor": st.floats(0.01, 0.99),
            "min_scale": st.floats(0.0, 1.0),
            "monitor": st.sampled_from(["loss", "val_accuracy"]),
            "patience": st.integers(0, 99),
        },
    ),
    st.fixed_dictionaries(
        {"kind": st.just("early_stopping")},
        optional={"patience": st.integers(0, 99), "min_delta": NUMBER, "monitor": TEXT},
    ),
)

DISTRIBUTION = st.fixed_dictionaries(
    {},
    optional={
        "strategy": st.sampled_from(["auto", "none", "mirrored", "multi_worker", "data_parallel"]),
        "devices": st.none() | st.integers(1, 99) | st.just(["cpu:0", "cpu:1"]),
        "scale_learning_rate": st.sampled_from(["sqrt", "linear"]),
    },
)

LIMIT = {"max_consecutive_skips": st.none() | st.integers(1, 2**31 - 1)}
LOSS_SCALE = st.fixed_dictionaries(
    {},
    optional={
        "initial_scale": st.floats(1.0, 2.0**20),
        "dynamic_growth_steps": st.integers(1, 2**31 - 1),
        "growth_factor": st.floats(1.0, 1e30),
        "backoff_factor": st.floats(1e-30, 1.0),
        "hysteresis": st.integers(1, 2**31 - 1),
        "min_scale": st.floats(1e-30, 1.0),
        "max_scale": st.floats(2.0**20, 1e38),
        "dynamic": st.booleans(),
        **LIMIT,
    },
)
UNSCALED = st.sampled_from(["float32", "mixed_bfloat16", "bfloat16"])
PRECISION = st.one_of(
    st.fixed_dictionaries({}, optional={"precision": UNSCALED, "skip_nonfinite": st.just(False)}),
    st.fixed_dictionaries(
        {"skip_nonfinite": st.just(True)},
        optional={
            "precision": UNSCALED,
            "loss_scale": st.fixed_dictionaries({}, optional=LIMIT),
        },
    ),
    st.fixed_dictionaries(
        {"precision": st.just("mixed_float16")},
        optional={"skip_nonfinite": st.booleans(), "loss_scale": st.none() | LOSS_SCALE},
    ),
)


def _with_precision(tables: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """Put the two together, without a factor that a loss scale would drop."""
    table = {**tables[0], **tables[1]}
    if table.get("skip_nonfinite") or table.get("precision") == "mixed_float16":
        optimizer = dict(table["optimizer"])
        optimizer.pop("loss_scale_factor", None)
        table["optimizer"] = optimizer
    return table


SEARCH = st.fixed_dictionaries(
    {},
    optional={
        "trials": st.integers(1, 10**6),
        "tune": st.none() | st.permutations(["learning_rate", "beta_1", "warmup"]),
        "schedules": st.permutations(["cosine", "wsd"]),
        "objective": st.sampled_from(["loss", "val_accuracy", "val_raw_loss"]),
        "seed": st.none() | st.integers(0, 2**32 - 1),
        "sampler": st.none() | st.sampled_from(["halton", "sobol"]),
    },
)

TRAIN_TABLES = st.fixed_dictionaries(
    {
        "model": NAME | st.just("package.module:function"),
        "data": NAME,
        "optimizer": optimizer_tables(RATE),
    },
    optional={
        "name": NAME,
        "model_options": OPTIONS,
        "data_options": OPTIONS,
        "schedule": st.none() | SCHEDULE,
        "epochs": st.integers(1, 10**6),
        "batch_size": st.integers(1, 10**6),
        "seed": st.integers(0, 2**32 - 1),
        "callbacks": st.lists(CALLBACK, max_size=3),
        "distribution": DISTRIBUTION,
        "output": st.none() | TEXT,
        "checkpoint_every": st.none() | st.integers(1, 99),
        "logging": st.none() | st.builds(dict, norms=st.booleans(), norms_every=st.integers(1, 9)),
        "tuner": st.none() | SEARCH,
    },
)
TRAIN_TABLES = st.tuples(TRAIN_TABLES, PRECISION).map(_with_precision)
TRAIN_CONFIGS = TRAIN_TABLES.map(TrainConfig.from_dict)
CONFIGS = NADAM_CONFIGS | TRAIN_CONFIGS
