"""An actor that tells instances what became of their attempts; again and again, until they have heard."""

from typing import Final

import msgspec

from runtara.actors._reply import Reply
from runtara.actors._service import Actor, hears
from runtara.actors._specs import Backoff
from runtara.errors import Retry, RuntaraError
from runtara.ids import InstanceKey
from runtara.messages import Call, CrashInstance, EnforceSignals, TimeOutInstance

__all__ = ["Report", "Reporter"]

_TELL_AGAIN: Final = Backoff(first=0.2, most=30.0)
"""Between tries to report something."""


class Report(msgspec.Struct, frozen=True):
    """It is time to tell an instance something."""

    key: InstanceKey
    command: CrashInstance | EnforceSignals | TimeOutInstance
    failures: int = 0
    """How often it could not be told."""


class _Untold(msgspec.Struct, frozen=True):
    """It could not be told, and has to be again."""

    report: Report


class Reporter(Actor):
    """Hears a `Report`, now or later, and sees to it that the instance does. `instances` is the path of an actor."""

    def __init__(self, instances: str) -> None:
        self._instances: Final = instances

    @hears(Report)
    def report(self, report: Report) -> None:
        """Tell an instance what became of its attempt."""
        mine = self._slot.mailbox

        def then(reply: Reply) -> None:
            if isinstance(reply.error, RuntaraError) and reply.error.retry is not Retry.NEVER:
                mine.put_control(_Untold(report))

        try:
            self.system.cell(self._instances, report.key).ask_then(Call(report.key, report.command), then)
        except RuntaraError:
            mine.put_control(_Untold(report))

    @hears(_Untold)
    def tell_again(self, message: _Untold) -> None:
        """Try once more, after a while."""
        report = message.report
        failures = report.failures + 1
        self.tell_later(_TELL_AGAIN.delay(failures, self.system.random), Report(report.key, report.command, failures))
