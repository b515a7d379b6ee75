"""Decoders of bytes and values into types, made by one thread at a time.

msgspec finds out what a struct, a dataclass or a TypedDict is when it meets the type for the first time, and keeps that
with the class; other threads see it there before it is complete. Two that meet the same type at the same moment end the
process, by a segmentation fault (msgspec 0.22.0). So everything here that can meet a type does it under one lock, and
nothing decodes a type that was not met before. Decoding itself needs no lock, nor does encoding.
"""

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

import msgspec

__all__ = ["convert", "decode_json", "decode_msgpack", "json_decoder", "msgpack_decoder"]

T = TypeVar("T")

DecodeHook = Callable[[type, Any], Any]

_meeting: Final = threading.RLock()
"""Reentrant: to meet a type may run code of its module, and that may decode something."""
_met: Final[set[Any]] = set()


def decode_json(data: bytes | str, kind: type[T]) -> T:
    """Return the value of a type that JSON says. Raises what `msgspec.json.decode` does."""
    _meet(kind)
    return msgspec.json.decode(data, type=kind)


def decode_msgpack(data: bytes, kind: type[T]) -> T:
    """Return the value of a type that MessagePack says. Raises what `msgspec.msgpack.decode` does."""
    _meet(kind)
    return msgspec.msgpack.decode(data, type=kind)


def convert(value: object, kind: type[T], *, strict: bool = True) -> T:
    """Return the value of a type that plain values say. Raises what `msgspec.convert` does."""
    _meet(kind)
    return msgspec.convert(value, kind, strict=strict)


@overload
def json_decoder(kind: type[T], dec_hook: DecodeHook | None = None) -> msgspec.json.Decoder[T]: ...


@overload
def json_decoder(kind: Any, dec_hook: DecodeHook | None = None) -> msgspec.json.Decoder[Any]: ...


def json_decoder(kind: Any, dec_hook: DecodeHook | None = None) -> msgspec.json.Decoder[Any]:
    """Return a decoder of JSON, for any thread. Raises what `msgspec.json.Decoder` does."""
    with _meeting:
        return msgspec.json.Decoder(kind, dec_hook=dec_hook)


@overload
def msgpack_decoder(kind: type[T], dec_hook: DecodeHook | None = None) -> msgspec.msgpack.Decoder[T]: ...


@overload
def msgpack_decoder(kind: Any, dec_hook: DecodeHook | None = None) -> msgspec.msgpack.Decoder[Any]: ...


def msgpack_decoder(kind: Any, dec_hook: DecodeHook | None = None) -> msgspec.msgpack.Decoder[Any]:
    """Return a decoder of MessagePack, for any thread. Raises what `msgspec.msgpack.Decoder` does."""
    with _meeting:
        return msgspec.msgpack.Decoder(kind, dec_hook=dec_hook)


def _meet(kind: Any) -> None:
    if kind in _met:
        return
    with _meeting:
        msgspec.msgpack.Decoder(kind)
        _met.add(kind)
