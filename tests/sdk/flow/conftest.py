"""Where the workflows of the tests are kept: each kind of store, opened once for all tests of a module."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from runtara.sdk.flow import Backend, InMemoryBackend, SqliteBackend

_numbers = count(1)


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend; whoever uses it takes instance ids of its own."""
    kind = str(request.param)
    folder: Path = tmp_path_factory.mktemp("flows")
    made: dict[str, Backend] = {"memory": InMemoryBackend()} if kind == "memory" else {kind: SqliteBackend(str(folder))}
    with made[kind] as opened:
        yield opened


@pytest.fixture
def instance_id() -> str:
    """An id that no other test has."""
    return f"run-{next(_numbers)}"
