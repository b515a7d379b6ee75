"""Heads: what is refused with what, and that a head that is taken means the same to the parser behind."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.transport.http._head import (
    FIELDS_MAX,
    HEAD_MAX_BYTES,
    TARGET_MAX_BYTES,
    Framing,
    check_line,
    check_piece,
    judge,
)
from runtara.transport.http._refusals import METHODS, Refused
from tests.transport.http.hostile import HEADS, WEBSOCKET, get, ours, post


@pytest.mark.parametrize("method", METHODS)
def test_the_methods_of_the_interface_are_taken(method: str) -> None:
    framing = judge(get(first=method.encode() + b" / HTTP/1.1"), ours)

    assert framing == (0, False, False, (method, b"/", [(b"host", b"localhost")]))


@pytest.mark.parametrize(
    ("lines", "framing"),
    [
        ((), Framing(0, False, False)),
        ((b"Content-Length: 0",), Framing(0, False, False)),
        ((b"content-length:5",), Framing(5, False, False)),
        ((b"Content-Length: \t5 \t",), Framing(5, False, False)),
        ((b"Content-Length: 999999999999999",), Framing(999_999_999_999_999, False, False)),
        ((b"Transfer-Encoding: chunked",), Framing(None, False, False)),
        ((b"TRANSFER-ENCODING:  Chunked",), Framing(None, False, False)),
        ((b"Connection: close",), Framing(0, True, False)),
        ((b"Connection: keep-alive", b"Connection: x, CLOSE"), Framing(0, True, False)),
        ((b"Connection: keep-alive",), Framing(0, False, False)),
        ((b"Expect: 100-Continue", b"Content-Length: 5"), Framing(5, False, False)),
        ((b"X:", b"Y: ", b"Z: \xc3\xbc \t \xff"), Framing(0, False, False)),
        (tuple([b"X: y"] * (FIELDS_MAX - 1)), Framing(0, False, False)),
        (WEBSOCKET, Framing(0, False, True)),
        ((b"connection: keep-alive, UPGRADE", b"upgrade: WebSocket", *WEBSOCKET[2:]), Framing(0, False, True)),
    ],
)
def test_a_head_says_what_comes_after_it(lines: tuple[bytes, ...], framing: Framing) -> None:
    assert judge(get(*lines), ours)._replace(head=None) == framing


@pytest.mark.parametrize(
    "lines", [(), (b"Connection: Keep-Alive",), (b"X:", b"Y: \t z \t", b"Cookie: a=b", b"x: \xff")]
)
def test_what_a_request_says_that_is_over_with_its_head_is_known(lines: tuple[bytes, ...]) -> None:
    head = judge(get(*lines, first=b"GET /a%20b?c HTTP/1.1"), ours).head

    assert head is not None
    assert head[:2] == ("GET", b"/a%20b?c")
    assert [name for name, _ in head.fields] == [b"host", *(line.partition(b":")[0].lower() for line in lines)]
    assert all(value == value.strip() for _, value in head.fields)


@pytest.mark.parametrize(
    "head",
    [
        get(first=b"GET / HTTP/1.0"),
        get(b"Connection: close"),
        get(b"Connection: keep-alive, x"),
        get(b"Content-Length: 0"),
        get(b"Expect: 100-continue"),
        get(b"Transfer-Encoding: chunked"),
        get(*WEBSOCKET),
    ],
)
def test_what_asks_for_more_than_an_answer_is_left_to_the_parser(head: bytes) -> None:
    assert judge(head, ours).head is None


def test_an_old_client_needs_no_host_and_says_one_thing() -> None:
    assert judge(get(first=b"GET / HTTP/1.0", host=b""), ours) == Framing(0, True, False)
    assert judge(post(b"Content-Length: 5", first=b"POST / HTTP/1.0"), ours) == Framing(5, True, False)


def test_a_target_may_be_as_long_as_is_said() -> None:
    target = b"/" + b"a" * (TARGET_MAX_BYTES - 1)

    assert judge(get(first=b"GET " + target + b" HTTP/1.1"), ours).length == 0


@pytest.mark.parametrize("target", [b"/", b"//", b"/a?b=c&d[]=%20", b"/%00", b'/a|b{c}"<>^`\\', b"/?a=http://x/"])
def test_what_browsers_send_as_a_target_is_taken(target: bytes) -> None:
    assert judge(get(first=b"GET " + target + b" HTTP/1.1"), ours).length == 0


@pytest.mark.parametrize("case", [name for name, (head, _) in HEADS.items() if b"\r\n\r\n" in head[:HEAD_MAX_BYTES]])
def test_a_hostile_head_is_refused_with_its_status(case: str) -> None:
    sent, status = HEADS[case]
    head = sent[: sent.index(b"\r\n\r\n") + 4]

    with pytest.raises(Refused) as refused:
        judge(head, ours)

    assert refused.value.status == status
    assert refused.value.detail


@pytest.mark.parametrize(
    ("piece", "number"),
    [
        (b"", 0),
        (b" GET", 0),
        (b"\x16", 0),
        (b"GET /\n", 0),
        (b"GET /" + b"a" * 9_000, 0),
        (b"X: \x00", 1),
        (b"a\rb", 7),
    ],
)
def test_the_beginning_of_a_line_that_cannot_become_right_is_refused_at_once(piece: bytes, number: int) -> None:
    with pytest.raises(Refused):
        check_piece(piece, number)


@pytest.mark.parametrize(("line", "number"), [(b"GET /a HTTP/1.1", 0), (b"Host: localhost", 1), (b"X:", FIELDS_MAX)])
def test_a_line_in_order_is_not_refused(line: bytes, number: int) -> None:
    check_line(line, number)
    for end in range(1, len(line)):
        check_piece(line[:end], number)


PIECES = [
    b"GET", b"POST", b"get", b" ", b"\t", b"/", b"/a?b", b"*", b"http://localhost/", b"%41", b"%4", b"#", b"HTTP/1.1",
    b"HTTP/1.0", b"HTTP/2.0", b"\r\n", b"\n", b"\r", b"Host", b"host", b": ", b":", b" :", b"localhost", b"evil", b",",
    b"Content-Length", b"Transfer-Encoding", b"chunked", b"gzip", b"5", b"0", b"+5", b"Connection", b"close", b"\x00",
    b"keep-alive", b"Upgrade", b"websocket", b"h2c", b"Expect", b"100-continue", b"\xff", b"X", b"\x0b", b"\x7f", b"",
]  # fmt: skip


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads that are nearly right: whole lines of them, with here and there something else."""
    first = draw(st.sampled_from([b"GET / HTTP/1.1", b"POST /a?b=c HTTP/1.1", b"DELETE /%20 HTTP/1.0"]))
    lines = st.sampled_from(
        [
            b"Host: localhost", b"Host: 127.0.0.1", b"Content-Length: 5", b"content-length:0", b"X: y",
            b"Connection: close",
            b"Transfer-Encoding: chunked", b"Transfer-Encoding:chunked ", b"Connection: keep-alive",
            b"Expect: 100-continue", b"Accept: */*", b"X-Y: \xc3\xbc", b"Cookie: a=b; c=d", *WEBSOCKET,
        ]
    )  # fmt: skip
    head = bytearray(b"\r\n".join([first, *draw(st.lists(lines, max_size=6)), b"", b""]))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(head)))
        head[at : at + draw(st.integers(0, 2))] = draw(st.sampled_from(PIECES))
    return bytes(head)


@given(heads())
def test_a_head_that_is_taken_is_read_by_the_parser_to_the_same_end(head: bytes) -> None:
    end = head.find(b"\r\n\r\n")
    try:
        framing = judge(head[: end + 4], ours)
    except Refused:
        return
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(head[: end + 4])
    request = parser.next_event()
    after = parser.next_event()

    assert isinstance(request, h11.Request)
    assert parser.trailing_data[0] == b""
    assert request.method + b" " + request.target == head.split(b" HTTP")[0]
    assert (after is h11.NEED_DATA) == (framing.length != 0)
    assert isinstance(after, h11.EndOfMessage) == (framing.length == 0)
    assert (parser.their_state is h11.MUST_CLOSE) == (framing.is_last and framing.length == 0)
    if framing.head is not None:
        assert isinstance(after, h11.EndOfMessage)
        assert parser.their_state is h11.DONE
        assert framing.head == (request.method.decode(), request.target, list(request.headers))
