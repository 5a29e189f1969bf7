"""A picture of how good averages of different lengths are."""

from __future__ import annotations

from pathlib import Path

from nadam_suite.experiment.average_sweep import TOLERATED, Sweep
from nadam_suite.experiment.plot import new_figure, save_figure

__all__ = ["plot_sweep"]


def plot_sweep(sweep: Sweep, path: Path) -> None:
    """Draw the metrics over the width of the average into a PNG file.

    Averages that could be put together only inexactly are hollow; the best one is marked, and the
    raw weights are a dashed line.

    Args:
        sweep: The averages.
        path: The file, which is replaced.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    names = list(sweep.raw)
    figure = new_figure(5.0 * len(names), 3.8)
    axes = figure.subplots(1, len(names), squeeze=False).ravel()
    rows = sorted(sweep.rows, key=lambda row: row.sigma_rel)
    for axis, name in zip(axes, names, strict=True):
        widths = [row.sigma_rel for row in rows]
        values = [row.metrics[name] for row in rows]
        axis.plot(widths, values, color="C0", linewidth=1.2, zorder=1)
        for exact, face, label in ((True, "C0", "averages"), (False, "white", "inexact ones")):
            chosen = [row for row in rows if row.exact == exact]
            if chosen:
                points = [row.sigma_rel for row in chosen], [row.metrics[name] for row in chosen]
                axis.scatter(*points, s=24, facecolors=face, edgecolors="C0", label=label, zorder=2)
        if sweep.best is not None:
            best = sweep.rows[sweep.best]
            place = [best.sigma_rel], [best.metrics[name]]
            label = f"best {sweep.monitor}: {best.sigma_rel:g}"
            axis.scatter(*place, marker="*", s=160, color="C3", label=label, zorder=3)
        axis.axhline(sweep.raw[name], color="gray", linestyle="--", label="raw weights")
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xticks(widths)
        axis.tick_params(axis="x", labelrotation=45)
        axis.set_xlabel("sigma_rel")
        axis.set_title(f"validation {name.replace('_', ' ')}")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    after = f"averages after {sweep.step:,} updates, from {sweep.snapshots} snapshots"
    hollow = "" if all(row.exact for row in rows) else f"; hollow: error above {TOLERATED:.0%}"
    figure.suptitle(f"{sweep.run.name}: {after}{hollow}", fontsize="medium")
    save_figure(figure, path)
