"""What a door and its clients say to each other on a stream: frames, and how they are cut out of its bytes. No I/O.

A frame is four bytes of length (big-endian, of what follows) and one MessagePack map, whose ``type`` names it. A
connection begins with `Hello` on its first stream; nothing else may be sent before the `Welcome`, except further frames
behind the `Hello` on that same stream. After that a client may ask on any stream of its own, one call on a stream or
many; the answer comes on the stream of its call, in the order in which the answers are known. What the server says of
its own accord (`Pushed`, `Renewed`, `Goodbye`) comes on the first stream.
"""

import struct
from collections.abc import Iterator
from typing import Annotated, Any, Final, Union

import msgspec

from runtara.decoders import msgpack_decoder
from runtara.endpoints import ENDPOINTS
from runtara.errors import InvalidInput, TooLarge

__all__ = [
    "ALPN",
    "HELLO_MAX_BYTES",
    "LENGTH_BYTES",
    "OVERHEAD_MAX_BYTES",
    "Answer",
    "Ask",
    "ClientFrame",
    "FrameCutter",
    "Goodbye",
    "Hello",
    "OnBehalf",
    "Pushed",
    "Refusal",
    "Renewed",
    "ServerFrame",
    "Watch",
    "Welcome",
    "decode_client_frame",
    "decode_server_frame",
    "encode_frame",
    "read_ask_id",
]

ALPN: Final = "runtara/2"
"""Name of this protocol in the handshake."""

HELLO_MAX_BYTES: Final = 16 * 1024
"""Longest first frame: nothing larger is held for a client that is not known yet."""

OVERHEAD_MAX_BYTES: Final = 256 * 1024
"""What a frame may hold beside the one payload of its command: ids, an environment, an error text."""

_LENGTH: Final = struct.Struct(">I")

LENGTH_BYTES: Final = _LENGTH.size
"""What precedes each frame on a stream; a WebSocket message knows its own length and has no such thing."""

_AskId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class _Discreet:
    """Shows no secrets when it is printed, as in a log or a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = (
            f"{name}={'...' if name in _SECRET and value else repr(value)}"
            for name, value in msgspec.structs.asdict(self).items()  # type: ignore[arg-type]  # always mixed into one
        )
        return f"{type(self).__name__}({', '.join(shown)})"


_SECRET: Final = frozenset({"credential", "token"})


# From the client ------------------------------------------------------------------------------------------------------


class Hello(_Discreet, msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Who speaks: always the first frame."""

    tenant_id: str
    instance_id: str
    """The instance that is meant where a call names none."""
    credential: str | None = None
    """A tenant key, or the token of a launched attempt."""
    epoch: int | None = None
    """The attempt that speaks, where it is registered already: after the connection was lost."""


