import math
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from runtara import messages
from runtara.actors.dispatch import PAGE_MAX, TEXT_MAX_BYTES
from runtara.clock import INSTANT_MAX_MS, SPAN_MAX_MS
from runtara.endpoints import ENDPOINTS
from runtara.errors import InstanceNotFound, InvalidInput, RuntaraError, TooLarge
from runtara.ids import InstanceKey
from runtara.messages import Call
from tests.actors.stage import NOW, Stage, WatchedStore, key_of, open_stage

PAYLOAD_MAX = 1_000

EXAMPLES: dict[type, Any] = {
    messages.StartInstance: messages.StartInstance(program="ship", input=b"input"),
    messages.RegisterInstance: messages.RegisterInstance(attempt_id="attempt"),
    messages.SaveCheckpoint: messages.SaveCheckpoint(checkpoint_id="step", state=b"state"),
    messages.GetCheckpoint: messages.GetCheckpoint(checkpoint_id="step"),
    messages.Sleep: messages.Sleep(checkpoint_id="nap", state=b"state", duration_ms=5),
    messages.Heartbeat: messages.Heartbeat(),
    messages.CompleteInstance: messages.CompleteInstance(output=b"output"),
    messages.FailInstance: messages.FailInstance(error="it broke"),
    messages.SuspendInstance: messages.SuspendInstance(wake_at=NOW),
    messages.RecordEvent: messages.RecordEvent(subtype="note", payload=b"payload"),
    messages.GetStatus: messages.GetStatus(),
    messages.GetInput: messages.GetInput(),
    messages.PollSignals: messages.PollSignals(),
    messages.TakeSignal: messages.TakeSignal(name="go", place="here", timeout_ms=5),
    messages.AcknowledgeSignal: messages.AcknowledgeSignal(signal_id="signal"),
    messages.SendSignal: messages.SendSignal(kind="custom", signal_id="signal", name="go", payload=b"payload"),
    messages.RecordRetry: messages.RecordRetry(checkpoint_id="step", attempt=1, error="it broke", retry_after_ms=5),
    messages.ListRetries: messages.ListRetries(checkpoint_id="step"),
    messages.ListCheckpoints: messages.ListCheckpoints(),
    messages.ListEvents: messages.ListEvents(event_type="custom", subtype="note"),
    messages.ListInstances: messages.ListInstances(status=messages.Status.RUNNING),
}
"""One command of every kind that a running instance, to which ``signal`` was sent, answers."""

COMMANDS = pytest.mark.parametrize("command", EXAMPLES.values(), ids=lambda command: type(command).__name__)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with open_stage(state_max_bytes=PAYLOAD_MAX) as stage:
        yield stage


async def running(stage: Stage, name: str = "one") -> None:
    """Register an instance as attempt 1, and send it a signal."""
    await stage.ask(name, EXAMPLES[messages.RegisterInstance])
    await stage.ask(name, EXAMPLES[messages.SendSignal])


def short(value: object) -> str:
    return f"{type(value).__name__} {value!a}"[:20]


def changed(command: type, **fields: Any) -> Any:
    return msgspec.structs.replace(EXAMPLES[command], **fields)


# Routing --------------------------------------------------------------------------------------------------------------


def test_there_is_an_example_of_every_operation() -> None:
    assert EXAMPLES.keys() == ENDPOINTS.keys()


@COMMANDS
async def test_every_operation_reaches_an_owner_that_answers_with_its_reply(stage: Stage, command: Any) -> None:
    name = "new" if isinstance(command, messages.StartInstance) else "one"
    await running(stage)

    reply = await stage.ask(name, command, epoch=None if name == "new" else 1)

    assert type(reply) is ENDPOINTS[type(command)].reply


@pytest.mark.parametrize(
    "command",
    [
        messages.WakeInstance(due_at=1),
        messages.DeclareSilent(epoch=1),
        messages.CrashInstance(epoch=1, error="x"),
        Call(key_of("one"), messages.GetStatus()),
        object(),
        None,
    ],
    ids=lambda command: type(command).__name__,
)
async def test_what_is_no_operation_of_a_door_is_refused(stage: Stage, command: Any) -> None:
    await running(stage)

    with pytest.raises(InvalidInput, match="not an operation"):
        await stage.ask("one", command)


# Limits ---------------------------------------------------------------------------------------------------------------

