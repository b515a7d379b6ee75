"""What may be asked of lists and counts of instances, and what is refused before anything is read."""

from typing import Any

import pytest

from runtara import messages
from runtara.actors._list_checks import LIST_CHECKS, SEARCH_MAX_CHARS, check_filter
from runtara.errors import InvalidInput, NotFound, RuntaraError
from runtara.lifecycle import Status
from runtara.messages import InstanceFilter
from tests.actors.stage import NOW, open_stage


def refusal(command: Any) -> str:
    with pytest.raises(RuntaraError) as caught:
        LIST_CHECKS[type(command)](command)
    return str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"statuses": ("nowhere",)},
        {"statuses": [Status.RUNNING]},
        {"status": "nowhere"},
        {"program": 7},
        {"image_id": "A" * 32},
        {"prefix": "/"},
        {"prefix": None},
        {"prefix": "a" * 129},
        {"created_from": -(10**17)},
        {"created_before": "1"},
        {"finished_from": 1.5},
        {"finished_before": True},
        {"search": None},
        {"search": "a" * (SEARCH_MAX_CHARS + 1)},
        {"search": "a\0"},
        {"search": "\ud800"},
    ],
    ids=str,
)
def test_a_filter_that_means_nothing_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RuntaraError):
        check_filter(InstanceFilter(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"statuses": (Status.RUNNING, Status.FAILED), "search": "é"},
        {"prefix": "order-", "created_from": 0, "finished_before": NOW},
    ],
    ids=str,
)
def test_any_other_filter_may_be_asked_for(fields: dict[str, Any]) -> None:
    check_filter(InstanceFilter(**fields))


@pytest.mark.parametrize("order", ["", "ID", "-id", "started", None, 7])
def test_an_order_that_there_is_not_is_refused(order: Any) -> None:
    assert "order" in refusal(messages.ListInstances(order=order))


def test_two_statuses_that_exclude_each_other_are_refused() -> None:
    one = messages.ListInstances(status=Status.FAILED, filter=InstanceFilter(status=Status.RUNNING))

    assert "exclude" in refusal(one)


@pytest.mark.parametrize("fields", [{"status": "done"}, {"step_type": ""}, {"limit": 0}, {"cursor": 7}], ids=str)
def test_steps_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    refusal(messages.ListSteps(**fields))


@pytest.mark.parametrize(
    "fields",
    [{"from_ms": "1"}, {"to_ms": None}, {"granularity": "weekly"}, {"tenant_id": "../x"}, {"tenant_id": ""}],
    ids=str,
)
def test_spans_of_time_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"tenant_id": "acme", "from_ms": 0, "to_ms": 1}

    refusal(messages.GetTenantMetrics(**(usual | fields)))


async def test_another_tenants_metrics_are_not_found_and_ones_own_are() -> None:
    async with open_stage() as stage:
        ask = messages.GetTenantMetrics(tenant_id="globex", from_ms=NOW, to_ms=NOW + 1)
        with pytest.raises(NotFound):
            await stage.ask("any", ask)
        with pytest.raises(InvalidInput, match="spans"):
            await stage.ask("any", messages.GetTenantMetrics(tenant_id="acme", from_ms=NOW, to_ms=NOW))

        found = await stage.ask("any", messages.GetTenantMetrics(tenant_id="acme", from_ms=NOW, to_ms=NOW + 1))

        assert len(found.buckets) == 1


async def test_instances_are_listed_in_order_searched_and_counted_by_whoever_asks() -> None:
    async with open_stage() as stage:
        for name in ("b", "a", "ab"):
            await stage.ask(name, messages.RegisterInstance(attempt_id="x"))
        await stage.ask("a", messages.CompleteInstance(), epoch=1)

        found = await stage.ask("any", messages.ListInstances(order="-finished"))
        searched = await stage.ask("any", messages.ListInstances(filter=InstanceFilter(search="b")))
        counted = await stage.ask("any", messages.CountInstances())
        steps = await stage.ask("a", messages.ListSteps())

        assert [row.instance_id for row in found.instances] == ["a"]
        assert [row.instance_id for row in searched.instances] == ["ab", "b"]
        assert counted.counts == {Status.RUNNING: 2, Status.COMPLETED: 1}
        assert steps == messages.StepPage(steps=())
