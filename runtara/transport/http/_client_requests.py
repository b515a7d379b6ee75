"""Calls and their answers, as HTTP spells them: what stands where in a request, and what a response means. No I/O.

The other side of `_operations`: what it reads is what is written here, derived from the same table.
"""

from enum import Enum
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from runtara.decoders import decode_json, json_decoder
from runtara.errors import Code, InvalidInput
from runtara.ids import InstanceKey
from runtara.messages import CheckpointFound, GetCheckpoint, GetTree, TreeFound
from runtara.transport.frames import Answer, Ask, Refusal
from runtara.transport.http._operations import OPERATIONS, Operation
from runtara.transport.http._problems import PROBLEM_JSON

__all__ = ["Request", "answer_of", "request_of"]


class Request(NamedTuple):
    """What is sent."""

    verb: str
    target: str
    """The path and the query."""
    body: bytes | None


class _Problem(msgspec.Struct):
    """What of an error matters to a client."""

    code: str
    detail: str = ""


_problem_decoder: Final = json_decoder(_Problem)


def request_of(ask: Ask, own: InstanceKey) -> Request:
    """Return the request that a call is. `own` is the instance that is meant where the call names none.

    Raises `InvalidInput` for what JSON cannot hold.
    """
    operation = OPERATIONS[type(ask.command)]
    fields = {name: getattr(ask.command, name) for name in ask.command.__struct_fields__}
    instance_id = own.instance_id if ask.instance_id is None else ask.instance_id
    outer = {"instance_id": instance_id, "tenant_id": own.tenant_id}
    path = {name: _segment(fields.pop(name) if name in fields else outer[name]) for name in operation.path_fields}
    if operation.names_instance:
        fields["instance_id"] = instance_id
    target = operation.row.path.format_map(path)
    try:
        if operation.row.verb == "GET":
            query = urlencode(_query(operation, fields), doseq=True)
            return Request("GET", f"{target}?{query}" if query else target, None)
        return Request(operation.row.verb, target, None if operation.body is None else msgspec.json.encode(fields))
    except (TypeError, ValueError, OverflowError) as error:  # UnicodeEncodeError is a ValueError
        raise InvalidInput(f"this cannot be sent: {error}") from None


def _segment(value: Any) -> str:
    """Return a part of a path. Raises `InvalidInput` for an empty one, which would make it another path."""
    if value == "":
        raise InvalidInput("an empty name or id is not allowed: use 1 or more characters")
    try:
        return quote(_word(value), safe="").replace(".", "%2E")  # a dot or two alone would be taken out on the way
    except UnicodeEncodeError as error:
        raise InvalidInput(f"this cannot be sent: {error}") from None


def _query(operation: Operation, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the query; what is as it is by default is left out, and what is a struct itself is spelled out."""
    found: dict[str, Any] = {}
    known = {} if operation.query is None else _defaults(operation.query)
    for name, value in fields.items():
        if isinstance(value, msgspec.Struct):
            found.update(_query(operation, {part: getattr(value, part) for part in value.__struct_fields__}))
        elif value is not None and value != known.get(name, msgspec.NODEFAULT):
            found[name] = [_word(one) for one in value] if isinstance(value, tuple | list) else _word(value)
    return found


def _defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.name: field.default for field in msgspec.structs.fields(kind)}


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value.value if isinstance(value, Enum) else value)


def answer_of(ask: Ask, status: int, kind: str, body: bytes) -> Answer | Refusal | None:
    """Return what the server has said to a call; None where it was not this server, or not as it speaks."""
    try:
        if status < 300:
            return Answer(ask.id, _reply(ask, body))
        if kind.partition(";")[0].strip() != PROBLEM_JSON.decode():
            return None
        problem = _problem_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if problem.code == Code.NOT_FOUND.wire and type(ask.command) is GetCheckpoint:
        return Answer(ask.id, CheckpointFound(found=False))
    return Refusal(id=ask.id, code=problem.code, message=problem.detail)


def _reply(ask: Ask, body: bytes) -> Any:
    if type(ask.command) is GetTree:
        return TreeFound(tree=bytes(decode_json(body, msgspec.Raw)))
    return decode_json(body, OPERATIONS[type(ask.command)].row.reply)
