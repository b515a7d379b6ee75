"""How the door speaks TLS."""

import ssl
from pathlib import Path

import pytest
import trio
import trustme

from runtara.errors import ConfigError
from runtara.transport.certificates import ensure_certificate
from runtara.transport.http.peer import peer_of
from runtara.transport.http.tls import configure_tls
from tests.transport.http.serving import open_server


async def test_the_certificate_of_the_data_folder_serves(tmp_path: Path) -> None:
    identity = ensure_certificate(tmp_path / "tls")
    context = configure_tls(identity.cert_file, identity.key_file)
    client = ssl.create_default_context(cafile=str(identity.ca_file))
    client.set_alpn_protocols(["h2", "http/1.1"])

    async with open_server(tls=context) as serving:
        stream = await trio.open_ssl_over_tcp_stream(serving.host, serving.port, ssl_context=client)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            heard = b"".join([data async for data in stream])
        chosen = stream.selected_alpn_protocol()
        version = stream.version()

    assert heard.startswith(b"HTTP/1.1 200")
    assert chosen == "http/1.1"
    assert version in {"TLSv1.2", "TLSv1.3"}


async def test_old_versions_of_tls_are_not_spoken(tmp_path: Path) -> None:
    identity = ensure_certificate(tmp_path / "tls")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        client.minimum_version, client.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1

    async with open_server(tls=configure_tls(identity.cert_file, identity.key_file)) as serving:
        stream = await trio.open_ssl_over_tcp_stream(serving.host, serving.port, ssl_context=client)
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()
        await trio.aclose_forcefully(stream)


async def test_a_client_may_show_a_certificate_and_the_application_sees_it(tmp_path: Path) -> None:
    ours, theirs, strangers = trustme.CA(), trustme.CA(), trustme.CA()
    cert, key, authority = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    made = ours.issue_cert("127.0.0.1")
    made.cert_chain_pems[0].write_to_path(cert)
    made.private_key_pem.write_to_path(key)
    theirs.cert_pem.write_to_path(authority)
    seen: list[bytes | None] = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(peer_of(scope).certificate)  # type: ignore[arg-type]  # a scope is a mapping

    async def ask(shown: trustme.CA | None) -> None:
        client = ssl.create_default_context()
        ours.configure_trust(client)
        if shown is not None:
            shown.issue_cert("client.example").configure_cert(client)
        stream = await trio.open_ssl_over_tcp_stream(serving.host, serving.port, ssl_context=client)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            async for _ in stream:
                pass

    async with open_server(app, tls=configure_tls(cert, key, authority)) as serving:
        await ask(None)
        await ask(theirs)
        with pytest.raises(trio.BrokenResourceError):
            await ask(strangers)

    assert seen[0] is None
    assert isinstance(seen[1], bytes)
    assert len(seen) == 2


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.pem"):
        configure_tls(tmp_path / "nowhere.pem", tmp_path / "nowhere.pem")
