"""The page on HTTP: what is at which path, made of the description that a host publishes."""

from collections.abc import Iterator
from typing import Any

from parts import head, table

from runtara.errors import Code
from runtara.transport.http._openapi import document

__all__ = ["http_page"]

Node = dict[str, Any]
"""A part of the description; Any: it is JSON."""


def http_page() -> Iterator[str]:
    """Every path, what it takes and what it answers."""
    found = document()
    rows = [(verb, path, row) for path, verbs in found["paths"].items() for verb, row in verbs.items()]
    yield from head("HTTP", "`ENDPOINTS` in runtara/endpoints.py and runtara/transport/http")
    yield f"{found['info']['description']}\n"
    yield "A host shows the same at `/docs`, and publishes it for machines at `/api/v1/openapi.json` (OpenAPI 3.1)."
    yield "How to use it is told in [Use HTTP](../how-to/use-http.md); what a command means, in"
    yield "[operations](operations.md).\n"
    yield from table(
        "Request | Operation | What it does",
        (
            f"`{verb.upper()} {path}` | [{row['operationId']}](#{row['operationId'].lower()}) | {row['summary']}"
            for verb, path, row in rows
        ),
    )
    yield from _others()
    yield "\n## Headers of requests\n"
    yield from table(
        "Header | Meaning",
        (f"`{row['name']}` | {row['description']}" for row in found["components"]["parameters"].values()),
    )
    yield "\n## Statuses\n"
    yield "200 where something was there or done before, 201 where it has come into being, 304 where the entity tag of"
    yield "the request still holds. Everything else is an error, by its row of [the error table](errors.md):\n"
    statuses = sorted({code.http_status for code in Code})
    codes = {status: [code.wire for code in Code if code.http_status == status] for status in statuses}
    yield from table("Status | Codes", (f"{s} | {', '.join(f'`{code}`' for code in codes[s])}" for s in statuses))
    yield "\nHTTP itself adds 405 (see `Allow`), 406, 415, 416, 421 for a name that is not the server's, and 426 for a"
    yield "WebSocket that no upgrade was asked for."
    yield "\n## Operations"
    for verb, path, row in rows:
        yield from _operation(found, verb, path, row)


def _others() -> Iterator[str]:
    yield "\nBeside the API, without a credential:\n"
    yield from table(
        "Path | What is there",
        (
            "`/` | the console",
            "`/docs` | the API as a page",
            "`/healthz` | whether the process answers",
            "`/readyz` | 200 where work can be done, 503 where not, and why",
            "`/metrics` | figures for Prometheus",
            "`/api/v1/session` | a WebSocket on which a program speaks the [protocol](protocol.md)",
            "`/api/v1/live` | a WebSocket for those who watch",
        ),
    )


def _operation(found: Node, verb: str, path: str, row: Node) -> Iterator[str]:
    yield f"\n### {row['operationId']}\n"
    yield f"`{verb.upper()} {path}`\n"
    yield row["description"]
    fields = [f"{_cell(part['name'], part['required'])} | {part['in']} | {_kind(part['schema'])}" for part in _own(row)]
    content = row.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        schema = found["components"]["schemas"][_name(content["schema"]["$ref"])]
        required = schema.get("required", [])
        fields += [
            f"{_cell(name, name in required)} | body | {_kind(part)}" for name, part in schema["properties"].items()
        ]
    if fields:
        yield ""
        yield from table("Field | Where | Type", fields)
    answers = [f"{status}: {answer['description']}" for status, answer in row["responses"].items() if status < "4"]
    yield ""
    yield from (f"- {answer}" for answer in answers)


def _own(row: Node) -> list[Node]:
    return [part for part in row.get("parameters", []) if "$ref" not in part]


def _cell(name: str, required: bool) -> str:
    return f"`{name}`{' (required)' if required else ''}"


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _kind(schema: Node) -> str:
    """Return a type in words."""
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    if "$ref" in schema:
        return f"`{_name(schema['$ref'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if "items" in schema else "list"
    if schema.get("contentEncoding"):
        return "base64"
    return str(schema.get("type", "anything"))