class OnBehalf(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A caller of another node."""

    tenant_id: str
    epoch: int | None = None
    """The attempt that speaks, where one does."""


class Ask(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True, omit_defaults=True):
    """A call. `id`, from 1, is chosen by the client and named by the answer; no two unanswered calls share one."""

    id: _AskId
    command: Union[tuple(ENDPOINTS)]  # type: ignore[valid-type]  # noqa: UP007 - derived from the table
    instance_id: str | None = None
    """Another instance of the same tenant, asked about by nobody's attempt."""
    timeout_ms: int | None = None
    """How long the client will wait for the answer."""
    on_behalf: OnBehalf | None = None
    """Who asks, where a node passes on what it was asked itself; `instance_id` is then what it is about."""
    trace: str | None = None
    """The ``traceparent`` (W3C) that the call is a part of, where its client is traced."""


class Watch(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Say with `Pushed` when something happens to an instance, or (`on` False) do so no more. It has no answer."""

    instance_id: str
    on: bool = True


# From the server ------------------------------------------------------------------------------------------------------


class Welcome(_Discreet, msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The client is known, and may ask."""

    server_version: str
    heartbeat_every_ms: int
    """How often an attempt should say that it is alive while it says nothing else."""
    frame_max_bytes: int
    token: str | None = None
    """A newer credential, where that of the client will be out of date before long."""


class Answer(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The reply to a call."""

    id: int
    reply: Union[tuple({row.reply for row in ENDPOINTS.values()})]  # type: ignore[valid-type]  # noqa: UP007 - likewise


class Refusal(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A call was refused or failed. `code` is a wire code of the error table. `id` 0: the client is turned away."""

    id: int
    code: str
    message: str


class Pushed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Something happened to a watched instance, or a signal for it came: ask again."""

    instance_id: str


class Renewed(_Discreet, msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A newer credential, because that of the client will be out of date before long."""

    token: str


class Goodbye(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The server is going down: unanswered calls should be sent again, to whoever answers then."""

    retry_after_ms: int = 0


ClientFrame = Hello | Ask | Watch
ServerFrame = Welcome | Answer | Refusal | Pushed | Renewed | Goodbye

_encoder: Final = msgspec.msgpack.Encoder()
_client_decoder: Final = msgpack_decoder(ClientFrame)
_server_decoder: Final = msgpack_decoder(ServerFrame)


def encode_frame(frame: ClientFrame | ServerFrame) -> bytes:
    """Return the bytes of a frame, its length before it. Raises `InvalidInput` for what MessagePack cannot hold."""
    try:
        body = _encoder.encode(frame)
    except (TypeError, ValueError, OverflowError) as error:  # UnicodeEncodeError is a ValueError
        raise InvalidInput(f"this cannot be sent: {error}") from None
    return _LENGTH.pack(len(body)) + body


def decode_client_frame(body: bytes | bytearray | memoryview) -> ClientFrame:
    """Return what a client said. Raises `InvalidInput` for anything that is not such a frame.

    Raises `TooLarge` for a frame that holds more than `OVERHEAD_MAX_BYTES` beside the payload of its command.
    """
    if len(body) > OVERHEAD_MAX_BYTES:
        _check_overhead(body)
    return _decode(_client_decoder, body)  # type: ignore[no-any-return]  # the decoder's own type


def decode_server_frame(body: bytes | bytearray | memoryview) -> ServerFrame:
    """Return what a server said. Raises `InvalidInput` for anything that is not such a frame."""
    return _decode(_server_decoder, body)  # type: ignore[no-any-return]  # the decoder's own type


def read_ask_id(body: bytes | bytearray | memoryview) -> int | None:
    """Return the id of a call that could not be understood, so that it can be refused by it; None if it shows none."""
    try:
        return int(_ask_id_decoder.decode(body).id)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _decode(decoder: Any, body: bytes | bytearray | memoryview) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"this is not a frame of {ALPN}: {error}") from None


# Large frames ---------------------------------------------------------------------------------------------------------

# What a payload takes in memory is what it took on the wire. Text and maps take many times as much, so that a large
# frame is measured before any of it is made into objects.


class _AnyAsk(msgspec.Struct, tag="Ask"):
    id: _AskId


_Payloads = msgspec.defstruct(
    "_Payloads",
    [
        (name, msgspec.Raw, msgspec.Raw())
        for name in sorted(
            {
                field.name
                for command in ENDPOINTS
                for field in msgspec.structs.fields(command)
                if field.type in (bytes, bytes | None)
            }
        )
    ],
)
"""Every field of a command that is a payload."""

_LargeAsk = msgspec.defstruct("_LargeAsk", [("command", _Payloads)], tag="Ask")

_ask_id_decoder: Final = msgpack_decoder(_AnyAsk)
_large_decoder: Final = msgpack_decoder(_LargeAsk)


def _check_overhead(body: bytes | bytearray | memoryview) -> None:
    payloads = msgspec.structs.astuple(_decode(_large_decoder, body).command)
    overhead = len(body) - max(map(len, payloads))
    if overhead > OVERHEAD_MAX_BYTES:
        raise TooLarge(
            f"a frame holds {overhead} bytes beside its payload: at most {OVERHEAD_MAX_BYTES} are allowed; shorten them"
        )


# Streams --------------------------------------------------------------------------------------------------------------


class FrameCutter:
    """Cuts one stream's bytes into frames. `limit` is the longest body that is accepted, and may be raised."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._length: int | None = None

    @property
    def wanted(self) -> int | None:
        """Length of the frame that has begun, or None where none has."""
        return self._length

    @property
    def buffered(self) -> int:
        """How many bytes are held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytearray]:
        """Take bytes, and return the bodies that are complete now, cut one by one. Raises `TooLarge` meanwhile."""
        self._buffer += data
        return self._cut()

    def _cut(self) -> Iterator[bytearray]:
        while True:
            if self._length is None:
                if len(self._buffer) < LENGTH_BYTES:
                    return
                (self._length,) = _LENGTH.unpack_from(self._buffer)
                del self._buffer[:LENGTH_BYTES]
            if self._length > self.limit:  # looked at again for each piece: the limit may be another one by now
                raise TooLarge(f"a frame of {self._length} bytes was announced: at most {self.limit} are allowed")
            if len(self._buffer) < self._length:
                return
            body = self._take(self._length)
            self._length = None
            yield body

    def _take(self, length: int) -> bytearray:
        if len(self._buffer) == length:  # the usual case, and no large frame is held twice
            body, self._buffer = self._buffer, bytearray()
            return body
        body = self._buffer[:length]
        del self._buffer[:length]
        return body
