"""Spans as they are made in this process: one provider for all tests, since the library takes no second one."""

from collections.abc import Iterator
from functools import cache

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

__all__ = ["Spans"]


@cache
def _exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


class Spans:
    """What is traced from now on."""

    def __init__(self) -> None:
        self._exporter = _exporter()
        self._exporter.clear()

    def named(self, name: str) -> list[ReadableSpan]:
        """All of one name that have ended, in the order of their ends."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        """The only one of a name."""
        (span,) = self.named(name)
        return span

    def line(self, span: ReadableSpan) -> list[str]:
        """What a span is a part of, from the root down to itself, by name."""
        return [f"{one.name}:{one.kind.name.lower()}" for one in reversed(list(self._up(span)))]

    def _up(self, span: ReadableSpan) -> Iterator[ReadableSpan]:
        known = {one.context.span_id: one for one in self._exporter.get_finished_spans() if one.context is not None}
        above: ReadableSpan | None = span
        while above is not None:
            yield above
            above = None if above.parent is None else known[above.parent.span_id]
