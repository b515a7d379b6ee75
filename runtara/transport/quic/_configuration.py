"""What the sides of a connection bring along: certificates and whom to trust, windows, lengths of datagrams."""

import ipaddress
import ssl
from typing import Any, Final

import msgspec
from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import CipherSuite

from runtara.errors import ConfigError
from runtara.transport.client.trust import check_ca_file
from runtara.transport.frames import ALPN
from runtara.transport.quic._guard import check_version

__all__ = [
    "CLIENT_CONNECTION_WINDOW",
    "CLIENT_STREAM_WINDOW",
    "GREETING_WINDOW",
    "SERVER_CONNECTION_WINDOW",
    "SERVER_STREAM_WINDOW",
    "ClientTls",
    "ServerTls",
    "configure_client",
    "configure_server",
    "datagram_bytes",
    "is_loopback",
]

CLIENT_STREAM_WINDOW: Final = 4 * 1024 * 1024
CLIENT_CONNECTION_WINDOW: Final = 16 * 1024 * 1024
"""How much a server may send that its client has not consumed."""

GREETING_WINDOW: Final = 64 * 1024
"""How much a client may send before the server knows it: on a stream, and in all."""

SERVER_STREAM_WINDOW: Final = 256 * 1024
SERVER_CONNECTION_WINDOW: Final = 1024 * 1024
"""How much a known client may send that the server has not consumed, large frames that were granted room apart."""

_DATAGRAM_BYTES: Final = 1_200
"""Payload of our datagrams: what every path must carry."""

_LOOPBACK_DATAGRAM_BYTES: Final = 8 * 1024
"""The same for peers on the same machine: work is per datagram, and these are seven times as long."""


class ServerTls(msgspec.Struct, frozen=True, kw_only=True):
    """What a server shows: files with its certificate chain and its private key, PEM."""

    cert_file: str
    key_file: str
    idle_timeout: float = 120.0
    client_ca_file: str | None = None
    """PEM file of authorities whose clients may show a certificate; by default none is asked for."""


class ClientTls(msgspec.Struct, frozen=True, kw_only=True):
    """Which server a client expects: one whose certificate has this fingerprint, or is signed by one of these CAs."""

    server_name: str
    ca_file: str | None = None
    """PEM file of authorities; by default those that Mozilla trusts."""
    fingerprint: str | None = None
    """SHA-256 of the server's certificate (DER), hexadecimal, colons allowed. Then nothing else is checked."""
    skip_verification: bool = False
    idle_timeout: float = 120.0
    cert_file: str | None = None
    """PEM file with a certificate chain that the client shows to a server that asks for one."""
    key_file: str | None = None
    """PEM file with its private key; by default the same file."""


def configure_server(tls: ServerTls) -> QuicConfiguration:
    """Read the server's certificate and key. Raises `ConfigError` if they cannot be used."""
    check_version()
    configuration = _configuration(is_client=False, idle_timeout=tls.idle_timeout)
    configuration.max_data = configuration.max_stream_data = GREETING_WINDOW
    _load(configuration, tls.cert_file, tls.key_file)
    if tls.client_ca_file is not None:
        configuration.verify_mode = ssl.CERT_OPTIONAL  # aioquic looks at it in clients only; the guard has it asked for
    return configuration


def is_loopback(address: Any) -> bool:
    """Return whether a socket address is one of this machine's own, which no other machine can have."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    return (getattr(host, "ipv4_mapped", None) or host).is_loopback


def configure_client(tls: ClientTls, address: Any) -> QuicConfiguration:
    """Say whom a client trusts. Raises `ConfigError` for a CA file that is not there."""
    check_version()
    configuration = _configuration(is_client=True, idle_timeout=tls.idle_timeout)
    configuration.max_data, configuration.max_stream_data = CLIENT_CONNECTION_WINDOW, CLIENT_STREAM_WINDOW
    configuration.max_datagram_size = datagram_bytes(address)
    configuration.server_name = tls.server_name
    if tls.fingerprint is not None or tls.skip_verification:
        configuration.verify_mode = ssl.CERT_NONE
    elif tls.ca_file is not None:
        configuration.load_verify_locations(cafile=check_ca_file(tls.ca_file))
    if tls.cert_file is not None:
        _load(configuration, tls.cert_file, tls.key_file or tls.cert_file)
    return configuration


def _load(configuration: QuicConfiguration, cert_file: str, key_file: str) -> None:
    try:
        configuration.load_cert_chain(cert_file, key_file)
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise ConfigError(f"certificate {cert_file} and key {key_file} cannot be used: {error}") from None


def datagram_bytes(address: Any) -> int:
    """Return how long our datagrams to a peer may be."""
    return _LOOPBACK_DATAGRAM_BYTES if is_loopback(address) else _DATAGRAM_BYTES


def _configuration(*, is_client: bool, idle_timeout: float) -> QuicConfiguration:
    return QuicConfiguration(
        alpn_protocols=[ALPN],
        is_client=is_client,
        idle_timeout=idle_timeout,
        cipher_suites=[
            CipherSuite.AES_128_GCM_SHA256,
            CipherSuite.AES_256_GCM_SHA384,
            CipherSuite.CHACHA20_POLY1305_SHA256,
        ],
    )
