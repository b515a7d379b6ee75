"""What whoever runs a store does with all of it: the same for every kind of store."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.errors import ConfigError, InvalidInput, StoreTooNew, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.records import Instance
from runtara.store import Finished, LoadError, open_store, open_upkeep
from runtara.store import _postgres_upkeep as postgres_upkeep
from runtara.store import _sqlite_upkeep as sqlite_upkeep
from runtara.store._statements import Migration, load_migrations
from tests.postgres import Cluster, fresh_database
from tests.store.faults import run_module
from tests.store.moving import GOES, INSTANCES, STAYS, fill
from tests.store.old_files import first_file
from tests.store.samples import NOW, checkpoint, event, opened, put, save
from tests.store.test_model import KEYS, QUICK, commits, do, opened_file, view

DATABASES = ("sqlite", "postgres")
LATER = Migration(99, "0099_later", "SELECT 1", "?")


def ignore(_: int) -> None:
    """Somebody who does not look on."""


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of store in turn, where nothing is yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("database"))


# What it is -----------------------------------------------------------------------------------------------------------


def test_a_store_in_memory_has_no_upkeep() -> None:
    with pytest.raises(ConfigError, match="nothing to look after"):
        open_upkeep("memory://")


def test_a_place_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError):
        open_upkeep("mysql://host/database")


def test_what_is_secret_in_a_url_is_not_shown() -> None:
    assert open_upkeep("postgresql://me:secret@host/database").url == "postgresql://me@host/database"


def test_a_server_that_may_lose_work_is_used_only_where_that_is_said() -> None:
    url = "postgresql://me@host/database"

    asked = [open_upkeep(url), open_upkeep(url, may_lose_work=True)]

    assert [one._limits.may_lose_work for one in asked] == [False, True]  # type: ignore[attr-defined]  # PostgreSQL's


# Migrations -----------------------------------------------------------------------------------------------------------


def test_migrations_are_named_without_being_applied_then_applied_once(url: str) -> None:
    names = [one.name for one in load_migrations("sqlite" if url.startswith("sqlite") else "postgres")]
    upkeep = open_upkeep(url)
    said = upkeep.migrate(dry_run=True)
    fresh = said == names  # a database may have been used by an earlier test

    applied = upkeep.migrate()

    assert applied == (names if fresh else [])
    assert upkeep.migrate() == []
    assert upkeep.migrate(dry_run=True) == []
    assert upkeep.verify() == []


def test_a_dry_run_makes_no_file(tmp_path: Path) -> None:
    names = open_upkeep(f"sqlite:///{tmp_path / 'data' / 'store.db'}").migrate(dry_run=True)

    assert names == [one.name for one in load_migrations("sqlite")]
    assert list(tmp_path.iterdir()) == []


def test_migrations_that_are_not_needed_do_not_disturb_a_server(url: str) -> None:
    with opened(url):
        assert open_upkeep(url).migrate() == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_newer_schema_is_refused(url: str, dry_run: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    open_upkeep(url).migrate()
    kind = sqlite_upkeep if url.startswith("sqlite") else postgres_upkeep
    older = load_migrations(kind._DATABASE)[:-1]
    pending = kind.pending_migrations
    monkeypatch.setattr(kind, "pending_migrations", lambda connection, where: pending(connection, where, older))

    with pytest.raises(StoreTooNew):
        open_upkeep(url).migrate(dry_run=dry_run)


@pytest.mark.parametrize("do_it", ["verify", "vacuum", "count", "prune"])
def test_a_store_that_is_not_there_is_not_made_by_looking(tmp_path: Path, do_it: str) -> None:
    upkeep = open_upkeep(f"sqlite:///{tmp_path / 'data' / 'store.db'}")
    calls: dict[str, Callable[[], object]] = {
        "verify": upkeep.verify,
        "vacuum": upkeep.vacuum,
        "count": lambda: upkeep.count(Finished(before_ms=NOW)),
        "prune": lambda: upkeep.prune(Finished(before_ms=NOW), ignore),
    }

    with pytest.raises(StoreUnavailable):
        calls[do_it]()

    assert list(tmp_path.iterdir()) == []


# Checks ---------------------------------------------------------------------------------------------------------------


def test_a_sound_store_has_no_problems_and_others_have_them_named_while_a_server_works(url: str) -> None:
    with opened(url) as (writer, _):
        put(writer, save())
        sound = open_upkeep(url).verify()
        put(writer, save(version=2, checkpoint_id="missing"))
        unsound = open_upkeep(url).verify()

    assert sound == []
    assert unsound == ["an instance names a last checkpoint that is not stored: acme/order-1 names missing"]


def test_an_older_schema_is_sent_to_be_migrated_first(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(first_file())

    with pytest.raises(StoreUnavailable, match="run `runtara db migrate` first"):
        open_upkeep(f"sqlite:///{tmp_path / 'store.db'}").verify()


# Room -----------------------------------------------------------------------------------------------------------------


def test_the_room_of_what_was_deleted_is_given_back(url: str) -> None:
    with opened(url) as (writer, _):
        fields: dict[str, Any] = {"status": Status.COMPLETED, "finished_at": NOW}
        put(writer, save(checkpoints=(checkpoint("large", bytes(5_000_000)),), **fields))
    upkeep = open_upkeep(url)
    upkeep.prune(Finished(before_ms=NOW + 1), ignore)

    done = upkeep.vacuum()

    if url.startswith("sqlite"):
        assert done.after < done.before - 4_000_000
    else:
        assert done.after > 0
    assert upkeep.verify() == []


# Retention ------------------------------------------------------------------------------------------------------------


def is_meant(instance: Instance, finished: Finished) -> bool:
    """What a finished instance is, said once more and in other words."""
    return (
        instance.status in ("completed", "failed", "cancelled")
        and instance.status in finished.statuses
        and instance.finished_at is not None
        and instance.finished_at < finished.before_ms
        and finished.tenant_id in (None, instance.tenant_id)
    )


which = st.builds(
    Finished,
    before_ms=st.integers(NOW, NOW + 4),
    statuses=st.sets(st.sampled_from(sorted(FINAL)), min_size=1).map(tuple),
    tenant_id=st.none() | st.sampled_from(["a", "b"]),
)


def check_pruned(url: str, pair: Any, history: list[list[Any]], finished: Finished) -> None:
    """Prune a store with some history, and compare it with one from which nobody ever deleted anything."""
    writer, reader = pair
    with opened("memory://") as (model_writer, model):
        for step in history:
            do(model_writer, step)
            do(writer, step)
        found = {key: one.instance for key, one in model.load(KEYS).items() if not isinstance(one, LoadError)}
        gone = {key for key, instance in found.items() if is_meant(instance, finished)}
        problems = len(reader.verify())
        if url.startswith("sqlite"):
            writer.close()  # a file belongs to whoever prunes it

        counted = open_upkeep(url).count(finished)
        deleted = open_upkeep(url).prune(finished, ignore)

        assert counted == deleted == len(gone)
        with contextlib.closing(open_store(url).open_reader()) as after:
            assert set(after.load(KEYS)) == found.keys() - gone
            assert len(after.verify()) <= problems
            for key in found.keys() - gone:
                assert _history(after, key) == _history(model, key)
            for key in gone:
                assert _history(after, key) == [None, {}, None, [], []]


def _history(reader: Any, key: InstanceKey) -> list[Any]:
    checkpoints = [one.checkpoint_id for one in reader.list_checkpoints(key, 99, None).checkpoints]
    events = [one.type for one in reader.list_events(key, None, None, 99, None).events]
    return [reader.read_input(key), reader.read_env(key), reader.read_output(key), checkpoints, events]


@QUICK
@given(history=st.lists(commits, max_size=8), finished=which)
def test_what_goes_is_finished_and_old_and_all_else_stays_as_it_was_in_a_file(
    history: list[list[Any]], finished: Finished
) -> None:
    with opened_file() as pair:
        check_pruned(f"sqlite:///{pair[1]._path}", pair, history, finished)  # type: ignore[attr-defined]  # an SQLite one


@QUICK
@given(history=st.lists(commits, max_size=8), finished=which)
def test_what_goes_is_finished_and_old_and_all_else_stays_as_it_was_in_a_database(
    cluster: Cluster, history: list[list[Any]], finished: Finished
) -> None:
    with fresh_database(cluster) as url, opened(url) as pair:
        check_pruned(url, pair, history, finished)


def test_many_go_in_batches_each_of_which_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = sqlite_upkeep if url.startswith("sqlite") else postgres_upkeep
    monkeypatch.setattr(kind, "INSTANCES_AT_ONCE", 3)
    fill(url)
    told: list[int] = []

    deleted = open_upkeep(url).prune(Finished(before_ms=NOW + 1), told.append)

    assert (deleted, told) == (INSTANCES, [3, 4])
    with contextlib.closing(open_store(url).open_reader()) as reader:
        assert set(reader.load([*STAYS, *GOES])) == set(STAYS)
        assert len(view(reader)) > 0


def test_only_what_is_finished_can_be_meant() -> None:
    with pytest.raises(InvalidInput, match="an instance that is running goes on"):
        Finished(before_ms=NOW, statuses=(Status.RUNNING,))


def test_an_id_is_free_again_once_its_instance_is_gone(url: str) -> None:
    fill(url)
    open_upkeep(url).prune(Finished(before_ms=NOW + 1), ignore)

    with opened(url) as (writer, reader):
        put(writer, save(GOES[0]))
        assert reader.list_checkpoints(GOES[0], 9, None).checkpoints == ()


@pytest.mark.parametrize(("kind", "step"), [("sqlite", 3), ("postgres", 3)])
def test_killed_anywhere_it_leaves_whole_instances_and_can_be_done_again(
    kind: str, step: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}" if kind == "sqlite" else str(request.getfixturevalue("database"))
    fill(url)

    ended = run_module("tests.store.moving", "prune", url, "-", step)

    *lines, last = ended.stdout.splitlines()
    assert (ended.returncode, last) == (0, "survived"), ended.stderr
    assert {line.partition(": ")[2] for line in lines} == {"sound"}
    with contextlib.closing(open_store(url).open_reader()) as reader:
        assert set(reader.load([*STAYS, *GOES])) == set(STAYS)


def test_what_is_added_to_a_finished_instance_meanwhile_is_never_left_without_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may write a last event of an instance at the moment in which it is deleted."""
    monkeypatch.setattr(postgres_upkeep, "INSTANCES_AT_ONCE", 2)
    keys = [InstanceKey("acme", f"order-{number}") for number in range(60)]
    fields: dict[str, Any] = {"status": Status.COMPLETED, "finished_at": NOW}
    with opened(database) as (writer, reader):
        put(writer, *(save(key, **fields) for key in keys))
        pruning = threading.Thread(target=lambda: open_upkeep(database).prune(Finished(before_ms=NOW + 1), ignore))
        pruning.start()
        version = 1
        while pruning.is_alive():
            version += 1
            writer.commit([save(key, version, events=(event(),), **fields) for key in keys])
        pruning.join()

        assert reader.verify() == []
