from pathlib import Path

import pytest

from runtara.errors import ConfigError
from runtara.ids import InstanceKey
from runtara.store import Store
from runtara.store._memory import MemoryStore
from runtara.store._sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def unshared(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(str(tmp_path / "runtara.db"))


def test_a_store_of_one_process_has_no_nodes_and_nothing_to_agree_on(unshared: Store) -> None:
    writer = unshared.open_writer()
    reader = unshared.open_reader()

    assert unshared.tenure is None
    assert (reader.list_nodes(), reader.read_documents()) == ([], {})
    assert (reader.list_peers(), reader.find_log_node(InstanceKey("a", "one"))) == ([], None)
    assert unshared.agree({"secret": b"ours"}) == {}
    assert unshared.publish("keys", b"ours", 1)
    reader.close()
    writer.close()


def test_nobody_can_be_listened_to(unshared: Store) -> None:
    with pytest.raises(ConfigError, match="use PostgreSQL"):
        unshared.open_listener()
