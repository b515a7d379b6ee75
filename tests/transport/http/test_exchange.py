"""One request and its answer: what is read of it once, and what every answer has."""

from typing import Any

import pytest

from runtara.errors import Busy, TooLarge
from runtara.transport.budget import FAIR_BYTES, Budget
from runtara.transport.http._exchange import Answer, Body, ClientGone, Exchange, exchange_of, read_body


def scope_of(verb: str = "GET", path: bytes = b"/api/v1/x", headers: Any = ()) -> dict[str, Any]:
    return {
        "type": "http",
        "method": verb,
        "path": "/",
        "raw_path": path,
        "headers": list(headers),
        "client": ("127.0.0.1", 5),
        "scheme": "http",
    }


def receiving(*messages: dict[str, Any]) -> Any:
    left = iter(messages)

    async def receive() -> Any:
        return next(left)

    return receive


def piece(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def answered(scope: dict[str, Any], answer: Answer) -> list[Any]:
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    await answer(scope, None, Exchange(scope, receiving(), send).send)
    return said


@pytest.mark.parametrize(
    ("given", "kept"), [(b"abc-1.2_Z", True), (b"a b", False), (b"", False), (b"x" * 65, False), (b"\xff", False)]
)
async def test_a_request_id_that_is_well_formed_is_kept_and_another_one_made(given: bytes, kept: bool) -> None:
    said = await answered(scope_of(headers=[(b"runtara-request-id", given)]), Answer(200))

    found = dict(said[0]["headers"])[b"runtara-request-id"]
    assert (found == given) is kept
    assert 1 <= len(found) <= 64


async def test_every_answer_tells_browsers_what_it_is_not() -> None:
    data = dict((await answered(scope_of(), Answer(200)))[0]["headers"])
    page = dict((await answered(scope_of(path=b"/docs"), Answer(200)))[0]["headers"])

    assert data[b"content-security-policy"] == b"default-src 'none'; frame-ancestors 'none'"
    assert page[b"content-security-policy"].startswith(b"default-src 'self';")
    assert data[b"x-content-type-options"] == page[b"x-content-type-options"] == b"nosniff"
    assert page[b"cross-origin-opener-policy"] == b"same-origin"


async def test_an_answer_to_head_has_the_length_and_no_body() -> None:
    start, body = await answered(scope_of("HEAD"), Answer(200, b"abc"))

    assert dict(start["headers"])[b"content-length"] == b"3"
    assert body["body"] == b""


async def test_a_body_comes_in_pieces_and_not_a_byte_more_than_is_allowed() -> None:
    whole = await read_body(receiving(piece(b"ab"), piece(b""), piece(b"c", more=False)), {}, 3)

    assert whole == b"abc"
    assert await read_body(receiving(piece(b"abc", more=False)), {}, 3) == b"abc"
    for message in ((piece(b"abcd", more=False),), (piece(b"ab"), piece(b"cd"), piece(b"", more=False))):
        with pytest.raises(TooLarge):
            await read_body(receiving(*message), {}, 3)
    with pytest.raises(TooLarge):
        await read_body(receiving(), {b"content-length": b"4"}, 3)


async def test_where_too_much_is_on_its_way_a_large_body_is_asked_to_come_later_and_nothing_stays_counted() -> None:
    budget = Budget(FAIR_BYTES)
    budget.change(FAIR_BYTES)  # what others hold
    large = [piece(bytes(FAIR_BYTES)), piece(b"x"), piece(b"", more=False)]
    small = [piece(b"ab"), piece(b"c", more=False)]

    assert await read_body(receiving(*small), {}, 2 * FAIR_BYTES, budget) == b"abc"
    with pytest.raises(Busy):
        await read_body(receiving(*large), {}, 2 * FAIR_BYTES, budget)
    assert budget.used == FAIR_BYTES
    budget.change(-FAIR_BYTES)
    assert len(await read_body(receiving(*large), {}, 2 * FAIR_BYTES, Budget(4 * FAIR_BYTES))) == FAIR_BYTES + 1


async def test_whoever_goes_in_the_middle_of_a_body_is_gone() -> None:
    with pytest.raises(ClientGone):
        await read_body(receiving(piece(b"a"), {"type": "http.disconnect"}), {}, 3)
    body = Body(receiving(piece(b"a", more=False)))
    assert (await body.read(), await body.read(), body.is_over) == (b"a", b"", True)


def test_handlers_find_the_exchange_in_the_scope() -> None:
    scope = scope_of()

    async def send(_message: Any) -> None: ...

    assert exchange_of(scope | {"runtara": (made := Exchange(scope, receiving(), send))}) is made
    assert exchange_of(scope) is made
    assert made.peer == "127.0.0.1"
