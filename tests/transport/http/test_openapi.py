"""The description of the API is OpenAPI 3.1, says everything that is there, and is true."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from runtara.endpoints import ENDPOINTS
from runtara.transport.http._examples import EXAMPLES
from runtara.transport.http._openapi import document, openapi_json
from runtara.transport.http._openapi_others import OTHERS

DOCUMENT: dict[str, Any] = msgspec.json.decode(openapi_json())

VERBS = ("get", "put", "post", "delete")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in DOCUMENT["paths"].items():
        for verb, operation in verbs.items():
            yield verb, path, operation


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for part in node.values():
            yield from nodes(part)
    elif isinstance(node, list):
        for part in node:
            yield from nodes(part)


def follow(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_what_is_published_is_the_description() -> None:
    assert msgspec.json.decode(openapi_json()) == msgspec.json.decode(msgspec.json.encode(document()))
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert set(DOCUMENT) == {"openapi", "info", "servers", "security", "tags", "paths", "components"}


def test_every_operation_is_there_once_and_nothing_else() -> None:
    said = {(verb.upper(), path) for verb, path, _ in operations()}

    assert said == {(row.verb, row.path) for row in ENDPOINTS.values()} | {(v.upper(), p) for v, p in OTHERS}
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    assert {command.__name__ for command in ENDPOINTS} <= set(names)


def test_every_reference_leads_somewhere() -> None:
    for node in nodes(DOCUMENT):
        if "$ref" in node:
            assert isinstance(follow(node["$ref"]), dict), node["$ref"]


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][name])


def test_every_operation_is_described_as_openapi_asks() -> None:
    for verb, path, operation in operations():
        place = f"{verb} {path}"
        assert verb in VERBS, place
        assert operation["summary"], place
        assert operation["description"], place
        assert operation["tags"], place
        assert [status for status in operation["responses"] if status.startswith("2")], place
        parameters = [follow(row["$ref"]) if "$ref" in row else row for row in operation.get("parameters", [])]
        in_path = {row["name"] for row in parameters if row["in"] == "path"}
        assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}, place
        assert len({(row["in"], row["name"]) for row in parameters}) == len(parameters), place
        for row in parameters:
            Draft202012Validator.check_schema(row["schema"])
        for answer in operation["responses"].values():
            assert (follow(answer["$ref"]) if "$ref" in answer else answer)["description"], place


def test_examples_fit_the_schemas_of_their_bodies() -> None:
    for command, example in EXAMPLES.items():
        row = ENDPOINTS[command]
        body = DOCUMENT["paths"][row.path][row.verb.lower()]["requestBody"]["content"]["application/json"]
        schema = {**DOCUMENT, "$ref": body["schema"]["$ref"]}

        Draft202012Validator(schema).validate(example)

        assert body["example"] == example


def test_a_command_that_is_a_part_of_another_need_not_say_what_it_is() -> None:
    start = DOCUMENT["components"]["schemas"]["StartInstance"]

    assert (start["required"], start["properties"]["type"]) == (["program"], {"enum": ["StartInstance"]})


def test_every_content_has_a_schema_and_files_are_ones_for_generators_of_clients() -> None:
    contents = [(kind, body) for node in nodes(DOCUMENT) for kind, body in node.get("content", {}).items()]

    assert all("schema" in body for _, body in contents)
    files = [body["schema"] for kind, body in contents if kind == "application/octet-stream"]
    assert files == [{"type": "string", "format": "binary"}] * 3
