"""A test that does not end is ended: it fails by its name, and the run comes to its end.

pytest-timeout interrupts it with a signal, which even a task of trio hears that cannot be cancelled. What does not hear
it, such as C code that never returns or a loop that catches everything, ends a little later with its whole process,
after a dump of every thread. xdist then says which test that was and, being told not to start another worker, ends the
run: another would begin with the same test and stand still at it, too.
"""

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Generator
from typing import Any

import pytest
from pytest_timeout import Settings

__all__ = [
    "pytest_configure",
    "pytest_exception_interact",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
    "pytest_timeout_set_timer",
]

GRACE_S = 20.0
"""How long a test has to fail in after it was interrupted."""
SLACK_S = 20.0
"""How much longer it may get, so that not each of thousands of tests begins and ends a thread that watches it."""

_stderr = pytest.StashKey[int]()
_ends_at = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real standard error: where a dump is written, pytest may just have it captured."""
    assert sys.__stderr__ is not None, "pytest has one"
    config.stash[_stderr] = os.dup(sys.__stderr__.fileno())


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Settings) -> None:
    """Beside the timer of pytest-timeout, have one that needs no help of the interpreter, if only of a test before."""
    stash, least = item.config.stash, time.monotonic() + settings.timeout + GRACE_S
    if not least <= stash.get(_ends_at, 0.0) <= least + SLACK_S:
        stash[_ends_at] = least + SLACK_S
        faulthandler.dump_traceback_later(settings.timeout + GRACE_S + SLACK_S, exit=True, file=stash[_stderr])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Let the time rest while a report is written: interrupted in the middle of that, xdist ends the whole run."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        return (yield)
    finally:
        if left and call.when != "teardown":
            signal.setitimer(signal.ITIMER_REAL, left)


def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Somebody may want to look at what has failed, for as long as he likes."""
    pytest_sessionfinish(node.session)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Cancel it: no more tests."""
    session.config.stash[_ends_at] = 0.0
    faulthandler.cancel_dump_traceback_later()
