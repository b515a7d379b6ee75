"""Clients that show a certificate to a real host: by hand over HTTP and WebSocket, and the SDK's at every door."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trustme

from runtara.errors import ConfigError, Unauthenticated
from runtara.host import Host, open_host
from runtara.sdk import RuntaraSdk, SdkConfig
from runtara.sdk.management import TrioManagement
from runtara.settings import Settings
from runtara.transport.frames import LENGTH_BYTES, Hello, Refusal, Welcome, decode_server_frame, encode_frame
from runtara.transport.websocket.terms import SESSION_PATH, SUBPROTOCOL
from tests.transport.http.serving import open_websocket
from tests.transport.passports import authority_file, make_passport


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def opened(folder: Path, authority: trustme.CA) -> AsyncIterator[Host]:
    settings = Settings(
        data_dir=str(folder / "data"),
        database_url="memory://",
        quic_port=0,
        env_http_port=0,
        http_tls=True,
        require_credentials=True,
        client_ca_file=str(authority_file(authority, folder)),
    )
    async with open_host(settings) as host:
        yield host


def trusting(host: Host, passport: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(host.identity.ca_file))
    if passport is not None:
        context.load_cert_chain(passport)
    return context


async def get(host: Host, passport: Path | None, path: str, **headers: str) -> httpx.Response:
    context = trusting(host, passport)
    async with httpx.AsyncClient(base_url=host.http_address, verify=context, timeout=60, trust_env=False) as client:
        return await client.get(path, headers=headers)


async def test_a_request_is_of_whom_the_certificate_of_the_connection_says(
    tmp_path: Path, authority: trustme.CA
) -> None:
    reader = make_passport(authority, tmp_path, "runtara://tenant/acme/read-only", name="reader")
    pusher = make_passport(authority, tmp_path, "runtara://tenant/acme/image-push", name="pusher")
    nobody = make_passport(authority, tmp_path, name="nobody")

    async with opened(tmp_path, authority) as host:
        path = "/api/v1/instances"
        looks = await get(host, reader, path)
        pushes = await get(host, pusher, path)
        claims = await get(host, reader, path, **{"Runtara-Tenant-Id": "rival"})
        unnamed = await get(host, nobody, path)
        without = await get(host, None, path)

    assert looks.status_code == 200
    assert (pushes.status_code, "image-push" in pushes.json()["detail"]) == (403, True)
    assert [answer.status_code for answer in (claims, unnamed, without)] == [401, 401, 401]
    assert claims.json()["detail"] == unnamed.json()["detail"]


@pytest.mark.parametrize("how", ["of another authority", "expired"])
async def test_a_certificate_that_is_not_to_be_trusted_does_not_get_through_the_handshake(
    tmp_path: Path, authority: trustme.CA, how: str
) -> None:
    signer, ends = (authority, timedelta(seconds=-1)) if how == "expired" else (trustme.CA(), timedelta(days=1))
    passport = make_passport(signer, tmp_path, "runtara://tenant/acme", ends=ends)

    async with opened(tmp_path, authority) as host:
        with pytest.raises(httpx.TransportError):
            await get(host, passport, "/api/v1/instances")


async def test_a_session_over_websocket_is_of_whom_the_certificate_says(tmp_path: Path, authority: trustme.CA) -> None:
    passport = make_passport(authority, tmp_path, "runtara://tenant/acme")

    async with opened(tmp_path, authority) as host:
        greeted = [await greet(host, shown, "acme") for shown in (passport, None)]
        elsewhere = await greet(host, passport, "rival")

    assert isinstance(greeted[0], Welcome)
    assert [type(answer) for answer in (greeted[1], elsewhere)] == [Refusal, Refusal]


@pytest.mark.parametrize("scheme", ["quic", "wss", "https"])
async def test_the_client_and_the_sdk_are_whom_their_certificate_says(
    tmp_path: Path, authority: trustme.CA, scheme: str
) -> None:
    passport = make_passport(authority, tmp_path, "runtara://tenant/acme")
    certificate, key = in_two_files(passport)

    async with opened(tmp_path, authority) as host:
        ca_file = str(host.identity.ca_file)
        shown: Any = {"ca_file": ca_file, "client_cert_file": str(certificate), "client_key_file": str(key)}
        address = host.http_address.replace("https", scheme) if scheme != "quic" else host.address
        ours = TrioManagement.connect(address, tenant="acme", **shown)
        others = TrioManagement.connect(address, tenant="rival", **shown)
        without = TrioManagement.connect(address, tenant="acme", ca_file=ca_file)
        config = SdkConfig("one", "acme", address).with_ca_file(ca_file)
        sdk = RuntaraSdk.new(config.with_client_certificate(str(passport)))
        await trio.to_thread.run_sync(register, sdk)
        listed = [instance.instance_id async for instance in ours.list_instances()]
        for refused in (others, without):
            with pytest.raises(Unauthenticated):
                await refused.health()
            refused.close()
        ours.close()

    assert listed == ["one"]


@pytest.mark.parametrize("address", ["127.0.0.1:9", "wss://127.0.0.1:9", "https://127.0.0.1:9"])
async def test_a_certificate_of_a_client_that_is_not_there_is_said(tmp_path: Path, address: str) -> None:
    client = TrioManagement.connect(address, client_cert_file=str(tmp_path / "none.pem"))

    with pytest.raises(ConfigError, match=r"none\.pem"):
        await client.health()
    client.close()


def register(sdk: RuntaraSdk) -> None:
    with sdk:
        sdk.register()


def in_two_files(passport: Path) -> tuple[Path, Path]:
    certificate, key = passport.with_suffix(".cert"), passport.with_suffix(".key")
    content = passport.read_text()
    begin = content.index("-----BEGIN PRIVATE")
    certificate.write_text(content[:begin])
    key.write_text(content[begin:])
    return certificate, key


async def greet(host: Host, passport: Path | None, tenant_id: str) -> Any:
    url = host.http_address.replace("https", "wss") + SESSION_PATH
    async with open_websocket(url, subprotocols=[SUBPROTOCOL], ssl_context=trusting(host, passport)) as socket:
        await socket.send_message(encode_frame(Hello(tenant_id=tenant_id, instance_id="one"))[LENGTH_BYTES:])
        message = await socket.get_message()
        assert isinstance(message, bytes)
        return decode_server_frame(message)
