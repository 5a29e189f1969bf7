"""docs/search.md has the keys, spaces and ranges that the code has."""

from __future__ import annotations

import pytest

from nadam_suite.config import TunerConfig
from nadam_suite.tuner.ranges import PARTS, SPACES, TUNABLE, Range, Switch
from tests.docs.pages import page, rows

pytestmark = pytest.mark.once
PAGE = page("docs/search.md")


def cell(parameter):
    """A range and its default, as the page writes them."""
    if parameter is None:
        return "always on"
    if isinstance(parameter, Range):
        log = ", log" if parameter.sampling == "log" else ""
        return f"{parameter.low:g} to {parameter.high:g}{log}; {parameter.default:.4g}"
    if isinstance(parameter, Switch):
        return f"on or off; {'on' if parameter.default else 'off'}"
    return f"{', '.join(map(str, parameter.values))}; {parameter.default}"


def test_every_key_is_explained():
    """In the order of the config."""
    assert [row[0].strip("`") for row in rows(PAGE.section("Keys"))] == [*TunerConfig.model_fields]


def test_every_range_is_there():
    """Of each space, with its default, and what is tuned of it; and of each kind of schedule."""
    tuned = [[f"`{name}`", ", ".join(space.tune)] for name, space in SPACES.items()]
    ranges = [
        [f"`{what}`", f"`{name}`", *(cell(space.parameters.get(name)) for space in SPACES.values())]
        for what, names in TUNABLE.items()
        for name in names
    ]
    assert rows(PAGE.section("Spaces")) == tuned + ranges
    parts = {f"{kind}/{key}": part for kind, table in PARTS.items() for key, part in table.items()}
    expected = [[f"`{name}`", cell(part)] for name, part in parts.items()]
    assert rows(PAGE.section("Schedules")) == expected
