"""The dashboard in deploy/grafana draws what there is, and all of it."""

import json
import re
from typing import Any

import pytest

from runtara.metrics import METRICS
from tests.house.source import ROOT

FILE = ROOT / "deploy" / "grafana" / "runtara.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
SERIES = {
    name
    for metric in METRICS.values()
    for name in (
        [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        if metric.kind == "histogram"
        else [metric.name]
    )
}
LABELS = {label for metric in METRICS.values() for label in metric.labels} | {"job", "instance", "le"}
FUNCTIONS = {"sum", "rate", "max", "topk", "increase", "vector", "histogram_quantile"}
WORDS = {"by", "or"}


def words(query: str) -> set[str]:
    """The names in a query, without what is in quotes or is a variable of the dashboard or a span."""
    plain = re.sub(r'"[^"]*"|\[[^\]]*\]', " ", query)
    return set(re.findall(r"[a-z_]+\w*", plain))


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_only_for_what_there_is(query: str) -> None:
    unknown = words(query) - SERIES - LABELS - FUNCTIONS - WORDS

    assert not unknown


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_well_formed_and_about_the_servers_that_were_chosen(query: str) -> None:
    for opening, closing in ("()", "{}", "[]"):
        assert query.count(opening) == query.count(closing)
    for selector in re.findall(r"\{(.*?)\}", query):
        assert 'job=~"$job"' in selector
        assert 'instance=~"$instance"' in selector


@pytest.mark.parametrize("query", QUERIES)
def test_only_what_grows_is_taken_the_rate_of_and_only_its_rate_is_drawn(query: str) -> None:
    kinds = {
        f"{metric.name}{part}": metric.kind for metric in METRICS.values() for part in ("", "_bucket", "_sum", "_count")
    }
    for name, kind in [(word, kinds[word]) for word in words(query) if word in kinds]:
        is_rate = re.search(rf"(?:rate|increase)\({name}\b", query) is not None
        assert is_rate == (kind != "gauge"), name


def test_every_metric_of_ours_is_drawn() -> None:
    drawn = {word for query in QUERIES for word in words(str(query.values[0]))}
    missing = [
        metric.name
        for metric in METRICS.values()
        if not {metric.name, f"{metric.name}_bucket"} & drawn and metric.name.startswith("runtara_")
    ]

    assert missing == ["runtara_build_info"], "which only finds the servers"
    assert "runtara_build_info" in json.dumps(DASHBOARD["templating"])


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
        assert place["x"] + place["w"] <= 24
    assert all(panel["description"] for panel in PANELS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_it_can_be_imported_anywhere() -> None:
    sources = {json.dumps(panel["datasource"]) for panel in PANELS}

    assert sources == {json.dumps({"type": "prometheus", "uid": "${datasource}"})}
    assert "id" not in DASHBOARD


def test_the_how_to_page_names_only_metrics_that_there_are() -> None:
    page = (ROOT / "docs" / "how-to" / "observe.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bruntara_\w+", page)) - {"runtara_checkpoints"}

    assert named
    assert named <= SERIES
