"""Instances managed from Python, with every face and before every door."""

from collections.abc import AsyncIterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
import pytest

from runtara.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InstanceCancelled,
    InstanceNotFound,
    InvalidInput,
    InvalidState,
)
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import InstanceInfo
from runtara.sdk.management import new_start
from tests.sdk.management.clients import Client, when_it_waits

T = TypeVar("T")
SECONDS = 100.0


async def listed(rows: AsyncIterable[T]) -> list[T]:
    return [row async for row in rows]


async def until(manage: Any, instance_id: str, status: Status) -> InstanceInfo:
    """Wait until an instance stands so."""
    found: InstanceInfo = await manage.status(instance_id)
    async for found in manage.watch(instance_id):
        if found.status is status:
            break
    return found


class Greeting(msgspec.Struct):
    hello: str


def test_a_program_is_run_to_its_end(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        started = await manage.start("greet", {"name": "Ada"}, instance_id="a")
        again = await manage.start("greet", {"name": "Ada"}, instance_id="a")
        ended = await manage.wait_for_completion("a", SECONDS)

        assert (started.instance_id, started.created, again.created) == ("a", True, False)
        assert (ended.status, (await manage.status("a")).status) == (Status.COMPLETED, Status.COMPLETED)
        assert await manage.input("a") == {"name": "Ada"}
        assert await manage.input_bytes("a") == b'{"name":"Ada"}'
        assert await manage.output("a") == {"hello": '{"name":"Ada"}'}
        assert await manage.output("a", Greeting) == Greeting('{"name":"Ada"}')
        assert await manage.output_bytes("a") == ended.output
        with pytest.raises(AlreadyExists):
            await manage.start("greet", "Bob", instance_id="a")

    client.hold(conversation)


def test_a_start_that_replaces_begins_anew_under_the_same_id(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.start("greet", "Ada", instance_id="r")
        await manage.wait_for_completion("r", SECONDS)

        started = await manage.start("greet", "Bob", instance_id="r", replace=True)
        await manage.wait_for_completion("r", SECONDS)

        assert started.created
        assert await manage.output("r") == {"hello": '"Bob"'}
        assert (await listed(manage.list_events("r")))[0].subtype == "replaced"

    client.hold(conversation)


def test_bytes_go_as_they_are_and_without_an_id_there_is_a_new_one(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        first = await manage.run("greet", b"\x00raw", wait=SECONDS)
        second = await manage.run("greet", wait=timedelta(seconds=SECONDS))

        assert first.instance_id != second.instance_id
        assert await manage.input_bytes(first.instance_id) == b"\x00raw"
        assert await manage.input(second.instance_id) is None
        with pytest.raises(InvalidInput, match="read its bytes instead"):
            await manage.input(first.instance_id)
        with pytest.raises(InvalidInput, match="cannot be expressed in JSON"):
            await manage.start("greet", object())

    client.hold(conversation)


def test_only_what_has_completed_has_an_output(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        failed = await manage.run("fail", instance_id="f", wait=SECONDS)
        await manage.start("wait", instance_id="w")
        with pytest.raises(InvalidState, match="it is"):
            await manage.output("w")
        cancelled = await manage.stop("w", grace=1, timeout=SECONDS)

        assert (failed.status, failed.error) == (Status.FAILED, "ValueError: there is no more paper")
        assert cancelled.status is Status.CANCELLED
        with pytest.raises(InvalidState, match="it is failed: ValueError: there is no more paper"):
            await manage.output("f")
        with pytest.raises(InstanceCancelled):
            await manage.output_bytes("w")

    client.hold(conversation)


def test_the_end_is_pushed_to_whoever_waits(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.start("wait", instance_id="w")
        when_it_waits(manage, lambda other: other.signal("w", "word", {"is": "go"}))
        ended = await manage.wait_for_completion("w", SECONDS)

        assert (ended.status, ended.output) == (Status.COMPLETED, b'{"is":"go"}')

    client.hold(conversation)


def test_a_wait_that_takes_too_long_leaves_the_instance_as_it_is(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.start("wait", instance_id="w")
        for timeout in (0, 0.05, timedelta(milliseconds=1)):
            with pytest.raises(DeadlineExceeded, match="instance w has not ended in time"):
                await manage.wait_for_completion("w", timeout)
        with pytest.raises(InvalidInput, match="timeout of -1 s"):
            await manage.wait_for_completion("w", -1)

        assert (await manage.status("w")).status in (Status.PENDING, Status.RUNNING)
        await manage.signal("w", "word")
        assert (await manage.wait_for_completion("w", SECONDS)).status is Status.COMPLETED

    client.hold(conversation)


def test_one_that_rests_has_not_ended(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.start("rest", instance_id="r")
        await until(manage, "r", Status.SUSPENDED)
        with pytest.raises(DeadlineExceeded, match="it is suspended"):
            await manage.wait_for_completion("r", 0)
        when_it_waits(manage, lambda other: other.signal("r", "word", b"on"))

        assert (await manage.wait_for_completion("r", SECONDS)).output == b"on"

    client.hold(conversation)


def test_every_change_is_told_to_whoever_watches(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.run("greet", instance_id="a", wait=SECONDS)
        await manage.start("wait", instance_id="w")
        when_it_waits(manage, lambda other: other.signal("w", "word"))
        seen = await listed(manage.watch("w"))

        assert [info.status for info in await listed(manage.watch("a"))] == [Status.COMPLETED]
        assert (seen[0].status in (Status.PENDING, Status.RUNNING), seen[-1].status) == (True, Status.COMPLETED)

    client.hold(conversation)


def test_what_is_unknown_is_refused_and_never_an_empty_list(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        for call in (
            manage.status("x"),
            manage.wait_for_completion("x"),
            manage.input_bytes("x"),
            manage.checkpoint("x", "begun"),
            manage.cancel("x"),
            manage.retry("x"),
            manage.fork("x", "y"),
            manage.log("x"),
            listed(manage.watch("x")),
            listed(manage.follow_events("x")),
            listed(manage.list_events("x")),
            listed(manage.list_checkpoints("x")),
            listed(manage.list_steps("x")),
            listed(manage.follow_log("x")),
        ):
            with pytest.raises(InstanceNotFound):
                await call
        for malformed in ("", "a/b", "é"):
            with pytest.raises(InvalidInput):
                await manage.status(malformed)

    client.hold(conversation)


def test_lists_are_read_page_by_page(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        outcomes = await manage.start_many({f"x-{number}": new_start("greet") for number in range(5)})
        again = await manage.start_many({"x-1": new_start("greet"), "x-2": new_start("wait")})
        rows = manage.list_instances(prefix="x-", limit=2)
        first = await rows.page()
        second = await rows.page(first.cursor)

        for number in range(5):  # two listings are alike only once nothing moves
            await manage.wait_for_completion(f"x-{number}", SECONDS)

        assert [outcome.created for outcome in outcomes] == [True] * 5
        assert [(outcome.created, outcome.code) for outcome in again] == [(False, None), (False, "already-exists")]
        names = [f"x-{number}" for number in range(5)]
        assert [row.instance_id for row in await listed(rows)] == names
        assert [row.instance_id for row in [*first.instances, *second.instances]] == names[:4]
        assert [len(page.instances) for page in await listed(rows.pages())] == [2, 2, 1]
        assert await listed(rows) == await listed(rows)

    client.hold(conversation)


def test_a_list_holds_only_what_was_asked_for(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.run("fail", instance_id="f", wait=SECONDS)
        await manage.run("greet", instance_id="g", wait=SECONDS)

        async def names(**wanted: Any) -> list[str]:
            return [row.instance_id for row in await listed(manage.list_instances(**wanted))]

        assert await names() == ["f", "g"]
        assert await names(status=Status.FAILED) == ["f"]
        assert await names(program="greet") == ["g"]
        assert await names(search="ee") == ["g"]
        assert await names(order="-created") == ["g", "f"]
        assert await names(order="finished", finished_before=datetime(2999, 1, 1, tzinfo=UTC)) == ["f", "g"]
        assert await manage.count_instances() == {Status.COMPLETED: 1, Status.FAILED: 1}
        assert await names(created_from=datetime(2999, 1, 1, tzinfo=UTC)) == []
        assert await names(created_before=datetime(2999, 1, 1, tzinfo=UTC)) == ["f", "g"]
        with pytest.raises(InvalidInput, match="no time zone"):
            await names(created_from=datetime(2999, 1, 1))  # noqa: DTZ001 - which is what is refused

    client.hold(conversation)


def test_what_an_instance_leaves_behind_can_be_read(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.run("greet", "Ada", instance_id="g", wait=SECONDS)
        await manage.run("fail", instance_id="f", wait=SECONDS)

        assert [row.checkpoint_id for row in await listed(manage.list_checkpoints("g"))] == ["begun", "greeted"]
        assert [await manage.checkpoint("g", name) for name in ("begun", "greeted", "no")] == [b"", b"state", None]
        events = await listed(manage.list_events("g", limit=2))
        assert (events[0].type, events[-1].type) == ("created", "completed")
        assert [event.payload for event in await listed(manage.list_events("g", subtype="note"))] == [b"half-way"]
        assert await listed(manage.follow_events("g")) == events
        assert [event.type for event in await listed(manage.follow_events("g", type="custom"))] == ["custom"]
        assert [retry.error for retry in await manage.retries("f", "step")] == ["no paper"]
        steps = await listed(manage.list_steps("g", limit=1))
        assert [(step.type, step.step_id) for step in steps] == [("checkpoint", "begun"), ("checkpoint", "greeted")]
        assert [step.error for step in await listed(manage.list_steps("f", type="retry"))] == ["no paper"]

    client.hold(conversation)


def test_events_are_told_as_they_come(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.start("wait", instance_id="w")
        types = []
        async for event in manage.follow_events("w"):
            types.append(event.type)
            if event.type == "registered":
                await manage.signal("w", "word")

        assert (types[0], types[-1]) == ("created", "completed")
        assert "signal-sent" in types

    client.hold(conversation)


def test_an_instance_goes_on_as_another_one(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.run("fail", instance_id="f", wait=SECONDS)
        await manage.run("greet", instance_id="g", wait=SECONDS)
        retried = await manage.retry("f")
        again = await manage.retry("f")
        await manage.wait_for_completion("f.r1", SECONDS)
        forked = await manage.fork("g", "g2", checkpoint_id="begun", input="Bob")
        ended = await manage.wait_for_completion("g2", SECONDS)

        assert (retried.instance_id, retried.created, again.created) == ("f.r1", True, False)
        assert (await manage.retry("f.r1")).instance_id == "f.r2"
        assert (forked.created, ended.output) == (True, b'{"hello":"\\"Bob\\""}')
        with pytest.raises(InvalidState, match="to go on from any other, fork it"):
            await manage.retry("g")

    client.hold(conversation)


def test_an_instance_is_told_to_rest_and_to_go_on(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.start("wait", instance_id="w")
        await until(manage, "w", Status.RUNNING)
        await manage.pause("w")
        info = await until(manage, "w", Status.SUSPENDED)

        assert info.termination_reason is TerminationReason.PAUSED
        await manage.resume("w")
        first = await manage.signal("w", "word", b"go", signal_id="s")
        second = await manage.signal("w", "word", b"go", signal_id="s")

        assert (first.created, second.created) == (True, False)
        assert (await manage.wait_for_completion("w", SECONDS)).output == b"go"
        with pytest.raises(InvalidState):
            await manage.cancel("w")

    client.hold(conversation)


def test_a_program_that_is_shut_down_is_launched_again(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.start("wait", instance_id="w")
        async for event in manage.follow_events("w"):
            if event.type == "registered" and event.epoch == 1:
                await manage.shut_down("w", grace=1)
            elif event.type == "registered":
                await manage.signal("w", "word")
        ended = await manage.status("w")

        assert (ended.status, ended.epoch > 1) == (Status.COMPLETED, True)

    client.hold(conversation)


def test_many_are_told_the_same(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.start_many({name: new_start("wait") for name in ("a-1", "a-2", "b-1")})
        outcomes = await manage.signal_many("cancel", prefix="a-", program="wait", grace=1)
        ended = [await manage.wait_for_completion(name, SECONDS) for name in ("a-1", "a-2")]

        assert [(outcome.instance_id, outcome.created) for outcome in outcomes] == [("a-1", True), ("a-2", True)]
        assert {info.status for info in ended} == {Status.CANCELLED}
        assert (await manage.status("b-1")).status is not Status.CANCELLED
        assert [outcome.instance_id for outcome in await manage.signal_many("cancel")] == ["b-1"]

    client.hold(conversation)
