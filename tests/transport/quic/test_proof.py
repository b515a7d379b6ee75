import pytest

from runtara.errors import Internal
from runtara.transport.quic import _proof
from runtara.transport.quic._configuration import configure_server
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


def test_every_guard_of_a_private_method_is_proved() -> None:
    private = {name for name in vars(GuardedConnection) if name.startswith(("_handle", "_write"))}

    assert private - {"_write_application"} == set(PROVED)  # that one saves work, and guards nothing
