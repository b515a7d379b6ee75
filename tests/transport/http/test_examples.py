"""The examples in the description are requests that would be taken."""

import msgspec
import pytest

from runtara.transport.http._examples import EXAMPLES
from runtara.transport.http._operations import OPERATIONS


@pytest.mark.parametrize("command", EXAMPLES, ids=lambda command: command.__name__)
def test_every_example_is_a_body_of_its_operation(command: type) -> None:
    operation = OPERATIONS[command]
    path = dict.fromkeys(operation.path_fields, "x")

    wanted = operation.read(path, b"", msgspec.json.encode(EXAMPLES[command]), None)

    assert type(wanted.command) is command
