"""The boundaries of messages: the same whatever pieces they come in, and the same as the parser's behind."""

from itertools import pairwise
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.transport.http._filter import RequestFilter
from runtara.transport.http._refusals import Refused
from tests.transport.http.hostile import BODIES, HEADS, WEBSOCKET, get, ours, post

CHUNKED = b"Transfer-Encoding: chunked"


def passed(sent: bytes, cuts: list[int] | None = None) -> tuple[bytes, int | None]:
    """Feed bytes in pieces, and return what went on, and the status of the refusal."""
    messages, on = RequestFilter(ours), b""
    edges = [0, *sorted({cut % (len(sent) + 1) for cut in cuts or []}), len(sent)]
    try:
        for start, end in pairwise(edges):
            on += messages.feed(sent[start:end])
            while messages.has_more:
                on += messages.feed(b"")
    except Refused as error:
        return on, error.status
    return on, None


@pytest.mark.parametrize("case", [*HEADS, *BODIES])
def test_a_hostile_request_is_refused_with_its_status(case: str) -> None:
    sent, status = (HEADS | BODIES)[case]

    assert passed(sent)[1] == status


@pytest.mark.parametrize("case", [name for name, (sent, _) in (HEADS | BODIES).items() if len(sent) < 2_000])
def test_it_is_refused_likewise_where_it_comes_byte_by_byte(case: str) -> None:
    sent, status = (HEADS | BODIES)[case]

    assert passed(sent, list(range(len(sent))))[1] == status


@pytest.mark.parametrize("case", HEADS)
def test_nothing_of_a_hostile_head_goes_on(case: str) -> None:
    assert passed(HEADS[case][0])[0] == b""


GOOD: list[bytes] = [
    get(),
    get(b"Content-Length: 0"),
    post(b"Content-Length: 5", body=b"hello"),
    post(b"Content-Length: 39", body=get()[:39].ljust(39)),
    post(CHUNKED, body=b"0\r\n\r\n"),
    post(CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"),
    post(CHUNKED, body=b"5;name=value\r\n\r\n0\r\n\r\nA\r\n0123456789\r\n000\r\nX: y\r\nZ:\r\n\r\n"),
    post(CHUNKED, body=b"1\r\nx\r\n" * 50 + b"0\r\n\r\n"),
    get(b"X: \xff\xfe", b"Cookie: a=b"),
]


def parsed(sent: bytes) -> list[tuple[bytes, bytes]]:
    """Return the targets and bodies that the parser finds."""
    parser, found, body = h11.Connection(h11.SERVER), [], b""
    parser.receive_data(sent)
    target = b""
    while True:
        event: Any = parser.next_event()
        if isinstance(event, h11.Request):
            target, body = event.target, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            found.append((target, body))
            parser.send(h11.Response(status_code=204, headers=[]))
            parser.send(h11.EndOfMessage())
            if parser.their_state is h11.DONE and parser.our_state is h11.DONE:
                parser.start_next_cycle()
        else:
            return found


@given(st.lists(st.sampled_from(GOOD), max_size=5), st.lists(st.integers(0, 10_000), max_size=12))
def test_good_requests_go_on_as_they_are_in_whatever_pieces_they_come(requests: list[bytes], cuts: list[int]) -> None:
    sent = b"".join(requests)

    assert passed(sent, cuts) == (sent, None)


@given(st.lists(st.sampled_from(GOOD), min_size=1, max_size=4), st.data())
def test_each_message_goes_on_alone_and_ends_where_the_parser_ends_it(
    requests: list[bytes], data: st.DataObject
) -> None:
    messages, pieces = RequestFilter(ours), []
    piece = messages.feed(b"".join(requests))
    pieces.append(piece)
    while messages.has_more:
        pieces.append(messages.feed(b""))

    assert pieces == requests
    assert messages.is_between
    assert [parsed(piece) for piece in pieces] == [[found] for found in parsed(b"".join(requests))]


def test_a_head_is_known_only_of_what_was_passed_on_last() -> None:
    messages, heads = RequestFilter(ours), []
    for piece in (get()[:9], get()[9:] + get(b"X: y") + post(b"Content-Length: 5", body=b"hello"), b"", b"", get()):
        messages.feed(piece)
        heads.append(messages.head and messages.head.fields[1:])

    assert heads == [None, [], [(b"x", b"y")], None, []]


NOISE = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b"0", b"5", b"5\r\n", b"0\r\n\r\n", b"\x00", b"\xff", b"x" * 300,
    b"X: y\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: localhost\r\n", b"TRACE", b"HTTP/2.0", b"a" * 9_000, b"X: " + b"y" * 17_000, b"Connection: close\r\n",
]  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Requests with noise in them."""
    sent = bytearray(b"".join(draw(st.lists(st.sampled_from(GOOD), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(sent)))
        sent[at : at + draw(st.integers(0, 3))] = draw(st.sampled_from(NOISE))
    return bytes(sent)


@given(spoilt(), st.lists(st.integers(0, 40_000), max_size=12))
def test_the_verdict_does_not_depend_on_the_pieces(sent: bytes, cuts: list[int]) -> None:
    (whole, verdict), (cut, status) = passed(sent), passed(sent, cuts)

    assert status == verdict
    assert cut.startswith(whole) if verdict else cut == whole


@given(spoilt())
def test_the_parser_never_finds_fault_with_what_went_on(sent: bytes) -> None:
    messages, parser = RequestFilter(ours), h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    try:
        piece = messages.feed(sent)
        while piece:
            parser.receive_data(piece)
            while (event := parser.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
                if isinstance(event, h11.EndOfMessage):
                    break
            if not messages.is_in_body:
                assert parser.their_state in {h11.DONE, h11.MUST_CLOSE}
                assert parser.trailing_data[0] == b""
                parser = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
            piece = messages.feed(b"") if messages.has_more else b""
    except Refused:
        return


def test_a_body_that_looks_like_a_request_is_none() -> None:
    inner = b"GET /admin HTTP/1.1\nHost: evil.example\n\n"
    sent = post(b"Content-Length: %d" % len(inner), body=inner) + get()

    assert passed(sent) == (sent, None)


def test_nothing_is_heard_after_the_last_request() -> None:
    last = get(b"Connection: close")
    messages = RequestFilter(ours)

    assert messages.feed(last + b"\x00" * 10) == last
    assert messages.is_over
    assert not messages.has_more
    assert messages.feed(b"\n\n\n") == b""


def test_the_body_of_the_last_request_is_heard() -> None:
    sent = post(b"Connection: close", b"Content-Length: 5", body=b"hello")

    assert passed(sent + b"\x00", [len(sent) - 2]) == (sent, None)


def test_a_websocket_passes_once_it_is_open_and_not_before() -> None:
    messages = RequestFilter(ours)
    head = get(*WEBSOCKET)

    assert messages.feed(head) == head
    with pytest.raises(Refused, match="before the WebSocket was open"):
        RequestFilter.feed(messages, b"\x81")
    messages.become_transparent()
    assert messages.feed(b"\x81\x80\n\x00") == b"\x81\x80\n\x00"


def test_it_says_where_it_is() -> None:
    messages = RequestFilter(ours)
    seen = []
    for piece in (b"POST / HTTP/1.1\r\n", b"Host: localhost\r\nContent-Length: 2\r\n\r\n", b"a", b"b", b"GET"):
        messages.feed(piece)
        seen.append((messages.is_in_head, messages.is_in_body, messages.is_between))

    assert seen == [
        (True, False, False),
        (False, True, False),
        (False, True, False),
        (False, False, True),
        (True, False, False),
    ]
