"""Calls about instances of other nodes: a region that is told who owns what, and made-up ways to the owners."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from runtara.actors import MailboxSpec, Policy, System, child, forwarder, open_system, supervisor
from runtara.actors.dispatch import Dispatch
from runtara.actors.forwarder import Forwarder
from runtara.actors.instance import Limits
from runtara.actors.instances import Instances
from runtara.actors.storage import InlineReader, InlineWriter
from runtara.endpoints import ENDPOINTS
from runtara.errors import (
    Busy,
    DeadlineExceeded,
    Fenced,
    Forbidden,
    InstanceNotFound,
    OutcomeUnknown,
    RuntaraError,
    StoreUnavailable,
    Unauthenticated,
    Unreachable,
    UntrustedServer,
)
from runtara.ids import InstanceKey
from runtara.messages import (
    Call,
    CrashInstance,
    GetStatus,
    Heartbeat,
    RegisterInstance,
    SaveCheckpoint,
    StartInstance,
)
from runtara.records import Holder
from runtara.store import NodeSpec, Tenure
from runtara.system import EFFECTS
from tests.actors.operations import EXAMPLES, PAYLOAD_MAX
from tests.actors.stage import TrioClock, WatchedStore, key_of

REGION = "root/region"
HOLDER = Holder(node=7, name="other", address="other.test:1", fingerprint="f")


class Owner:
    """The way to another node, which answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any, int | None, float]] = []
        self.answers: list[Any] = []
        """What comes of one call after the other; the last goes on for ever. An event is waited for."""

    async def pass_on(self, key: InstanceKey, command: Any, epoch: int | None, timeout: float) -> Any:
        self.asked.append((key.instance_id, command, epoch, timeout))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, trio.Event):
            with trio.move_on_after(timeout):
                await answer.wait()
                return "late"
            raise DeadlineExceeded("it did not answer in time")
        if isinstance(answer, Exception):
            raise answer
        return answer


class Scene:
    """A node, and the other one."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.store = HeldStore()
        self.holders = self.store.holders
        self.peers: list[Holder] = []
        self.system: System
        self.dispatch: Dispatch

    def peer_of(self, holder: Holder) -> Owner:
        self.peers.append(holder)
        return self.owner

    async def ask(self, command: Any, epoch: int | None = None, timeout: float | None = None) -> Any:
        return await self.dispatch.call(key_of("one"), command, epoch, timeout=timeout)

    def facts(self) -> Mapping[str, Any]:
        actor: Any = self.system.ref("root/forwarder").slot.actor
        facts: Mapping[str, Any] = actor.describe()
        return facts


class HeldStore(WatchedStore):
    """A store in memory, some of whose instances are another node's."""

    def __init__(self) -> None:
        super().__init__()
        self.holders: dict[InstanceKey, Holder] = {}

    def open_reader(self) -> Any:
        return _HeldReader(super().open_reader(), self.holders)


