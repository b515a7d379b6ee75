import math
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from runtara import messages
from runtara.actors._dispatch_checks import (
    AWAITS_MAX,
    ENV_MAX_BYTES,
    ENV_MAX_NAMES,
    LOG_MAX_BYTES,
    LOG_WAIT_MAX_MS,
    PROGRAM_MAX_BYTES,
    REQUEST_MAX,
)
from runtara.actors.dispatch import PAGE_MAX, TEXT_MAX_BYTES, Dispatch, Outcome
from runtara.clock import INSTANT_MAX_MS, SPAN_MAX_MS
from runtara.endpoints import ENDPOINTS
from runtara.errors import DeadlineExceeded, InstanceNotFound, InvalidInput, NotFound, RuntaraError, TooLarge
from runtara.ids import InstanceKey
from runtara.messages import Call
from runtara.system import INSTANCES, READER
from tests.actors.operations import EXAMPLES, PAYLOAD_MAX, TREE, host, running
from tests.actors.stage import NOW, Stage, WatchedStore, key_of, open_stage

COMMANDS = pytest.mark.parametrize("command", EXAMPLES.values(), ids=lambda command: type(command).__name__)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with open_stage(state_max_bytes=PAYLOAD_MAX) as stage:
        yield await host(stage)


def short(value: object) -> str:
    return f"{type(value).__name__} {value!a}"[:20]


def changed(command: type, **fields: Any) -> Any:
    return msgspec.structs.replace(EXAMPLES[command], **fields)


# Routing --------------------------------------------------------------------------------------------------------------


def test_there_is_an_example_of_every_operation() -> None:
    assert EXAMPLES.keys() == ENDPOINTS.keys()


@COMMANDS
async def test_every_operation_reaches_an_owner_that_answers_with_its_reply(stage: Stage, command: Any) -> None:
    name = "new" if isinstance(command, NEW) else "one"
    await running(stage)

    reply = await stage.ask(name, command, epoch=None if name == "new" else 1)

    assert type(reply) is ENDPOINTS[type(command)].reply


