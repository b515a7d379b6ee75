"""The parts of traces that a region of instances makes: a decision, and how long a change was on its way to the store.

Off where a system has no traces; then none of this is made.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from runtara.actors._cell import Write
from runtara.ids import InstanceKey
from runtara.traces import Span, Traces

__all__ = ["TRACED_MAX", "Persisting", "deciding"]

TRACED_MAX: Final = 64
"""Most calls of one batch that are traced to the commit; the others' traces end before it."""


@contextmanager
def deciding(traces: Traces, parent: str) -> Iterator[None]:
    """Have a decision be a part of the trace of the call that it is about, with what it refuses."""
    span, failure = traces.begin("decide", parent), None
    try:
        yield
    except Exception as error:
        failure = error
        raise
    finally:
        span.end(failure)


class Persisting:
    """One batch on its way to the store and back. A span for each traced call in it, from now until `end`."""

    def __init__(self, traces: Traces, writes: Sequence[Write[InstanceKey, Any]]) -> None:
        self._spans: dict[InstanceKey, Span] = {}
        for write in writes:
            parent = next((message.trace for message, _ in write.burst if message.trace is not None), None)
            if parent is not None and len(self._spans) < TRACED_MAX:
                self._spans[write.key] = traces.begin("persist", parent, batch=len(writes))

    @property
    def parents(self) -> tuple[str, ...]:
        """What the commit is a part of."""
        return tuple(span.trace for span in self._spans.values())

    def trace_of(self, key: InstanceKey) -> str | None:
        """Return what follows from a change is a part of."""
        span = self._spans.get(key)
        return None if span is None else span.trace

    def end(self, error: BaseException | None) -> None:
        """Say that it is back."""
        for span in self._spans.values():
            span.end(error)
