"""Chunks by themselves; with heads around them they are tried in test_filter.py."""

import pytest

from runtara.transport.http._chunks import LINE_MAX_BYTES, TRAILERS_MAX_BYTES, Chunks
from runtara.transport.http._refusals import Refused


@pytest.mark.parametrize(
    "body",
    [
        b"0\r\n\r\n",
        b"000\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        b"5;" + b"a" * (LINE_MAX_BYTES - 2) + b"\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: y\r\n\r\n",
        b"0\r\nX: " + b"y" * (TRAILERS_MAX_BYTES - 20) + b"\r\n\r\n",
        b"0;last\r\n" + b"X: y\r\n" * 16 + b"\r\n",
    ],
)
def test_a_body_in_order_ends_where_it_ends(body: bytes) -> None:
    chunks = Chunks()

    assert chunks.advance(b"head" + body + b"GET", 4) == 4 + len(body)
    assert chunks.is_over


def test_what_is_not_complete_waits() -> None:
    chunks = Chunks()

    assert chunks.advance(b"5", 0) == 0
    assert chunks.advance(b"5\r\nhel", 0) == 6
    assert chunks.advance(b"lo\r", 0) == 2
    assert chunks.advance(b"\r\n0\r\nX: y", 0) == 5
    assert chunks.advance(b"X: y\r\n\r\n", 0) == 8
    assert chunks.is_over


@pytest.mark.parametrize(
    "line", [b"5;" + b"a" * LINE_MAX_BYTES, b"g", b";", b"\n", b"5\r\r", b"0" * 16, b"5 ", b"5;\n"]
)
def test_a_size_that_cannot_become_one_is_refused_at_once(line: bytes) -> None:
    with pytest.raises(Refused):
        Chunks().advance(line, 0)


def test_small_chunks_may_say_little_about_themselves_for_ever() -> None:
    chunks = Chunks()

    for _ in range(10_000):
        chunks.advance(b"1;a=b\r\nx\r\n", 0)

    assert not chunks.is_over


def test_chunks_may_not_say_much_about_themselves_for_long() -> None:
    chunks = Chunks()

    with pytest.raises(Refused, match="more about themselves"):
        chunks.advance((b"1;" + b"a" * 200 + b"\r\nx\r\n") * 200, 0)
