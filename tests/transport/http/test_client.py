"""Calls as requests of HTTP: what is written is what the server reads. Clients in action: tests/transport/client."""

from typing import Any

import msgspec
import pytest

from runtara.endpoints import ENDPOINTS
from runtara.errors import Code, InvalidInput
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import (
    CheckpointFound,
    GetCheckpoint,
    GetStatus,
    GetTree,
    InstanceFilter,
    ListInstances,
    SaveCheckpoint,
    StartInstance,
    TreeFound,
)
from runtara.transport.frames import Answer, Ask, Goodbye, Pushed, Refusal, Watch, Welcome, encode_frame
from runtara.transport.http._client_pieces import Pieces
from runtara.transport.http._client_pushes import Pushes
from runtara.transport.http._client_requests import answer_of, request_of
from runtara.transport.http._operations import OPERATIONS, decode_segment
from tests.actors.operations import EXAMPLES

OWN = InstanceKey("acme", "one")


def read(ask: Ask) -> Any:
    """Return what the server reads from the request of a call."""
    request = request_of(ask, OWN)
    operation = OPERATIONS[type(ask.command)]
    target, _, query = request.target.partition("?")
    template, parts = operation.row.path.split("/"), target.split("/")
    assert request.verb == operation.row.verb
    named = [(name, part) for name, part in zip(template, parts, strict=True) if name != part]
    assert all(name.startswith("{") for name, _ in named)
    path = {name[1:-1]: decode_segment(part) for name, part in named}
    return operation.read(path, query.encode(), request.body or b"", None)


@pytest.mark.parametrize("command", EXAMPLES.values(), ids=lambda command: type(command).__name__)
def test_the_server_reads_the_command_that_was_asked(command: Any) -> None:
    if type(command) not in ENDPOINTS:
        pytest.skip("no door offers it")

    assert read(Ask(id=1, command=command)).command == command


ODD_IDS = ["a/b", "..", ".", "a b", "%2F", "ü?#&", "a\\b", "x;y=1"]


@pytest.mark.parametrize("odd", ODD_IDS)
def test_an_id_is_read_as_it_was_written_whatever_is_in_it(odd: str) -> None:
    wanted = read(Ask(id=1, command=GetCheckpoint(checkpoint_id=odd), instance_id="other"))

    assert (wanted.command.checkpoint_id, wanted.instance_id) == (odd, "other")
    assert not {".", ".."} & set(request_of(Ask(id=1, command=GetCheckpoint(checkpoint_id=odd)), OWN).target.split("/"))


def test_a_call_that_names_no_instance_is_about_the_own_one() -> None:
    assert read(Ask(id=1, command=GetStatus())).instance_id == "one"
    assert read(Ask(id=1, command=StartInstance(program="report"), instance_id="new")).instance_id == "new"


def test_what_a_query_leaves_out_is_as_it_is_by_default() -> None:
    assert request_of(Ask(id=1, command=ListInstances()), OWN).target == "/api/v1/instances"
    command = ListInstances(limit=7, status=Status.FAILED, filter=InstanceFilter(prefix="a&b="))

    assert read(Ask(id=1, command=command)).command == command


def test_what_json_cannot_hold_and_what_would_be_another_path_is_refused() -> None:
    for command in (GetCheckpoint(checkpoint_id=""), GetCheckpoint(checkpoint_id="\ud800")):
        with pytest.raises(InvalidInput):
            request_of(Ask(id=1, command=command), OWN)
    wrong: Any = object()
    with pytest.raises(InvalidInput):
        request_of(Ask(id=1, command=SaveCheckpoint(checkpoint_id="c", state=wrong)), OWN)


def problem(code: str) -> bytes:
    return msgspec.json.encode({"code": code, "detail": "no", "status": 400})


def test_a_problem_is_the_refusal_that_it_was() -> None:
    ask = Ask(id=5, command=GetStatus())
    for code in Code:
        found = answer_of(ask, code.http_status, "application/problem+json; charset=utf-8", problem(code.wire))

        assert found == Refusal(id=5, code=code.wire, message="no")


def test_a_checkpoint_that_is_not_there_is_an_answer_as_on_every_door() -> None:
    ask = Ask(id=5, command=GetCheckpoint(checkpoint_id="c"))

    assert answer_of(ask, 404, "application/problem+json", problem("not-found")) == Answer(
        5, CheckpointFound(found=False)
    )
    missing = answer_of(ask, 404, "application/problem+json", problem("instance-not-found"))
    assert isinstance(missing, Refusal)


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", b"<p>hello"),
        (200, "application/json", b"{}"),
        (302, "text/plain", b""),
        (502, "text/html", b"bad gateway"),
        (500, "application/problem+json", b"\xff"),
        (500, "application/problem+json", b"[]"),
        (404, "application/json", problem("not-found")),
    ],
)
def test_what_this_server_would_not_say_is_no_answer(status: int, kind: str, body: bytes) -> None:
    assert answer_of(Ask(id=5, command=GetStatus()), status, kind, body) is None


def test_the_tree_is_taken_as_it_is() -> None:
    ask = Ask(id=5, command=GetTree())

    assert answer_of(ask, 200, "application/json", b'{"a": [1]}') == Answer(5, TreeFound(tree=b'{"a": [1]}'))


async def test_a_body_is_given_in_pieces_and_again_from_its_beginning() -> None:
    moves: list[int] = []
    pieces = Pieces(bytes(150 * 1024), lambda: moves.append(1))

    for _ in range(2):
        assert [len(piece) async for piece in pieces] == [64 * 1024, 64 * 1024, 22 * 1024]

    assert len(moves) == 4
    assert [piece async for piece in Pieces(b"", lambda: None)] == []


class Wanting:
    """Calls that want pushes, and note what is heard."""

    is_leaving = False
    wants_pushes = True

    def __init__(self) -> None:
        self.frames: list[Any] = []

    def hello(self) -> bytes:
        return b"hello"

    def heard(self, frame: Any, _now: float) -> None:
        self.frames.append(frame)


def test_a_session_for_pushes_carries_watches_once_it_is_welcome() -> None:
    calls: Any = Wanting()
    begun: list[bool] = []
    pushes = Pushes(calls, lambda: begun.append(True))
    watch = encode_frame(Watch(instance_id="two"))
    said: list[Any] = [
        Welcome(server_version="1", heartbeat_every_ms=1, frame_max_bytes=1),
        Pushed(instance_id="two"),
        Goodbye(),
    ]

    pushes.say(watch)
    assert (pushes.hello(), pushes.is_ready, pushes.is_done) == (b"hello", False, False)
    for frame in said:
        pushes.received(encode_frame(frame)[4:], 0.0)
    pushes.say(watch)

    assert (pushes.outgoing(0.0), pushes.outgoing(0.0)) == ([(watch, False)], [])
    assert calls.frames == said
    assert begun == [True]
    calls.wants_pushes = False
    assert pushes.is_done
    with pytest.raises(InvalidInput):
        pushes.received(b"\xc1", 0.0)
