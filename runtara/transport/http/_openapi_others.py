"""The description of what the API offers beside the operations of `ENDPOINTS`."""

from typing import Final

from runtara.messages import ImageInfo
from runtara.transport.http._openapi_schemas import FILE, Node, body_of, parameters_of
from runtara.transport.http._uploads import Upload
from runtara.transport.http._visits import Login, Visitor

__all__ = ["OTHERS", "OTHER_TYPES"]

OTHER_TYPES: Final[tuple[type, ...]] = (ImageInfo, Login, Visitor)
"""Types whose schemas are part of the description."""

_TEXT: Final[Node] = {"type": "string"}

_FORM: Final[Node] = {
    "type": "object",
    "required": ["name", "sha256", "binary"],
    "properties": {
        "name": _TEXT,
        "sha256": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
        "kind": {"type": "string", "enum": ["executable", "python", "folder", "rootfs", "oci", "wasm"]},
        "runner_type": {"type": "string", "enum": ["native", "oci", "wasm"]},
        "tenant_id": _TEXT,
        "description": _TEXT,
        "metadata": _TEXT,
        "defaults": _TEXT,
        "options": _TEXT,
        "binary": {**FILE, "contentMediaType": "application/octet-stream"},
    },
}

_PUSHED: Final[Node] = {"description": "The version that can be started now.", "content": body_of(ImageInfo)}

OTHERS: Final[dict[tuple[str, str], Node]] = {
    ("post", "/api/v1/images/upload"): {
        "operationId": "UploadImage",
        "tags": ["images"],
        "summary": "Push an image in one request",
        "description": "The body is the file, and the query says what it is; or it is a form whose last field, "
        "`binary`, is the file. The SHA-256 is checked. The same upload again changes nothing, and goes on where an "
        "interrupted one has ended.\n\nFor a key of the tenant; it needs the right `push`.",
        "parameters": [{**row, "required": False} for row in parameters_of(Upload, "query")],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": FILE}, "multipart/form-data": {"schema": _FORM}},
        },
        "responses": {"200": {**_PUSHED, "description": "It was there already."}, "201": _PUSHED},
    },
    ("post", "/api/v1/login"): {
        "operationId": "SignIn",
        "tags": ["browser"],
        "summary": "Leave a tenant key in the browser",
        "description": "The key lies in a cookie that no script can read. Requests by cookie that change something "
        "need the header `Runtara-Csrf: 1` and must come from a page of this server.",
        "requestBody": {"required": True, "content": body_of(Login)},
        "responses": {"200": {"description": "The browser is signed in.", "content": body_of(Visitor)}},
    },
    ("post", "/api/v1/logout"): {
        "operationId": "SignOut",
        "tags": ["browser"],
        "summary": "Take the key out of the browser again",
        "description": "Harmless where there is none.",
        "responses": {"204": {"description": "The browser is signed out."}},
    },
    ("get", "/api/v1/me"): {
        "operationId": "WhoAmI",
        "tags": ["browser"],
        "summary": "Ask who one is",
        "description": "For both, a program and a key.",
        "responses": {"200": {"description": "Who the client is.", "content": body_of(Visitor)}},
    },
    ("get", "/api/v1/openapi.json"): {
        "operationId": "DescribeApi",
        "tags": ["browser"],
        "summary": "Read this description",
        "description": "For everybody.",
        "responses": {"200": {"description": "This.", "content": {"application/json": {"schema": {"type": "object"}}}}},
    },
}
"""By verb and path, without the problems that all of them may answer with."""
