"""What goes over the wire: in few pieces, with nothing that need not be said."""

from typing import Any

import pytest

from runtara.transport.http._guard import GuardedStream
from tests.transport.http.hostile import get, post
from tests.transport.http.serving import open_server


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every piece that the server sends."""
    sent: list[bytes] = []
    send = GuardedStream.send

    async def note(self: GuardedStream, data: bytes, *, is_last: bool = False) -> None:
        sent.append(data)
        await send(self, data, is_last=is_last)

    monkeypatch.setattr(GuardedStream, "send", note)
    return sent


def answering(*bodies: bytes, status: int = 200, length: int | None = None) -> Any:
    """An application that answers in so many pieces."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [] if length is None else [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, body in enumerate(bodies, 1):
            await send({"type": "http.response.body", "body": body, "more_body": number < len(bodies)})

    return app


async def test_head_and_body_travel_together(pieces: list[bytes]) -> None:
    async with open_server(answering(b"hello", length=5)) as serving, serving.client() as client:
        assert await client.get() == b"hello"

    assert len(pieces) == 1
    assert b"\r\nserver:" not in pieces[0].lower()
    assert pieces[0].lower().count(b"\r\ndate: ") == 1


async def test_a_large_body_is_not_copied_to_travel_with_its_head(pieces: list[bytes]) -> None:
    body = bytes(1_000_000)
    async with open_server(answering(body, length=len(body))) as serving, serving.client() as client:
        assert await client.get() == body

    assert [len(piece) for piece in pieces][1:] == [1_000_000]


async def test_an_answer_without_a_length_comes_in_chunks(pieces: list[bytes]) -> None:
    async with open_server(answering(b"one", b"two", b"")) as serving, serving.client() as client:
        await client.say(get())
        heard = await client.until(b"0\r\n\r\n")

    assert b"transfer-encoding: chunked" in heard.lower()
    assert heard.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert len(pieces) == 3


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_an_answer_that_has_no_body_says_only_its_head(method: bytes, status: int, pieces: list[bytes]) -> None:
    async with open_server(answering(b"", status=status)) as serving, serving.client() as client:
        heads = []
        for _ in range(2):
            await client.say(get(first=method + b" / HTTP/1.1"))
            heads.append(await client.until(b"\r\n\r\n"))
        rest = client.heard

    assert all(head.startswith(b"HTTP/1.1 %d" % status) for head in heads)
    assert rest == b""
    assert len(pieces) == 2


async def test_usual_and_unusual_answers_take_turns_on_one_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = 5 if scope["query_string"] == b"usual" else None
        await answering(b"hello", length=length)(scope, receive, send)

    async with open_server(app) as serving, serving.client() as client:
        for _ in range(3):
            assert await client.get(b"/?usual") == b"hello"
            await client.say(get())
            assert (await client.until(b"0\r\n\r\n")).endswith(b"5\r\nhello\r\n0\r\n\r\n")
            assert await client.get(b"/?usual", b"Content-Length: 1", method=b"POST", body=b"x") == b"hello"
        facts = serving.facts

    assert (facts["accepted"], facts["http"]) == (1, 9)


async def test_a_field_that_would_break_out_of_the_head_is_a_failure_that_is_said() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"0"), (b"x", b"y\r\nset-cookie: a=b")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with open_server(app) as serving, serving.client() as client:
        await client.say(get())
        heard = await client.rest()
        facts = serving.facts

    assert b"set-cookie" not in heard
    assert facts["failures"] == 1


async def test_a_connection_that_is_to_end_says_so_in_its_last_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await serving.server._house.context.terminated.set()
        await answering(b"hello", length=5)(scope, receive, send)

    async with open_server(app) as serving, serving.client() as client:
        await client.say(get())
        heard = await client.rest()

    assert b"\r\nconnection: close\r\n" in heard.lower()
    assert heard.endswith(b"\r\n\r\nhello")


async def test_an_old_client_hears_the_end_by_the_end_of_the_connection() -> None:
    async with open_server(answering(b"one", b"two")) as serving, serving.client() as client:
        await client.say(get(first=b"GET / HTTP/1.0"))
        heard = await client.rest()

    assert heard.endswith(b"\r\n\r\nonetwo")


async def test_a_client_that_waits_for_permission_gets_it() -> None:
    async with open_server() as serving, serving.client() as client:
        await client.say(post(b"Expect: 100-continue", b"Content-Length: 5"))
        allowed = await client.until(b"\r\n\r\n")
        await client.say(b"hello")
        status, body = await client.answer()

    assert allowed.startswith(b"HTTP/1.1 100")
    assert (status, body) == (200, b"hello")


async def test_requests_that_come_together_are_answered_in_their_order() -> None:
    sent = b"".join(post(b"Content-Length: 1", body=b"%d" % number) for number in range(10))
    async with open_server() as serving, serving.client() as client:
        await client.say(sent)
        bodies = [(await client.answer())[1] for _ in range(10)]

    assert bodies == [b"%d" % number for number in range(10)]


async def test_plain_requests_that_come_together_are_answered_in_their_order() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering(scope["query_string"], length=1)(scope, receive, send)

    async with open_server(app) as serving, serving.client() as client:
        await client.say(b"".join(get(first=b"GET /?%d HTTP/1.1" % number) for number in range(10)))
        bodies = [(await client.answer())[1] for _ in range(10)]

    assert bodies == [b"%d" % number for number in range(10)]


async def test_a_client_that_wants_to_close_is_closed() -> None:
    async with open_server() as serving, serving.client() as client:
        await client.say(get(b"Connection: close") + get())
        heard = await client.rest()

    assert heard.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in heard.lower()


async def test_an_encoded_path_is_read_and_kept_as_it_was() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await answering(b"", length=0)(scope, receive, send)

    async with open_server(app) as serving, serving.client() as client:
        await client.get(b"/a%20b/%C3%BC?c=%20d", b"X-Y: z")

    (scope,) = scopes
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b/ü", b"/a%20b/%C3%BC", b"c=%20d")
    assert (scope["method"], scope["scheme"], scope["http_version"]) == ("GET", "http", "1.1")
    assert (b"x-y", b"z") in scope["headers"]
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"] == (serving.host, serving.port)