PLAIN_IDS: list[tuple[type, str]] = [
    (messages.StartInstance, "program"),
    (messages.RegisterInstance, "attempt_id"),
    (messages.AcknowledgeSignal, "signal_id"),
    (messages.SendSignal, "signal_id"),
]
TEXT_IDS: list[tuple[type, str]] = [
    (messages.RegisterInstance, "checkpoint_id"),
    (messages.SaveCheckpoint, "checkpoint_id"),
    (messages.GetCheckpoint, "checkpoint_id"),
    (messages.Sleep, "checkpoint_id"),
    (messages.RecordRetry, "checkpoint_id"),
    (messages.ListRetries, "checkpoint_id"),
    (messages.RecordEvent, "subtype"),
    (messages.ListEvents, "subtype"),
    (messages.TakeSignal, "name"),
    (messages.TakeSignal, "place"),
    (messages.SendSignal, "name"),
]
PAYLOADS: list[tuple[type, str]] = [
    (messages.StartInstance, "input"),
    (messages.SaveCheckpoint, "state"),
    (messages.Sleep, "state"),
    (messages.CompleteInstance, "output"),
    (messages.RecordEvent, "payload"),
    (messages.SendSignal, "payload"),
]
SPANS: list[tuple[type, str]] = [
    (messages.Sleep, "duration_ms"),
    (messages.TakeSignal, "timeout_ms"),
    (messages.RecordRetry, "retry_after_ms"),
]
ERRORS: list[tuple[type, str]] = [(messages.FailInstance, "error"), (messages.RecordRetry, "error")]
LIMITS: list[tuple[type, str]] = [
    (messages.ListCheckpoints, "limit"),
    (messages.ListEvents, "limit"),
    (messages.ListInstances, "limit"),
]
BAD_PLAIN = ["", "x" * 129, "y" * 10**6, "a b", "a/b", "../a", ".a", "é", "a\0", "a\n", "\ud800", 7, None, b"a", ["a"]]
BAD_TEXT = ["", "x" * 1025, "é" * 513, "x" * 10**6, "a\0b", "a\nb", "\x7f", "\ud800", "a\udfff", 7, b"a", ["a"]]
BAD_SPAN = [-1, SPAN_MAX_MS + 1, 10**30, -(10**30), math.nan, math.inf, -math.inf, 1.5, True, "5"]
BAD_LIMIT = [0, -1, PAGE_MAX + 1, 10**30, math.nan, math.inf, 1.5, True, "5", None]


def fields(rows: list[tuple[type, str]]) -> Any:
    ids = [f"{command.__name__}.{name}" for command, name in rows]
    return pytest.mark.parametrize(("command", "name"), rows, ids=ids)


async def refused(stage: Stage, command: Any, error: type[RuntaraError] = InvalidInput) -> None:
    """Check that a command is refused with that error, and by its text; and that the system goes on."""
    with pytest.raises(error) as caught:
        await stage.ask("one", command, epoch=1)
    assert type(caught.value) is error
    assert str(caught.value).isprintable()
    assert await stage.ask("one", messages.Heartbeat(), epoch=1)


@fields(PLAIN_IDS)
async def test_ids_have_a_limit_and_an_alphabet(stage: Stage, command: type, name: str) -> None:
    await running(stage)

    for bad in BAD_PLAIN:
        await refused(stage, changed(command, **{name: bad}))
    with suppress(InstanceNotFound):
        await stage.ask("limit", changed(command, **{name: "x" * 128}))


@fields(TEXT_IDS)
async def test_names_that_programs_choose_have_a_limit_and_no_control_characters(
    stage: Stage, command: type, name: str
) -> None:
    await running(stage)

    for bad in BAD_TEXT:
        await refused(stage, changed(command, **{name: bad}))
    for good in ("x" * 1024, "é" * 512, "a b", "\N{SNOWMAN}", "../a", "'; --"):
        try:
            await stage.ask("one", changed(command, **{name: good}), epoch=1)
        except RuntaraError as error:
            assert not isinstance(error, InvalidInput)


@fields(PAYLOADS)
async def test_payloads_are_bytes_up_to_their_limit(stage: Stage, command: type, name: str) -> None:
    await running(stage)

    for size in (PAYLOAD_MAX + 1, 100 * PAYLOAD_MAX):
        await refused(stage, changed(command, **{name: bytes(size)}), TooLarge)
    for bad in ("text", bytearray(b"x"), memoryview(b"x"), 7):
        await refused(stage, changed(command, **{name: bad}))
    target, epoch = ("new", None) if command is messages.StartInstance else ("one", 1)
    assert await stage.ask(target, changed(command, **{name: bytes(PAYLOAD_MAX)}), epoch)