class _HeldReader:
    def __init__(self, reader: Any, holders: Mapping[InstanceKey, Holder]) -> None:
        self._reader = reader
        self._holders = holders

    def load(self, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Any]:
        found = self._reader.load(keys)
        return {
            key: msgspec.structs.replace(row, holder=self._holders.get(key)) if hasattr(row, "holder") else row
            for key, row in found.items()
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


@asynccontextmanager
async def scene(*, reachable: bool = True) -> AsyncIterator[Scene]:
    """A node that knows of one instance, ``one``, which another node owns."""
    scene, clock, tenure = Scene(), TrioClock(), Tenure(NodeSpec(name="me"))
    tenure.until = inf
    region = {
        "writer": "root/writer",
        "readers": ["root/reader"],
        "effects": EFFECTS,
        "limits": Limits(),
        "resident": 1_000,
        "idle_after": 60.0,
        "mailbox": 20_000,
        "batch": 100,
        "clock": clock,
        "tenure": tenure,
        "forwarder": "root/forwarder",
    }
    tree = supervisor(
        "root",
        child("writer", InlineWriter, scene.store),
        child("reader", InlineReader, scene.store),
        child("region", Instances, kwargs=region),
        child(
            "forwarder",
            Forwarder,
            kwargs={"peer_of": scene.peer_of if reachable else None},
            mailbox=MailboxSpec(bound=65_536, policy=Policy.REJECT),
        ),
    )
    async with open_system(tree, rng=random.Random(0)) as scene.system:
        scene.dispatch = Dispatch(scene.system, instances=REGION, reader="root/reader", payload_max_bytes=PAYLOAD_MAX)
        await scene.ask(RegisterInstance(attempt_id="a"))
        actor: Any = scene.system.ref(REGION).slot.actor
        actor._cells.clear()  # from now on it is another node's, of which this one has heard nothing yet
        scene.holders[key_of("one")] = HOLDER
        yield scene


INSTANCE_COMMANDS = [kind for kind, row in ENDPOINTS.items() if row.owner == "instance"]


@pytest.mark.parametrize("kind", INSTANCE_COMMANDS, ids=lambda kind: kind.__name__)
async def test_every_call_about_an_instance_is_answered_by_the_node_that_owns_it(
    kind: type, autojump_clock: MockClock
) -> None:
    async with scene() as node:
        node.owner.answers = ["the answer"]

        answer = await node.ask(EXAMPLES[kind], 3)

        assert answer == "the answer"
        assert [asked[:3] for asked in node.owner.asked] == [("one", EXAMPLES[kind], 3)]
        assert node.peers == [HOLDER]
        assert node.facts() == {"under_way": 0, "passed_on": 1}


async def test_nothing_about_another_nodes_instance_stays_in_memory(autojump_clock: MockClock) -> None:
    async with scene() as node:
        node.owner.answers = ["the answer"]
        for _ in range(3):
            await node.ask(GetStatus())

        actor: Any = node.system.ref(REGION).slot.actor
        assert actor.describe()["cells"] == 0
        assert len(node.owner.asked) == 3


@pytest.mark.parametrize("refusal", [Fenced("older"), InstanceNotFound("unknown")])
async def test_a_refusal_comes_back_as_it_is_and_is_not_asked_for_twice(
    refusal: RuntaraError, autojump_clock: MockClock
) -> None:
    async with scene() as node:
        node.owner.answers = [refusal]

        with pytest.raises(type(refusal), match=str(refusal)):
            await node.ask(Heartbeat(), 1)

        assert len(node.owner.asked) == 1


@pytest.mark.parametrize(
    "trouble",
    [Unreachable("away"), StoreUnavailable("away"), OutcomeUnknown("lost"), DeadlineExceeded("slow")],
    ids=lambda trouble: type(trouble).__name__,
)
async def test_an_owner_that_cannot_answer_now_is_asked_again(trouble: Exception, autojump_clock: MockClock) -> None:
    async with scene() as node:
        node.owner.answers = [trouble, trouble, "the answer"]

        assert await node.ask(GetStatus()) == "the answer"
        assert len(node.owner.asked) == 3


@pytest.mark.parametrize(
    "trouble",
    [Unauthenticated("your credential"), UntrustedServer("another certificate"), Forbidden("no node")],
    ids=lambda trouble: type(trouble).__name__,
)
async def test_a_quarrel_between_nodes_is_not_blamed_on_the_asker(
    trouble: Exception, autojump_clock: MockClock
) -> None:
    async with scene() as node:
        node.owner.answers = [trouble]

        with pytest.raises(Unreachable, match="at odds"):
            await node.ask(Heartbeat(), 1, timeout=5)

        node.owner.answers = [trouble, "the answer"]
        assert await node.ask(Heartbeat(), 1) == "the answer"


async def test_a_call_is_answered_here_once_this_node_has_taken_over(autojump_clock: MockClock) -> None:
    async with scene() as node, trio.open_nursery() as nursery:
        node.owner.answers = [Unreachable("away")]

        async def take_over() -> None:
            await trio.sleep(5)
            node.holders.clear()

        nursery.start_soon(take_over)
        await node.ask(SaveCheckpoint(checkpoint_id="c", state=b"1"), 1)

        assert 5 <= trio.current_time() < 6
        assert node.facts()["under_way"] == 0


async def test_an_owner_that_was_declared_lost_is_not_even_asked(autojump_clock: MockClock) -> None:
    async with scene() as node:
        node.holders[key_of("one")] = msgspec.structs.replace(HOLDER, lost=True)
        node.owner.answers = ["the answer"]

        with pytest.raises(Unreachable, match="'other'"):
            await node.ask(GetStatus(), timeout=10)

        assert node.owner.asked == []


@pytest.mark.parametrize("reachable", [True, False])
async def test_an_owner_without_a_way_to_it_is_named(reachable: bool, autojump_clock: MockClock) -> None:
    async with scene(reachable=reachable) as node:
        if reachable:
            node.holders[key_of("one")] = msgspec.structs.replace(HOLDER, address=None)

        with pytest.raises(Unreachable, match="held by node 'other', which cannot be asked from here"):
            await node.ask(GetStatus(), timeout=10)

        assert trio.current_time() < 10


async def test_who_never_answers_costs_the_asker_no_more_than_its_own_patience(autojump_clock: MockClock) -> None:
    async with scene() as node:
        node.owner.answers = [trio.Event()]

        with pytest.raises(RuntaraError):
            await node.ask(GetStatus(), timeout=10)

        assert trio.current_time() == pytest.approx(10, abs=1)
        assert [asked[3] for asked in node.owner.asked] == [pytest.approx(forwarder.TRY)] * 3 + [
            pytest.approx(10 - 3 * forwarder.TRY, abs=1.5)
        ] * (len(node.owner.asked) - 3)
        await trio.sleep(30)
        assert node.facts()["under_way"] == 0


async def test_an_asker_that_has_gone_is_not_asked_for_any_more(autojump_clock: MockClock) -> None:
    async with scene() as node:
        node.owner.answers = [Unreachable("away")]
        with trio.move_on_after(1):
            await node.ask(GetStatus())
        await trio.sleep(1)
        asked = len(node.owner.asked)

        await trio.sleep(60)

        assert len(node.owner.asked) == asked
        assert node.facts()["under_way"] == 0


async def test_beyond_the_bound_calls_are_refused_and_none_is_dropped(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "FORWARDS_MAX", 100)
    refused: list[str] = []
    answered: list[Any] = []

    async def ask() -> None:
        try:
            answered.append(await node.ask(GetStatus(), timeout=2))
        except Busy as busy:
            refused.append(str(busy))

    async with scene() as node:
        gate = trio.Event()
        node.owner.answers = [gate]
        async with trio.open_nursery() as nursery:
            for _ in range(150):
                nursery.start_soon(ask)
            await trio.sleep(0.1)
            gate.set()

    assert len(answered) == 100
    assert refused == ["100 calls wait for other nodes, the bound: try again later"] * 50


def test_the_bound_is_the_documented_one() -> None:
    assert forwarder.FORWARDS_MAX == 10_000


@pytest.mark.parametrize("kind", INSTANCE_COMMANDS, ids=lambda kind: kind.__name__)
async def test_a_call_that_was_passed_on_is_not_passed_on_again(kind: type, autojump_clock: MockClock) -> None:
    async with scene() as node:
        node.owner.answers = ["the answer"]
        line = node.dispatch.line(key_of("one"), passed_on=True)

        with pytest.raises(Unreachable, match="not by this one"):
            await line.call(EXAMPLES[kind], 1)

        assert node.owner.asked == []


async def test_what_this_node_tells_an_instance_itself_is_never_passed_on(autojump_clock: MockClock) -> None:
    async with scene() as node:
        node.owner.answers = ["the answer"]
        call = Call(key_of("one"), CrashInstance(epoch=1, error="it died"))

        with pytest.raises(Fenced, match="'other'"):
            await node.system.cell(REGION, key_of("one")).ask(call)
        node.system.cell(REGION, key_of("one")).tell_nowait(call)
        await trio.sleep(1)

        assert node.owner.asked == []


async def test_the_neighbours_of_another_nodes_instance_are_answered_here(autojump_clock: MockClock) -> None:
    async with scene() as node:
        node.owner.answers = [trio.Event()]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_refused, node)
            await trio.sleep(0.1)
            await node.dispatch.call(key_of("two"), RegisterInstance(attempt_id="b"))
            answer = await node.dispatch.call(key_of("two"), Heartbeat(), 1)

            assert isinstance(answer, ENDPOINTS[Heartbeat].reply)
            assert trio.current_time() < 1


async def _refused(node: Scene) -> None:
    with pytest.raises(RuntaraError):
        await node.ask(GetStatus(), timeout=5)


async def test_a_node_that_ends_leaves_no_asker_behind(autojump_clock: MockClock) -> None:
    ended: list[RuntaraError] = []

    async def ask() -> None:
        try:
            await node.ask(GetStatus(), timeout=60)
        except RuntaraError as error:
            ended.append(error)

    async with trio.open_nursery() as nursery:
        async with scene() as node:
            node.owner.answers = [trio.Event()]
            nursery.start_soon(ask)
            await trio.sleep(0.1)

    assert len(ended) == 1
    assert trio.current_time() < 1


async def test_a_crash_of_the_forwarder_leaves_no_asker_behind(autojump_clock: MockClock) -> None:
    async with scene() as node:
        node.owner.answers = [ZeroDivisionError("a bug")]

        with pytest.raises(RuntaraError):
            await node.ask(GetStatus(), timeout=60)

        assert trio.current_time() < 1
        node.owner.answers = ["the answer"]
        await trio.sleep(1)
        assert await node.ask(StartInstance(program="ship", input=b"input")) == "the answer"
