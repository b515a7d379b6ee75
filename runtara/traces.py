"""Traces: where the time of one call goes, from the SDK to the commit; and the one door to OpenTelemetry, an extra.

Off unless a system has a `Traces`; then nothing of this is on the way of a call but one look at a variable. What is
handed on, from task to task and over the wire, is the text of a W3C ``traceparent``: no object of the library's.
Where spans go to, the library reads in the ``OTEL_…`` variables by itself.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from typing import Any, Final, Literal

from runtara import __version__
from runtara.errors import ConfigError

__all__ = [
    "Span",
    "Traces",
    "current_trace",
    "flush_traces",
    "open_process_traces",
    "open_traces",
    "tracing",
    "under",
]

_NAME: Final = "runtara"
_PARENT: Final = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})", re.ASCII)

_current: ContextVar[str | None] = ContextVar("runtara_trace", default=None)

current_trace = _current.get
"""Returns the ``traceparent`` of what this task or thread does, None where it is not traced."""


class under:  # noqa: N801 - used as a word in `with under(span.trace):`; a class, as it is on the way of every call
    """Have what is done in the block, in this task or thread, be a part of that trace, or (None) of none."""

    __slots__ = ("_token", "_trace")

    def __init__(self, trace: str | None) -> None:
        self._trace = trace
        self._token: Token[str | None]

    def __enter__(self) -> None:
        self._token = _current.set(self._trace)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class Span:
    """A part of a trace, from its making until `end`."""

    __slots__ = ("_span", "trace")

    def __init__(self, span: Any) -> None:  # Any: the library's, which may not be installed
        self._span = span
        context = span.get_span_context()
        self.trace: Final = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        """Its ``traceparent``, for parts of it."""

    def active(self) -> AbstractContextManager[Any]:
        """Have the library know, within a block, that it is under way, so that spans of others become parts of it."""
        from opentelemetry.trace import use_span

        return use_span(self._span, record_exception=False, set_status_on_exception=False)

    def end(self, error: BaseException | None = None) -> None:
        """Say that it is over, and what it failed with, if it did: the kind of error, not its text."""
        if error is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Traces:
    """Makes spans with a provider of the library's, from any thread."""

    def __init__(self, provider: Any, *, is_own: bool = False) -> None:  # Any: the library's
        from opentelemetry import trace

        self.provider: Final = provider
        self._is_own: Final = is_own
        self._tracer = provider.get_tracer(_NAME)
        self._library: Any = trace
        self._kinds: Final = {
            "client": trace.SpanKind.CLIENT,
            "server": trace.SpanKind.SERVER,
            "internal": trace.SpanKind.INTERNAL,
        }

    def begin(
        self,
        name: str,
        parent: str | None = None,
        kind: Literal["client", "server", "internal"] = "internal",
        **attributes: str | int,
    ) -> Span:
        """Begin a span below `parent`, or else below what the library itself finds to be under way here.

        A malformed parent counts as none. Attributes are put below ``runtara.``.
        """
        named = {f"runtara.{key}": value for key, value in attributes.items()}
        context = None if parent is None else self._context_of(parent)
        return Span(self._tracer.start_span(name, context=context, kind=self._kinds[kind], attributes=named))

    def is_under_way(self) -> bool:
        """Return whether the library has a span of this task or thread."""
        return bool(self._library.get_current_span().get_span_context().is_valid)

    def close(self) -> None:
        """Send what is not sent yet, where nobody else sees to that; nothing more comes."""
        if self._is_own:
            self.provider.shutdown()

    def _context_of(self, parent: str) -> Any:
        """Return what the library calls the context of a span; Any: it may not be installed."""
        found = _PARENT.fullmatch(parent)
        if found is None:
            return None
        known = self._library.SpanContext(
            trace_id=int(found["trace"], 16),
            span_id=int(found["span"], 16),
            is_remote=True,
            trace_flags=self._library.TraceFlags(int(found["flags"], 16)),
        )
        return self._library.set_span_in_context(self._library.NonRecordingSpan(known), self._library.Context())


@contextmanager
def tracing(wanted: bool) -> Iterator[Traces | None]:
    """Give traces to the block, if they are wanted, and send all of them when it ends. Raises like `open_traces`."""
    traces = open_traces() if wanted else None
    try:
        yield traces
    finally:
        if traces is not None:
            traces.close()


def open_process_traces(*, named: bool) -> bool:
    """Give the process a provider where it has none, and the library's variables have `named` a collector.

    Return whether there is one; what it is given is sent when the process ends, or by `flush_traces`. Raises like
    `open_traces`.
    """
    if not named:
        import sys

        return "opentelemetry.sdk.trace" in sys.modules and _process_provider() is not None
    traces = open_traces()
    if _process_provider() is None:
        from opentelemetry import trace

        trace.set_tracer_provider(traces.provider)
    return True


def flush_traces() -> None:
    """Have the process's provider send what it has not sent yet."""
    provider = _process_provider()
    if provider is not None:
        provider.force_flush()


def _process_provider() -> Any:
    """Return the provider that the process has got, None where it has none; Any: the library's.

    Raises `ImportError` where that is not installed.
    """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    found = trace.get_tracer_provider()
    return found if isinstance(found, TracerProvider) else None


def open_traces() -> Traces:
    """Return traces that go where the process's own provider sends them, or else to an OTLP collector over HTTP.

    Raises `ConfigError` where OpenTelemetry is not installed.
    """
    try:
        found = _process_provider()
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError(
            "traces are wanted, and OpenTelemetry is not installed: pip install 'runtara[otel]'"
        ) from None
    if found is not None:
        return Traces(found)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    resource = Resource({"service.name": _NAME, "service.version": __version__}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider, is_own=True)
