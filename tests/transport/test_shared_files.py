"""What all nodes of one store agree on, whoever comes first, and however many come at once."""

import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtara.clock import SystemClock
from runtara.errors import Busy, InvalidInput, StoreInUse, StoreUnavailable, Unauthenticated
from runtara.ids import InstanceKey
from runtara.store import NodeSpec, Store, open_store
from runtara.store._memory import MemoryStore
from runtara.store._postgres import PostgresStore
from runtara.transport._private_file import read_private, write_private
from runtara.transport.certificates import ensure_certificate
from runtara.transport.credentials import KeyRing, TokenMint
from runtara.transport.shared_files import SharedFiles

ONE = InstanceKey("acme", "one")


class Node:
    """The data folder of a node, and its way to the store."""

    def __init__(self, folder: Path, store: Store) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.folder = folder
        self.store = store
        self.files = SharedFiles(folder)
        self.keys = KeyRing(folder / "keys.json")

    @property
    def mint(self) -> TokenMint:
        return TokenMint(self.folder / "secret", SystemClock(), 60_000)

    def prepare(self) -> None:
        self.files.prepare(self.store)

    def add_key(self, tenant_id: str) -> str:
        return self.files.change(self.store, "keys", lambda: self.keys.add(tenant_id))

    def hear(self) -> None:
        """Take what the keeper of the node is told."""
        self.files.take({name: content for name, (content, _) in self.store.agree({}).items()})


@pytest.fixture
def pair(tmp_path: Path, database: str) -> tuple[Node, Node]:
    first, second = (Node(tmp_path / name, PostgresStore(database, NodeSpec(name=name))) for name in ("a", "b"))
    return first, second


def secret(node: Node) -> bytes:
    return read_private(node.folder / "secret")


def test_the_second_node_takes_the_secret_of_the_first(pair: tuple[Node, Node]) -> None:
    first, second = pair
    first.prepare()
    made = secret(first)
    second.prepare()

    assert secret(first) == secret(second) == made
    assert second.mint.check_node(first.mint.mint_for_node("a")) == "a"
    assert first.mint.check(second.mint.mint(ONE, 3)).epoch == 3


def test_a_node_that_had_a_secret_of_its_own_takes_that_of_the_store(pair: tuple[Node, Node]) -> None:
    first, second = pair
    Node(second.folder, MemoryStore()).prepare()
    own = secret(second)
    first.prepare()
    second.prepare()

    assert secret(second) == secret(first) != own


def test_the_first_node_gives_the_store_what_it_had_alone(pair: tuple[Node, Node]) -> None:
    first, second = pair
    alone = Node(first.folder, MemoryStore())
    alone.prepare()
    own, key = secret(alone), alone.keys.add("acme")
    first.prepare()
    second.prepare()

    assert secret(first) == secret(second) == own
    assert second.keys.check(key).tenant_id == "acme"


def test_of_many_nodes_that_come_at_once_all_have_the_same_secret(tmp_path: Path, database: str) -> None:
    nodes = [Node(tmp_path / f"n{number}", PostgresStore(database)) for number in range(6)]

    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(Node.prepare, nodes))

    assert len({secret(node) for node in nodes}) == 1


def test_a_key_that_was_made_at_one_node_is_good_at_the_other_once_it_has_heard(pair: tuple[Node, Node]) -> None:
    first, second = pair
    for node in pair:
        node.prepare()
    key = first.add_key("acme")
    second.hear()

    assert second.keys.check(key).tenant_id == "acme"


def test_a_key_that_was_revoked_at_one_node_is_worthless_at_the_other(pair: tuple[Node, Node]) -> None:
    first, second = pair
    for node in pair:
        node.prepare()
    key = first.add_key("acme")
    second.hear()
    key_id = second.keys.check(key).key_id
    second.files.change(second.store, "keys", lambda: second.keys.revoke(key_id))
    first.hear()

    for node in pair:
        with pytest.raises(Unauthenticated):
            node.keys.check(key)


