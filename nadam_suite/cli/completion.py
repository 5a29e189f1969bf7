"""Words that a shell offers when Tab is pressed: names, keys of a config and their values, folders.

A completion must come at once, and the config's models cannot be imported without Keras. What they
know stands in `completion.json`, which `python -m tests.cli.words` writes; a test compares it.
"""

from __future__ import annotations

import functools
import json
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from nadam_suite.cli.backend import BACKENDS

__all__ = [
    "backends",
    "checkpoints",
    "configs",
    "is_key",
    "launched",
    "modes",
    "overrides",
    "results",
    "rows",
    "runs",
    "spaces",
    "tuners",
]

_WORDS = Path(__file__).with_name("completion.json")
_LINE = 60  # characters of a description
_SUFFIXES = (".toml", ".json")
_TRAINED = ("train", "tune")  # commands that take no preset
Words = list[tuple[str, str]]


def configs(ctx: typer.Context, incomplete: str) -> Words:
    """Return recipes, presets where they can be used, and config files."""
    words = _words()
    names = dict(words["recipes"])
    if ctx.info_name not in _TRAINED:
        names |= words["presets"]
    found = [(name, text) for name, text in names.items() if name.startswith(incomplete)]
    paths = _matching(incomplete)
    return found + [(str(path), "config file") for path in paths if path.suffix in _SUFFIXES]


def overrides(ctx: typer.Context, incomplete: str) -> Words:
    """Return changes to the config: `key=`, `key=value` and `~key`."""
    given = [str(text) for text in ctx.params.get("overrides") or ctx.params.get("sources") or ()]
    source = str(ctx.params.get("source") or ctx.params.get("name") or "")
    if ctx.info_name == "validate":
        # The last place may be of one more file.
        files = [text for text in given if "=" not in text]
        source, extra = files[0] if files else "", configs(ctx, incomplete)
    else:
        extra = []
    root = _root(source)
    if given and given[-1] == "=":  # bash takes "a=b" for three words
        return _values(root, given[-2] if len(given) > 1 else "", incomplete)
    if given and not incomplete and _is_bare_key(root, given[-1]):
        return _values(root, given[-1], "")
    if incomplete.startswith("~"):
        return extra + [(f"~{key}", "its default") for key in _set_keys(source, incomplete[1:])]
    key, equals, value = incomplete.partition("=")
    if equals:
        return [(f"{key}={word}", text) for word, text in _values(root, key, value)]
    return extra + _keys(root, key)


def is_key(text: str) -> bool:
    """Return whether a config of a training, or of an optimizer, has this dotted key.

    Example:
    >>> from nadam_suite.cli.completion import is_key
    >>> is_key("optimizer.learning_rate"), is_key("colour")
    (True, False)
    """
    *parents, name = text.split(".")
    return any(name in _entries(root, parents) for root in ("train", "optimizer"))


def backends(incomplete: str) -> list[str]:
    """Return the frameworks."""
    return [name for name in BACKENDS if name.startswith(incomplete)]


def modes(incomplete: str) -> list[str]:
    """Return which way a metric may be best."""
    return [name for name in ("auto", "min", "max") if name.startswith(incomplete)]


def tuners(incomplete: str) -> Words:
    """Return the kinds of search."""
    return _values("train", "tuner.kind", incomplete)


def spaces(incomplete: str) -> Words:
    """Return the presets of the space of a search."""
    return _values("train", "tuner.preset", incomplete)


def launched(ctx: typer.Context, incomplete: str) -> Words:
    """Return what may stand behind the `--` of `launch`: train, a recipe, changes."""
    given = [str(text) for text in ctx.params.get("command") or ()]
    if not given:
        return [("train", "")] if "train".startswith(incomplete) else []
    inner = typer.Context(ctx.command, info_name="train")
    inner.params = {"source": given[1] if len(given) > 1 else "", "overrides": given[2:]}
    return (overrides if len(given) > 1 else configs)(inner, incomplete)


