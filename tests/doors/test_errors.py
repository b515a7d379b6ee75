"""Every row of the error table, through every door: the class that the actor raised, with its text and its advice."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from runtara.actors import instance
from runtara.errors import ERRORS, Code
from runtara.messages import GetInput, GetStatus, TakeSignal
from runtara.sdk import InstanceStatus, SignalType
from runtara.transport.client.call import RETRIED
from tests.doors.matrix import SETTINGS, Way, ask

TEXT = "what happened to i: try this – äöü ✓"


def test_an_error_that_an_instance_raises_arrives_as_it_is(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    with _refusing(monkeypatch) as planted:

        async def conversation(system: Any) -> None:
            await system.sdk("i").register()
            anybody = system.sdk("anybody")
            for code in Code:
                if way.kind.door != "embedded" and code in RETRIED:
                    continue  # see the next test
                planted[:] = [ERRORS[code](TEXT)]
                with pytest.raises(ERRORS[code]) as raised:
                    await ask(anybody, GetInput(), "i")

                assert (type(raised.value), str(raised.value), raised.value.retry) == (ERRORS[code], TEXT, code.retry)
                assert (await ask(anybody, GetStatus(), "i")).status is InstanceStatus.RUNNING

        way.hold(conversation)


def test_an_error_that_passes_is_never_seen_by_who_is_far_away(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    with _refusing(monkeypatch) as planted:

        async def conversation(system: Any) -> None:
            await system.sdk("i").register()
            for code in sorted(RETRIED, key=lambda code: code.wire):
                planted[:] = [ERRORS[code](TEXT), ERRORS[code](TEXT)]
                if way.kind.door == "embedded":  # nothing is in between that could ask again
                    with pytest.raises(ERRORS[code]):
                        await ask(system.sdk("anybody"), GetInput(), "i")
                    continue

                assert (await ask(system.sdk("anybody"), GetInput(), "i")).input is None
                assert planted == []

        way.hold(conversation)


@contextmanager
def _refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Exception]]:
    """Have instances answer `GetInput` with what is on the list, as long as there is something on it."""
    planted: list[Exception] = []
    usual = instance._DECIDE[GetInput]

    def decide(case: Any, command: Any) -> Any:
        if planted:
            raise planted.pop(0)
        return usual(case, command)

    with monkeypatch.context() as patch:
        patch.setitem(instance._DECIDE, GetInput, decide)
        yield planted


# Rows that a program meets by what it does ----------------------------------------------------------------------------


async def _empty_id(way: Way, system: Any, sdk: Any) -> None:
    await sdk.checkpoint("", b"")


async def _unknown_checkpoint(way: Way, system: Any, sdk: Any) -> None:
    await system.sdk("i").register("missing")


async def _unknown_instance(way: Way, system: Any, sdk: Any) -> None:
    await system.signal("nobody", SignalType.CANCEL)


async def _one_place_for_two_names(way: Way, system: Any, sdk: Any) -> None:
    await ask(sdk, TakeSignal(name="one", place="here", timeout_ms=60_000))
    await ask(sdk, TakeSignal(name="two", place="here", timeout_ms=0))


async def _step_after_the_end(way: Way, system: Any, sdk: Any) -> None:
    await sdk.completed(b"done")
    await sdk.checkpoint("late", b"")


async def _taken_over(way: Way, system: Any, sdk: Any) -> None:
    await system.sdk("i").register()
    await sdk.checkpoint("late", b"")


async def _cancelled(way: Way, system: Any, sdk: Any) -> None:
    await system.signal("i", SignalType.CANCEL)
    await sdk.check_cancelled()


async def _paused(way: Way, system: Any, sdk: Any) -> None:
    await system.signal("i", SignalType.PAUSE)
    await sdk.check_paused()


async def _shut_down(way: Way, system: Any, sdk: Any) -> None:
    await system.signal("i", SignalType.SHUTDOWN)
    await sdk.sleep(600, "nap")


async def _too_large(way: Way, system: Any, sdk: Any) -> None:
    await sdk.checkpoint("large", bytes(SETTINGS["state_max_bytes"] + 1))


async def _tries_used_up(way: Way, system: Any, sdk: Any) -> None:
    def fails() -> None:
        raise LookupError("no")

    step = way.face.durable(fails, max_retries=1, delay=0)
    with way.face.use(sdk), pytest.raises(LookupError, match="no"):
        await step()
    again = system.sdk("i")
    await again.register()
    with way.face.use(again):
        await step()


MET: Final[dict[Code, Callable[[Way, Any, Any], Awaitable[None]]]] = {
    Code.INVALID_INPUT: _empty_id,
    Code.NOT_FOUND: _unknown_checkpoint,
    Code.INSTANCE_NOT_FOUND: _unknown_instance,
    Code.ALREADY_EXISTS: _one_place_for_two_names,
    Code.INVALID_STATE: _step_after_the_end,
    Code.FENCED: _taken_over,
    Code.INSTANCE_CANCELLED: _cancelled,
    Code.INSTANCE_PAUSED: _paused,
    Code.INSTANCE_SHUTDOWN: _shut_down,
    Code.RETRIES_EXHAUSTED: _tries_used_up,
    Code.TOO_LARGE: _too_large,
}

ELSEWHERE: Final = {
    Code.CONFIG_ERROR: "settings are read before there is a door: tests/sdk/test_config.py, tests/test_settings.py",
    Code.UNAUTHENTICATED: "the embedded door asks for no credentials: tests/transport/test_gate.py",
    Code.FORBIDDEN: "likewise: tests/transport/test_gate.py",
    Code.UNTRUSTED_SERVER: "only a door to a server has certificates: tests/transport/client/test_door.py",
    Code.BUSY: "who is far away asks again until there is room: tests/doors/test_limits.py",
    Code.UNREACHABLE: "only a server can be away: tests/transport/client/test_calls.py",
    Code.MAILBOX_FULL: "no program of its own can fill one: tests/actors/test_region.py",
    Code.INTERNAL: "a bug, which no test knows how to make",
    Code.ACTOR_FAILED: "a bug: tests/actors/test_ref.py",
    Code.ASK_CYCLE: "actors among themselves: tests/actors/test_ref.py",
    Code.ACTOR_STOPPED: "the end of a system: tests/sdk/test_embedded.py",
    Code.QUARANTINED: "a store that is sick: tests/actors/test_quarantine.py",
    Code.STORE_UNAVAILABLE: "likewise: tests/store/test_sqlite_faults.py",
    Code.DRAINING: "the end of a host: tests/crash/host/test_drain.py",
    Code.OUTCOME_UNKNOWN: "a store that is sick: tests/store/test_sqlite_faults.py",
    Code.DEADLINE_EXCEEDED: "a system that is late: tests/actors/test_ref.py",
    Code.STORE_FULL: "a disk that is full: tests/store/test_sqlite_faults.py",
    Code.STORE_IN_USE: "before there is a door: tests/sdk/test_embedded.py",
    Code.STORE_TOO_NEW: "likewise: tests/sdk/test_embedded.py",
    Code.STORE_CORRUPT: "likewise: tests/sdk/test_embedded.py",
}
"""Rows that no conversation with a healthy system meets, each with the place where they are provoked."""


@pytest.mark.parametrize("code", MET, ids=lambda code: code.name.lower())
def test_a_program_meets_the_same_refusal_on_every_way(way: Way, code: Code) -> None:
    async def conversation(system: Any) -> str:
        sdk = system.sdk("i")
        await sdk.register()
        with pytest.raises(ERRORS[code]) as raised:
            await MET[code](way, system, sdk)
        sdk.close()
        assert type(raised.value) is ERRORS[code]
        return str(raised.value)

    text: str = way.hold(conversation)

    assert _TEXTS.setdefault(code, text) == text


_TEXTS: dict[Code, str] = {}
"""What each refusal said on the first way that met it."""


def test_every_row_is_met_or_has_its_place_elsewhere() -> None:
    assert MET.keys() | ELSEWHERE.keys() == set(Code)
    assert not MET.keys() & ELSEWHERE.keys()
