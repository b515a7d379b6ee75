"""What the headers of a request say of whoever sends it."""

import pytest

from runtara.errors import InvalidInput, Unauthenticated
from runtara.transport.http._callers import EPOCH, cookie_of, credential_of, key_of, number_of


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({b"authorization": b"Bearer abc"}, "abc"),
        ({b"authorization": b"bearer  abc "}, "abc"),
        ({b"cookie": b"a=b; runtara=abc; runtara2=x"}, "abc"),
        ({b"cookie": b"xruntara=abc"}, None),
        ({b"cookie": b"runtara="}, None),
        ({b"authorization": b"Bearer abc", b"cookie": b"runtara=other"}, "abc"),
    ],
)
def test_a_credential_is_in_its_header_or_else_in_the_cookie(headers: dict[bytes, bytes], expected: str | None) -> None:
    assert credential_of(headers, b"runtara") == expected


@pytest.mark.parametrize("value", [b"", b"Bearer", b"Bearer ", b"Basic abc", b"abc"])
def test_what_is_no_credential_is_not_taken_for_none(value: bytes) -> None:
    with pytest.raises(Unauthenticated):
        credential_of({b"authorization": value, b"cookie": b"runtara=abc"}, b"runtara")


def test_a_number_is_digits_and_nothing_else() -> None:
    assert number_of({}, EPOCH) is None
    assert number_of({EPOCH: b"12"}, EPOCH) == 12
    for value in (b"", b"-1", b"+1", b"1.0", b"1_0", b" 1", b"9" * 16, "١".encode()):
        with pytest.raises(InvalidInput, match="Runtara-Epoch"):
            number_of({EPOCH: value}, EPOCH)


def test_an_idempotency_key_is_printable_and_short() -> None:
    assert key_of({}) is None
    assert key_of({b"idempotency-key": b"order-17"}) == "order-17"
    for value in (b"", b"a b", b"\xff", b"x" * 256):
        with pytest.raises(InvalidInput, match="Idempotency-Key"):
            key_of({b"idempotency-key": value})


def test_of_two_cookies_of_one_name_the_first_counts() -> None:
    assert cookie_of({b"cookie": b"runtara=a; runtara=b"}, b"runtara") == "a"
