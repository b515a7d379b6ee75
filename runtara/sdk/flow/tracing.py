"""Whether what the backends of this process do is traced; how it is, `runtara.traces` knows."""

from runtara.settings import collector_is_named
from runtara.traces import flush_traces, open_process_traces

__all__ = ["init_tracing", "is_tracing", "shutdown_tracing"]

_is_on = False


def init_tracing() -> None:
    """Have calls of backends that are opened from now on be traced, to where OpenTelemetry's own variables say.

    Spans of tasks become parts of the same traces. Nothing happens where neither ``OTEL_EXPORTER_OTLP_ENDPOINT`` says
    where to nor the process has a tracer provider of its own. Harmless when repeated. Raises `ConfigError` where
    OpenTelemetry is wanted and not installed (``pip install 'runtara[otel]'``).
    """
    global _is_on  # noqa: PLW0603 - it is about the process
    if not _is_on:
        _is_on = open_process_traces(named=collector_is_named())


def shutdown_tracing() -> None:
    """Send what is not sent yet, and trace no backend that is opened from now on. Harmless when repeated."""
    global _is_on  # noqa: PLW0603 - it is about the process
    if _is_on:
        flush_traces()
    _is_on = False


def is_tracing() -> bool:
    """Return whether backends are to be traced."""
    return _is_on