@pytest.mark.parametrize(
    "command",
    [
        messages.WakeInstance(due_at=1),
        messages.DeclareSilent(epoch=1),
        messages.CrashInstance(epoch=1, error="x"),
        messages.ExitInstance(epoch=1, exit_code=0),
        messages.TimeOutInstance(epoch=1),
        messages.EnforceSignals(epoch=1),
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


async def test_the_keeper_of_logs_is_told_whose_log_it_is(stage: Stage) -> None:
    found = await stage.ask("one", messages.ReadLog(), epoch=7)

    assert found.data == f"{key_of('one')} 7".encode()


async def test_whoever_waits_for_a_log_is_given_the_time(autojump_clock: MockClock) -> None:
    async with open_stage() as bare:
        stage = await host(bare)

        assert await stage.ask("one", messages.ReadLog(wait_ms=LOG_WAIT_MAX_MS))


@pytest.mark.parametrize("command", [messages.ReadLog(), messages.GetTree(), messages.GetHealth()], ids=short)
async def test_what_only_a_host_can_answer_is_not_found_elsewhere(command: Any) -> None:
    async with open_stage() as stage:
        with pytest.raises(NotFound, match="not answered by this system"):
            await stage.ask("one", command)


async def test_the_system_answers_on_its_own_loop_whoever_asks(stage: Stage) -> None:
    loop = threading.get_ident()
    threads: list[int] = []

    def tree() -> messages.TreeFound:
        threads.append(threading.get_ident())
        return TREE

    dispatch = Dispatch(
        stage.system,
        instances=INSTANCES,
        reader=READER,
        payload_max_bytes=PAYLOAD_MAX,
        answers={messages.GetTree: tree},
    )

    await dispatch.call(key_of("one"), messages.GetTree())
    await trio.to_thread.run_sync(dispatch.call_from_thread, key_of("one"), messages.GetTree())

    assert threads == [loop, loop]


# Callbacks ------------------------------------------------------------------------------------------------------------


async def outcome_of(stage: Stage, name: str, command: Any, epoch: int | None, timeout: float | None = None) -> Any:
    """What a call with a callback leads to."""
    outcomes: list[Outcome] = []
    settled = trio.Event()

    def then(outcome: Outcome) -> None:
        outcomes.append(outcome)
        settled.set()

    stage.dispatch.line(key_of(name)).call_then(command, epoch, then, timeout)
    await settled.wait()
    assert len(outcomes) == 1
    return outcomes[0].value if outcomes[0].error is None else outcomes[0].error


@COMMANDS
async def test_a_callback_hears_what_an_awaiting_caller_would_be_answered(stage: Stage, command: Any) -> None:
    name = "new" if isinstance(command, NEW) else "one"
    await running(stage)

    reply = await outcome_of(stage, name, command, None if name == "new" else 1)

    assert type(reply) is ENDPOINTS[type(command)].reply


async def test_a_callback_hears_of_a_refusal(stage: Stage) -> None:
    assert isinstance(await outcome_of(stage, "none", messages.GetStatus(), None), InstanceNotFound)


async def test_what_is_malformed_is_refused_before_there_is_a_callback(stage: Stage) -> None:
    heard: list[Outcome] = []

    for bad in (changed(messages.SaveCheckpoint, checkpoint_id=""), messages.WakeInstance(due_at=1)):
        with pytest.raises(InvalidInput):
            stage.dispatch.line(key_of("one")).call_then(bad, 1, heard.append)
    with pytest.raises(DeadlineExceeded):
        stage.dispatch.line(key_of("one")).call_then(messages.GetStatus(), None, heard.append, timeout=-1)

    assert heard == []


# Limits ---------------------------------------------------------------------------------------------------------------

PLAIN_IDS: list[tuple[type, str]] = [
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
    (messages.SendSignal, "grace_ms"),
]
NUMBERS: list[tuple[type, str, int, int]] = [
    (messages.SaveCheckpoint, "request", 1, REQUEST_MAX),
    (messages.Sleep, "request", 1, REQUEST_MAX),
    (messages.RecordEvent, "request", 1, REQUEST_MAX),
    (messages.StartInstance, "timeout_ms", 1, SPAN_MAX_MS),
    (messages.ReadLog, "offset", -(2**63), 2**63 - 1),
    (messages.ReadLog, "limit", 1, LOG_MAX_BYTES),
    (messages.ReadLog, "wait_ms", 0, LOG_WAIT_MAX_MS),
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


def fields(rows: list[tuple[type, str]]) -> pytest.MarkDecorator:
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


@pytest.mark.parametrize(
    ("command", "name", "least", "most"), NUMBERS, ids=lambda part: getattr(part, "__name__", part)
)
async def test_numbers_are_whole_and_have_bounds(
    autojump_clock: MockClock, command: type, name: str, least: int, most: int
) -> None:
    async with open_stage() as bare:
        stage = await host(bare)
        await running(stage)

        for bad in (least - 1, most + 1, 10**30, math.nan, math.inf, 1.5, True, "5"):
            await refused(stage, changed(command, **{name: bad}))
        for good in (least, most):
            target, epoch = (f"new-{good}", None) if command is messages.StartInstance else ("one", 1)
            assert await stage.ask(target, changed(command, **{name: good}), epoch)


@pytest.mark.parametrize(
    "program", ["", "x" * 4097, "é" * 2049, "a\0", "a\n", "a\u2028", "\ud800", 7, None, b"a"], ids=short
)
async def test_a_program_is_a_printable_path_or_name(stage: Stage, program: Any) -> None:
    await running(stage)

    await refused(stage, changed(messages.StartInstance, program=program))


@pytest.mark.parametrize("program", ["ship", "ships/größer als.py", "/opt/ship.py", "x" * PROGRAM_MAX_BYTES], ids=short)
async def test_a_path_may_hold_any_printable_text(stage: Stage, program: str) -> None:
    started = await stage.ask("new", messages.StartInstance(program=program))

    assert started.created


async def test_a_program_that_cannot_be_launched_creates_no_instance(stage: Stage) -> None:
    with pytest.raises(NotFound, match="missing/ship"):
        await stage.ask("new", messages.StartInstance(program="missing/ship"))
    with pytest.raises(InstanceNotFound):
        await stage.ask("new", messages.GetStatus())


RESERVED = ["RUNTARA_TOKEN", "RUNTARA_", "LD_PRELOAD", "LD_", "PYTHONPATH", "PYTHON", "GLIBC_TUNABLES"]


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "A\0", "É", "A-B", "A\n", "\ud800", 7, *RESERVED], ids=short)
async def test_the_name_of_a_variable_is_plain_and_not_the_runtimes_own(stage: Stage, name: Any) -> None:
    await running(stage)

    await refused(stage, changed(messages.StartInstance, env={name: "value"}))


@pytest.mark.parametrize("name", ["A", "_", "a1_B", "PATH", "HOME", "MY_RUNTARA_", "runtara_x", "GLIBC_TUNABLES_"])
async def test_other_variables_are_the_callers(stage: Stage, name: str) -> None:
    assert await stage.ask("new", changed(messages.StartInstance, env={name: "any\nvalue é"}))


@pytest.mark.parametrize(
    "env", [{"A": "\0"}, {"A": "\ud800"}, {"A": 7}, {"A": None}, {"A": b"x"}, ["A"], "A", None], ids=short
)
async def test_the_value_of_a_variable_is_text_without_nul(stage: Stage, env: Any) -> None:
    await running(stage)

    await refused(stage, changed(messages.StartInstance, env=env))


async def test_an_environment_has_a_limit(stage: Stage) -> None:
    await running(stage)
    many = {f"A{number}": "" for number in range(ENV_MAX_NAMES)}
    large = {"A": "x" * (ENV_MAX_BYTES - 1)}

    for env in (many | {"B": ""}, {"AB": large["A"]}, {"A": "é" * (ENV_MAX_BYTES // 2)}):
        await refused(stage, changed(messages.StartInstance, env=env), TooLarge)
    for number, env in enumerate((many, large)):
        assert await stage.ask(f"new-{number}", changed(messages.StartInstance, env=env))


@pytest.mark.parametrize("stream", ["stdin", "", "\ud800", 7, None], ids=short)
async def test_a_log_has_two_streams(stage: Stage, stream: Any) -> None:
    await running(stage)

    await refused(stage, changed(messages.ReadLog, stream=stream))


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


async def test_a_rest_is_for_so_many_well_formed_signals(stage: Stage) -> None:
    await running(stage)
    one = messages.AwaitedSignal(name="go", place="p")

    for bad in ((replace(one, name=""),), (replace(one, place="x" * 2_000),), (one,) * (AWAITS_MAX + 1)):
        await refused(stage, messages.SuspendInstance(awaits=bad))
    assert await stage.ask("one", messages.SuspendInstance(awaits=(one,)), epoch=1)


@pytest.mark.parametrize("times", [{}, {"duration_ms": 5, "until": NOW}])
async def test_a_sleep_has_exactly_one_time(stage: Stage, times: dict[str, Any]) -> None:
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
NEW = (messages.StartInstance, messages.ForkInstance)
"""What is said to an instance that does not exist."""

CREATES = (*NEW, messages.RegisterInstance)


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
    if isinstance(reply, messages.ManyStarted):  # who asks twice has it the second time
        reply = messages.ManyStarted(outcomes=tuple(one.instance_id for one in reply.outcomes))  # type: ignore[misc]
    return f"{type(reply).__name__} {reply}".replace(repr(key.instance_id), "HERE")


@pytest.mark.parametrize("epoch", [None, 1])
@COMMANDS
async def test_the_instance_of_another_tenant_looks_like_one_that_does_not_exist(
    command: Any, epoch: int | None
) -> None:
    store = WatchedStore()
    if isinstance(command, messages.ForkInstance):
        command = messages.ForkInstance(source="two")
    async with open_stage(store, state_max_bytes=PAYLOAD_MAX) as stage:
        await running(stage)
        await running(stage, "two")
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
