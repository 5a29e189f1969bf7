"""The scenarios of the parity tests, as data: options of the optimizer by name."""

from __future__ import annotations

STEPS = 60
OPTIONS = {
    "defaults": {},
    "paper": {"momentum_decay": 0.004, "beta_1": 0.95, "epsilon": 1e-5},
    "decay-clip": {"learning_rate": 0.01, "weight_decay": 0.05, "global_clipnorm": 1.0},
    "averages": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 5},
    "accumulation": {"gradient_accumulation_steps": 3, "clipnorm": 0.5},
}
FILES = {
    "plain": {"name": "plain"},
    "rich": {
        "learning_rate": 0.01,
        "weight_decay": 0.1,
        "global_clipnorm": 1.0,
        "use_ema": True,
        "gradient_accumulation_steps": 3,
        "momentum_decay": 0.004,
        "name": "rich",
    },
    "rules": {"weight_decay": 0.3, "name": "rules"},
}
