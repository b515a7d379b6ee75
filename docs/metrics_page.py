"""The page on metrics: every one with its labels, as the table in the code has them."""

from collections.abc import Iterator

from parts import code_span, head, inline, table

from runtara.metrics import LABELS_MAX, METRICS, OTHER, Metric

__all__ = ["metrics_page"]


def metrics_page() -> Iterator[str]:
    """Every metric, and the buckets of the histograms."""
    yield from head("Metrics", "`METRICS` in runtara/metrics.py")
    yield "A server answers `GET /metrics` with these, in the text format of Prometheus; an embedded system has them"
    yield "from `await system.runtime.gauges.render()`. [Watch a system](../how-to/observe.md) says what to do with"
    yield "them. No label has a value for each instance; beyond"
    yield f"{LABELS_MAX:,} combinations of labels, the rest is counted under `{OTHER}`.\n"
    yield from table(
        "Metric | Kind | Labels | Meaning",
        (
            f"`{metric.name}` | {metric.kind} | {', '.join(map(code_span, metric.labels))} | {inline(metric.help)}"
            for metric in METRICS.values()
        ),
    )
    yield "\nThose that begin with `process_` are of the process as a whole, and only where there is `/proc`.\n"
    yield "## Buckets\n"
    yield "Upper bounds of the histograms; one without a bound comes on top.\n"
    yield from table(
        "Metric | Bounds", (f"`{metric.name}` | {_bounds(metric)}" for metric in METRICS.values() if metric.buckets)
    )


def _bounds(metric: Metric) -> str:
    return ", ".join(f"{bound:g}" for bound in metric.buckets)
