"""The table of metrics, the instruments, and what is rendered of them."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtara.metrics import LABELS_MAX, METRICS, OTHER, Metric, Metrics, content_type, render

OURS = [metric for metric in METRICS.values() if not metric.name.startswith("process_")]
COUNTED = [metric for metric in OURS if metric.kind != "gauge"]


def values(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """Each sample of a rendered text, by its name and the values of its labels."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def families(text: bytes) -> Iterator[tuple[str, str, str]]:
    """Name, kind and help of each metric in a rendered text."""
    found = re.finditer(r"^# HELP (\S+) (.*)\n# TYPE \S+ (\S+)$", text.decode(), re.MULTILINE)
    yield from ((one[1], one[3], one[2]) for one in found)


def test_every_metric_of_the_table_is_rendered_with_its_kind_and_its_help() -> None:
    rendered = list(families(Metrics().render()))

    assert {(metric.name, metric.kind, metric.help) for metric in METRICS.values()} == set(rendered)
    assert len(rendered) == len(METRICS)


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric.name)
def test_names_say_what_is_counted_and_in_what_unit(metric: Metric) -> None:
    assert metric.name.startswith("runtara_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not metric.unit or metric.name.endswith(f"_{metric.unit}")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric.name)
def test_no_label_has_as_many_values_as_there_are_instances(metric: Metric) -> None:
    assert not {"instance", "instance_id", "tenant", "tenant_id", "checkpoint_id", "path"} & set(metric.labels)


def test_a_counter_is_what_was_added() -> None:
    metrics = Metrics()

    metrics.count("runtara_transitions_total").add()
    metrics.count("runtara_transitions_total").add(4)

    assert values(metrics.render())["runtara_transitions_total", ()] == 5


def test_a_counter_with_labels_is_one_for_each() -> None:
    metrics = Metrics()

    for code in ("ok", "ok", "busy"):
        metrics.counts("runtara_door_calls_total").add("quic", code)

    found = values(metrics.render())
    assert sorted((labels, value) for (name, labels), value in found.items() if name == "runtara_door_calls_total") == [
        (("busy", "quic"), 1),
        (("ok", "quic"), 2),
    ]


def test_a_histogram_counts_each_value_in_all_buckets_that_it_fits_into() -> None:
    metrics = Metrics()
    seconds = metrics.tally("runtara_commit_seconds")

    for value in (0.001, 0.3, 99.0):
        seconds.observe(value)

    found = values(metrics.render())
    assert found["runtara_commit_seconds_bucket", ("0.0005",)] == 0
    assert found["runtara_commit_seconds_bucket", ("0.001",)] == 1
    assert found["runtara_commit_seconds_bucket", ("0.5",)] == 2
    assert found["runtara_commit_seconds_bucket", ("+Inf",)] == found["runtara_commit_seconds_count", ()] == 3
    assert found["runtara_commit_seconds_sum", ()] == pytest.approx(99.301)


def test_a_histogram_with_labels_is_one_for_each() -> None:
    metrics = Metrics()

    metrics.tallies("runtara_door_call_seconds").of("quic").observe(0.2)
    metrics.tallies("runtara_door_call_seconds").of("http").observe(0.4)

    found = values(metrics.render())
    assert found["runtara_door_call_seconds_sum", ("quic",)] == 0.2
    assert found["runtara_door_call_seconds_sum", ("http",)] == 0.4


def test_a_gauge_is_read_with_each_scrape() -> None:
    metrics, places = Metrics(), [3]
    metrics.read("runtara_runner_places", lambda: places[0])
    metrics.read("runtara_mailbox_depth", lambda: {("root/a",): places[0] + 1})
    metrics.render()

    places[0] = 4

    found = values(metrics.render())
    assert found["runtara_runner_places", ()] == 4
    assert found["runtara_mailbox_depth", ("root/a",)] == 5


def test_a_request_of_the_http_door_is_counted_with_its_time() -> None:
    metrics = Metrics()

    metrics.count_request("GET", "/api/v1/instances", 200, 0.5)

    assert metrics.counts("runtara_http_requests_total").values == {("GET", "/api/v1/instances", "200"): 1}
    assert metrics.tallies("runtara_http_request_seconds").of("GET", "/api/v1/instances").total == 0.5


def test_labels_have_an_end() -> None:
    metrics = Metrics()
    counts, tallies = metrics.counts("runtara_http_requests_total"), metrics.tallies("runtara_http_request_seconds")

    for number in range(LABELS_MAX + 7):
        counts.add("GET", f"/{number}", "200")
        tallies.of("GET", f"/{number}").observe(1)

    assert len(counts.values) == len(tallies.values) == LABELS_MAX + 1
    assert counts.values[OTHER, OTHER, OTHER] == sum(tallies.of(OTHER, OTHER).counts) == 7


def test_a_value_of_a_label_cannot_break_out_of_its_line() -> None:
    metrics = Metrics()

    metrics.counts("runtara_dead_letters_total").add('a"}\nruntara_x 1 \\')

    assert values(metrics.render())["runtara_dead_letters_total", ('a"}\nruntara_x 1 \\',)] == 1


def test_two_systems_of_a_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()

    one.count("runtara_signals_total").add()

    assert values(other.render())["runtara_signals_total", ()] == 0


@pytest.mark.parametrize("metric", COUNTED, ids=lambda metric: metric.name)
def test_an_instrument_is_asked_for_by_name_and_kind(metric: Metric) -> None:
    metrics = Metrics()
    kinds = {"counter": (metrics.count, metrics.counts), "histogram": (metrics.tally, metrics.tallies)}
    right, wrong = kinds[metric.kind][:: -1 if metric.labels else 1]

    assert right(metric.name) is right(metric.name)
    with pytest.raises(TypeError):
        wrong(metric.name)


def test_what_is_not_in_the_table_is_not_measured() -> None:
    with pytest.raises(KeyError):
        Metrics().count("runtara_guesses_total")
    with pytest.raises(KeyError):
        Metrics().read("runtara_guesses", lambda: 1)


def test_the_process_is_measured_too() -> None:
    found = values(render(()))

    assert found["process_resident_memory_bytes", ()] > 1_000_000
    assert found["process_open_fds", ()] > 0


def test_the_media_type_is_that_of_the_text_format() -> None:
    assert content_type().startswith("text/plain; version=")


def test_the_library_is_loaded_only_to_render() -> None:
    code = (
        "import sys, runtara.system; from runtara.metrics import Metrics; Metrics().collect();"
        "assert 'prometheus_client' not in sys.modules; Metrics().render(); assert 'prometheus_client' in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
