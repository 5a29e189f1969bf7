"""What all configs share: strict, frozen, and one error that lists every fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, get_args

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from nadam_suite.config import faults
from nadam_suite.config.merge import merged
from nadam_suite.errors import ConfigError, SettingError
from nadam_suite.schedules.checks import exact_float

__all__ = ["NUMBER_TAG", "TABLE_TAG", "Config", "Fraction", "Number", "Positive", "Share"]

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # it has no public name

# Names of the alternatives of a union; see `faults.is_tag`.
NUMBER_TAG, TABLE_TAG = "<number>", "<table>"


def _plain(value: Any) -> Any:
    """Return NumPy scalars as the Python numbers that were typed, and no negative zero."""
    if isinstance(value, np.floating):
        value = exact_float(value)
    elif isinstance(value, (np.integer, np.bool_)):
        value = value.item()
    return value + 0.0 if isinstance(value, float) else value


_PLAIN = BeforeValidator(_plain)
Number = Annotated[float, _PLAIN, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, _PLAIN, Field(gt=0.0, allow_inf_nan=False)]
Fraction = Annotated[float, _PLAIN, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]
Share = Annotated[float, _PLAIN, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class _Checked(ModelMetaclass):
    """Metaclass whose calls end in a ConfigError, never in pydantic's own error.

    Nested tables are validated by pydantic's core, which does not come by here, so that their
    faults reach the outermost config one by one.
    """

    def __call__(self: Any, /, *args: Any, **values: Any) -> Any:
        if args:
            raise ConfigError(
                f"{self.__name__} takes keywords alone. Received: {faults.show(args[0])}. "
                f"Use {self.__name__}.from_dict(mapping) for a mapping."
            )
        found: list[str] = []
        prepared = self._prepared(merged({}, values), found)
        config = None
        try:
            config = super().__call__(**prepared)
        except ValidationError as error:
            found += faults.describe(error, self._keys_at)
        found += self.cross_faults(prepared)
        if found:
            raise ConfigError(found)
        return config


class Config(BaseModel, metaclass=_Checked):
    """A frozen table of settings.

    Equal settings make equal configs, numbers come back with the digits that were typed, and an
    int where a float is expected becomes that float. Values of an older `schema_version` are
    migrated, and a `preset` among an optimizer's keys is the base of the others.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite import NadamConfig
    >>> from nadam_suite.config import Config
    >>> issubclass(NadamConfig, Config), NadamConfig(beta_2=0) == NadamConfig(beta_2=0.0)
    (True, True)
    """

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", validate_default=True, protected_namespaces=()
    )

    # What pydantic's locations call this table where it is one alternative of several.
    TAG: ClassVar[str] = TABLE_TAG
    # Keys that came later: fingerprints leave them out while they have their defaults.
    LATER: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str | None = None) -> Self:
        """Return the config that a mapping describes, such as what a file holds.

        Args:
            values: Keys and values; left as it is.
            source: What was read, such as a file name; shown first in the message.

        Raises:
            ConfigError: The mapping has faults; all of them are listed.
        """
        if isinstance(values, cls):
            return values
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{cls.__name__} must be made from a table. Received: {faults.show(values)}. "
                "Pass a mapping of keys and values.",
                source,
            )
        try:
            return cls(**_text_keys(values))
        except ConfigError as error:
            raise ConfigError(error.faults, source or error.source) from None

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Return the config that `obj` describes; see `from_dict`, which takes no options."""
        if options:
            raise ConfigError(
                f"{cls.__name__}.model_validate() takes no options. Received: "
                f"{', '.join(sorted(options))}. Configs are always strict; leave them out."
            )
        return cls.from_dict(obj)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Return the config that a JSON text describes; see `from_dict`."""
        from nadam_suite.config.files import parse

        text = json_data if isinstance(json_data, str) else bytes(json_data).decode("utf-8")
        return cls.model_validate(parse(text, ".json", f"{cls.__name__} JSON"), **options)

    def replace(self, **changes: Any) -> Self:
        """Return a new config with some keys changed.

        Args:
            **changes: Keys and values. A mapping changes the keys it names within a table and
                leaves the others; any other value replaces what was there.

        Raises:
            ConfigError: The result has faults.

        Example:
        >>> from nadam_suite.config import NadamConfig
        >>> NadamConfig(learning_rate=3e-4).replace(use_ema=True).learning_rate
        0.0003
        """
        return type(self).from_dict(merged(self.to_dict(), changes))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; `update` is checked, as in `replace`."""
        return self.replace(**update) if update else super().model_copy(deep=deep)

    def to_dict(self) -> dict[str, Any]:
        """Return every key and value as plain data that JSON can hold."""
        return self.model_dump(mode="json")

    def make_lasting(self, table: dict[str, Any]) -> None:
        """Give a table from `to_dict` the form that fingerprints are made from in every version."""
        for key, value in dict(self).items():
            if key in self.LATER and value == type(self).model_fields[key].default:
                del table[key]
            elif isinstance(value, Config):
                value.make_lasting(table[key])

    def to_json(self, indent: int | None = 2) -> str:
        """Return the config as JSON text, floats with all their digits."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    @classmethod
    def cross_faults(cls, values: Mapping[str, Any], prefix: str = "") -> list[str]:
        """Return the faults that concern several keys, found in values that may be anything."""
        del values, prefix
        return []

    @classmethod
    def _prepared(
        cls, values: dict[str, Any], found: list[str], prefix: str = ""
    ) -> dict[str, Any]:
        """Return values in the form of the current schema; faults on the way go into `found`."""
        del found, prefix
        return values

    @classmethod
    def _keys_at(cls, location: tuple[Any, ...]) -> list[str]:
        """Return the known keys of the table at one of pydantic's locations."""
        tables: list[type[Config]] = [cls]
        for part in location:
            if faults.is_tag(part):
                tables = [table for table in tables if part == table.TAG] or tables
            elif isinstance(part, str):
                fields = [table.model_fields.get(part) for table in tables]
                found = [t for field in fields if field for t in _tables_of(field.annotation)]
                tables = found if any(fields) else tables  # a name that the user has given
        return sorted({key for table in tables for key in table.model_fields})

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to change a frozen config."""
        raise SettingError(
            f"A config cannot be changed. Received: {name}={faults.show(value)}. "
            f"Use `config.replace({name}=...)`, which returns a new one."
        )

    def __delattr__(self, name: str) -> None:
        """Refuse to change a frozen config."""
        raise SettingError(
            f"A config cannot be changed. Received: del {name}. "
            "Use `config.replace(...)`, which returns a new one."
        )


def _tables_of(annotation: Any) -> list[type[Config]]:
    """Return the kinds of table inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables_of(part)]


def _text_keys(values: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Refuse keys that are no text, which keywords cannot carry."""
    wrong = [key for key in values if not isinstance(key, str)]
    if wrong:
        raise ConfigError([f"Keys must be strings. Received: {key!r}. Quote it." for key in wrong])
    return values
