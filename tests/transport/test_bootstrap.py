"""The first key of a server: made once, whatever interrupts it, and good until it is revoked."""

import stat
from pathlib import Path

import pytest

from runtara.clock import ManualClock
from runtara.errors import ConfigError, Unauthenticated
from runtara.store import NodeSpec
from runtara.store._memory import MemoryStore
from runtara.store._postgres import PostgresStore
from runtara.transport.bootstrap import ensure_bootstrap_key, forget_bootstrap_key
from runtara.transport.credentials import KeyRing
from runtara.transport.shared_files import SharedFiles
from runtara.transport.shared_keys import SharedKeys


def keys_of(folder: Path) -> SharedKeys:
    return SharedKeys(folder, MemoryStore(), ManualClock())


def test_the_first_start_makes_the_key_of_an_admin_for_its_owner_only(tmp_path: Path) -> None:
    keys = keys_of(tmp_path)

    path = ensure_bootstrap_key(tmp_path, keys)

    assert path == tmp_path / "bootstrap-key"
    known = keys.ring.check(path.read_text().strip())
    assert (known.tenant_id, known.role, known.expires_at) == ("default", "admin", None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() not in (tmp_path / "keys.json").read_text()


def test_a_second_start_makes_none(tmp_path: Path) -> None:
    first = ensure_bootstrap_key(tmp_path, keys_of(tmp_path))
    assert first is not None
    key = first.read_text()

    second = ensure_bootstrap_key(tmp_path, keys_of(tmp_path))

    assert second == first
    assert first.read_text() == key
    assert len(keys_of(tmp_path).ring.list()) == 1


@pytest.mark.parametrize("revoked", [False, True])
def test_where_there_were_keys_before_none_is_made(tmp_path: Path, revoked: bool) -> None:
    keys = keys_of(tmp_path)
    keys.ring.add("acme")
    if revoked:
        keys.ring.revoke(keys.ring.list()[0].key_id)

    assert ensure_bootstrap_key(tmp_path, keys) is None
    assert not (tmp_path / "bootstrap-key").exists()
    assert all(key.tenant_id == "acme" for key in keys.ring.list())


def test_a_start_that_was_interrupted_before_the_key_counted_is_made_good(tmp_path: Path) -> None:
    ensure_bootstrap_key(tmp_path, keys_of(tmp_path))
    (tmp_path / "keys.json").unlink()
    key = (tmp_path / "bootstrap-key").read_text().strip()

    ensure_bootstrap_key(tmp_path, keys_of(tmp_path))

    assert KeyRing(tmp_path / "keys.json").check(key).role == "admin"


def test_the_file_of_a_key_that_is_revoked_goes_at_the_next_start(tmp_path: Path) -> None:
    keys = keys_of(tmp_path)
    ensure_bootstrap_key(tmp_path, keys)
    keys.ring.revoke(keys.ring.list()[0].key_id)

    assert ensure_bootstrap_key(tmp_path, keys) is None
    assert not (tmp_path / "bootstrap-key").exists()


def test_the_file_is_forgotten_with_its_key_and_with_no_other(tmp_path: Path) -> None:
    keys = keys_of(tmp_path)
    path = ensure_bootstrap_key(tmp_path, keys)
    assert path is not None

    forget_bootstrap_key(tmp_path, "0" * 12)
    kept = path.exists()
    for _ in range(2):
        forget_bootstrap_key(tmp_path, keys.ring.list()[0].key_id)

    assert (kept, path.exists()) == (True, False)


@pytest.mark.parametrize(("content", "mode"), [(b"nonsense", 0o600), (b"", 0o600), (None, 0o644)])
def test_a_file_that_is_damaged_or_open_to_others_is_refused(tmp_path: Path, content: bytes | None, mode: int) -> None:
    path = ensure_bootstrap_key(tmp_path, keys_of(tmp_path))
    assert path is not None
    if content is not None:
        path.write_bytes(content)
    path.chmod(mode)

    with pytest.raises(ConfigError, match="bootstrap-key"):
        ensure_bootstrap_key(tmp_path, keys_of(tmp_path))


def test_nodes_that_start_on_one_store_have_one_first_key_between_them(tmp_path: Path, database: str) -> None:
    stores = {name: PostgresStore(database, NodeSpec(name=name)) for name in ("a", "b")}
    for name, store in stores.items():
        (tmp_path / name).mkdir(mode=0o700)
        SharedFiles(tmp_path / name).prepare(store)

    paths = [
        ensure_bootstrap_key(tmp_path / name, SharedKeys(tmp_path / name, store)) for name, store in stores.items()
    ]

    assert paths == [tmp_path / "a" / "bootstrap-key", None]
    assert not (tmp_path / "b" / "bootstrap-key").exists()
    key = (tmp_path / "a" / "bootstrap-key").read_text().strip()
    assert KeyRing(tmp_path / "b" / "keys.json").check(key).tenant_id == "default"
    with pytest.raises(Unauthenticated):
        KeyRing(tmp_path / "b" / "keys.json").check(key[:-1] + ("0" if key[-1] != "0" else "1"))