@fields(SPANS)
async def test_spans_are_whole_milliseconds_up_to_a_hundred_years(stage: Stage, command: type, name: str) -> None:
    await running(stage)

    for bad in BAD_SPAN:
        await refused(stage, changed(command, **{name: bad}))
    for good in (0, SPAN_MAX_MS):
        assert await stage.ask("one", changed(command, **{name: good}), epoch=1)


@pytest.mark.parametrize("field", ["until", "wake_at"])
async def test_instants_lie_between_1970_and_9999(stage: Stage, field: str) -> None:
    def command(instant: Any) -> Any:
        if field == "until":
            return messages.Sleep(checkpoint_id=f"nap {instant}"[:100], until=instant)
        return messages.SuspendInstance(wake_at=instant)

    await running(stage)

    for bad in (-1, INSTANT_MAX_MS + 1, 10**30, math.nan, math.inf, 1.5, True, "5"):
        await refused(stage, command(bad))
    assert await stage.ask("one", command(INSTANT_MAX_MS), epoch=1)


@pytest.mark.parametrize("times", [{}, {"duration_ms": 5, "until": NOW}])
async def test_a_sleep_has_exactly_one_time(stage: Stage, times: dict[str, int]) -> None:
    await running(stage)

    await refused(stage, messages.Sleep(checkpoint_id="nap", **times))


