"""Which curves of runs are drawn, and in which charts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nadam_suite.experiment.events import is_raw
from nadam_suite.experiment.report.chart import Curve, chart
from nadam_suite.experiment.report.record import RunRecord

__all__ = ["layer_charts", "loss_scale_charts", "metric_charts", "norm_charts", "schedule_charts"]

_SCHEDULES = ("learning_rate", "weight_decay", "beta_1", "momentum")
_NORMS = ("gradient_norm", "update_norm", "update_ratio")
_SCALES = ("loss_scale", "skipped_steps", "loss_scale_growths")
_VALIDATION, _RAW = "val_", "val_raw_"
_BY_LAYER = {
    "update over weights, by layer": "ratio",
    "norm of the gradients, after clipping, by layer": "gradient",
}
_TITLES = {
    "gradient_norm": "norm of all gradients, before clipping",
    "update_norm": "norm of the epoch's last update",
    "update_ratio": "update over weights",
    "loss_scale": "loss scale of the next step",
    "skipped_steps": "skipped steps of the epoch",
    "loss_scale_growths": "growths of the loss scale in the epoch",
}


def metric_charts(runs: Sequence[RunRecord]) -> list[str]:
    """Return the charts of loss and metrics: of one run all weights in one, of several apart.

    Args:
        runs: The runs.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.metrics))
    raw = {name for name in names if is_raw(name, names)}
    bases = dict.fromkeys(name.removeprefix(_RAW if name in raw else _VALIDATION) for name in names)
    found = []
    for base in bases:
        kinds = {base: "training", f"{_VALIDATION}{base}": "validation"}
        if f"{_RAW}{base}" in raw:
            every = all(f"{_RAW}{base}" in run.names for run in runs if base in run.names)
            averaged = "averages" if every else "averages where a run has them"
            kinds[f"{_VALIDATION}{base}"] = f"validation, {averaged}"
            kinds[f"{_RAW}{base}"] = "validation, raw weights"
        there = {name: kind for name, kind in kinds.items() if name in names}
        if len(runs) == 1:
            curves = [
                Curve(kind, _points(runs[0], name), colour, colour)
                for colour, (name, kind) in enumerate(there.items())
            ]
            found.append(chart(base, [curve for curve in curves if curve.points]))
        else:
            found += [_overlaid(runs, name, f"{base}, {kind}") for name, kind in there.items()]
    return [each for each in found if each]


def schedule_charts(runs: Sequence[RunRecord]) -> list[str]:
    """Return the charts of what the optimizer used at the last update of each epoch."""
    return _charts(runs, _SCHEDULES)


def norm_charts(runs: Sequence[RunRecord]) -> list[str]:
    """Return the charts of the norms of all weights together."""
    return _charts(runs, _NORMS)


def loss_scale_charts(runs: Sequence[RunRecord]) -> list[str]:
    """Return the charts of the loss scale and of skipped steps, if there are any."""
    return _charts(runs, _SCALES)


def layer_charts(run: RunRecord) -> list[str]:
    """Return the charts of updates over weights, and of gradients, a curve for each layer.

    Args:
        run: The run.
    """
    epochs = [norms.epoch for norms in run.norms]
    by_epoch = len(set(epochs)) == len(epochs)
    found = []
    for title, name in _BY_LAYER.items():
        points: dict[str, list[tuple[float, float]]] = {}
        for norms in run.norms:
            place = norms.epoch + 1 if by_epoch else norms.step
            for layer, row in norms.layers.items():
                value = getattr(row, name)
                # A step that was skipped has no update, and no place on a logarithmic axis.
                known = value is not None and value > 0.0
                points.setdefault(layer, []).append((place, value if known else math.nan))
        curves = [
            Curve(layer, tuple(each), number, number // 8)
            for number, (layer, each) in enumerate(points.items())
        ]
        found.append(chart(title, curves, "epoch" if by_epoch else "step"))
    return [each for each in found if each]


def _charts(runs: Sequence[RunRecord], names: Sequence[str]) -> list[str]:
    drawn = [_overlaid(runs, name, _TITLES.get(name, name.replace("_", " "))) for name in names]
    return [each for each in drawn if each]


def _overlaid(runs: Sequence[RunRecord], name: str, title: str) -> str:
    """Return one chart with a curve of each run that has it."""
    curves = [
        Curve(run.label, _points(run, name), number, number // 8) for number, run in enumerate(runs)
    ]
    return chart(title, [curve for curve in curves if curve.points])


def _points(run: RunRecord, name: str) -> tuple[tuple[float, float], ...]:
    return tuple((row["epoch"] + 1, row[name]) for row in run.history if name in row)
