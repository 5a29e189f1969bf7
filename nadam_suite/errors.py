"""Every error that the package raises on purpose; each is also the builtin a user would catch.

The tree::

    NadamSuiteError
    ├── ArgumentError        (ValueError)      a value out of its range
    ├── ArgumentTypeError    (TypeError)       a value of the wrong type
    ├── ConfigError          (ValueError)      one or more faults in a config, all listed
    ├── SettingError         (AttributeError)  an attribute that cannot be set now
    ├── SerializationError   (TypeError)       an object that a config cannot hold
    ├── StateError           (ValueError)      a saved state that does not fit
    ├── NonFiniteError       (FloatingPointError)  a training that is no longer finite
    ├── MissingExtraError    (ImportError)     an optional dependency that is not installed
    ├── RunFolderError       (OSError)         a run folder that cannot be used
    ├── SearchError          (RuntimeError)    a search that cannot go on
    ├── SearchFolderError    (OSError)         a search folder that cannot be used
    └── DataFileError        (OSError)         a file that cannot be read or is damaged

Catching `NadamSuiteError` catches all of them.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "ConfigError",
    "DataFileError",
    "MissingExtraError",
    "NadamSuiteError",
    "NadamSuiteWarning",
    "NonFiniteError",
    "RunFolderError",
    "SearchError",
    "SearchFolderError",
    "SerializationError",
    "SettingError",
    "StateError",
]


class NadamSuiteError(Exception):
    """Base of every error of this package."""


class ArgumentError(NadamSuiteError, ValueError):
    """An argument has a value out of its range."""


class ArgumentTypeError(NadamSuiteError, TypeError):
    """An argument has the wrong type."""


class ConfigError(NadamSuiteError, ValueError):
    """A config has faults; all of them are listed, in `faults` and in the message.

    Args:
        faults: One sentence a fault, or a single string.
        source: What was read, such as a file name; shown first in the message.
    """

    def __init__(self, faults: str | Iterable[str], source: str | None = None) -> None:
        self.faults = (faults,) if isinstance(faults, str) else tuple(faults)
        self.source = source
        head = f"{source}: " if source else ""
        if len(self.faults) == 1:
            super().__init__(head + self.faults[0])
        else:
            lines = "".join(f"\n  - {fault}" for fault in self.faults)
            super().__init__(f"{head}{len(self.faults)} faults:{lines}")


class SettingError(NadamSuiteError, AttributeError):
    """An attribute cannot be set now."""


class SerializationError(NadamSuiteError, TypeError):
    """An object cannot be written into a config."""


class StateError(NadamSuiteError, ValueError):
    """A saved optimizer state does not fit the optimizer it is loaded into."""


class NonFiniteError(NadamSuiteError, FloatingPointError):
    """Loss or gradients are not finite, and to train on would not help; see the message."""


class MissingExtraError(NadamSuiteError, ImportError):
    """An optional dependency is not installed; the message has the command that installs it."""


class RunFolderError(NadamSuiteError, OSError):
    """A run folder cannot be created, written or resumed."""


class SearchError(NadamSuiteError, RuntimeError):
    """A search for hyperparameters cannot go on, such as when no trial ends well."""


class SearchFolderError(NadamSuiteError, OSError):
    """A search's folder belongs to another search, is damaged, or must not be overwritten."""


class DataFileError(NadamSuiteError, OSError):
    """A file cannot be read, or what it holds is damaged."""


class NadamSuiteWarning(UserWarning):
    """Something the user should know, though training goes on."""
