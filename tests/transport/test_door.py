"""Every door is a `Door`: what the SDK knows of one, it may rely on with all."""

import inspect
from typing import Any

import pytest

from runtara.transport import Door, EmbeddedDoor
from runtara.transport.client.door import RemoteDoor

PROMISED = {name: value for name, value in vars(Door).items() if not name.startswith("_")}


def parameters(call: Any) -> list[tuple[str, Any, Any]]:
    return [(one.name, one.kind, one.default) for one in inspect.signature(call).parameters.values()]


@pytest.mark.parametrize("door", [EmbeddedDoor, RemoteDoor])
@pytest.mark.parametrize("name", sorted(PROMISED.keys() - {"session"}))  # set by each of them
def test_a_door_has_what_every_door_has(door: type, name: str) -> None:
    promised: Any = PROMISED[name]
    found = inspect.getattr_static(door, name)

    assert isinstance(found, property) is isinstance(promised, property)
    if not isinstance(promised, property):
        assert parameters(found) == parameters(promised)
        assert inspect.iscoroutinefunction(found) is inspect.iscoroutinefunction(promised)
        assert inspect.getdoc(found)
