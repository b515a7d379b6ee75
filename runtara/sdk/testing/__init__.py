"""Rehearse durable programs in tests: run them, skip their sleeps, crash them at every change, compare the outcomes.

A crash in here is an exception that ends the attempt; nothing of the process dies. Whether the *store* survives a
`kill -9` is proved by the runtime's own tests; what is proved here is that *your program* survives one.
"""

from runtara.sdk.testing._laboratory import Laboratory, assert_survives, crash_everywhere, open_laboratory, run
from runtara.sdk.testing._report import CrashPoint, Difference, Outcome, Report, TakenSignal
from runtara.sdk.testing._scenario import Options, Scenario, SendSignal
from runtara.sdk.testing._stage import Crash

__all__ = [
    "Crash",
    "CrashPoint",
    "Difference",
    "Laboratory",
    "Options",
    "Outcome",
    "Report",
    "Scenario",
    "SendSignal",
    "TakenSignal",
    "assert_survives",
    "crash_everywhere",
    "open_laboratory",
    "run",
]
