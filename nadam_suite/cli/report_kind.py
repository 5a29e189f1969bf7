"""`nadam-suite report`: whether the folders are those of runs or that of a search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nadam_suite.cli.backend import load_backend
from nadam_suite.errors import ArgumentError, DataFileError

__all__ = ["report"]


def report(
    folders: Sequence[Path],
    *,
    top: int | None = None,
    output: Path | None = None,
    as_json: bool = False,
    force: bool = False,
) -> None:
    """Report on runs, or on one search.

    Args:
        folders: Folders of runs, or the folder of one search.
        top: How many of a search's best trials are shown, or None for 10.
        output: A page for runs, a folder for a search; None is the usual place.
        as_json: Print JSON.
        force: Replace what exists.

    Raises:
        ArgumentError: The folders are of different kinds, one is there twice, or `top` does not
            go with them.
        DataFileError: A folder is neither.
    """
    load_backend()
    from nadam_suite.cli.report import report_search
    from nadam_suite.cli.report_runs import report_runs

    kinds = [_kind(folder) for folder in folders]
    if "search" not in kinds:
        if top is not None:
            raise ArgumentError(
                f"Argument `--top` must be left out for runs. Received: --top={top}. It counts the "
                "trials of a search."
            )
        _check_different(folders)
        report_runs(folders, output=output, as_json=as_json, force=force)
        return
    if len(folders) > 1:
        listed = ", ".join(
            f"{str(folder)!r} (a {kind})" for folder, kind in zip(folders, kinds, strict=True)
        )
        raise ArgumentError(
            "Argument `DIR` must be the folders of one or more runs, or of one search. Received: "
            f"{listed}. Report on each search by itself; its trials that are runs can stand among "
            "others, as in search/trial_00/run."
        )
    top = 10 if top is None else top
    report_search(folders[0], top=top, output=output, as_json=as_json, force=force)


def _kind(folder: Path) -> str:
    """Return what a folder is of: "run" or "search".

    Raises:
        DataFileError: It is of neither.
    """
    from nadam_suite.experiment.report import is_run
    from nadam_suite.tuner.search_folder import is_search

    if is_run(folder):
        return "run"
    if is_search(folder):
        return "search"
    shown = f"folder={str(folder)!r}"
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataFileError(
            f"Argument `DIR` must be the folder of a run or a search. Received: {shown}, which "
            f"{what}. Check the path."
        )
    inside = [path for path in sorted(folder.iterdir()) if is_run(path) or is_search(path)]
    if inside:
        named = ", ".join(repr(str(path)) for path in inside[:10])
        more = f", and {len(inside) - 10} more" if len(inside) > 10 else ""
        raise DataFileError(
            f"Argument `DIR` must be the folder of a run or a search. Received: {shown}, which "
            f"only holds such folders. Name one of them, or several runs: {named}{more}."
        )
    raise DataFileError(
        f"Argument `DIR` must be the folder of a run or a search. Received: {shown}, which holds "
        "neither the config.toml of a run nor the oracle.json or trial_*/trial.json of a search. "
        "Name the folder that `train` or `tune`, or a tuner of keras-tuner, has written."
    )


def _check_different(folders: Sequence[Path]) -> None:
    """Refuse a folder that is given twice.

    Raises:
        ArgumentError: It is.
    """
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise ArgumentError(
                "Argument `DIR` must name each run once. Received: "
                f"{str(folder)!r} twice. Leave one of them out."
            )
        seen.add(folder.resolve())
