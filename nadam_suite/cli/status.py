"""Exit statuses: what a script can tell from the number with which the command ends."""

from __future__ import annotations

from nadam_suite.errors import NonFiniteError, SearchError

__all__ = ["DONE", "FAILED", "INTERRUPTED", "MEANINGS", "REFUSED", "epilog", "killed", "of_error"]

DONE = 0
FAILED = 1
REFUSED = 2
INTERRUPTED = 130

MEANINGS = {
    DONE: "done",
    FAILED: "a training or a search failed, or `doctor` found a promise broken",
    REFUSED: "arguments, a config or a file were refused; nothing was trained",
    INTERRUPTED: "interrupted by Ctrl-C; `train`, `tune` and `launch` go on with --resume",
}
_SIGNALLED = (
    "128 + N: a worker of `launch` or `tune` was killed by signal N, such as 137 by SIGKILL"
)

# Raised when the work had begun. Everything else that the package raises is said before it.
_OF_WORK = (NonFiniteError, SearchError)


def of_error(error: BaseException) -> int:
    """Return the status with which the command ends after an error of this package.

    Example:
    >>> from nadam_suite.cli.status import of_error
    >>> from nadam_suite.errors import ConfigError, NonFiniteError
    >>> of_error(ConfigError("no epochs")), of_error(NonFiniteError("loss"))
    (2, 1)
    """
    return FAILED if isinstance(error, _OF_WORK) else REFUSED


def killed(number: int) -> int:
    """Return the status of a process that a signal has ended, as shells count."""
    return 128 + number


def epilog() -> str:
    """Return the statuses as the help of the command prints them."""
    rows = [f"{number}: {meaning}" for number, meaning in MEANINGS.items()]
    return "\n\n".join(["Exit status:", *(f"  {row}" for row in [*rows, _SIGNALLED])])
