"""The description of the API, OpenAPI 3.1, made of the same types that validate every request.

Its schemas are those of msgspec, which also reads the requests and writes the replies; the words are the docstrings of
the commands.
"""

import inspect
import re
from functools import cache
from typing import Final

import msgspec

from runtara import __version__, messages
from runtara.endpoints import Endpoint
from runtara.errors import Code
from runtara.transport.http._examples import EXAMPLES
from runtara.transport.http._openapi_others import OTHER_TYPES, OTHERS
from runtara.transport.http._openapi_schemas import FILE, Node, parameters_of, reference_to, schemas_of
from runtara.transport.http._operations import OPERATIONS, Operation
from runtara.transport.http._problems import PROBLEM_JSON, RETRY_AFTER_S, Problem
from runtara.transport.http._replies import TAGGED

__all__ = ["document", "openapi_json"]

_STATUSES: Final = (400, 401, 403, 404, 409, 413, 429, 500, 503, 504)
"""What every operation may answer with instead of a reply, by the error table; what is rarer counts as `default`."""

_CREATED: Final = frozenset({messages.StartInstance, messages.ForkInstance, messages.SendSignal})
"""What answers 201 where it has made something."""

_HEADERS: Final[dict[str, tuple[str, str, Node]]] = {
    "TenantId": (
        "Runtara-Tenant-Id",
        "Whose data is meant. It must be the tenant of the credential.",
        {"type": "string"},
    ),
    "TimeoutMs": (
        "Runtara-Timeout-Ms",
        "How long the client will wait for the answer.",
        {"type": "integer", "minimum": 0},
    ),
    "Epoch": ("Runtara-Epoch", "The attempt that speaks.", {"type": "integer", "minimum": 0}),
    "IdempotencyKey": (
        "Idempotency-Key",
        "Sent again with the same key, the request means the same instance, or signal, where its body names none.",
        {"type": "string", "pattern": "^[!-~]{1,255}$"},
    ),
    "IfNoneMatch": ("If-None-Match", "An entity tag: the answer is 304 where it still holds.", {"type": "string"}),
}


@cache
def openapi_json() -> bytes:
    """Return the description as it is published."""
    return msgspec.json.encode(document())


def document() -> Node:
    """Return the description."""
    paths: Node = {}
    for operation in OPERATIONS.values():
        paths.setdefault(operation.row.path, {})[operation.row.verb.lower()] = _operation(operation)
    for (verb, path), other in OTHERS.items():
        paths.setdefault(path, {})[verb] = {**other, "responses": {**other["responses"], **_problems()}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Runtara",
            "version": __version__,
            "summary": "Durable execution: programs that survive the death of process, server and machine",
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"key": []}, {"session": []}],
        "tags": [
            {"name": name} for name in sorted({row["tags"][0] for path in paths.values() for row in path.values()})
        ],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "parameters": {name: _header(*row) for name, row in _HEADERS.items()},
            "responses": {f"Problem{status}": _problem(status) for status in _STATUSES} | {"Problem": _problem(None)},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A tenant key, or an attempt's own token."},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-runtara", "description": "Of a browser."},
            },
        },
    }


_INTRODUCTION: Final = (
    "Every operation may be sent again with the same ids and then changes nothing more. Bytes are base64 strings, "
    "instants and spans whole milliseconds (since 1970 UTC). Errors are problem documents (RFC 9457) with `code` and "
    "`retry` as in the error table. Lists are paged: pass `cursor` on until it is null, or follow the `Link` header."
)


# Operations -----------------------------------------------------------------------------------------------------------


def _operation(operation: Operation) -> Node:
    row = operation.row
    summary, description = _words_of(row)
    found: Node = {
        "operationId": operation.name,
        "tags": [_tag_of(row)],
        "summary": summary,
        "description": description,
        "parameters": [*parameters_of(operation.path, "path"), *_query(operation), *_headers(operation)],
        "responses": {**_replies(operation), **_problems()},
    }
    if operation.body is not None:
        content: Node = {"schema": reference_to(operation.body)}
        if row.command in EXAMPLES:
            content["example"] = EXAMPLES[row.command]
        found["requestBody"] = {"required": operation.needs_body, "content": {"application/json": content}}
    return found


def _words_of(row: Endpoint) -> tuple[str, str]:
    """Return the first sentence of a command, and everything that is said of it."""
    doc = inspect.cleandoc(row.command.__doc__ or "")
    whole = " ".join(doc.split())
    summary = re.split(r"(?<=[.:])\s", whole, maxsplit=1)[0].rstrip(".:")
    who = {
        "program": "the program itself",
        "manager": "a key of the tenant",
        "both": "both, a program and a key",
        "worker": "a worker, with a key of the tenant",
    }
    return summary, f"{whole}\n\nFor {who[row.caller]}; a key needs the right `{row.right}`."


def _tag_of(row: Endpoint) -> str:
    return row.path.removeprefix("/api/v1/").partition("/")[0]


def _query(operation: Operation) -> list[Node]:
    return [] if operation.query is None else parameters_of(operation.query, "query")


def _headers(operation: Operation) -> list[Node]:
    row = operation.row
    names = ["TenantId", "TimeoutMs"]
    if row.caller not in ("manager", "worker"):
        names.append("Epoch")
    if operation.body is not None and {"instance_id", "signal_id", "request_id"} & set(
        operation.body.__struct_fields__
    ):
        names.append("IdempotencyKey")
    if row.command in TAGGED:
        names.append("IfNoneMatch")
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _header(name: str, description: str, schema: Node) -> Node:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _replies(operation: Operation) -> Node:
    row = operation.row
    schema: Node = reference_to(row.reply)
    content: Node = {"application/json": {"schema": {"type": "object"} if row.command is messages.GetTree else schema}}
    if row.command is messages.ReadImage:
        content["application/octet-stream"] = {"schema": FILE}
    if row.command is messages.ReadLog:
        content["text/plain"] = {"schema": {"type": "string"}}
    said = " ".join(inspect.cleandoc(row.reply.__doc__ or row.reply.__name__).split())
    found: Node = {"200": {"description": said, "content": content}}
    if row.command in _CREATED:
        found["201"] = {"description": f"{said} It is new.", "content": content}
    if row.command in TAGGED or row.command is messages.ReadImage:
        found["304"] = {"description": "The entity tag of the request still holds."}
    if row.command is messages.ReadImage:
        found["206"] = {
            "description": "The range that was asked for.",
            "content": {"application/octet-stream": {"schema": FILE}},
        }
    return found


# Errors ---------------------------------------------------------------------------------------------------------------


def _problems() -> Node:
    found: Node = {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in _STATUSES}
    return {**found, "default": {"$ref": "#/components/responses/Problem"}}


def _problem(status: int | None) -> Node:
    rows = [code for code in Code if code.http_status == status]
    said = "; ".join(f"`{code.wire}`: {code.meaning}" for code in rows)
    found: Node = {
        "description": f"{said}." if said else "Another error.",
        "content": {PROBLEM_JSON.decode(): {"schema": reference_to(Problem)}},
    }
    if status in RETRY_AFTER_S:
        schema = {"type": "integer", "minimum": 0}
        found["headers"] = {"Retry-After": {"description": "In seconds.", "required": True, "schema": schema}}
    return found


def _schemas() -> Node:
    kinds: list[type] = [Problem, *OTHER_TYPES]
    for operation in OPERATIONS.values():
        kinds.append(operation.row.reply)
        kinds.extend(() if operation.body is None else (operation.body,))
    return schemas_of(kinds)
