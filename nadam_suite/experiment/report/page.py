"""The report on runs as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nadam_suite.experiment.event_hparams import flat
from nadam_suite.experiment.report import curves
from nadam_suite.experiment.report.chart import Curve, chart
from nadam_suite.experiment.report.compare import Comparison, Difference
from nadam_suite.experiment.report.html import details, document, paragraphs, row, shown, table
from nadam_suite.experiment.report.record import RunRecord

__all__ = ["page"]


def page(found: Comparison) -> str:
    """Return the page: charts are in it as SVG, there are no scripts, and no other file is asked.

    Args:
        found: The runs, and how they differ.
    """
    runs = found.runs
    one = len(runs) == 1
    title = f"Run {runs[0].label}" if one else f"{len(runs)} runs"
    scales = curves.loss_scale_charts(runs)
    layers = [part for run in runs for part in _layers(run, heading=not one)]
    sections = [
        f"<h1>{escape(title)}</h1>",
        *_states(runs),
        *_section("Results", _results(found)),
        *([] if one else _differences(found)),
        *_section("Curves", _charts(curves.metric_charts(runs)), "No epoch has ended yet."),
        *_section("Schedules", _charts(curves.schedule_charts(runs)), "Nothing was logged."),
        *_section(
            "Updates and gradients",
            [*_charts(curves.norm_charts(runs)), *layers],
            "No norms were logged: see logging.norms in the config.",
        ),
        *_section(
            "Loss scale", _charts(scales), "There was no loss scale, and no step was skipped."
        ),
        *_section("Timing", _timing(runs)),
        *_section("Config", [part for run in runs for part in _config(run, opened=one)]),
        *_section("Environment", [part for run in runs for part in _environment(run, one)]),
        *_section("Numbers", [part for run in runs for part in _numbers(run)]),
    ]
    return document(title, sections)


def _section(name: str, body: Sequence[str], otherwise: str = "") -> list[str]:
    place = name.lower().replace(" ", "-")
    inner = list(body) or paragraphs([otherwise], "soft")
    return [f'<section id="{place}">\n<h2>{escape(name)}</h2>', *inner, "</section>"]


def _charts(drawn: Sequence[str]) -> list[str]:
    return ['<div class="charts">', *drawn, "</div>"] if drawn else []


def _states(runs: Sequence[RunRecord]) -> list[str]:
    """Return how far each run came; what did not end well stands out."""
    found = []
    for run in runs:
        lead = "" if len(runs) == 1 else f"{run.label}: "
        kind = "" if run.status == "finished" else "warning"
        text = f"{lead}{run.state()}."
        found += paragraphs([text[0].upper() + text[1:] if not lead else text], kind)
        found += paragraphs([f"{lead}{remark}" for remark in run.remarks()], "soft")
    return found


def _results(found: Comparison) -> list[str]:
    """Return final and best metrics of each run, and their spread over seeds."""
    runs = found.runs
    finals = list(dict.fromkeys(name for run in runs for name in run.final()))
    bests = list(dict.fromkeys(name for run in runs for name in run.best()))
    head = ["run", "seed", *finals, *(f"best {name} (epoch)" for name in bests), "time"]
    rows = []
    for run in runs:
        cells = [run.label, str(run.config.seed)]
        cells += [_digits(run.final().get(name)) for name in finals]
        for name in bests:
            best = run.best().get(name)
            cells.append("–" if best is None else f"{best[0]:.5g} ({best[1]})")
        rows.append(row([*cells, _duration(run.seconds)], text=(0,)))
    parts = [table(head, rows, (0,))]
    if found.seeds:
        finals = list(dict.fromkeys(name for group in found.groups for name in group.final))
        head = ["runs", "seeds", *finals, *(f"best {name}" for name in bests)]
        rows = []
        for group in found.groups:
            cells = [found.name(group), str(len(group.runs))]
            cells += [str(group.final.get(name, "–")) for name in finals]
            cells += [str(group.best.get(name, "–")) for name in bests]
            rows.append(row(cells, text=(0,)))
        caption = "Runs that differ in their seeds alone: mean ± sample standard deviation"
        parts.append(table(head, rows, (0,), caption))
    return parts


def _differences(found: Comparison) -> list[str]:
    labels = [run.label for run in found.runs]
    alike = "All of them are alike."
    return [
        *_section("Differences of the configs", _diff(found.config, labels), alike),
        *_section("Differences of the environments", _diff(found.environment, labels), alike),
    ]


def _diff(differences: Sequence[Difference], labels: Sequence[str]) -> list[str]:
    if not differences:
        return []
    columns = range(len(labels) + 1)
    rows = [row([each.key, *each.shown()], text=columns) for each in differences]
    return [table(["key", *labels], rows, columns)]


def _layers(run: RunRecord, *, heading: bool) -> list[str]:
    """Return the norms of a run layer by layer, as charts and of the last look as a table."""
    if not run.norms:
        return []
    last = run.norms[-1]
    rows = [
        row(
            [layer, *map(shown, (each.weight, each.update, each.ratio, each.gradient))],
            text=(0,),
        )
        for layer, each in last.layers.items()
    ]
    head = ["layer", "weights", "update", "update / weights", "gradient"]
    caption = f"Norms of the update at step {last.step}, in epoch {last.epoch + 1}"
    return [
        *([f"<h3>{escape(run.label)}</h3>"] if heading else []),
        *_charts(curves.layer_charts(run)),
        *details("Norms of each layer", [table(head, rows, (0,), caption)]),
    ]


def _timing(runs: Sequence[RunRecord]) -> list[str]:
    """Return the seconds of each epoch, and the processes."""
    drawn = [
        Curve(
            run.label, tuple((e + 1.0, s) for e, s in sorted(run.epoch_seconds.items())), n, n // 8
        )
        for n, run in enumerate(runs)
    ]
    rows = []
    for run in runs:
        for number, each in enumerate(run.sessions, 1):
            cells = [run.label, str(number), each["status"], each["started"], each["ended"]]
            cells += [str(len(each["epochs"])), _duration(each["seconds"])]
            rows.append(row([shown(cell) for cell in cells], text=(0, 2, 3, 4)))
        if not run.sessions:
            rows.append(row([run.label, *["–"] * 5, _duration(run.seconds)], text=(0, 2, 3, 4)))
    head = ["run", "process", "ended as", "began", "ended", "epochs", "time"]
    figure = chart("seconds of an epoch", [curve for curve in drawn if curve.points])
    return [*_charts([figure] if figure else []), table(head, rows, (0, 2, 3, 4))]


def _config(run: RunRecord, *, opened: bool) -> list[str]:
    return details(
        f"{run.label}: every duration in steps",
        [f"<pre>{escape(run.config_text)}</pre>"],
        opened=opened,
    )


def _environment(run: RunRecord, opened: bool) -> list[str]:
    facts = flat(run.environment).items()
    rows = [row([key, shown(value)], text=(0, 1)) for key, value in facts]
    return details(run.label, [table(["what", "value"], rows, (0, 1))], opened=opened)


def _numbers(run: RunRecord) -> list[str]:
    """Return the history as a table: what the charts show, for those who read it."""
    names = run.names
    rows = [
        row([str(int(each["epoch"]) + 1), *(_digits(each.get(name)) for name in names)])
        for each in run.history
    ]
    return details(f"{run.label}: what each epoch logged", [table(["epoch", *names], rows)])


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(seconds, 60.0)
    if minutes < 1:
        return f"{rest:.1f} s"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest:.0f} s"
