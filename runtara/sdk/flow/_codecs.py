"""How the values that go from node to node are kept: as JSON, as MessagePack, or in a way of one's own."""

import math
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from runtara.decoders import json_decoder, msgpack_decoder
from runtara.sdk._results import UNFIT, decode_model, encode
from runtara.sdk.flow.errors import CodecError

__all__ = ["CODECS", "JSON", "MSGPACK", "Codec", "JsonCodec", "MsgpackCodec", "read", "write"]

Decoders: TypeAlias = dict[Any, Any]
"""By the type that they are for. It is the caller who knows what comes out."""


class Codec(Protocol):
    """Turns values into bytes and back. What it raises for a value that it cannot keep becomes a `CodecError`."""

    name: str
    """Kept with each instance, which is continued with the same codec only."""

    def encode(self, value: Any) -> bytes:
        """Return the bytes of a value."""

    def decode(self, data: bytes, declared: Any) -> Any:
        """Return the value, as the type that a function declares (`Any` where it declares none)."""

    def join(self, parts: Mapping[str, bytes]) -> bytes:
        """Return the bytes of a mapping whose values are given as bytes."""


class JsonCodec:
    """JSON. A mapping is put together from its parts without looking into them."""

    name = "json"

    def __init__(self) -> None:
        self._decoders: Decoders = {}

    def encode(self, value: Any) -> bytes:
        """Return the bytes of a value. Raises `ValueError` for NaN and infinity, which would be read as nothing."""
        data = encode(value)
        if _NULL in data and value is not None and not _is_finite(value):
            raise ValueError("it holds NaN or infinity")
        return data

    def decode(self, data: bytes, declared: Any) -> Any:
        """Return the value, as the declared type."""
        return _cached(self._decoders, json_decoder, declared).decode(data)

    def join(self, parts: Mapping[str, bytes]) -> bytes:
        """Return an object with these members."""
        return b"{" + b",".join(encode(name) + b":" + part for name, part in parts.items()) + b"}"


_NULL: Final = b"null"
"""What msgspec writes for a number that JSON has not, as it does for None."""


def _is_finite(value: Any) -> bool:
    waiting = [msgspec.to_builtins(value, enc_hook=lambda _: None)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, float) and not math.isfinite(part):
            return False
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)
    return True


class MsgpackCodec:
    """MessagePack: smaller than JSON, and it holds bytes as they are."""

    name = "msgpack"

    def __init__(self) -> None:
        self._decoders: Decoders = {}

    def encode(self, value: Any) -> bytes:
        """Return the bytes of a value."""
        return msgspec.msgpack.encode(value, enc_hook=_plain)

    def decode(self, data: bytes, declared: Any) -> Any:
        """Return the value, as the declared type."""
        return _cached(self._decoders, msgpack_decoder, declared).decode(data)

    def join(self, parts: Mapping[str, bytes]) -> bytes:
        """Return a map with these entries."""
        return msgspec.msgpack.encode({name: msgspec.Raw(part) for name, part in parts.items()})


def _plain(value: Any) -> Any:
    """Return a pydantic model as what JSON can express of it."""
    return msgspec.json.decode(encode(value))


def _cached(decoders: Decoders, kind: Any, declared: Any) -> Any:
    try:
        return decoders[declared]
    except (KeyError, TypeError):  # TypeError: a type that cannot be a key
        decoder = kind(declared, dec_hook=decode_model)
    try:
        decoders[declared] = decoder
    except TypeError:
        return decoder
    return decoder


JSON: Final = JsonCodec()
MSGPACK: Final = MsgpackCodec()

CODECS: Final[dict[str, Codec]] = {codec.name: codec for codec in (JSON, MSGPACK)}
"""Those that are known by their names; a codec of one's own is not among them."""


def write(codec: Codec, value: Any, what: str) -> bytes:
    """Return the bytes of a value. Raises `CodecError`, which names `what`."""
    try:
        return codec.encode(value)
    except UNFIT as error:
        raise CodecError(
            f"{what} cannot be stored as {codec.name} ({error}): return what {codec.name} can express"
        ) from None


def read(codec: Codec, data: bytes, declared: Any, what: str) -> Any:
    """Return the value that was kept as these bytes. Raises `CodecError`, which names `what`."""
    try:
        return codec.decode(data, declared)
    except UNFIT as error:
        raise CodecError(f"{what} is not what the task takes ({error}): give it the type that it gets") from None