@fields(ERRORS)
async def test_error_texts_have_a_limit(stage: Stage, command: type, name: str) -> None:
    await running(stage)

    for bad in ("\ud800", 7, b"x"):
        await refused(stage, changed(command, **{name: bad}))
    for long in ("x" * (TEXT_MAX_BYTES + 1), "é" * (TEXT_MAX_BYTES // 2 + 1)):
        await refused(stage, changed(command, **{name: long}), TooLarge)
    assert await stage.ask("one", changed(command, **{name: "x" * TEXT_MAX_BYTES}), epoch=1)


@fields(LIMITS)
async def test_pages_have_a_limit(stage: Stage, command: type, name: str) -> None:
    await running(stage)

    for bad in BAD_LIMIT:
        await refused(stage, changed(command, **{name: bad}))
    for good in (1, PAGE_MAX):
        assert await stage.ask("one", changed(command, **{name: good}))


@pytest.mark.parametrize("attempt", [0, -1, 2**31, 10**30, math.nan, 1.5, True, "1", None], ids=short)
async def test_tries_are_counted_from_one(stage: Stage, attempt: Any) -> None:
    await running(stage)

    await refused(stage, changed(messages.RecordRetry, attempt=attempt))


@pytest.mark.parametrize("fields", [{"kind": "kill"}, {"kind": "cancel"}, {"name": None}, {"kind": None}])
async def test_a_signal_has_a_known_kind_and_a_name_exactly_if_it_is_custom(
    stage: Stage, fields: dict[str, Any]
) -> None:
    await running(stage)

    await refused(stage, changed(messages.SendSignal, signal_id="other", **fields))


@pytest.mark.parametrize("command", [messages.ListCheckpoints, messages.ListEvents, messages.ListInstances])
@pytest.mark.parametrize("cursor", ["", "x", "\ud800", "é", "a\0", "x" * 10**6, 7, b"x"], ids=short)
async def test_a_cursor_that_no_page_gave_out_is_refused(stage: Stage, command: type, cursor: Any) -> None:
    await running(stage)

    await refused(stage, command(cursor=cursor), TooLarge if cursor == "x" * 10**6 else InvalidInput)


@pytest.mark.parametrize("event_type", ["\ud800", 7, b"x", "x" * 10**6], ids=short)
async def test_an_event_type_that_cannot_exist_is_refused(stage: Stage, event_type: Any) -> None:
    await running(stage)

    await refused(stage, messages.ListEvents(event_type=event_type))


@pytest.mark.parametrize("status", ["walking", "\ud800", 7, b"x"], ids=short)
async def test_a_status_that_does_not_exist_is_refused(stage: Stage, status: Any) -> None:
    await running(stage)

    await refused(stage, messages.ListInstances(status=status))


@pytest.mark.parametrize("bad", BAD_PLAIN, ids=short)
async def test_malformed_tenants_and_instances_are_refused(stage: Stage, bad: Any) -> None:
    for key in (InstanceKey(bad, "one"), InstanceKey("acme", bad)):
        for command in (messages.GetStatus(), messages.ListEvents(), messages.RegisterInstance(attempt_id="a")):
            with pytest.raises(InvalidInput):
                await stage.dispatch.call(key, command)


@pytest.mark.parametrize("epoch", [-1, 0, 2, 1.5, "1", math.nan, 2**70], ids=short)
async def test_an_attempt_that_cannot_be_is_refused(stage: Stage, epoch: Any) -> None:
    await running(stage)

    with pytest.raises(RuntaraError):
        await stage.ask("one", EXAMPLES[messages.SaveCheckpoint], epoch)
    assert not (await stage.ask("one", EXAMPLES[messages.GetCheckpoint], epoch=1)).found


# Tenants --------------------------------------------------------------------------------------------------------------

OWN = InstanceKey("acme", "one")
OTHERS = InstanceKey("rival", "one")
CREATES = (messages.StartInstance, messages.RegisterInstance)


def everything(store: WatchedStore) -> Any:
    """All that is stored, but for when instances were heard of."""
    reader = store.open_reader()
    names = [InstanceKey(tenant, name) for tenant in ("acme", "rival") for name in ("one", "none", "two")]
    rows = dict(reader.load(names))
    pages = {
        key: (reader.list_checkpoints(key, 100, None), reader.list_events(key, None, None, 100, None)) for key in rows
    }
    return rows, pages


async def outcome(stage: Stage, key: InstanceKey, command: Any, epoch: int | None) -> str:
    """What a command leads to, as text, with the names that the asker knows anyway taken out."""
    try:
        reply = await stage.dispatch.call(key, command, epoch)
    except RuntaraError as error:
        reply = error
    return f"{type(reply).__name__} {reply}".replace(repr(key.instance_id), "HERE")


@pytest.mark.parametrize("epoch", [None, 1])
@COMMANDS
async def test_the_instance_of_another_tenant_looks_like_one_that_does_not_exist(
    command: Any, epoch: int | None
) -> None:
    store = WatchedStore()
    async with open_stage(store, state_max_bytes=PAYLOAD_MAX) as stage:
        await running(stage)
        await stage.ask("one", EXAMPLES[messages.SaveCheckpoint], epoch=1)
        await stage.ask("one", EXAMPLES[messages.RecordRetry], epoch=1)
        before = everything(store)

        unknown = await outcome(stage, InstanceKey("rival", "none"), command, epoch)
        others = await outcome(stage, OTHERS, command, epoch)
        after = everything(store)

    names = ("'none'", "'one'")
    assert others.replace(names[1], "HERE") == unknown.replace(names[0], "HERE").replace("none", "one")
    assert after[0][OWN] == before[0][OWN]
    assert after[1][OWN] == before[1][OWN]
    if not (isinstance(command, CREATES) and epoch is None) and not isinstance(command, messages.StartInstance):
        assert after == before


async def test_a_tenant_that_uses_the_same_names_gets_instances_of_its_own() -> None:
    store = WatchedStore()
    async with open_stage(store) as stage:
        await running(stage)
        await stage.ask("one", EXAMPLES[messages.SaveCheckpoint], epoch=1)
        registered = await stage.dispatch.call(OTHERS, EXAMPLES[messages.RegisterInstance])
        found = await stage.dispatch.call(OTHERS, EXAMPLES[messages.GetCheckpoint], 1)
        listed = await stage.dispatch.call(OTHERS, messages.ListInstances())
        retries = await stage.dispatch.call(OTHERS, messages.ListRetries(checkpoint_id="step"))

    assert (registered.epoch, registered.resumed, registered.signals) == (1, False, ())
    assert not found.found
    assert [info.instance_id for info in listed.instances] == ["one"]
    assert retries.retries == ()


async def test_a_cursor_of_one_tenant_shows_another_only_its_own() -> None:
    async with open_stage() as stage:
        for tenant in ("acme", "rival"):
            for number in range(4):
                key = InstanceKey(tenant, f"{tenant}-{number}")
                await stage.dispatch.call(key, EXAMPLES[messages.RegisterInstance])
        page = await stage.dispatch.call(OWN, messages.ListInstances(limit=2))
        others = await stage.dispatch.call(OTHERS, messages.ListInstances(limit=100, cursor=page.cursor))

    assert page.cursor is not None
    assert {info.instance_id.partition("-")[0] for info in others.instances} == {"rival"}
