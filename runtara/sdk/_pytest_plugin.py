"""Fixtures for those who test durable programs with pytest: loaded by pytest itself wherever runtara is installed.

It imports nothing of the runtime until a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runtara.sdk.testing import Laboratory, Report

__all__ = ["crash_everywhere", "runtara_system"]


@pytest.fixture
def runtara_system() -> Iterator[Laboratory]:
    """A system in memory, of the test's own, in which time is skipped: a `runtara.sdk.testing.Laboratory`."""
    from runtara.sdk.testing import open_laboratory

    with open_laboratory() as laboratory:
        yield laboratory


@pytest.fixture
def crash_everywhere(runtara_system: Laboratory) -> Callable[..., Report]:
    """Crash a program at every change in turn, and fail the test with a report unless it survives them all."""
    return runtara_system.assert_survives
