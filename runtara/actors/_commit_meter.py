"""What the writer of a store counts of its transactions: how long they take, how large they are, what is in them."""

from collections.abc import Sequence
from typing import Final

from runtara.clock import monotonic
from runtara.errors import RuntaraError
from runtara.metrics import Metrics
from runtara.store import Save, Writer
from runtara.traces import Traces

__all__ = ["CommitMeter"]


class CommitMeter:
    """Has saves stored, and takes note of it. For the thread of the writer only, where it is one of its own."""

    def __init__(self, metrics: Metrics, traces: Traces | None = None) -> None:
        self._traces: Final = traces
        self._seconds: Final = metrics.tally("runtara_commit_seconds")
        self._sizes: Final = metrics.tally("runtara_commit_batch_size")
        self._transitions: Final = metrics.count("runtara_transitions_total")
        self._checkpoints: Final = metrics.count("runtara_checkpoints_total")
        self._signals: Final = metrics.count("runtara_signals_total")
        self._failures: Final = metrics.counts("runtara_store_failures_total")

    def commit(self, writer: Writer, saves: Sequence[Save], traces: Sequence[str] = ()) -> list[bool]:
        """Store a batch as `Writer.commit` does; an empty one, which only asks whether the store works, counts not.

        `traces` are those of which it is a part: it is as long in each.
        """
        if not traces or self._traces is None:
            return self._commit(writer, saves)
        spans = [self._traces.begin("commit", trace, saves=len(saves)) for trace in traces]
        failure: BaseException | None = None
        try:
            return self._commit(writer, saves)
        except BaseException as error:
            failure = error
            raise
        finally:
            for span in spans:
                span.end(failure)

    def _commit(self, writer: Writer, saves: Sequence[Save]) -> list[bool]:
        began = monotonic()
        try:
            stored = writer.commit(saves)
        except RuntaraError as error:
            if saves:
                self._failures.add(error.code.wire)
            raise
        if saves:
            self._seconds.observe(monotonic() - began)
            self._sizes.observe(len(saves))
            self._note(saves, stored)
        return stored

    def _note(self, saves: Sequence[Save], stored: Sequence[bool]) -> None:
        kept = saves if all(stored) else [save for save, done in zip(saves, stored, strict=True) if done]
        checkpoints = signals = 0
        for save in kept:
            checkpoints += len(save.checkpoints)
            signals += len(save.signals)
        self._transitions.add(len(kept))
        self._checkpoints.add(checkpoints)
        self._signals.add(signals)
