"""From rows to records: whatever lies in a store is checked before it is believed."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from runtara.decoders import convert
from runtara.store._terms import LoadError

__all__ = ["decode_row"]

Record = TypeVar("Record", bound=msgspec.Struct)


def decode_row(kind: type[Record], row: Sequence[object]) -> Record:
    """Return the record whose fields lie in `row`, in the order in which the struct declares them.

    Raises `LoadError` for a value of another type, or a status or reason that does not exist.
    """
    try:
        return convert(dict(zip(kind.__struct_fields__, row, strict=True)), kind)
    except msgspec.ValidationError as error:
        raise LoadError(f"a stored {kind.__name__.lower()} cannot be understood: {error}") from None