def test_keys_that_are_made_at_two_nodes_at_once_are_all_good_everywhere(pair: tuple[Node, Node]) -> None:
    for node in pair:
        node.prepare()

    def add(node: Node) -> list[str]:
        return [node.add_key("acme") for _ in range(5)]

    with ThreadPoolExecutor(2) as pool:
        keys = [key for made in pool.map(add, pair) for key in made]
    for node in pair:
        node.hear()

    assert [node.keys.check(key).tenant_id for node in pair for key in keys] == ["acme"] * 20
    assert len(pair[0].keys.list()) == 10


def test_a_change_that_is_always_overtaken_says_so(pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = pair
    first.prepare()
    first.add_key("before")
    monkeypatch.setattr(first.store, "publish", lambda *_: False)

    with pytest.raises(Busy, match="try again"):
        first.add_key("acme")

    assert [key.tenant_id for key in first.keys.list()] == ["before"], "nothing is left of what was not kept"


def test_a_change_that_was_overtaken_leaves_nothing_of_itself(
    pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    for node in pair:
        node.prepare()
    publish = first.store.publish
    overtaken: list[str] = []

    def publish_late(name: str, content: bytes, version: int) -> bool:
        if not overtaken:
            overtaken.append(second.add_key("rival"))
        return publish(name, content, version)

    monkeypatch.setattr(first.store, "publish", publish_late)
    key = first.add_key("acme")
    second.hear()

    assert [found.tenant_id for found in second.keys.list()] == ["rival", "acme"]
    assert first.keys.list() == second.keys.list()
    assert second.keys.check(key).tenant_id == "acme"


def test_a_certificate_that_a_node_has_is_its_own_and_one_without_takes_the_stores(pair: tuple[Node, Node]) -> None:
    first, second = pair
    own = ensure_certificate(first.folder / "tls")
    for node in pair:
        node.prepare()
    taken = ensure_certificate(second.folder / "tls")
    third = Node(first.folder.with_name("c"), first.store)
    other = ensure_certificate(third.folder / "tls")
    third.prepare()

    assert taken.fingerprint == own.fingerprint
    assert ensure_certificate(third.folder / "tls").fingerprint == other.fingerprint != own.fingerprint


def test_what_is_taken_is_for_its_owner_only(pair: tuple[Node, Node]) -> None:
    first, second = pair
    ensure_certificate(first.folder / "tls")
    first.prepare()
    first.add_key("acme")
    second.prepare()
    second.hear()

    files = [path for path in second.folder.rglob("*") if path.is_file()]
    assert {path.relative_to(second.folder).as_posix() for path in files} >= {"secret", "keys.json", "tls/key.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_what_has_not_changed_is_not_written_again(pair: tuple[Node, Node]) -> None:
    first, _ = pair
    first.prepare()
    before = (first.folder / "secret").stat().st_ino
    first.hear()

    assert (first.folder / "secret").stat().st_ino == before


@pytest.mark.parametrize("documents", [{"../../outside": b"x"}, {"unknown": b"x"}, {}])
def test_documents_that_nobody_knows_are_left_alone(tmp_path: Path, documents: Mapping[str, bytes]) -> None:
    SharedFiles(tmp_path / "data").take(documents)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_where_nobody_shares_the_store_the_folder_has_a_secret_of_its_own(tmp_path: Path) -> None:
    node = Node(tmp_path / "a", open_store("memory://"))
    node.prepare()
    first = secret(node)
    node.prepare()

    assert secret(node) == first


def test_a_store_that_is_away_is_named(tmp_path: Path) -> None:
    node = Node(tmp_path / "a", PostgresStore("postgresql://postgres@127.0.0.1:1/nowhere"))

    with pytest.raises(StoreUnavailable):
        node.prepare()


def test_the_name_of_a_node_is_made_once_and_kept(tmp_path: Path) -> None:
    name = SharedFiles(tmp_path / "a").node_name(None)

    assert SharedFiles(tmp_path / "a").node_name(None) == name
    assert SharedFiles(tmp_path / "b").node_name(None) != name
    assert SharedFiles(tmp_path / "a").node_name("north") == "north"


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        SharedFiles(tmp_path).node_name("../north")


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    files = SharedFiles(tmp_path)
    with files.owned(), pytest.raises(StoreInUse, match="RUNTARA_DATA_DIR"), SharedFiles(tmp_path).owned():
        pass

    with files.owned():
        write_private(tmp_path / "it", b"works")
