"""What an application sees of its peer."""

from typing import Any

from runtara.transport.http.peer import GREETING_MAX_BYTES, Peer, peer_of
from tests.transport.http.serving import open_server


async def test_all_requests_of_a_connection_see_the_same_peer_and_other_connections_another() -> None:
    seen: list[Peer] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(peer_of(scope))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with open_server(app) as serving, serving.client() as one, serving.client() as two:
        await one.get()
        await one.get()
        await two.get()

    assert seen[0] is seen[1]
    assert seen[0] is not seen[2]
    assert seen[0].message_max_bytes == GREETING_MAX_BYTES
    assert not seen[0].leaving.is_set()


def test_of_the_peer_of_another_server_nothing_is_known() -> None:
    assert peer_of({"type": "http"}).certificate is None
    assert peer_of({"type": "http", "state": {"peer": "somebody"}}).certificate is None
