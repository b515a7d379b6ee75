"""Where the workflows of the tests are kept: each kind of store, opened once for all tests of a module."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from runtara.sdk.flow import Backend, InMemoryBackend, PostgresBackend, SqliteBackend
from tests.postgres import fresh_database

SETTINGS = {"relaunch_after_ms": 1, "max_auto_restarts": 1_000, "node_lease_ms": 60_000, "database_timeout_ms": 60_000}
"""Whoever dies in a test is to be replaced at once, and nobody is to be held for dead who only stands still."""

_numbers = count(1)


@contextmanager
def _memory(_: pytest.FixtureRequest, _folder: Path) -> Iterator[Backend]:
    yield InMemoryBackend(**SETTINGS)


@contextmanager
def _sqlite(_: pytest.FixtureRequest, folder: Path) -> Iterator[Backend]:
    yield SqliteBackend(str(folder), **SETTINGS)


@contextmanager
def _postgres(request: pytest.FixtureRequest, folder: Path) -> Iterator[Backend]:
    with fresh_database(request.getfixturevalue("cluster")) as url:
        yield PostgresBackend(url, data_dir=str(folder), **SETTINGS)


KINDS = {"memory": _memory, "sqlite": _sqlite, "postgres": _postgres}


@pytest.fixture(scope="module", params=list(KINDS))
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend; whoever uses it takes instance ids of its own."""
    yield from _opened(request, tmp_path_factory.mktemp("flows"))


@pytest.fixture(scope="module", params=list(KINDS))
def every_backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend of every kind; whoever uses it takes instance ids of its own."""
    yield from _opened(request, tmp_path_factory.mktemp("flows"))


def _opened(request: pytest.FixtureRequest, folder: Path) -> Iterator[Backend]:
    with KINDS[str(request.param)](request, folder) as made, made as opened:
        yield opened


@pytest.fixture
def instance_id() -> str:
    """An id that no other test has."""
    return f"run-{next(_numbers)}"
