"""Hypothesis strategies of configs."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from nadam_suite.config import NadamConfig, TrainConfig

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

DECAYING = st.fixed_dictionaries(
    {"kind": st.sampled_from(["cosine", "linear"])},
    optional={
        "warmup": DURATION,
        "total": st.none() | DURATION,
        "start": NUMBER,
        "end": NUMBER,
    },
)
CONSTANT = st.fixed_dictionaries(
    {"kind": st.just("constant")}, optional={"warmup": DURATION, "start": NUMBER}
)
SCHEDULE = DECAYING | CONSTANT

# Resolved already, as an optimizer has them.
RESOLVED = st.integers(2, 2**31 - 1).flatmap(
    lambda total: st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["cosine", "linear"]),
            "peak": NUMBER,
            "total": st.just(total),
            "warmup": st.integers(0, total - 1),
            "start": NUMBER,
            "end": NUMBER,
        }
    )
) | st.fixed_dictionaries(
    {
        "kind": st.just("constant"),
        "peak": NUMBER,
        "warmup": st.integers(0, 2**31 - 1),
        "start": NUMBER,
    }
)

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


def optimizer_tables(rate: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables of optimizers, any key set or left out."""
    others = st.fixed_dictionaries(
        {},
        optional={
            "learning_rate": rate,
            "beta_1": FRACTION,
            "beta_2": FRACTION,
            "epsilon": POSITIVE,
            "weight_decay": st.none() | NUMBER,
            "use_ema": st.booleans(),
            "ema_momentum": st.floats(0.0, 1.0),
            "ema_overwrite_frequency": st.none() | st.integers(1, 10**6),
            "loss_scale_factor": st.none() | POSITIVE,
            "gradient_accumulation_steps": st.none() | st.integers(2, 10**6),
            "name": TEXT,
            "momentum_decay": st.none() | NUMBER,
            "parameter_rules": st.lists(RULE, max_size=3),
            "schedule_step": st.sampled_from(["batch", "update"]),
            "slot_dtype": st.sampled_from([None, "float32", "bfloat16", "float16"]),
        },
    )
    return st.tuples(others, CLIP).map(lambda pair: pair[0] | pair[1])


PEAKED = st.tuples(SCHEDULE, NUMBER).map(lambda pair: {**pair[0], "peak": pair[1]})
OPTIMIZER_TABLES = optimizer_tables(NUMBER | PEAKED)
NADAM_CONFIGS = OPTIMIZER_TABLES.map(NadamConfig.from_dict)
# A float32 variable holds a constant rate, so that larger numbers are no rates.
RESOLVED_CONFIGS = optimizer_tables(st.floats(0.0, 1e30) | RESOLVED).map(NadamConfig.from_dict)

JSON = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e300, 1e300) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OPTIONS = st.dictionaries(TEXT, JSON, max_size=3)

CALLBACK = st.one_of(
    st.just({"kind": "terminate_on_nan"}),
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

TRAIN_TABLES = st.fixed_dictionaries(
    {
        "model": NAME | st.just("package.module:function"),
        "data": NAME,
        "optimizer": optimizer_tables(NUMBER),
    },
    optional={
        "name": NAME,
        "model_options": OPTIONS,
        "data_options": OPTIONS,
        "schedule": st.none() | SCHEDULE,
        "epochs": st.integers(1, 10**6),
        "batch_size": st.integers(1, 10**6),
        "seed": st.integers(0, 2**32 - 1),
        "precision": st.sampled_from(["float32", "mixed_bfloat16", "mixed_float16", "bfloat16"]),
        "callbacks": st.lists(CALLBACK, max_size=3),
        "distribution": DISTRIBUTION,
        "output": st.none() | TEXT,
    },
)
TRAIN_CONFIGS = TRAIN_TABLES.map(TrainConfig.from_dict)
CONFIGS = NADAM_CONFIGS | TRAIN_CONFIGS
