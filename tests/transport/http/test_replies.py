"""What HTTP adds to a reply, and which kinds of answers a client takes."""

import pytest

from runtara.transport.http._problems import Turned
from runtara.transport.http._replies import check_acceptable, prefers

JSON, TEXT = b"application/json", b"text/plain"


@pytest.mark.parametrize(
    ("accept", "takes"),
    [
        (None, True),
        (b"*/*", True),
        (b"application/*", True),
        (b"text/html, application/json;q=0.1", True),
        (b"Application/JSON", True),
        (b"text/html", False),
        (b"application/json;q=0", False),
        (b"*/*, application/json;q=0", False),
        (b"application/json;q=x", False),
        (b"", False),
        (b",;,", False),
    ],
)
def test_a_client_takes_what_it_says_it_takes(accept: bytes | None, takes: bool) -> None:
    if takes:
        check_acceptable(accept)
        return
    with pytest.raises(Turned) as caught:
        check_acceptable(accept)
    assert caught.value.status == 406


def test_what_a_client_would_rather_have_is_what_it_gives_more_weight() -> None:
    assert prefers(b"text/plain", TEXT, JSON)
    assert prefers(b"text/*, application/json;q=0.5", TEXT, JSON)
    assert not prefers(b"*/*", TEXT, JSON)
    assert not prefers(b"text/plain;q=0.5, application/json", TEXT, JSON)
    assert not prefers(None, TEXT, JSON)
