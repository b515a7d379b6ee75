"""Clients that show a certificate at the QUIC door: who is let in, as whom, and who is not."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from runtara.errors import ConfigError
from runtara.messages import GetHealth, HealthFound, RunChore
from runtara.transport.credentials import not_accepted
from runtara.transport.frames import Refusal, Welcome
from runtara.transport.quic.listener import Listener, ListenerLimits
from runtara.transport.quic.protocol import ServerTls
from tests.transport.passports import authority_file, make_passport
from tests.transport.quic.door import Client, Door, open_door
from tests.transport.quic.fray import server_tls


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def door(tmp_path: Path, authority: trustme.CA) -> AsyncIterator[Door]:
    """One that asks for credentials, and knows an authority of clients."""
    ca_file = str(authority_file(authority, tmp_path))
    async with open_door(tmp_path, require_credentials=True, client_ca_file=ca_file) as door:
        yield door


async def test_a_client_is_who_its_certificate_says(door: Door, authority: trustme.CA, tmp_path: Path) -> None:
    passport = make_passport(authority, tmp_path, "runtara://tenant/default")

    async with door.client(cert_file=str(passport)) as client:
        greeted = await client.greet()
        answer = await client.ask(GetHealth())
        refused = await client.ask(RunChore(chore="runs"))

    assert isinstance(greeted, Welcome)
    assert isinstance(answer, HealthFound)
    assert refused.code == "forbidden"  # it says nothing of a role, so it is an operator
    assert "operator" in refused.message


async def test_a_client_without_a_certificate_is_asked_for_a_credential_as_ever(door: Door, tmp_path: Path) -> None:
    key = door.keys.add("default")

    async with door.client() as client:
        refused = await client.greet()
    async with door.client() as client:
        greeted = await client.greet(credential=key)

    assert isinstance(refused, Refusal)
    assert "set RUNTARA_TOKEN" in refused.message
    assert isinstance(greeted, Welcome)


async def refusal_of(client: Client) -> str:
    answer = await client.greet()
    assert isinstance(answer, Refusal)
    assert answer.code == "unauthenticated"
    return answer.message


@pytest.mark.parametrize(
    "uris",
    [(), ("runtara://tenant/rival",), ("https://tenant/default",), ("runtara://tenant/default/king",)],
    ids=["no name", "another tenant", "another scheme", "no such role"],
)
async def test_a_certificate_that_is_good_but_not_for_this_is_not_accepted(
    door: Door, authority: trustme.CA, tmp_path: Path, uris: tuple[str, ...]
) -> None:
    passport = make_passport(authority, tmp_path, *uris)

    async with door.client(cert_file=str(passport)) as client:
        assert await refusal_of(client) == str(not_accepted())


@pytest.mark.parametrize("how", ["of another authority", "expired"])
async def test_a_certificate_that_is_not_to_be_trusted_is_not_accepted(
    door: Door, authority: trustme.CA, tmp_path: Path, how: str
) -> None:
    other, ends = (trustme.CA(), timedelta(days=1)) if how != "expired" else (authority, timedelta(seconds=-1))
    passport = make_passport(other, tmp_path, "runtara://tenant/default", ends=ends)

    async with door.client(cert_file=str(passport)) as client:
        assert await refusal_of(client) == str(not_accepted())


async def test_where_no_authority_of_clients_is_known_no_certificate_is_asked_for(
    authority: trustme.CA, tmp_path: Path
) -> None:
    passport = make_passport(authority, tmp_path, "runtara://tenant/default")

    async with open_door(tmp_path, require_credentials=True) as door, door.client(cert_file=str(passport)) as client:
        assert "set RUNTARA_TOKEN" in await refusal_of(client)


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_authorities_that_cannot_be_read_are_refused_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clients.pem"
    if content is not None:
        path.write_bytes(content)
    given = server_tls()
    tls = ServerTls(cert_file=given.cert_file, key_file=given.key_file, client_ca_file=str(path))

    with pytest.raises(ConfigError, match="RUNTARA_CLIENT_CA_FILE"):
        Listener(tls, ListenerLimits())
