"""What the store tests share: every store that must keep the contract, and a way to insist on what a test needs."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from runtara.store import Reader, Store, Writer, open_store
from runtara.store._memory import MemoryStore
from runtara.store._sqlite import SqliteStore
from runtara.store._sqlite_door import SqliteLimits

STORES = ("memory", "sqlite", "postgres")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each store in turn, new and empty."""
    return _store(request, tmp_path, SqliteLimits())


@pytest.fixture(params=STORES)
def quick_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each store in turn, without patience where another one would be waited for."""
    return _store(request, tmp_path, SqliteLimits(busy_timeout_ms=0))


def _store(request: pytest.FixtureRequest, folder: Path, limits: SqliteLimits) -> Store:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "sqlite":
        return SqliteStore(str(folder / "runtara.db"), limits)
    return open_store(request.getfixturevalue("database"), timeout_ms=60_000)  # a machine may stand still for a while


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    """The store's writer."""
    with contextlib.closing(store.open_writer()) as writer:
        yield writer


@pytest.fixture
def reader(store: Store, writer: Writer) -> Iterator[Reader]:
    """A reader beside the writer."""
    with contextlib.closing(store.open_reader()) as reader:
        yield reader


def _missing(what: str, why: str) -> NoReturn:
    if what in os.environ.get("RUNTARA_TEST_REQUIRE", "").split(","):
        pytest.fail(f"RUNTARA_TEST_REQUIRE insists on {what}, but {why}")
    pytest.skip(f"NOT TESTED without {what}: {why}")


@pytest.fixture
def missing() -> Callable[[str, str], NoReturn]:
    """Skip the test because something is not there, or fail it where RUNTARA_TEST_REQUIRE names that something."""
    return _missing
