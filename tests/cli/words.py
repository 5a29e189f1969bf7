"""Write the words of shell completion from the config's models: `python -m tests.cli.words`."""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

import nadam_suite.cli
from nadam_suite.config import (
    AveragingConfig,
    Config,
    DistributionConfig,
    LossScaleConfig,
    NadamConfig,
    ScheduleConfig,
    TrainConfig,
    TunerConfig,
    list_presets,
)
from nadam_suite.doctor import CELLS
from nadam_suite.experiment import list_recipes
from nadam_suite.experiment.recipes import BUILT_IN

TABLES: dict[str, type[Config]] = {
    "train": TrainConfig,
    "optimizer": NadamConfig,
    "schedule": ScheduleConfig,
    "averaging": AveragingConfig,
    "loss_scale": LossScaleConfig,
    "distribution": DistributionConfig,
    "tuner": TunerConfig,
}
NAMES = {model: name for name, model in TABLES.items()}
# What the models' types do not say.
ALSO = {
    ("train", "model"): list(BUILT_IN),
    ("train", "data"): list(BUILT_IN),
    ("optimizer", "averaging"): ["ema", "power_ema", "swa", "window"],
}
LEFT_OUT = ("schema_version",)


def parts(annotation: Any) -> list[Any]:
    """The types that a union is made of, without what is annotated."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return parts(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [part for inner in typing.get_args(annotation) for part in parts(inner)]
    return [annotation]


def shown(value: Any) -> str | None:
    """A value as an override has it, if that is a plain word."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float, str)):
        return str(value)
    return None


def entry(name: str, key: str, field: FieldInfo) -> dict[str, Any]:
    """The values of a key, its default first, and the table that it may hold."""
    default = None if field.is_required() else shown(field.default)
    found: dict[str, Any] = {} if default is None else {"default": default}
    values = [default]
    for part in parts(field.annotation):
        if isinstance(part, type) and part in NAMES:
            found["table"] = NAMES[part]
        elif typing.get_origin(part) is typing.Literal:
            values += [str(choice) for choice in typing.get_args(part)]
        elif part is bool:
            values += ["true", "false"]
        elif part is type(None):
            values.append("none")
    values += ALSO.get((name, key), [])
    if parts(field.annotation) != [TABLES.get(found.get("table", ""))]:
        found["values"] = list(dict.fromkeys(v for v in values if v is not None))
    return found


def words() -> dict[str, Any]:
    """All words, as the command reads them."""
    tables = {
        name: {
            key: entry(name, key, field)
            for key, field in model.model_fields.items()
            if key not in LEFT_OUT
        }
        for name, model in TABLES.items()
    }
    presets = {row.name: row.description for row in list_presets()}
    tables["optimizer"][NadamConfig.PRESET_KEY] = {"values": list(presets)}
    rows: dict[str, str] = {}
    for cell in CELLS:
        rows.setdefault(cell.id.partition("/")[0], cell.title)
    return {
        "recipes": {row.name: row.description for row in list_recipes()},
        "presets": presets,
        "rows": rows,
        "tables": tables,
    }


def path() -> Path:
    """The file that the command reads."""
    return Path(nadam_suite.cli.__file__).with_name("completion.json")


def text() -> str:
    """What the file must hold."""
    return json.dumps(words(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    path().write_text(text(), encoding="utf-8")
