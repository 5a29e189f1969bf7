"""What is said of one private name, and what trying it came to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from nadam_suite.doctor.cell import BACKENDS, Observation
from nadam_suite.versions import TITLES, advice, installed

__all__ = ["PrivateName", "PrivateResult"]


@dataclasses.dataclass(frozen=True)
class PrivateName:
    """One thing that is documented for nobody, and that the package relies on all the same.

    Args:
        library: Whose it is: "keras", "keras-tuner" or "tensorflow".
        of: What has it: "optimizer", "variable", "layer", "oracle", "tuner" or "tf".
        name: Its name, without what it belongs to.
        files: The files of the package that use or override it.
        why: What they do with it, and why no public name does.
        relied_on: What it has to do.
        breaks: What a user would see if it did something else.
        check: Tries whether it does what is relied on. What it raises is what was found.
        backends: Backends on which it is used.
    """

    library: str
    of: str
    name: str
    files: tuple[str, ...]
    why: str
    relied_on: str
    breaks: str
    check: Callable[[], Observation]
    backends: tuple[str, ...] = BACKENDS

    @property
    def id(self) -> str:
        """The name with what it belongs to: `optimizer._var_key`."""
        return f"{self.of}.{self.name}"


@dataclasses.dataclass(frozen=True)
class PrivateResult:
    """What the check of one private name came to.

    Args:
        private: The name.
        backend: Backend that it was tried on.
        seen: What was found.
    """

    private: PrivateName
    backend: str
    seen: Observation

    @property
    def as_expected(self) -> bool:
        """Whether it does what is relied on."""
        return self.seen.holds

    def __str__(self) -> str:
        private, files = self.private, ", ".join(self.private.files)
        library = f"{TITLES[private.library]} {installed(private.library)}"
        return (
            f"{library} has changed {private.id}, a private name that nadam_suite relies on "
            f"(tried on {self.backend}).\n"
            f"  relied on:  {private.relied_on}\n"
            f"  found:      {self.seen.detail}\n"
            f"  used in:    {files}: {private.why}\n"
            f"  at risk:    {private.breaks}\n"
            f"  what to do: {advice(private.library)}; or, to bring nadam_suite up to this "
            "release, change these files and the entry in nadam_suite/doctor/private/names.py"
        )
