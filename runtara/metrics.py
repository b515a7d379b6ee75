"""What a system measures of itself, and the one door to prometheus_client.

The table `METRICS` says all there is to know; instruments, what is rendered and docs/reference/metrics.md follow from
it. Nothing is global: each system has a `Metrics` of its own. An instrument is a plain counter without a lock, changed
by one thread and read by whoever scrapes, so that it costs next to nothing where a message passes; only rendering knows
of the library, and loads it. No label holds an id of an instance, nor anything else that has no end.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeVar

__all__ = [
    "LABELS_MAX",
    "METRICS",
    "OTHER",
    "Count",
    "Counts",
    "Metric",
    "Metrics",
    "Reading",
    "Sample",
    "Tallies",
    "Tally",
    "content_type",
    "render",
]

LABELS_MAX: Final = 1_000
"""Most combinations of labels that one metric tells apart; what comes on top is counted under `OTHER`."""

OTHER: Final = "other"


class Metric(NamedTuple):
    """One row of the table."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()
    """Upper bounds, of a histogram; one without a bound is added."""


_FAST: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LATE: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 3600.0)
_SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0)

METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("runtara_build_info", "gauge", "Always 1; its labels say what runs.", ("version", "python", "store")),
        # What is stored
        Metric(
            "runtara_instances",
            "gauge",
            "Instances of all tenants by status; counted now and then, so that it may be some seconds old.",
            ("status",),
        ),
        Metric("runtara_transitions_total", "counter", "Changes of instances that were stored."),
        Metric("runtara_checkpoints_total", "counter", "Checkpoints that were stored."),
        Metric("runtara_signals_total", "counter", "Signals that were stored."),
        Metric("runtara_commit_seconds", "histogram", "What a transaction took.", unit="seconds", buckets=_FAST),
        Metric("runtara_commit_batch_size", "histogram", "Changes stored in one transaction.", buckets=_SIZES),
        Metric(
            "runtara_store_failures_total",
            "counter",
            "Transactions that the store refused or lost, by the code of the error.",
            ("code",),
        ),
        # What is to be done
        Metric(
            "runtara_wake_lateness_seconds",
            "histogram",
            "How long after its time an instance was woken, waits for a place included.",
            unit="seconds",
            buckets=_LATE,
        ),
        Metric("runtara_heartbeat_silent_total", "counter", "Attempts that were declared silent."),
        Metric(
            "runtara_runner_places", "gauge", "Programs that this system may run at a time; absent without a limit."
        ),
        Metric("runtara_runner_in_use", "gauge", "Places that are taken."),
        Metric("runtara_runner_queued", "gauge", "Due instances, known to this system, that wait for a place."),
        Metric(
            "runtara_launches_total",
            "counter",
            "Programs that were to be launched: launched, refused (there is no such program, or it may not be run) or "
            "failed (for want of something that the host lacks).",
            ("outcome",),
        ),
        # Actors
        Metric("runtara_mailbox_depth", "gauge", "Messages that wait for an actor.", ("actor",)),
        Metric(
            "runtara_mailbox_refused_total",
            "counter",
            "Messages refused because a mailbox was full; for a region, those to its cells.",
            ("actor",),
        ),
        Metric("runtara_actor_restarts_total", "counter", "Restarts of an actor by its supervisor.", ("actor",)),
        Metric("runtara_dead_letters_total", "counter", "Messages that came to nothing.", ("reason",)),
        # Doors
        Metric("runtara_door_connections", "gauge", "Connections that are open.", ("door",)),
        Metric(
            "runtara_door_calls_total",
            "counter",
            "Calls that were answered, `ok` or with the code of an error.",
            ("door", "code"),
        ),
        Metric(
            "runtara_door_call_seconds",
            "histogram",
            "From a call that has come in until its answer is known.",
            ("door",),
            unit="seconds",
            buckets=_FAST,
        ),
        Metric(
            "runtara_http_requests_total",
            "counter",
            "Requests that were answered; `route` is the pattern of the path.",
            ("method", "route", "status"),
        ),
        Metric(
            "runtara_http_request_seconds",
            "histogram",
            "From the head of a request until its answer is sent.",
            ("method", "route"),
            unit="seconds",
            buckets=_FAST,
        ),
        # The process
        Metric(
            "runtara_loop_turn_seconds",
            "histogram",
            "How long the event loop of a host was busy at a stretch: what comes meanwhile waits so long.",
            unit="seconds",
            buckets=_FAST,
        ),
        Metric("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds."),
        Metric("process_resident_memory_bytes", "gauge", "Resident memory size in bytes."),
        Metric("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes."),
        Metric("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds."),
        Metric("process_open_fds", "gauge", "Number of open file descriptors."),
        Metric("process_max_fds", "gauge", "Maximum number of open file descriptors."),
    )
}
"""Name to metric. Those of the process are the library's own, and where there is no /proc they are missing."""

Labels = tuple[str, ...]
Reading = float | Mapping[Labels, float]
"""What a gauge shows: one value, or one for each combination of labels."""


class Count:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, more: int = 1) -> None:
        """Add to it."""
        self.value += more


