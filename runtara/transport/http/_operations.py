"""What of a command stands where in a request: in the path, in the query or in the body. Derived from `ENDPOINTS`.

Decides only; nothing here answers a request. The types made here validate every request, and the published description
of the door is made of them too, so that neither can say something else than the other.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from runtara.decoders import convert, json_decoder
from runtara.endpoints import ENDPOINTS, Endpoint
from runtara.errors import InvalidInput
from runtara.ids import new_id
from runtara.messages import AddKey, RotateKey, SendSignal, SignalMany

__all__ = ["OPERATIONS", "QUERY_FIELDS_MAX", "Operation", "Wanted", "decode_path", "decode_query", "decode_segment"]

QUERY_FIELDS_MAX: Final = 64
"""Most fields that the query of a request may have."""

_MADE_UP: Final[dict[type, str]] = {
    SendSignal: "signal_id",
    SignalMany: "signal_id",
    AddKey: "request_id",
    RotateKey: "request_id",
}
"""What a body may leave out although the command has it: it is made up, of the key of the request if it has one."""

T = TypeVar("T", bound=msgspec.Struct)

_IN_BRACES: Final = re.compile(r"\{(\w+)\}")


class Wanted(msgspec.Struct, frozen=True):
    """What a request asks for."""

    command: Any
    instance_id: str | None
    """The instance that it is about; None where it is about none."""
    tenant_id: str | None
    """The tenant that its path names."""


class Operation:
    """One row of the table, as a request spells it."""

    def __init__(self, row: Endpoint) -> None:
        self.row: Final = row
        self.name: Final = row.command.__name__
        self.path_fields: Final = tuple(_IN_BRACES.findall(row.path))
        self._fields = {field.name: field for field in msgspec.structs.fields(row.command)}
        rest = [field for name, field in self._fields.items() if name not in self.path_fields]
        self.names_instance: Final = row.owner == "instance" and "instance_id" not in self.path_fields
        """Whether the body may give the id of the instance that comes into being."""
        self.makes_up: Final = self.names_instance or row.command in _MADE_UP
        """Whether the body may leave out an id, which is then made of the key of the request."""
        self.query: Final = _query_type(self.name, rest) if row.verb == "GET" and rest else None
        """The type of the query; None where it must be empty."""
        self.body: Final = None if row.verb == "GET" else self._body_type(rest)
        """The type of the body; None where there must be none."""
        self.path: Final = _path_type(self.name, self._fields, self.path_fields)
        """The type of what the path holds."""
        self.needs_body: Final = self.body is not None and any(f.required for f in msgspec.structs.fields(self.body))
        self._plain = all(self._type_in_path(name) is str for name in self.path_fields)
        self._decoder = None if self.body is None else json_decoder(self.body)
        nested = {field.name: _struct_of(field.type) for field in rest} if self.query else {}
        self._flattened = {name: kind for name, kind in nested.items() if kind is not None}

    def read(self, path: Mapping[str, str], query: bytes, body: bytes | bytearray, key: str | None) -> Wanted:
        """Return what a request asks for. `key` is the key by which it is known when it is sent again, if it has one.

        Raises `InvalidInput` saying where it is wrong.
        """
        if not self._plain:
            decode_path(path, self.path)  # only to refuse what does not fit
        found = {**path, **self._read_query(query), **self._read_body(body)}
        tenant_id = found.get("tenant_id")
        if "tenant_id" not in self._fields:
            found.pop("tenant_id", None)
        instance_id = found.get("instance_id")
        if "instance_id" not in self._fields:
            found.pop("instance_id", None)
        if self.names_instance and instance_id is None:
            instance_id = self._id_of("instance", key, "")
        made_up = _MADE_UP.get(self.row.command)
        if made_up is not None and found[made_up] is None:
            found[made_up] = self._id_of(made_up, key, instance_id or "")
        return Wanted(self.row.command(**found), instance_id, tenant_id)

    def _type_in_path(self, name: str) -> object:
        return self._fields[name].type if name in self._fields else str

    def _read_query(self, query: bytes) -> dict[str, Any]:
        if self.query is None:
            if query:
                raise InvalidInput(
                    f"{self.name} takes no query: {query[:80].decode(errors='replace')!a} has no meaning"
                )
            return {}
        found = msgspec.structs.asdict(decode_query(query, self.query))
        for name, kind in self._flattened.items():
            parts = {part: found.pop(part) for part in kind.__struct_fields__ if part not in self._fields}
            given = kind(**parts)
            found[name] = None if given == kind() else given
        return found

    def _read_body(self, body: bytes | bytearray) -> dict[str, Any]:
        if self._decoder is None:
            if body:
                raise InvalidInput(f"{self.name} takes no body: send it without one")
            return {}
        if not body:
            body = b"{}"  # what is missing in it is then said by name
        try:
            return msgspec.structs.asdict(self._decoder.decode(body))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the body does not fit {self.name}: {error}") from None
        except RecursionError:
            raise InvalidInput(f"the body of {self.name} is nested too deeply") from None

    def _body_type(self, rest: list[msgspec.structs.FieldInfo]) -> type[msgspec.Struct] | None:
        fields = [_field(field, optional=field.name == _MADE_UP.get(self.row.command)) for field in rest]
        if self.names_instance:
            fields.insert(0, ("instance_id", str | None, None))
        if not fields and self.row.verb == "DELETE":
            return None
        return _struct(f"{self.name}Body", fields)

    def _id_of(self, what: str, key: str | None, instance_id: str) -> str:
        """Return a new id, or the one that the same key always leads to."""
        if key is None:
            return new_id()
        return hashlib.sha256(f"{self.name}\n{what}\n{instance_id}\n{key}".encode()).hexdigest()[:32]


def decode_path(path: Mapping[str, str], kind: type[msgspec.Struct]) -> msgspec.Struct:
    """Return what the path holds, by type. Raises `InvalidInput`."""
    try:
        return convert(path, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the path does not fit: {error}") from None


def decode_query(query: bytes, kind: type[T]) -> T:
    """Return what a query says, by type. Raises `InvalidInput` for anything else, fields that come twice included."""
    several = {field.name for field in msgspec.structs.fields(kind) if get_origin(field.type) is tuple}
    found: dict[str, str | list[str]] = {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX
        )
    except ValueError as error:
        raise InvalidInput(f"the query cannot be read: {error}") from None
    for name, value in pairs:
        if name in several:
            found.setdefault(name, []).append(value)  # type: ignore[union-attr]  # always a list
            continue
        if name in found:
            raise InvalidInput(f"{name!a:.80} stands twice in the query: once is enough")
        found[name] = value
    try:
        return convert(found, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the query does not fit: {error}") from None


def decode_segment(raw: str) -> str:
    """Return the text of one percent-encoded segment of a path. Raises `InvalidInput` where it is no text."""
    if "%" not in raw:
        return raw
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{raw!a:.80} in the path is not UTF-8") from None


# Types ----------------------------------------------------------------------------------------------------------------

_Field = tuple[str, Any] | tuple[str, Any, Any]


def _struct(name: str, fields: list[Any]) -> type[msgspec.Struct]:
    return msgspec.defstruct(name, fields, kw_only=True, frozen=True, forbid_unknown_fields=True)


def _path_type(name: str, fields: Mapping[str, Any], named: tuple[str, ...]) -> type[msgspec.Struct]:
    return _struct(f"{name}Path", [(field, fields[field].type if field in fields else str) for field in named])


def _query_type(name: str, rest: list[msgspec.structs.FieldInfo]) -> type[msgspec.Struct]:
    """Return the type of a query. What is a struct itself is spelled field by field."""
    found: dict[str, Any] = {}
    for field in rest:
        nested = _struct_of(field.type)
        parts = [field] if nested is None else msgspec.structs.fields(nested)
        for part in parts:
            found.setdefault(part.name, _field(part))
    return _struct(f"{name}Query", list(found.values()))


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct that a field holds, where it holds one, or may."""
    kinds = [part for part in (get_args(kind) or (kind,)) if part is not type(None)]
    return kinds[0] if isinstance(kinds[0], type) and issubclass(kinds[0], msgspec.Struct) else None


def _field(field: msgspec.structs.FieldInfo, *, optional: bool = False) -> _Field:
    if optional:
        return (field.name, field.type | None, None)
    if field.required:
        return (field.name, field.type)
    if field.default_factory is not msgspec.NODEFAULT:
        return (field.name, field.type, msgspec.field(default_factory=field.default_factory))
    return (field.name, field.type, field.default)


OPERATIONS: Final[dict[type, Operation]] = {command: Operation(row) for command, row in ENDPOINTS.items()}
"""Every operation by its command."""
