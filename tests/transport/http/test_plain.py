"""Usual answers are spelt as h11 spells them, and what is unusual, or could break out of a head, is left to it."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.transport.http._plain import spell_answer

Pairs = list[tuple[bytes, bytes]]

USUAL: list[tuple[int, Pairs, bytes, bool]] = [
    (200, [(b"content-type", b"application/json"), (b"content-length", b"5")], b"hello", False),
    (404, [(b"Content-Length", b"0"), (b"x-empty", b"")], b"", False),
    (200, [(b"content-length", b"5")], b"", True),
    (204, [(b"allow", b"GET, HEAD")], b"", False),
    (304, [(b"etag", b'"x"')], b"", False),
    (599, [(b"content-length", b"1"), (b"x-name", b"\xc3\xbc \t b")], b"x", False),
]

UNUSUAL: list[tuple[int, Pairs, bytes, bool]] = [
    (200, [], b"", False),
    (200, [], b"", True),
    (200, [(b"content-length", b"4")], b"hello", False),
    (200, [(b"content-length", b"5"), (b"Content-Length", b"5")], b"hello", False),
    (200, [(b"content-length", b"+5")], b"hello", False),
    (200, [(b"content-length", b"5"), (b"Connection", b"close")], b"hello", False),
    (200, [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], b"hello", False),
    (200, [(b"content-length", b"5"), (b"host", b"x")], b"hello", False),
    (204, [(b"content-length", b"x")], b"", False),
    (200, [(b"content-length", b"70000")], bytes(70_000), False),
    (103, [(b"content-length", b"0")], b"", False),
    (600, [(b"content-length", b"0")], b"", False),
]

BREAKING: Pairs = [
    (b"x", b"y\r\nset-cookie: a=b"),
    (b"x", b"y\n"),
    (b"x", b"y\r"),
    (b"x", b"\x00"),
    (b"x: y\r\nz", b""),
    (b"x: y", b"z"),
    (b"", b"y"),
    (b"x y", b""),
    (b"x\xff", b""),
]


def spelt_by_parser(status: int, fields: Pairs, body: bytes, *, is_head: bool) -> bytes:
    """Return what h11 says."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(b"%s / HTTP/1.1\r\nHost: x\r\n\r\n" % (b"HEAD" if is_head else b"GET"))
    parser.next_event()
    said = parser.send(h11.Response(status_code=status, headers=fields)) or b""
    if body and not is_head:
        said += parser.send(h11.Data(data=body)) or b""
    return said + (parser.send(h11.EndOfMessage()) or b"")


@pytest.mark.parametrize(("status", "fields", "body", "is_head"), USUAL)
def test_a_usual_answer_is_spelt(status: int, fields: Pairs, body: bytes, is_head: bool) -> None:
    spelt = spell_answer(status, fields, body, is_head=is_head)

    assert spelt is not None
    assert spelt == spelt_by_parser(status, fields, body, is_head=is_head)


@pytest.mark.parametrize(("status", "fields", "body", "is_head"), UNUSUAL)
def test_an_unusual_answer_is_not(status: int, fields: Pairs, body: bytes, is_head: bool) -> None:
    assert spell_answer(status, fields, body, is_head=is_head) is None


@pytest.mark.parametrize("field", BREAKING)
def test_a_field_that_would_break_out_of_the_head_is_not_spelt(field: tuple[bytes, bytes]) -> None:
    assert spell_answer(200, [(b"content-length", b"0"), field], b"", is_head=False) is None


NAMES = st.sampled_from(
    [b"content-length", b"Content-Length", b"etag", b"x-y", b"connection", b"x y", b"", b"host", b"a: b"]
)
VALUES = st.sampled_from([b"0", b"5", b"", b"close", b"a b", b"\xff", b"\x01", b"\x7f", b"a\r\nb: c", b"\n", b"05"])


@given(
    st.sampled_from([200, 201, 204, 304, 404, 503]),
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.sampled_from([b"", b"hello"]),
    st.booleans(),
)
def test_whatever_is_spelt_is_spelt_as_the_parser_spells_it(
    status: int, fields: Pairs, body: bytes, is_head: bool
) -> None:
    spelt = spell_answer(status, fields, body, is_head=is_head)
    if spelt is None:
        return
    if status in (204, 304):
        body = b""

    assert spelt == spelt_by_parser(status, fields, body, is_head=is_head)
