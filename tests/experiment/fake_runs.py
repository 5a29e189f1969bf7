"""Folders of runs built by hand: what `train` would have left, without a training."""

from __future__ import annotations

import json

from nadam_suite.callbacks.layer_norms import LayerNorms, Norms
from nadam_suite.config import TrainConfig
from nadam_suite.experiment.folder import RunFolder
from nadam_suite.experiment.norm_record import NORMS, norms_csv
from nadam_suite.experiment.record import history_csv

ENVIRONMENT = {
    "backend": "jax",
    "data_sha256": "0" * 64,
    "packages": {"keras": "3.15.1"},
    "python": "3.11.7",
}
HERE = {"host": "elsewhere", "pid": 1, "start": None}


def history(epochs, *, best=0.9, raw=True, scale=False):
    """Rows with falling losses, averages and, if wanted, a loss scale with a skip an epoch."""
    rows = []
    for epoch in range(epochs):
        row = {"epoch": epoch, "loss": 2.0 / (epoch + 1), "accuracy": best * (epoch + 1) / epochs}
        row |= {"val_loss": 2.2 / (epoch + 1), "val_accuracy": best * (epoch + 1) / (epochs + 1)}
        if raw:
            row |= {"val_raw_loss": 2.4 / (epoch + 1), "val_raw_accuracy": best / 2}
        row |= {"learning_rate": 0.1**epoch, "weight_decay": 0.01, "beta_1": 0.9, "momentum": 0.5}
        row |= {"gradient_norm": 1.5, "update_norm": 0.5 / (epoch + 1), "update_ratio": 0.01}
        if scale:
            row |= {"loss_scale": 2.0 ** (10 - epoch), "skipped_steps": 1, "loss_scale_growths": 0}
        rows.append(row)
    return rows


def norms(epochs):
    layers = {"hidden": LayerNorms(2.0, 0.02, 0.3), "out": LayerNorms(1.0, 0.05, None)}
    return [Norms(epoch, 8 * (epoch + 1), layers) for epoch in range(epochs)]


def session(status="finished", epochs=3, error=None, process=None):
    return {
        "status": status,
        "started": "2026-01-01T10:00:00+00:00",
        "ended": None if status == "running" else "2026-01-01T10:01:00+00:00",
        "seconds": 1.5 * epochs,
        "error": error,
        "epochs": [[epoch, 1.25] for epoch in range(epochs)],
        "process": process or HERE,
    }


def make(path, *, trained=3, sessions=None, result=True, scale=False, environment=None, **config):
    """Write the folder of a run; all but `config` says how far it came."""
    config = {"epochs": 3, "optimizer": {"averaging": "ema"}, **config}
    folder = RunFolder(path)
    folder.create(
        TrainConfig(model="digits", data="digits", **config),
        {**ENVIRONMENT, "seed": config.get("seed", 0), **(environment or {})},
    )
    rows = history(trained, best=0.9 - 0.1 * config.get("seed", 0), scale=scale)
    folder.write_text("history.csv", history_csv(rows))
    if trained:
        folder.write_text(NORMS, norms_csv(norms(trained)))
    if sessions is None:
        sessions = [session(epochs=trained)]
    if sessions:
        folder.write_text("sessions.json", json.dumps({"sessions": sessions}))
    if result:
        accuracy = 0.9 - 0.1 * config.get("seed", 0)
        metrics = {"test": {"accuracy": accuracy, "loss": 0.5}}
        folder.finish({"metrics": metrics, "history": rows, "epochs": trained, "seconds": 4.5})
    return path
