"""What is true of a store in memory beyond the contract."""

import pytest

from runtara.errors import StoreInUse
from runtara.store._memory import MemoryStore
from tests.store.samples import loaded, put, save


def test_it_needs_no_thread() -> None:
    assert MemoryStore.inline


def test_two_stores_share_nothing() -> None:
    put(MemoryStore().open_writer(), save())

    assert MemoryStore().open_reader().count_by_status() == {}


def test_what_was_stored_outlives_the_writer_but_not_the_store() -> None:
    store = MemoryStore()
    first = store.open_writer()
    put(first, save())
    with pytest.raises(StoreInUse):
        store.open_writer()
    first.close()

    put(store.open_writer(), save(version=2))

    assert loaded(store.open_reader()).instance.version == 2
