from pathlib import Path

import pytest
from aioquic.quic.connection import QuicConnection

from runtara.errors import Internal
from runtara.transport.certificates import ensure_certificate
from runtara.transport.quic import _proof
from runtara.transport.quic._configuration import ServerTls, configure_server
from runtara.transport.quic._guard import GuardedConnection
from tests.transport.quic.fray import server_tls

PROVED = {
    "_write_stream_limits": "the window of a stream",
    "_write_connection_limits": "the window of a connection",
    "_handle_stream_frame": "fragments",
    "_handle_reset_stream_frame": "streams that were reset",
    "_handle_crypto_frame": "handshake bytes",
}
"""Guard to what it guards."""


def test_the_guards_are_in_force() -> None:
    _proof.prove_guards(configure_server(server_tls()))


@pytest.mark.parametrize("method", PROVED)
def test_a_guard_that_is_not_called_keeps_the_server_from_starting(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(GuardedConnection, method)

    with pytest.raises(Internal, match=PROVED[method]):
        _proof.prove_guards(configure_server(server_tls()))


def test_the_same_methods_are_attacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    attacked: list[object] = []

    def holds(fight: object) -> bool:
        attacked.append(fight)
        return True

    _proof.prove_guards(configure_server(server_tls()))
    monkeypatch.setitem(_proof._PROOFS, "nothing", holds)

    _proof.prove_guards(configure_server(server_tls()))
    before = len(attacked)
    monkeypatch.setattr(GuardedConnection, "_write_application", QuicConnection._write_application)
    _proof.prove_guards(configure_server(server_tls()))

    assert (before, len(attacked)) == (0, 1)


def test_a_certificate_is_tried_whatever_was_proved_before(tmp_path: Path) -> None:
    other, useless = ensure_certificate(tmp_path / "tls"), configure_server(server_tls())
    _proof.prove_guards(useless)
    useless.private_key = configure_server(
        ServerTls(cert_file=str(other.cert_file), key_file=str(other.key_file))
    ).private_key

    with pytest.raises(Internal, match="check the server's certificate and key"):
        _proof.prove_guards(useless)


def test_every_guard_of_a_private_method_is_proved() -> None:
    private = {name for name in vars(GuardedConnection) if name.startswith(("_handle", "_write"))}

    assert private - {"_write_application"} == set(PROVED)  # that one saves work, and guards nothing
