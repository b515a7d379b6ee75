"""JSON schemas of the types that validate requests, as parts of an OpenAPI document."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

__all__ = ["FILE", "Node", "body_of", "parameters_of", "reference_to", "schemas_of"]

Node = dict[str, Any]
"""A part of the document; Any: it is JSON."""

FILE: Final[Node] = {"type": "string", "format": "binary"}
"""Bytes as they are. OpenAPI 3.1 needs no schema for them, but generators of clients do, and look for this one."""

_TEMPLATE: Final = "#/components/schemas/{name}"

_COMMANDS: Final = frozenset({"StartInstance"})
"""Commands that are parts of others: what they are need not be said there."""

_ID: Final[Node] = {"pattern": "^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$"}

_HINTS: Final[dict[str, Node]] = {
    "instance_id": _ID,
    "source": _ID,
    "tenant_id": _ID,
    "checkpoint_id": {"minLength": 1, "maxLength": 1024},
    "image": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(@[1-9][0-9]{0,8})?$"},
    "limit": {"minimum": 1},
}
"""What the checks of a call ask for beyond the type of a field."""


def reference_to(kind: type) -> Node:
    """Return a reference to the schema of a type, which must be among those of the document."""
    return {"$ref": _TEMPLATE.format(name=kind.__name__)}


def body_of(kind: type) -> Node:
    """Return the content of a JSON body of a type."""
    return {"application/json": {"schema": reference_to(kind)}}


def schemas_of(kinds: Iterable[type]) -> Node:
    """Return the schemas of types, and of what they are made of, by name."""
    _, found = msgspec.json.schema_components(dict.fromkeys(kinds), ref_template=_TEMPLATE)
    for name in _COMMANDS & found.keys():
        found[name]["required"].remove("type")
    return found


def parameters_of(kind: type[msgspec.Struct], place: str) -> list[Node]:
    """Return a parameter for every field of a struct."""
    found = schemas_of([kind])
    required = {field.name for field in msgspec.structs.fields(kind) if field.required}
    return [
        {"name": name, "in": place, "required": name in required, "schema": _hinted(name, _inlined(schema, found))}
        for name, schema in found[kind.__name__]["properties"].items()
    ]


def _hinted(name: str, schema: Node) -> Node:
    return {**schema, **_HINTS[name]} if name in _HINTS and "anyOf" not in schema else schema


def _inlined(schema: Node, found: Node) -> Node:
    """Return a schema that needs no others: those of parameters are no components."""
    if "$ref" in schema:
        return dict(found[schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return {**schema, "anyOf": [_inlined(part, found) for part in schema["anyOf"]]}
    if "items" in schema:
        return {**schema, "items": _inlined(schema["items"], found)}
    return schema
