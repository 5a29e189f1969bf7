"""Old name."""

from tests.distribution.problem import *  # noqa: F403
