"""What a peer is told whose request no application sees."""

import h11
import msgspec
import pytest

from runtara.transport.http._refusals import CODES, METHODS, problem, refusal


@pytest.mark.parametrize("status", CODES)
def test_a_refusal_is_a_whole_response_with_a_problem(status: int) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "localhost")]))
    client.send(h11.EndOfMessage())
    client.receive_data(refusal(status, "something is wrong"))
    client.receive_data(b"")
    head, body, end = client.next_event(), client.next_event(), client.next_event()

    assert isinstance(head, h11.Response)
    assert isinstance(body, h11.Data)
    assert isinstance(end, h11.EndOfMessage)
    assert head.status_code == status
    assert dict(head.headers)[b"content-type"] == b"application/problem+json"
    assert dict(head.headers)[b"connection"] == b"close"
    assert msgspec.json.decode(body.data) == msgspec.json.decode(problem(status, "something is wrong"))


@pytest.mark.parametrize("status", CODES)
def test_a_problem_says_status_code_and_whether_to_try_again(status: int) -> None:
    found = msgspec.json.decode(problem(status, "something is wrong"))

    assert (found["status"], found["detail"], found["type"]) == (status, "something is wrong", "about:blank")
    assert found["code"] == CODES[status].wire
    assert found["retry"] in {"never", "safe", "same-id"}


def test_who_may_do_something_else_is_told_what() -> None:
    assert b"Allow: " + ", ".join(METHODS).encode() in refusal(405, "no")
    assert b"Sec-WebSocket-Version: 13" in refusal(426, "no")
    assert b"Retry-After: 1" in refusal(503, "no")
