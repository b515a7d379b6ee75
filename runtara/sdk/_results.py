"""Values as the bytes of a checkpoint, and back as the type that they are declared to be.

msgspec does it for what JSON can express, dataclasses included; a pydantic model is asked to do it itself, wherever in
the value it stands.
"""

import typing
from collections.abc import Callable
from typing import Any, Final

import msgspec

from runtara.decoders import json_decoder
from runtara.errors import InvalidInput

__all__ = ["UNFIT", "Codec", "declared_result", "decode_model", "encode"]

UNFIT: Final = (TypeError, ValueError, RecursionError, msgspec.MsgspecError)
"""What JSON raises where a value does not fit into it, or into the declared type."""


def encode(value: object) -> bytes:
    """Return a value as JSON. Raises one of `UNFIT` for a value that JSON cannot express."""
    return msgspec.json.encode(value, enc_hook=_encode_model)


def declared_result(function: Callable[..., Any]) -> Any:
    """Return the type that a function is declared to return; `Any` where that is not said, or only to checkers."""
    try:
        return typing.get_type_hints(function).get("return", Any)
    except (NameError, AttributeError):
        return Any


class Codec:
    """Turns values of one type into bytes, and back. Raises `InvalidInput` for a type that JSON cannot tell apart."""

    def __init__(self, declared: Any, what: str) -> None:
        try:
            self._decoder = json_decoder(declared, dec_hook=decode_model)
        except TypeError as error:
            raise InvalidInput(f"{what} {declared}, which cannot be read from JSON: {error}") from None

    def keep(self, value: object, what: str) -> tuple[bytes, Any]:
        """Return the bytes of a value, and the value that a replay will read from them."""
        try:
            state = encode(value)
            return state, self._decoder.decode(state)
        except UNFIT as error:
            raise InvalidInput(
                f"{what} cannot be stored ({error}): return what JSON can express, of the declared type"
            ) from None

    def read(self, state: bytes | None, what: str) -> Any:
        """Return the value that was kept as these bytes."""
        try:
            return self._decoder.decode(state or b"")
        except UNFIT as error:
            raise InvalidInput(
                f"the stored {what} any more ({error}): keep reading the old form, or give the step a new name"
            ) from None


def _encode_model(value: Any) -> Any:
    """Return what msgspec cannot express itself: a pydantic model as the JSON that it makes of itself."""
    dump = getattr(type(value), "model_dump_json", None)
    if dump is None:
        raise TypeError(f"objects of type {type(value).__name__} are not supported")
    return msgspec.Raw(dump(value).encode())


def _is_abstract(declared: Any, value: Any) -> bool:
    """Whether a type says only what can be done with a value (`Iterable[int]`), and it can be."""
    kind = typing.get_origin(declared) or declared
    return isinstance(kind, type) and kind.__module__ == "collections.abc" and isinstance(value, kind)


def decode_model(declared: Any, value: Any) -> Any:
    """Return a pydantic model; `value` is what JSON made of it. It checks itself: what is wrong is a `ValueError`."""
    if declared is object or _is_abstract(declared, value):
        return value  # whatever it is, or of what it is made
    validate = getattr(declared, "model_validate_json", None)
    if validate is None:
        raise TypeError(f"type {declared!r} is not supported")
    return validate(msgspec.json.encode(value))
