"""A headless browser for tests of pages; machines without one leave these tests out."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
NEEDS_BROWSER = pytest.mark.skipif(
    BROWSER is None, reason="no chromium or google-chrome is on the PATH"
)

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)


def browse(
    address: str, folder: Path, *options: str, milliseconds: int = 10_000
) -> tuple[str, list[str]]:
    """Open an address; what the browser prints, and what was in its console.

    Args:
        address: Of the page.
        folder: For the browser's profile.
        *options: Such as `--dump-dom`, which prints the document as it is in the end.
        milliseconds: How long the page may think that it runs.
    """
    budget = f"--virtual-time-budget={milliseconds}"
    done = subprocess.run(
        [str(BROWSER), *FLAGS, budget, f"--user-data-dir={folder}", *options, address],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
