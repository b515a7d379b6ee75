"""Keys that are changed at one node of a store count at the others."""

from pathlib import Path

import pytest

from runtara.errors import NotFound, Unauthenticated
from runtara.store import NodeSpec
from runtara.store._memory import MemoryStore
from runtara.store._postgres import PostgresStore
from runtara.transport.shared_files import SharedFiles
from runtara.transport.shared_keys import SharedKeys


def test_a_server_by_itself_keeps_its_keys_in_its_folder(tmp_path: Path) -> None:
    keys = SharedKeys(tmp_path, MemoryStore())

    key = keys.change(lambda ring: ring.add("acme", "read-only"))

    assert keys.ring.check(key).role == "read-only"
    assert [known.tenant_id for known in keys.list()] == ["acme"]


@pytest.fixture
def nodes(tmp_path: Path, database: str) -> list[SharedKeys]:
    found = []
    for name in ("a", "b"):
        store = PostgresStore(database, NodeSpec(name=name))
        (tmp_path / name).mkdir(mode=0o700)
        SharedFiles(tmp_path / name).prepare(store)
        found.append(SharedKeys(tmp_path / name, store))
    return found


def test_what_one_node_changes_the_others_have(nodes: list[SharedKeys]) -> None:
    a, b = nodes

    key = a.change(lambda ring: ring.add("acme", "operator"))
    at_b = b.list()
    newer = b.change(lambda ring: ring.rotate(at_b[0].key_id))
    at_a = a.list()

    assert [known.role for known in at_b] == [known.role for known in at_a] == ["operator"]
    assert a.ring.check(newer).key_id != at_b[0].key_id
    for node in nodes:
        with pytest.raises(Unauthenticated):
            node.ring.check(key)


def test_a_change_that_is_refused_changes_nothing_anywhere(nodes: list[SharedKeys]) -> None:
    a, b = nodes
    a.change(lambda ring: ring.add("acme"))

    with pytest.raises(NotFound):
        b.change(lambda ring: ring.revoke("0" * 12))

    assert a.list() == b.list()
    assert len(a.list()) == 1
