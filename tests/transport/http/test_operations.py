"""What of a command stands where in a request, and what is refused before anybody is asked."""

from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara import messages
from runtara.endpoints import ENDPOINTS
from runtara.errors import InvalidInput
from runtara.lifecycle import Status
from runtara.transport.http._operations import OPERATIONS, QUERY_FIELDS_MAX, decode_query, decode_segment


def test_every_operation_says_where_each_field_of_its_command_stands() -> None:
    for command, operation in OPERATIONS.items():
        told = {*operation.path_fields}
        for kind in (operation.query, operation.body):
            told |= set(kind.__struct_fields__) if kind is not None else set()
        missing = {field.name for field in msgspec.structs.fields(command)} - told

        assert missing <= {"filter"}, operation.name
        assert operation.row is ENDPOINTS[command]


def test_path_query_and_body_become_the_command() -> None:
    log = OPERATIONS[messages.ReadLog].read({"instance_id": "a"}, b"offset=-5&stream=stderr", b"", None)
    save = OPERATIONS[messages.SaveCheckpoint].read(
        {"instance_id": "a"}, b"", b'{"checkpoint_id": "c", "state": "eA=="}', None
    )
    chore = OPERATIONS[messages.RunChore].read({"chore": "runs"}, b"", b"", None)

    assert log.command == messages.ReadLog(stream="stderr", offset=-5)
    assert log.instance_id == "a"
    assert save.command == messages.SaveCheckpoint(checkpoint_id="c", state=b"x")
    assert chore.command == messages.RunChore(chore="runs")


def test_a_filter_is_spelled_field_by_field_and_what_the_command_has_itself_stays_its_own() -> None:
    found = OPERATIONS[messages.ListInstances].read({}, b"status=failed&prefix=a%20b&created_from=7", b"", None).command
    plain = OPERATIONS[messages.ListInstances].read({}, b"status=failed", b"", None).command
    several = OPERATIONS[messages.ListInstances].read({}, b"statuses=failed&statuses=running", b"", None).command

    assert (found.status, found.filter) == ("failed", messages.InstanceFilter(prefix="a b", created_from=7))
    assert (plain.status, plain.filter) == ("failed", None)
    assert several.filter == messages.InstanceFilter(statuses=(Status.FAILED, Status.RUNNING))


def test_ids_that_a_body_leaves_out_are_made_up_and_always_the_same_for_the_same_key() -> None:
    start, signal = OPERATIONS[messages.StartInstance], OPERATIONS[messages.SendSignal]
    body, path = b'{"program": "p"}', {"instance_id": "a"}

    one, two = [start.read({}, b"", body, "k").instance_id for _ in range(2)]
    free = start.read({}, b"", body, None).instance_id
    named = start.read({}, b"", b'{"program": "p", "instance_id": "mine"}', "k").instance_id
    first = signal.read(path, b"", b'{"kind": "cancel"}', "k").command.signal_id
    elsewhere = signal.read({"instance_id": "b"}, b"", b'{"kind": "cancel"}', "k").command.signal_id

    assert one == two != free
    assert named == "mine"
    assert len({one, first, elsewhere}) == 3


@pytest.mark.parametrize(
    ("command", "query", "body", "said"),
    [
        (messages.GetTree, b"a=1", b"", "no query"),
        (messages.GetTree, b"", b"{}", "no body"),
        (messages.StartInstance, b"", b"", "program"),
        (messages.StartInstance, b"", b"[]", "object"),
        (messages.StartInstance, b"", b'{"program": "p", "priority": "3"}', "priority"),
        (messages.StartInstance, b"", b'{"program": "\xff"}', "StartInstance"),
        (messages.ListInstances, b"limit=1&limit=2", b"", "twice"),
        (messages.ListInstances, b"limit=%ff", b"", "query"),
        (messages.ListInstances, b"limit=\xff", b"", "query"),
        (messages.ListInstances, b"status=lost", b"", "status"),
        (messages.ListInstances, b"&".join([b"a=1"] * (QUERY_FIELDS_MAX + 1)), b"", "query"),
        (messages.StartMany, b"", b'{"starts": ' + b"[" * 200_000, "StartMany"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(command: type, query: bytes, body: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        OPERATIONS[command].read({}, query, body, None)


@given(text=st.text(min_size=1, max_size=30))
def test_a_segment_may_hold_anything_percent_encoded(text: str) -> None:
    assert decode_segment(quote(text, safe="")) == text


@given(query=st.binary(max_size=100), body=st.binary(max_size=100))
def test_bytes_are_a_request_or_refused_and_never_a_bug(query: bytes, body: bytes) -> None:
    for operation in OPERATIONS.values():
        path = dict.fromkeys(operation.path_fields, "x")
        try:
            operation.read(path, query, body, None)
        except InvalidInput:
            continue


def test_a_query_knows_its_types() -> None:
    class Some(msgspec.Struct, forbid_unknown_fields=True):
        flag: bool = False
        number: int | None = None

    assert decode_query(b"flag=true&number=3", Some) == Some(flag=True, number=3)
    with pytest.raises(InvalidInput, match="flag"):
        decode_query(b"flag=perhaps", Some)
