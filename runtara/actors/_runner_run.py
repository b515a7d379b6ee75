"""One attempt in the hands of the runner: how far it has come, how it is stopped, and what is reported of its end.

Owns the order of the ways to stop a program. It does nothing by itself; the runner does.
"""

import logging
import signal
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeAlias

import trio

from runtara.actors._instance_events import StopHow
from runtara.actors._system import System
from runtara.actors.runners import Attempt, Ended, HostFailed
from runtara.errors import Forbidden, NotFound
from runtara.ids import InstanceKey
from runtara.messages import CrashInstance, ExitInstance, RecordUsage
from runtara.metrics import Counts
from runtara.traces import Span, under

__all__ = [
    "STEPS",
    "Graces",
    "How",
    "Run",
    "Step",
    "log_ended",
    "log_launched",
    "log_not_launched",
    "refused",
    "report_of",
    "usage_of",
]

_log: Final = logging.getLogger("runtara.runner")

How: TypeAlias = StopHow | Literal["destroy"]


class Graces(NamedTuple):
    """How long a program may take, in seconds."""

    leave: float
    """To leave by itself, once its instance has no more use for it; or to act upon a signal, until that is enforced."""
    kill: float
    """To end after SIGTERM."""


class Step(NamedTuple):
    """One way to stop a program. What was begun is only ever followed by a harder way."""

    hardness: int
    signal: Literal["ask", "kill", "destroy"] | None
    then: How | None
    """What follows when its time is over, and the program still there."""
    after: Callable[[Graces], float]


_MARGIN: Final = 5.0
"""Seconds in which a program is gone that was killed, and its end noted, on a machine that is busy."""

STEPS: Final[dict[How, Step]] = {
    "leave": Step(1, None, "ask", lambda graces: graces.leave),
    "ask": Step(2, "ask", "kill", lambda graces: graces.kill + _MARGIN),  # the engine sees to the grace by itself
    "kill": Step(3, "kill", "destroy", lambda _: _MARGIN),
    "destroy": Step(4, "destroy", None, lambda _: 0.0),
}


class Run:
    """One attempt, from the decision to launch it until its end is stored."""

    def __init__(
        self, key: InstanceKey, epoch: int, attempt: Attempt | None = None, program: str | None = None
    ) -> None:
        self.key: Final = key
        self.epoch: Final = epoch
        self.program: Final = program
        """None where it is not known: what was adopted, and is on its way out."""
        self.attempt = attempt
        """None until it is launched."""
        self.adopted: Final = attempt is not None
        self.launching: Final = trio.CancelScope()
        """A stop that comes before the launch takes the launch back."""
        self.reporting: Final = trio.CancelScope()
        """Nobody needs the report once a newer attempt is to be launched."""
        self.stopped: How | None = None
        self.counts = True
        """Whether its end may be the program's own fault."""
        self.gone = False
        """Whether nothing of it is left."""
        self.done: Final = trio.Event()
        """Set when nothing more is to be done for it."""
        self.timers: Final[list[trio.CancelScope]] = []
        self.clock_timer: trio.CancelScope | None = None
        """The one that is set again and again, until the attempt has run for as long as it may."""
        self._span: Span | None = None
        self._launches = Counts(1)

    def begin(self, system: System, trace: str | None) -> None:
        """Note that it is to be launched; `trace` is what that is a part of."""
        self._launches = system.metrics.counts("runtara_launches_total")
        if system.traces is not None:
            self._span = system.traces.begin("launch", trace, program=self.program or "", epoch=self.epoch)

    def traced(self) -> under:
        """Have what is done in a block be a part of its launch's trace."""
        return under(None if self._span is None else self._span.trace)

    def launched(self, outcome: Literal["launched", "refused", "failed"], failure: BaseException | None = None) -> None:
        """Note how its launch went."""
        self._launches.add(outcome)
        self._end_span(failure)

    def _end_span(self, failure: BaseException | None = None) -> None:
        span, self._span = self._span, None
        if span is not None:
            span.end(failure)

    def is_softer(self, how: How) -> bool:
        """Whether it has not been stopped in this way, or a harder one, yet."""
        return self.stopped is None or STEPS[self.stopped].hardness < STEPS[how].hardness

    def end(self) -> None:
        """Note that nothing of it is left."""
        self.gone = True
        self._end_span()
        if self.clock_timer is not None:
            self.clock_timer.cancel()
        for timer in self.timers:
            timer.cancel()


def log_launched(run: Run, program: str) -> None:
    """Write into the log of the host that a program was launched."""
    run.launched("launched")
    _log.info("launched", extra={**_names(run), "program": program})


def log_not_launched(run: Run, program: str, failure: HostFailed) -> None:
    """Write into the log of the host that it could not do its part of a launch, and why."""
    run.launched("failed", failure)
    _log.warning("not-launched", extra={**_names(run), "program": program, "error": str(failure)})


def log_ended(run: Run, ended: Ended) -> None:
    """Write into the log of the host that nothing is left of an attempt; what it has said is not for this log."""
    _log.info("ended", extra={**_names(run), "exit_code": ended.exit_code})


def _names(run: Run) -> dict[str, object]:
    return {"tenant_id": run.key.tenant_id, "instance_id": run.key.instance_id, "epoch": run.epoch}


def refused(run: Run, refusal: NotFound | Forbidden) -> Ended:
    """Return the end of an attempt whose program cannot be launched; the exit codes are those of shells."""
    run.launched("refused", refusal)
    return Ended(exit_code=127 if isinstance(refusal, NotFound) else 126, error=str(refusal))


def report_of(run: Run, ended: Ended) -> ExitInstance | CrashInstance:
    """Return what the instance is told: that its program has ended by itself, or that the attempt is lost.

    A program that came through a restart of its host and then fails may have failed for want of the host.
    """
    code = ended.exit_code
    if code is not None and (code == 0 or (code > 0 and run.counts and not run.adopted)):
        return ExitInstance(epoch=run.epoch, exit_code=code, output=ended.output, error=ended.error)
    counts = run.counts and ended.counts
    return CrashInstance(epoch=run.epoch, error=_words_for(ended), exit_code=code, counts=counts)


def usage_of(run: Run, ended: Ended) -> RecordUsage | None:
    """Return what the instance is told of what the attempt has used, where that is known."""
    if ended.memory_peak is None and ended.cpu_seconds is None:
        return None
    return RecordUsage(
        epoch=run.epoch,
        exit_code=ended.exit_code,
        memory_peak=ended.memory_peak,
        cpu_seconds=ended.cpu_seconds,
    )


def _words_for(ended: Ended) -> str:
    code = ended.exit_code
    if code is None:
        return ended.error
    end = f"has ended with exit code {code}" if code >= 0 else f"was killed by {_name_of(-code)}"
    what = f"the program {end}"
    return f"{what}; the end of its stderr:\n{ended.error}" if ended.error else what


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