def rows(incomplete: str) -> Words:
    """Return the rows of `doctor`, with the first promise of each."""
    found = _words()["rows"].items()
    return [(name, text) for name, text in found if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Return the folders of runs."""
    return _folders(incomplete, "runs", ("environment.json",))


def checkpoints(incomplete: str) -> list[str]:
    """Return the folders of runs, and the checkpoints that they keep."""
    kept = [path for run in runs("") for path in sorted(Path(run, "checkpoints").glob("*"))]
    return [*runs(incomplete), *(str(p) for p in kept if str(p).startswith(incomplete))]


def results(incomplete: str) -> list[str]:
    """Return the folders of runs and of searches."""
    return [*runs(incomplete), *_folders(incomplete, "searches", ("oracle.json",))]


@functools.cache
def _words() -> dict[str, Any]:
    words = json.loads(_WORDS.read_text("utf-8"))
    for name in ("recipes", "presets", "rows"):  # what is longer than a line breaks it
        words[name] = {key: textwrap.shorten(text, _LINE) for key, text in words[name].items()}
    return dict(words)


def _matching(incomplete: str) -> list[Path]:
    """Return the files and folders whose path begins so."""
    path = Path(incomplete)
    at_end = incomplete.endswith("/") or not incomplete
    folder, name = (path, "") if at_end else (path.parent, path.name)
    try:
        return sorted(p for p in folder.iterdir() if p.name.startswith(name) and p.name[0] != ".")
    except OSError:
        return []


def _folders(incomplete: str, usual: str, files: Sequence[str]) -> list[str]:
    """Return folders that hold one of these files: those that match, and those in the usual one."""
    found = {*_matching(incomplete), *_matching(f"{usual}/")}
    return sorted(
        str(path)
        for path in found
        if str(path).startswith(incomplete) and any((path / name).is_file() for name in files)
    )


def _root(source: str) -> str:
    """Return which table the keys of a source are in: that of a training, or of an optimizer."""
    if source in _words()["presets"]:
        return "optimizer"
    table = _read(source)
    return "train" if table is None or {"model", "data"} & table.keys() else "optimizer"


def _read(source: str) -> dict[str, Any] | None:
    """Return what a config file or a recipe's file holds, or None."""
    path = Path(source)
    if source in _words()["recipes"]:
        path = Path(__file__).parents[1] / "experiment" / "recipes" / f"{source}.toml"
    try:
        text = path.read_text("utf-8")
        table = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    return table if isinstance(table, dict) else None


def _set_keys(source: str, prefix: str) -> list[str]:
    """Return the dotted keys that a source sets, which are those that can be taken back."""
    table = {"preset": source} if source in _words()["presets"] else _read(source) or {}
    return [key for key in _flat(table) if key.startswith(prefix)]


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")


def _entries(root: str, parents: Iterable[str]) -> Mapping[str, Any]:
    """Return the keys of a nested table; none if there is no such table."""
    tables = _words()["tables"]
    entries: Mapping[str, Any] = tables[root]
    for part in parents:
        entries = tables.get(entries.get(part, {}).get("table"), {})
    return entries


def _is_bare_key(root: str, text: str) -> bool:
    *parents, name = text.split(".")
    return "values" in _entries(root, parents).get(name, {})


def _keys(root: str, incomplete: str) -> Words:
    """Return keys that begin so, one level at a time; of a single one, what comes next.

    Shells put a space behind a word that stands alone. So it is offered with its values.
    """
    *parents, begin = incomplete.split(".")
    prefix = "".join(f"{part}." for part in parents)
    entries = {k: e for k, e in _entries(root, parents).items() if k.startswith(begin)}
    found: Words = []
    for name, entry in entries.items():
        alone = len(entries) == 1
        if "table" in entry:
            below = f"{prefix}{name}."
            found += _keys(root, below) if alone else [(below, "table")]
        if "values" in entry:
            key = f"{prefix}{name}"
            found.append((f"{key}=", f"default: {entry['default']}" if "default" in entry else ""))
            if alone:
                found += [(f"{key}={word}", text) for word, text in _values(root, key, "")]
    return found


def _values(root: str, key: str, incomplete: str) -> Words:
    """Return the values of a key that begin so."""
    *parents, name = key.split(".")
    entry = _entries(root, parents).get(name, {})
    return [
        (value, "default" if value == entry.get("default") else "")
        for value in entry.get("values", ())
        if value.startswith(incomplete)
    ]
