"""What happens to the instances of a tenant, as a client hears it: the live stream of a server's HTTP door.

It owns one connection, from its beginning to its end; whoever wants to hear more makes another one.
"""

import json
import ssl
from collections.abc import Callable
from typing import Any, Final

import msgspec
import trio
import trio_websocket as ws
from h11 import ProtocolError as HttpProtocolError
from wsproto.utilities import ProtocolError

from runtara.decoders import json_decoder
from runtara.errors import ERRORS, RuntaraError, Unreachable
from runtara.messages import InstanceSummary
from runtara.transport.addresses import Address
from runtara.transport.client.connection import TRY, not_trusted, reason_in
from runtara.transport.client.door import ServerSpec
from runtara.transport.client.trust import client_context, distrust_in
from runtara.transport.websocket.terms import LIVE_PATH

__all__ = ["LiveSpec", "follow_instance", "follow_instances"]

_LOST: Final = (
    *(ws.ConnectionClosed, ws.HandshakeError, ProtocolError, HttpProtocolError),
    *(trio.BrokenResourceError, trio.TooSlowError, OSError, ssl.SSLError, msgspec.DecodeError),
)
"""What a server, or the way to it, can do to a connection."""

_MESSAGE_MAX_BYTES: Final = 1024 * 1024

_BY_WIRE: Final = {code.wire: error for code, error in ERRORS.items()}


class LiveSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Whose instances are followed at which server."""

    server: ServerSpec
    address: Address
    """Of its HTTP door."""
    tenant_id: str
    credential: str | None = None

    def __repr__(self) -> str:  # shows no secret
        return f"LiveSpec(address={self.address!r}, tenant_id={self.tenant_id!r})"


class _Message(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw = msgspec.Raw()
    code: str = ""
    message: str = ""


_decoder: Final = json_decoder(_Message)


async def follow_instances(spec: LiveSpec, told: Callable[[InstanceSummary | None], Any]) -> None:
    """Tell how an instance stands whenever one has changed, until the connection is over, which raises `Unreachable`.

    None is told first, and whenever something may have been missed: whoever reads all instances then misses nothing.
    Raises also what the server refuses with, and `UntrustedServer`.
    """
    await _follow(spec, {"stream": "instances"}, lambda data: told(_row_decoder.decode(data) if bytes(data) else None))


async def follow_instance(spec: LiveSpec, instance_id: str, told: Callable[[], Any]) -> None:
    """Tell that something has happened to an instance, whenever it has or may have; ends as `follow_instances` does."""
    await _follow(spec, {"stream": "instance", "instance_id": instance_id}, lambda _: told())


_row_decoder: Final = json_decoder(InstanceSummary)


async def _follow(spec: LiveSpec, wanted: dict[str, str], told: Callable[[msgspec.Raw], Any]) -> None:
    failure: RuntaraError = Unreachable(f"{spec.address} has ended the stream: ask again")
    try:
        async with await _reach(spec) as stream, trio.open_nursery() as nursery:
            refused = await _hear(nursery, stream, spec, wanted, told)
            failure = failure if refused is None else refused
            nursery.cancel_scope.cancel()
    except* _LOST as errors:
        distrust = distrust_in(errors.exceptions[0])
        untrusted = None if distrust is None else not_trusted(distrust).error
        failure = untrusted or Unreachable(f"{spec.address} tells nothing: {reason_in(errors.exceptions[0])}")
    raise failure


async def _reach(spec: LiveSpec) -> Any:
    """Return the stream to the server, which is the expected one."""
    with trio.fail_after(TRY):
        stream = await trio.open_tcp_stream(spec.address.host, spec.address.port)
        if not spec.address.is_secure:
            return stream
        try:
            context, name = client_context(spec.server), spec.server.server_name
            secure = trio.SSLStream(stream, context, server_hostname=name, https_compatible=True)
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secure


async def _hear(
    nursery: trio.Nursery,
    stream: Any,
    spec: LiveSpec,
    wanted: dict[str, str],
    told: Callable[[msgspec.Raw], Any],
) -> RuntaraError | None:
    """Tell what comes; return what the server refuses with, or None where it only ends the stream."""
    headers = [(b"runtara-tenant-id", spec.tenant_id.encode())]
    if spec.credential is not None:
        headers.append((b"authorization", f"Bearer {spec.credential}".encode()))
    line = await ws.wrap_client_stream(
        nursery,
        stream,
        spec.address.authority,
        LIVE_PATH,
        extra_headers=headers,
        max_message_size=_MESSAGE_MAX_BYTES,
    )
    await line.send_message(json.dumps({"type": "watch", "id": 1, **wanted}))
    while True:
        message = _decoder.decode(await line.get_message())
        if message.type == "refused":
            return _BY_WIRE.get(message.code, Unreachable)(message.message)
        if message.type == "behind":
            return None
        told(message.data)
