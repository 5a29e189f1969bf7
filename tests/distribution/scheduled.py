"""A training under every kind of schedule, logged and scaled on a plateau, for all setups alike."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from nadam_suite import schedules as s
from nadam_suite.callbacks import HyperparameterLogger, PlateauScale
from tests.distribution import problem
from tests.distribution.problem import everything

STEPS, EPOCHS, PART = 8, 12, 6

# Each is followed for six steps, of a course that ends in them or goes on.
KINDS = (
    s.Constant(0.01, 3, 0.004),
    s.Linear(0.01, 0.02, 4),
    s.Polynomial(0.02, 0.005, 6, power=2.0),
    s.WarmupCosine(0.02, 6, 2, end=0.002, start=0.004),
    s.WarmupLinear(0.02, 6, 2, end=0.002, start=0.004),
    s.WarmupPolynomial(0.02, 6, 2, end=0.002, start=0.004, power=0.5),
    s.WarmupExponential(0.02, 6, 2, start=0.004, decay_rate=0.3),
    s.WarmupInverseSqrt(0.02, 2, start=0.004),
    s.Noam(64, 3, scale=0.2),
    s.WarmupStableDecay(0.02, 6, 2, warmup_steps=2, end=0.002, start=0.004),
    s.OneCycle(0.02, 6),
    s.Cyclical(0.004, 0.02, 2, mode="exp_range", gamma=0.9),
    s.CosineRestarts(0.02, 2, t_mul=2.0, m_mul=0.5, end=0.002),
    s.Piecewise([(0, 0.004), (3, 0.02), (5, 0.01)]),
    s.Scaled(s.Linear(0.04, 0.01, 6), 0.5),
    s.WithCooldown(s.Constant(0.02), 6, 3, end=0.002, shape="cosine"),
)
EVERY = s.Joined(KINDS, [PART * i for i in range(1, len(KINDS))])


class Told(keras.callbacks.Callback):
    """Puts a metric into the logs that stops improving at epoch 4."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["told_loss"] = 1.0 / (1 + min(epoch, 4))


def optimizer(window: int | None) -> Any:
    """A Nadam all of whose hyperparameters follow schedules."""
    return problem.make_optimizer(
        {
            "learning_rate": EVERY,
            "beta_1": s.OneCycleMomentum(96),
            "weight_decay": s.WarmupLinear(0.4, 96, 10),
            "weight_decay_mode": "corrected",
            "gradient_accumulation_steps": window,
        }
    )


def train(model: keras.Model, window: int | None, executions: int = 1) -> dict[str, Any]:
    """Fit, and give the history with all weights and the optimizer's state at the end."""
    model.compile(optimizer(window), "mse", steps_per_execution=executions)
    batches = problem.one_signed_batches(STEPS)
    tokens, x = (np.concatenate([b[0][i] for b in batches]) for i in range(2))
    plateau = PlateauScale("told_loss", factor=0.5, patience=2)
    history = model.fit(
        (tokens, x),
        np.concatenate([b[1] for b in batches]),
        batch_size=problem.BATCH,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[Told(), plateau, HyperparameterLogger()],
    )
    rows = {f"history_{name}": np.asarray(v) for name, v in history.history.items()}
    return {**everything(model), **rows, "scale": np.asarray(plateau.scale)}
