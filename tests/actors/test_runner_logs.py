"""Logs that other nodes keep: which node is asked, and what is said where that is of no use."""

from math import inf
from typing import Any

import pytest
import trio

from runtara.actors._runner_logs import Logs
from runtara.errors import NotFound, RuntaraError, Unreachable
from runtara.ids import InstanceKey
from runtara.messages import Call, LogRead, ReadLog
from runtara.records import Holder

KEY = InstanceKey("acme", "one")
OTHER = Holder(node=7, name="other", address="other.test:1")
LOST = Holder(node=7, name="other", address="other.test:1", lost=True)
WRITTEN = b"ours\n"


class Question:
    """Somebody who waits for an answer until a certain time."""

    deadline = inf

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def settle(self, answer: Any) -> None:
        self.answers.append(answer)

    fail = settle


class Scene:
    """A node, the engine that runs its programs, and the other node."""

    node = "me"

    def __init__(self, *holders: Holder | None, over: bool = True, answer: Any = None) -> None:
        self._holders = list(holders)
        self._over = over
        self._answer = answer
        self.asked: list[tuple[str, float]] = []
        scene: Any = self
        self.logs = Logs(scene, self._is_over, scene)
        self.logs.followers = 1

    async def ask_log(self, *, passed_on: bool = False, **how: Any) -> LogRead:
        question: Any = Question()
        await self.logs.answer(question, Call(KEY, ReadLog(**how), passed_on=passed_on))
        answer = question.answers[0]
        if isinstance(answer, RuntaraError):
            raise answer
        assert isinstance(answer, LogRead)
        return answer

    async def _is_over(self, _key: InstanceKey) -> bool:
        return self._over

    async def read_log(self, _key: InstanceKey, _stream: str, offset: int, _limit: int) -> tuple[bytes, int]:
        return WRITTEN[offset:], offset

    def watch_log(self, _key: InstanceKey) -> trio.Event:
        return trio.Event()

    async def find_log_node(self, _key: InstanceKey) -> Holder | None:
        return self._holders.pop(0) if len(self._holders) > 1 else self._holders[0]

    async def ask(self, holder: Holder, _call: Call, timeout: float, _where: str) -> Any:
        self.asked.append((holder.name, timeout))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


async def test_what_was_asked_for_already_by_another_node_is_read_here_whoever_keeps_it() -> None:
    scene = Scene(OTHER)

    found = await scene.ask_log(passed_on=True)

    assert (found.data, found.node, scene.asked) == (WRITTEN, "me", [])


async def test_the_other_node_is_given_the_time_that_the_asker_wants_to_wait() -> None:
    scene = Scene(OTHER, answer=LogRead(data=b"theirs\n", offset=0, ended=False))

    found = await scene.ask_log(wait_ms=5_000)

    assert (found.data, found.node) == (b"theirs\n", "other")
    assert scene.asked == [("other", 35)]


@pytest.mark.parametrize(("node", "offset", "data"), [("me", 2, b"rs\n"), ("other", 0, WRITTEN), ("", 2, b"rs\n")])
async def test_an_offset_that_was_counted_elsewhere_is_none_here(node: str, offset: int, data: bytes) -> None:
    found = await Scene(None).ask_log(offset=2, node=node)

    assert (found.offset, found.data) == (offset, data)


@pytest.mark.parametrize("first", [None, OTHER])
async def test_no_log_ends_while_the_program_goes_on_elsewhere(first: Holder | None) -> None:
    end = LogRead(data=b"", offset=5, ended=True)

    moved = await Scene(first, Holder(node=8, name="third"), answer=end).ask_log(offset=5)
    stayed = await Scene(first, answer=end).ask_log(offset=5)

    assert (moved.ended, stayed.ended) == (False, True)


@pytest.mark.parametrize(
    ("wait_ms", "over", "kind", "match"),
    [
        (0, False, NotFound, "kept by node 'other', which is gone: start that node again"),
        (9, True, NotFound, "kept by node 'other', which is gone: start that node again"),
        (9, False, Unreachable, "which is gone: ask again when another node has launched the program"),
    ],
)
async def test_only_whoever_follows_what_is_not_over_may_wait_for_a_lost_node(
    wait_ms: int, over: bool, kind: type[RuntaraError], match: str
) -> None:
    with pytest.raises(kind, match=match):
        await Scene(LOST, over=over).ask_log(wait_ms=wait_ms)


async def test_a_node_that_cannot_be_asked_is_named_where_anybody_remembers_its_name() -> None:
    with pytest.raises(NotFound, match="kept by a node that nobody remembers, which is gone"):
        await Scene(Holder(node=3, name="", lost=True)).ask_log()
    with pytest.raises(NotFound, match="kept by node 'other', which cannot be asked from here: ask that node"):
        await Scene(Holder(node=3, name="other")).ask_log()
    with pytest.raises(Unreachable, match=r"node 'other', which does not answer \(no\): try again when it is back"):
        await Scene(OTHER, answer=Unreachable("no")).ask_log()
