from pathlib import Path

import pytest

from runtara.errors import ConfigError
from runtara.transport.quic._configuration import ServerTls, configure_server, datagram_bytes, is_loopback
from tests.transport.quic.fray import identity, server_tls


def test_a_server_reads_its_certificate_and_key() -> None:
    configuration = configure_server(server_tls())

    assert configuration.certificate is not None
    assert configuration.private_key is not None
    assert configuration.alpn_protocols == ["runtara/2"]


@pytest.mark.parametrize("broken", ["missing", "empty", "garbage"])
def test_a_key_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path, broken: str) -> None:
    key = tmp_path / "key.pem"
    if broken != "missing":
        key.write_text("" if broken == "empty" else "-----BEGIN PRIVATE KEY-----\nxxx\n-----END PRIVATE KEY-----\n")

    with pytest.raises(ConfigError, match=r"key\.pem"):
        configure_server(ServerTls(cert_file=str(identity().cert_file), key_file=str(key)))


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("fe80::1%eth0", False),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
    ],
)
def test_loopback_is_known_in_every_spelling(host: str, ours: bool) -> None:
    assert is_loopback((host, 1)) is ours


def test_datagrams_are_longer_where_no_network_is_between() -> None:
    assert datagram_bytes(("192.0.2.1", 1)) == 1200 < datagram_bytes(("::1", 1, 0, 0))