class Counts:
    """Numbers that only grow, one for each combination of labels."""

    __slots__ = ("values", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.values: dict[Labels, int] = {}

    def add(self, *labels: str) -> None:
        """Count one; beyond `LABELS_MAX` combinations, under `OTHER`."""
        values = self.values
        if labels not in values and len(values) >= LABELS_MAX:
            labels = (OTHER,) * self.width
        values[labels] = values.get(labels, 0) + 1


class Tally:
    """How often values of which size have come: a histogram."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Take note of a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Tallies:
    """Histograms, one for each combination of labels."""

    __slots__ = ("bounds", "values", "width")

    def __init__(self, width: int, bounds: tuple[float, ...]) -> None:
        self.width = width
        self.bounds = bounds
        self.values: dict[Labels, Tally] = {}

    def of(self, *labels: str) -> Tally:
        """Return that of some labels, made if there is none; beyond `LABELS_MAX` combinations that of `OTHER`."""
        tally = self.values.get(labels)
        if tally is None:
            if len(self.values) >= LABELS_MAX:
                labels = (OTHER,) * self.width
            tally = self.values.setdefault(labels, Tally(self.bounds))
        return tally


class Sample(NamedTuple):
    """A metric at one moment, as it is rendered."""

    metric: Metric
    values: tuple[tuple[Labels, float | tuple[tuple[int, ...], float]], ...]
    """Labels to value; of a histogram, to how many were in each bucket, and their sum."""


I = TypeVar("I", Count, Counts, Tally, Tallies)  # noqa: E741 - kinds of instruments


class Metrics:
    """The instruments of one system, by the names of the table. A name that is not in it is a `KeyError`."""

    def __init__(self) -> None:
        self._instruments: Final = {
            name: _instrument(metric)
            for name, metric in METRICS.items()
            if metric.kind != "gauge" and not _is_library(name)
        }
        self._readings: Final[dict[str, Callable[[], Reading]]] = {}

    def count(self, name: str) -> Count:
        """Return a counter without labels."""
        return self._find(name, Count)

    def counts(self, name: str) -> Counts:
        """Return a counter with labels."""
        return self._find(name, Counts)

    def tally(self, name: str) -> Tally:
        """Return a histogram without labels."""
        return self._find(name, Tally)

    def tallies(self, name: str) -> Tallies:
        """Return a histogram with labels."""
        return self._find(name, Tallies)

    def read(self, name: str, reading: Callable[[], Reading]) -> None:
        """Have a gauge, or a counter that somebody else keeps, read by a function with each scrape."""
        self._readings[METRICS[name].name] = reading

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request of the HTTP door; `route` is the pattern of its path, never the path itself."""
        self.counts("runtara_http_requests_total").add(method, route, str(status))
        self.tallies("runtara_http_request_seconds").of(method, route).observe(seconds)

    def collect(self) -> tuple[Sample, ...]:
        """Return every metric as it stands, in the order of the table; to be called where the system runs."""
        return tuple(self._samples())

    def render(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return render(self.collect())

    def _find(self, name: str, kind: type[I]) -> I:
        found = self._instruments[name]
        if not isinstance(found, kind):
            raise TypeError(f"{name} is a {type(found).__name__}, not a {kind.__name__}")
        return found

    def _samples(self) -> Iterator[Sample]:
        for name, metric in METRICS.items():
            reading = self._readings.get(name)
            if reading is not None:
                yield Sample(metric, tuple(_read(reading())))
            elif name in self._instruments:
                yield Sample(metric, tuple(_values(self._instruments[name])))
            elif not _is_library(name):
                yield Sample(metric, ())


def _instrument(metric: Metric) -> Count | Counts | Tally | Tallies:
    width = len(metric.labels)
    if metric.kind == "histogram":
        return Tallies(width, metric.buckets) if width else Tally(metric.buckets)
    return Counts(width) if width else Count()


def _is_library(name: str) -> bool:
    return name.startswith("process_")


def _read(reading: Reading) -> Iterable[tuple[Labels, float]]:
    return reading.items() if isinstance(reading, Mapping) else [((), reading)]


def _values(instrument: Count | Counts | Tally | Tallies) -> Iterator[tuple[Labels, Any]]:
    """Yield the values of an instrument; Any: as in `Sample`."""
    if isinstance(instrument, Count):
        yield (), instrument.value
    elif isinstance(instrument, Counts):
        yield from tuple(instrument.values.items())
    elif isinstance(instrument, Tally):
        yield (), (tuple(instrument.counts), instrument.total)
    else:
        for labels, tally in tuple(instrument.values.items()):
            yield labels, (tuple(tally.counts), tally.total)


# The library ----------------------------------------------------------------------------------------------------------


def content_type() -> str:
    """Return the media type of what `render` returns."""
    from prometheus_client import CONTENT_TYPE_LATEST

    return CONTENT_TYPE_LATEST


def render(samples: Iterable[Sample]) -> bytes:
    """Return samples, and what is known of the process, in the text format of Prometheus; from any thread."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(tuple(samples)))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Families:
    """Samples as the library wants them."""

    def __init__(self, samples: tuple[Sample, ...]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Any]:
        """Yield a family for each metric; Any: its kinds have no name in common that is public."""
        from prometheus_client import core

        families = {"counter": core.CounterMetricFamily, "gauge": core.GaugeMetricFamily}
        for (name, kind, text, labels, unit, bounds), values in self._samples:
            if kind == "histogram":
                histogram = core.HistogramMetricFamily(name, text, labels=labels, unit=unit)
                for of, (counts, total) in values:  # type: ignore[misc]  # the kind says which values it has
                    histogram.add_metric(of, _cumulated(bounds, counts), total)
                yield histogram
            else:
                family = families[kind](name, text, labels=labels, unit=unit)
                for of, value in values:
                    family.add_metric(of, value)
                yield family


def _cumulated(bounds: tuple[float, ...], counts: tuple[int, ...]) -> list[tuple[str, float]]:
    """Return the buckets as they are published: each with all that is smaller."""
    found = 0
    buckets: list[tuple[str, float]] = []
    for name, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        found += count
        buckets.append((name, found))
    return buckets
