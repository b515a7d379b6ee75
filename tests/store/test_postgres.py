"""What is true of a PostgreSQL store beyond the contract: its address, its server, who owns what, and odd values."""

import contextlib
import random
import resource
import select
import ssl
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from runtara.clock import monotonic
from runtara.errors import (
    ConfigError,
    Internal,
    OutcomeUnknown,
    RuntaraError,
    StoreCorrupt,
    StoreInUse,
    StoreUnavailable,
)
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.records import Holder, Snapshot
from runtara.store import AGING_MS, Barred, LoadError, Reader, Save, Writer
from runtara.store._contract import Listener
from runtara.store._postgres import PostgresStore
from runtara.store._postgres_batch import rounds_of
from runtara.store._postgres_door import Connection
from runtara.store._postgres_url import _ROOTS, conninfo_of, name_of
from runtara.store._postgres_writer import PostgresWriter
from runtara.store._tenure import NodeSpec
from runtara.store._terms import LeaseLost, Notice, digest_of
from runtara.transport.certificates import Identity, ensure_certificate
from tests.postgres import Cluster, open_cluster
from tests.store.samples import (
    KEY,
    NOW,
    checkpoint,
    event,
    instance,
    loaded,
    opened,
    put,
    retry,
    save,
    signal,
    torn_while_written,
    wait,
)
from tests.store.tcp_proxy import open_proxy

OTHER = InstanceKey("acme", "order-2")
SECRET = "s3cret"


@contextlib.contextmanager
def raw(url: str) -> Iterator["psycopg.Connection[Any]"]:
    """The database, as somebody else sees it."""
    with psycopg.connect(url, autocommit=True, options="-c search_path=runtara") as connection:
        yield connection


def connection_of(opened: Writer | Reader) -> Connection:
    connection = opened._connection  # type: ignore[union-attr] # the tests look inside
    assert isinstance(connection, Connection)
    return connection


def setting(opened: Writer | Reader, name: str) -> str:
    (row,) = connection_of(opened).execute("SELECT current_setting(%s)", [name]).fetchall()
    return str(row[0])


# The address ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgres://user@host:5432/db", "postgres://user@host:5432/db"),
        (f"postgresql://user:{SECRET}@host/db", "postgresql://user@host/db"),
        (f"postgresql://:{SECRET}@host/db", "postgresql://host/db"),
        (f"postgresql://user@host/db?password={SECRET}", "postgresql://user@host/db"),
        (f"postgresql://us%40er:%2F{SECRET}%23@host/db?sslmode=disable", "postgresql://us%40er@host/db"),
        ("postgresql://user@[::1]:5432,host:1/db", "postgresql://user@[::1]:5432,host:1/db"),
        ("postgresql://%2Fvar%2Frun/db", "postgresql://%2Fvar%2Frun/db"),
        ("postgresql:///db", "postgresql:///db"),
        ("postgresql://", "postgresql://"),
    ],
)
def test_the_name_of_a_store_is_its_address_without_what_is_secret(url: str, name: str) -> None:
    assert name_of(url) == name == PostgresStore(url).url
    conninfo_of(url, {})


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@more@host/db",
        f"postgresql://user:more@{SECRET}@host/db",
        f"postgresql://user:{SECRET}/more@host/db",
        f"postgresql://user:more/{SECRET}@host/db",
        f"postgresql://user:{SECRET}#more@host/db",
        f"postgresql://user:{SECRET}?more@host/db",
        f"postgresql://user:1?{SECRET}@host/db",
        f"postgresql://user:{SECRET}%zz@host/db",
        f"postgresql://user:{SECRET} more@host/db",
        f"postgresql://user:{SECRET}/db",
        f"postgresql://user:[{SECRET}@host/db",
        f"postgresql://host/db?password={SECRET}@more",
        f"postgresql://host/db?password={SECRET}%zz",
        f"postgresql://host/db?password=more&{SECRET}",
        f"postgresql://host/db?password=more&{SECRET}=more",
        f"postgresql://host/db?password={SECRET}#more",
    ],
)
def test_an_address_that_could_be_misread_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ConfigError, match=r"not understood.*: use ") as caught:
        conninfo_of(url, {})

    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1", "[::1]", "%2Fvar%2Frun", "localhost,127.0.0.1"])
def test_what_stays_on_this_machine_may_be_in_the_clear(host: str) -> None:
    assert "sslmode" not in conninfo_to_dict(conninfo_of(f"postgresql://{host}/db", {}))


@pytest.mark.parametrize(
    "address",
    [
        "db.example/db",
        "10.0.0.1/db",
        "localhost,db.example/db",
        "localhost/db?hostaddr=10.0.0.1",
        "/db?hostaddr=10.0.0.1",
        "/db?host=db.example",
        "/db?service=somewhere",
    ],
)
def test_what_leaves_this_machine_goes_to_a_server_that_has_proved_who_it_is(address: str) -> None:
    told = conninfo_to_dict(conninfo_of(f"postgresql://{address}", {"application_name": "runtara"}))

    assert (told["sslmode"], told["application_name"]) == ("verify-full", "runtara")
    assert told["sslrootcert"] == "system" or Path(str(told["sslrootcert"])).is_file()


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR"])
def test_an_address_from_the_environment_is_guarded_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "10.0.0.1")

    assert conninfo_to_dict(conninfo_of("postgresql:///db", {}))["sslmode"] == "verify-full"


@pytest.mark.parametrize("own", ["sslmode=require", "sslrootcert=own.pem", "connect_timeout=9"])
def test_what_the_address_says_itself_is_left_as_it_is(own: str) -> None:
    name, _, value = own.partition("=")

    told = conninfo_to_dict(conninfo_of(f"postgresql://db.example/db?{own}", {"connect_timeout": 5}))

    assert str(told[name]) == value


def test_the_authorities_of_this_system_are_found_without_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: ssl.DefaultVerifyPaths(None, None, "", "", "", ""))  # type: ignore[arg-type]

    told = conninfo_to_dict(conninfo_of("postgresql://db.example/db", {}))

    assert told["sslrootcert"] in (*_ROOTS, "system")


# The server -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("postgres@", f"stranger:{SECRET}@"), "stranger"),
        (("/test", "/nowhere_test"), "nowhere_test"),
    ],
)
def test_who_is_not_let_in_is_told_why(database: str, change: tuple[str, str], words: str) -> None:
    store = PostgresStore(database.replace(*change))

    for opening in (store.open_writer, store.open_reader, partial(store.agree, {})):
        with pytest.raises(ConfigError, match=f"look at the user, the password and the rights.*{words}") as caught:
            opening()
        assert SECRET not in repr(caught.value)


def test_nobody_at_the_address_is_unavailable_and_not_misconfigured(database: str, cluster: Cluster) -> None:
    store = PostgresStore(database.replace(f":{cluster.port}/", ":1/"))

    for opening in (store.open_writer, store.open_reader):
        with pytest.raises(StoreUnavailable, match="look at the server and the network"):
            opening()


@pytest.mark.parametrize("limit", ["LOGIN CONNECTION LIMIT 0", "NOLOGIN"])
def test_a_role_without_rights_is_told_so(database: str, cluster: Cluster, limit: str) -> None:
    with role(cluster, limit) as name:
        store = PostgresStore(database.replace("postgres@", f"{name}@"))
        with pytest.raises(ConfigError if limit == "NOLOGIN" else StoreUnavailable, match=name):
            store.open_writer()


def test_a_role_that_may_not_make_the_schema_is_told_so(database: str, cluster: Cluster) -> None:
    with fresh(cluster) as url, role(cluster) as name, pytest.raises(ConfigError, match="permission denied"):
        PostgresStore(url.replace("postgres@", f"{name}@")).open_writer()


@contextlib.contextmanager
def role(cluster: Cluster, options: str = "LOGIN") -> Iterator[str]:
    cluster.execute(f"CREATE ROLE visitor {options}")
    try:
        yield "visitor"
    finally:
        cluster.execute("DROP ROLE visitor")


@contextlib.contextmanager
def fresh(cluster: Cluster) -> Iterator[str]:
    """A database that nobody has opened before."""
    cluster.execute("CREATE DATABASE fresh")
    try:
        yield cluster.url_of("fresh")
    finally:
        cluster.execute("DROP DATABASE fresh WITH (FORCE)")


def test_every_connection_is_set_up_alike_and_readers_never_write(database: str) -> None:
    with opened(PostgresStore(database)) as (writer, reader):
        both = {name: {setting(each, name) for each in (writer, reader)} for name in SETTINGS}
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection_of(reader).execute("DELETE FROM instances")

    assert both == {name: {value} for name, value in SETTINGS.items()}


SETTINGS = {
    "search_path": "runtara, pg_catalog",
    "enable_seqscan": "off",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    "application_name": "runtara",
}


def test_a_commit_stays_synchronous_when_the_server_is_told_otherwise_meanwhile(
    database: str, cluster: Cluster
) -> None:
    with opened(PostgresStore(database)) as (writer, _):
        name = database.rpartition("/")[2]
        cluster.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        try:
            with pytest.raises(ConfigError, match="synchronous_commit=off"):
                PostgresStore(database).open_writer()
            kept = setting(writer, "synchronous_commit")
        finally:
            cluster.execute(f"ALTER DATABASE {name} RESET synchronous_commit")

    assert kept == "on"


def test_a_node_opens_one_writer_at_a_time(database: str) -> None:
    store = PostgresStore(database)
    with opened(store), pytest.raises(StoreInUse, match="close it first"):
        store.open_writer()

    store.open_writer().close()


def test_a_reader_waits_for_the_schema(cluster: Cluster) -> None:
    with fresh(cluster) as url, pytest.raises(StoreUnavailable, match="open its writer first"):
        PostgresStore(url).open_reader()


def test_a_writer_or_reader_that_is_closed_says_so(database: str) -> None:
    with opened(PostgresStore(database)) as (writer, reader):
        writer.close()
        reader.close()

        with pytest.raises(StoreUnavailable, match="open another one"):
            writer.commit([])
        with pytest.raises(StoreUnavailable, match="open another one"):
            reader.count_by_status()


# Transport security ---------------------------------------------------------------------------------------------------


class Secure(NamedTuple):
    """A server that is reached over TLS by who knows the password, and by what it is known."""

    cluster: Cluster
    port: int
    identity: Identity

    def url(self, host: str = "localhost", password: str = SECRET, **options: object) -> str:
        said = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://visitor:{password}@{host}:{self.port}/postgres?{said}"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """The server from PyPI is built without TLS, so somebody stands before it who speaks it."""
    identity = ensure_certificate(tmp_path_factory.mktemp("known") / "tls")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(identity.cert_file, identity.key_file)
    with open_cluster() as cluster, open_proxy(cluster.port, tls) as proxy:
        cluster.execute(f"CREATE ROLE visitor LOGIN SUPERUSER PASSWORD '{SECRET}'")
        cluster.write("pg_hba.conf", b"host all visitor all scram-sha-256\nhost all postgres all trust\n")
        cluster.stop()
        cluster.start()
        yield Secure(cluster, proxy.port, identity)


def uses_tls(writer: Writer) -> bool:
    return connection_of(writer).pgconn.ssl_in_use


def test_a_server_that_proves_who_it_is_is_trusted(secure: Secure) -> None:
    store = PostgresStore(secure.url(sslmode="verify-full", sslrootcert=secure.identity.ca_file))

    with opened(store) as (writer, reader):
        put(writer, save(KEY))
        assert uses_tls(writer)
        assert loaded(reader).instance == instance(KEY)


def test_a_server_that_somebody_else_vouches_for_is_refused(secure: Secure, tmp_path: Path) -> None:
    stranger = ensure_certificate(tmp_path / "tls")
    store = PostgresStore(secure.url(sslmode="verify-full", sslrootcert=stranger.ca_file))

    with pytest.raises(ConfigError, match="certificate verify failed"):
        store.open_writer()


def test_a_server_that_goes_by_another_name_is_refused(secure: Secure) -> None:
    options: dict[str, Any] = {"sslmode": "verify-full", "hostaddr": "127.0.0.1"}
    options["sslrootcert"] = secure.identity.ca_file

    with pytest.raises(ConfigError, match=r'certificate for .* does not match host name "db\.example"'):
        PostgresStore(secure.url("db.example", **options)).open_writer()


def test_a_host_of_another_name_is_not_trusted_without_being_told_to(secure: Secure) -> None:
    with pytest.raises(ConfigError, match="certificate"):
        PostgresStore(secure.url("db.example", hostaddr="127.0.0.1")).open_writer()


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(database: str) -> None:
    with pytest.raises(ConfigError, match="SSL"):
        PostgresStore(f"{database}?sslmode=require").open_writer()


@pytest.mark.parametrize("password", ["gu3ss", "", f"{SECRET}-not"])
def test_a_wrong_password_is_a_wrong_setting_and_is_not_repeated(secure: Secure, password: str) -> None:
    store = PostgresStore(secure.url(password=password))

    with pytest.raises(ConfigError, match="look at the user, the password") as caught:
        store.open_writer()

    assert not password or password not in describe(caught.value)
    assert SECRET not in describe(caught.value)
    assert (SECRET in store.url) is False


def describe(error: BaseException) -> str:
    """All that a log would show of an error."""
    return "".join(traceback.format_exception(error))


def test_a_password_that_is_changed_meanwhile_makes_the_store_unavailable(secure: Secure) -> None:
    with opened(PostgresStore(secure.url())) as (writer, reader), raw(secure.cluster.url) as admin:
        admin.execute("ALTER ROLE visitor PASSWORD 'another'")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'runtara'")
        refused = [refusal_of(call) for call in (partial(writer.commit, [save(KEY)]),) * 2 + (reader.count_by_status,)]
        admin.execute(f"ALTER ROLE visitor PASSWORD '{SECRET}'")

        assert [type(error) for error in refused] == [OutcomeUnknown, StoreUnavailable, StoreUnavailable]
        assert writer.commit([]) == []


def refusal_of(call: Callable[[], object]) -> RuntaraError:
    with pytest.raises(RuntaraError) as caught:
        call()
    return caught.value


# Several nodes --------------------------------------------------------------------------------------------------------


def node(url: str, name: str, **fields: Any) -> PostgresStore:
    return PostgresStore(url, NodeSpec(name=name, **fields))


def test_a_newer_process_of_the_same_name_fences_the_older_one(database: str) -> None:
    older, newer = node(database, "a"), node(database, "a")
    with opened(older) as (old, _):
        put(old, save(KEY))
        with opened(newer) as (new, reader):
            for _ in range(2):
                with pytest.raises(StoreInUse, match="another process runs as node 'a'"):
                    old.commit([save(KEY, 2), save(OTHER)])
            assert reader.load([OTHER]) == {}
            put(new, save(KEY, 2))

    assert not older.tenure.holds
    assert older.tenure.number == newer.tenure.number


def test_a_node_that_was_declared_lost_stores_nothing(database: str) -> None:
    store = node(database, "a")
    with opened(store) as (writer, reader), raw(database) as admin:
        put(writer, save(KEY))
        held = store.tenure.holds
        admin.execute("UPDATE nodes SET lost_at = 1")

        for _ in range(2):
            with pytest.raises(LeaseLost, match="have taken over"):
                writer.commit([save(KEY, 2), save(OTHER)])

        assert loaded(reader).instance.version == 1
        assert reader.load([OTHER]) == {}
        assert (held, store.tenure.holds, store.tenure.number) == (True, False, None)


def test_a_lost_node_that_begins_anew_has_another_number_and_may_write(database: str) -> None:
    store = node(database, "a")
    with raw(database) as admin:
        with opened(store) as (writer, _):
            first = store.tenure.number
            admin.execute("UPDATE nodes SET lost_at = 1")
            with pytest.raises(LeaseLost):
                writer.commit([])

        with opened(store) as (writer, _):
            put(writer, save(KEY))
            second = store.tenure.number

    assert first != second


def test_what_runs_on_another_node_is_not_ours_to_change(database: str) -> None:
    with (
        opened(node(database, "a", address="10.0.0.1:7000")) as (ours, _),
        opened(node(database, "b")) as (theirs, see),
    ):
        put(ours, save(KEY))

        assert theirs.commit([save(KEY, 2, checkpoints=(checkpoint("step"),)), save(OTHER)]) == [False, True]

        seen = loaded(see)
        assert seen.checkpoint_ids == ()
        assert seen.holder == Holder(node=seen.holder.node if seen.holder else 0, name="a", address="10.0.0.1:7000")
        put(ours, save(KEY, 2, status=Status.SUSPENDED))
        put(theirs, save(KEY, 3))


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_what_does_not_run_belongs_to_nobody(database: str, status: Status) -> None:
    end: dict[str, Any] = {"finished_at": 1} if status in FINAL else {}
    with opened(node(database, "a")) as (ours, reader), opened(node(database, "b")) as (_, see):
        put(ours, save(KEY), save(KEY, 2, status=status, **end))

        assert (loaded(reader).holder, loaded(see).holder) == (None, None)
        assert see.verify() == []


def test_heartbeats_count_only_for_what_is_ours(database: str) -> None:
    with opened(node(database, "a")) as (ours, _), opened(node(database, "b")) as (theirs, reader):
        put(ours, save(KEY))
        theirs.record_heartbeats([(KEY, NOW)])
        before = loaded(reader).instance.heartbeat_at
        ours.record_heartbeats([(KEY, NOW)])
        ours.record_heartbeats([(KEY, NOW - 1)])

        assert (before, loaded(reader).instance.heartbeat_at) == (None, NOW)


def test_a_node_that_ends_in_order_says_so_unless_it_lasts(database: str) -> None:
    for name, lasting in (("a", False), ("b", True)):
        with opened(node(database, name, lasting=lasting)):
            pass
    with raw(database) as admin:
        left = dict(admin.execute("SELECT name, lost_at IS NULL FROM nodes").fetchall())

    assert left == {"a": False, "b": True}


def test_a_lease_ends_for_its_holder_no_later_than_for_the_others(database: str) -> None:
    store = node(database, "a", lease_ms=60_000)
    with opened(store) as (writer, _), raw(database) as admin:
        before = monotonic()
        writer.commit([])
        ours = store.tenure.until - monotonic()
        (theirs,) = admin.execute("SELECT (lease_until - now_ms()) / 1000.0 FROM nodes").fetchall()[0]
        slack = monotonic() - before

    assert 60 - slack <= ours <= float(theirs) + slack


def test_the_clock_of_a_node_is_that_of_the_database(database: str) -> None:
    store = node(database, "a")
    with opened(store), raw(database) as admin:
        (before,) = admin.execute("SELECT now_ms()").fetchall()[0]
        ours = store.tenure.clock.now_ms()
        (after,) = admin.execute("SELECT now_ms()").fetchall()[0]

    assert before - 1_000 <= ours <= after


def test_what_is_due_is_claimed_by_one_node_only(database: str) -> None:
    keys = [InstanceKey("acme", f"order-{number}") for number in range(40)]
    with opened(node(database, "a")) as (ours, _), opened(node(database, "b")) as (theirs, see):
        assert isinstance(ours, PostgresWriter)
        assert isinstance(theirs, PostgresWriter)
        put(ours, *(save(key, status=Status.PENDING, program="orders", wake_at=1) for key in keys))
        theirs.commit([])
        claimed = [due.key for turn in range(12) for one in (ours, theirs) for due in one.claim_due(7, turn).claimed]

        assert sorted(claimed) == sorted(keys)
        assert ours.claim_due(7, 0).claimed == []
        assert see.verify() == []


def claims_of(writer: Any, limit: int, rounds: int = 9) -> list[str]:
    """What a node claims, so many at a time, in the order of its looks; those of one look sorted."""
    looks = [writer.claim_due(limit, 0).claimed for _ in range(rounds)]
    return [" ".join(sorted(f"{due.key.tenant_id}-{due.key.instance_id}" for due in look)) for look in looks if look]


def due_save(name: str, priority: int, wake_at: int = 1, tenant_id: str = "a") -> Save:
    key = InstanceKey(tenant_id, name)
    return save(key, status=Status.PENDING, program="orders", wake_at=wake_at, priority=priority)


def test_of_a_tenant_the_higher_priority_is_claimed_first_then_the_earlier(database: str) -> None:
    with opened(node(database, "a")) as (writer, _):
        order = [("low", -1, 1), ("late", 0, 9), ("early", 0, 2), ("high", 5, 9), ("first", 5, 3)]
        put(writer, *(due_save(*one) for one in order), due_save("future", 9, NOW * 2))

        assert claims_of(writer, 1) == ["a-first", "a-high", "a-early", "a-late", "a-low"]


def test_tenants_take_turns_whatever_their_priorities(database: str) -> None:
    with opened(node(database, "a")) as (writer, _):
        put(writer, *(due_save(f"{number}", 9, tenant_id="a") for number in range(3)))
        put(writer, due_save("0", -9, 2, "b"), due_save("1", 0, 9, "b"))

        assert claims_of(writer, 2) == ["a-0 b-1", "a-1 b-0", "a-2"]


def pooled_save(name: str, priority: int = 0, wake_at: int = 1, tenant_id: str = "a") -> Save:
    key = InstanceKey(tenant_id, name)
    return save(key, status=Status.PENDING, program="pool:a@1", wake_at=wake_at, priority=priority)


def test_what_workers_run_is_claimed_only_for_a_worker_that_can_and_grows_more_urgent_as_it_waits(
    database: str,
) -> None:
    with opened(node(database, "a")) as (writer, _):
        put(
            writer,
            pooled_save("late", 1, AGING_MS + 2),
            pooled_save("soon", 1, AGING_MS),
            pooled_save("old"),
            pooled_save("foreign", 9, 1, "b"),
            due_save("plain", 0, 9),
        )
        shared: Any = writer
        mine = Barred((), (), (("a", "pool:a@1"),), only_pools=True)

        assert [due.key.instance_id for due in shared.claim_due(9, 0, Barred((), (), ())).claimed] == ["plain"]
        looks = [shared.claim_due(1, 0, mine) for _ in range(4)]

    assert [due.key.instance_id for look in looks for due in look.claimed] == ["soon", "old", "late"]


def test_no_more_of_what_workers_run_is_claimed_than_slots_are_idle(database: str) -> None:
    with opened(node(database, "a")) as (writer, _):
        put(writer, *(pooled_save(f"{number}", wake_at=number) for number in (1, 2, 3)), due_save("plain", 0, 9))
        shared: Any = writer
        mine = Barred((), (), (("a", "pool:a@1"),))

        looks = [shared.claim_due(9, 0, mine._replace(slots=slots)) for slots in (2, 0, 1)]

    claimed = [{due.key.instance_id for due in look.claimed} for look in looks]
    assert claimed == [{"1", "2", "plain"}, set(), {"3"}]
    assert [look.due for look in looks] == [4, 1, 1]


def test_what_is_claimed_comes_with_its_priority_and_program_and_with_what_tells_it_from_other_states(
    database: str,
) -> None:
    with opened(node(database, "a")) as (writer, _):
        put(writer, due_save("one", 2**31))
        shared: Any = writer

        claims = shared.claim_due(9, 0)

    assert [tuple(due) for due in claims.claimed] == [(1, InstanceKey("a", "one"), 2**31, "orders", (1, NOW))]
    assert claims.due == 1


def test_what_a_lost_node_ran_is_taken_over_once(database: str) -> None:
    with opened(node(database, "a")) as (lost, _), opened(node(database, "b")) as (one, _):
        put(lost, save(KEY), save(OTHER))
        with opened(node(database, "c")) as (other, reader), raw(database) as admin:
            assert isinstance(one, PostgresWriter)
            assert isinstance(other, PostgresWriter)
            admin.execute("UPDATE nodes SET lease_until = 0 WHERE name = 'a'")
            taken = [row.key for writer in (one, other, one) for row in writer.take_over(1)]

            assert sorted(taken) == [KEY, OTHER]
            assert [info.lost_at is None for info in reader.list_nodes()] == [True, True, False]
            with pytest.raises(LeaseLost):
                lost.commit([save(KEY, 2)])


def test_what_a_program_wrote_is_found_at_the_node_that_ran_it_last(database: str) -> None:
    a, b = node(database, "a", address="a:1", fingerprint="f"), node(database, "b")
    with opened(a) as (one, at_one), opened(b) as (_, at_other):
        put(one, save(KEY), save(OTHER, status=Status.PENDING))

        assert at_one.find_log_node(KEY) is None
        assert at_other.find_log_node(KEY) == Holder(
            node=a.tenure.number or 0, name="a", address="a:1", fingerprint="f", lost=False
        )
        assert [reader.find_log_node(OTHER) for reader in (at_one, at_other)] == [None, None]
        assert at_other.find_log_node(InstanceKey("acme", "unknown")) is None
        assert [[peer.name for peer in reader.list_peers()] for reader in (at_one, at_other)] == [[], ["a"]]


def test_other_nodes_know_a_node_by_the_certificate_that_it_shows_now(database: str) -> None:
    a, b = node(database, "a", address="a:1", fingerprint="f"), node(database, "b")
    with opened(a) as (one, _), opened(b) as (_, at_other):
        one.present("g")  # type: ignore[attr-defined]  # it is the writer of a store that is shared

        assert [peer.fingerprint for peer in at_other.list_peers()] == ["g"]
    with opened(a), opened(b) as (_, at_other):
        assert [peer.fingerprint for peer in at_other.list_peers()] == ["g"]


@pytest.mark.parametrize("returns", [True, False])
def test_a_node_that_came_back_long_ago_is_still_the_one_that_ran_what_it_ran_before(
    database: str, returns: bool
) -> None:
    with opened(node(database, "a", address="a:1")) as (writer, _):
        put(writer, save(KEY))
        put(writer, save(KEY, 2, status=Status.COMPLETED))
    with opened(node(database, "b")) as (other, at_other), raw(database) as admin:
        assert isinstance(other, PostgresWriter)
        again = opened(node(database, "a", address="a:2")) if returns else contextlib.nullcontext()
        with again:
            admin.execute("UPDATE nodes SET lost_at = 0 WHERE lost_at IS NOT NULL OR address = 'a:1'")
            other.take_over(1)
            found = at_other.find_log_node(KEY)
            listed = [(info.name, info.lost_at is None) for info in at_other.list_nodes()]

    assert found is not None
    assert (found.name, found.address, found.lost) == (("a", "a:2", False) if returns else ("", None, True))
    assert listed == ([("a", True), ("b", True)] if returns else [("b", True)])


# What nodes tell each other -------------------------------------------------------------------------------------------


def test_a_listener_hears_other_nodes_and_not_its_own(database: str) -> None:
    store = node(database, "a")
    due: dict[str, Any] = {"status": Status.PENDING, "program": "orders", "wake_at": 1}
    with (
        opened(store) as (ours, _),
        opened(node(database, "b")) as (theirs, _),
        contextlib.closing(store.open_listener()) as listener,
    ):
        ours.commit([])
        theirs.commit([])  # so that each knows of the other
        put(ours, save(KEY, **due))
        put(theirs, save(OTHER, told=True, **due))
        heard: list[Notice] = []
        while len(heard) < 2:  # its own wake it, too
            ready, _, _ = select.select([listener], [], [], 10)
            assert ready, f"only {heard} came"
            heard += listener.read()

    assert [(notice.kind, notice.text.partition(" ")[0]) for notice in heard] == [
        ("due", "1"),
        ("changed", digest_of(OTHER)),
    ]


def test_a_writer_that_was_thrown_out_when_it_forgets_its_plans_connects_again(database: str) -> None:
    with opened(PostgresStore(database)) as (writer, reader), raw(database) as admin:
        connection = connection_of(writer)
        connection._plans_end = connection._uses + 1
        admin.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])

        put(writer, save(KEY))

        assert connection.closed
        assert loaded(reader).instance == instance(KEY)


def test_a_listener_that_is_thrown_out_says_so(database: str) -> None:
    store = node(database, "a")
    with opened(store), raw(database) as admin, contextlib.closing(store.open_listener()) as listener:
        admin.execute("SELECT pg_terminate_backend(%s)", [listener._connection.info.backend_pid])

        with pytest.raises(StoreUnavailable, match="look at the server"):
            hear_to_the_end(listener)
        listener.close()
        listener.close()


def hear_to_the_end(listener: Listener) -> None:
    while select.select([listener], [], [], 10)[0]:  # the last words of the server come first
        listener.read()


def test_a_document_is_that_of_the_first_and_changes_by_version(database: str) -> None:
    one, two = node(database, "a"), node(database, "b")

    first = one.agree({"key": b"\0one", "other": b""})
    second = two.agree({"key": b"two", "third": b"3"})

    assert first == {"key": (b"\0one", 1), "other": (b"", 1)}
    assert second == first | {"third": (b"3", 1)}
    assert (two.publish("key", b"new", 2), two.publish("key", b"new", 1), one.publish("key", b"late", 1)) == (
        False,
        True,
        False,
    )
    with opened(one) as (_, reader):
        assert reader.read_documents()["key"] == (b"new", 2)


# Batches --------------------------------------------------------------------------------------------------------------


def test_a_batch_takes_as_many_rounds_as_one_instance_has_saves() -> None:
    rounds = list(rounds_of([save(OTHER), save(KEY), save(KEY, 2), save(OTHER, 2), save(KEY, 3)]))

    assert [[row["save"] for row in msgspec.json.decode(round_["saves"])] for round_ in rounds] == [[1, 0], [2, 3], [4]]
    assert [msgspec.json.decode(round_["saves"]) for round_ in rounds_of([])] == [[]]


def test_refusals_of_several_rounds_are_told_apart(database: str) -> None:
    with opened(PostgresStore(database)) as (writer, reader):
        batch = [save(KEY), save(KEY, 9), save(OTHER, 5), save(KEY, 2), save(KEY, 2), save(OTHER)]

        assert writer.commit(batch) == [True, False, False, True, False, True]
        assert writer.commit([]) == []
        assert writer.commit([save(KEY, 9)]) == [False]
        assert loaded(reader).instance.version == 2


# Odd values -----------------------------------------------------------------------------------------------------------

ODD = [
    "",
    "\0",
    "nul \0 inside",
    "\\u0000 \\",
    "\N{SNOWMAN} \U0001f600 e\u0301 \u200b\ufeff",
    "\"{}[],'",
    "\x7f\r\n\t",
    "é" * 5_000,
]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_an_error_may_be_any_text(database: str, text: str) -> None:
    with opened(PostgresStore(database)) as (writer, reader):
        put(writer, save(KEY, error=text, retries=(retry("step", 1, error=text),), env={"A": text}))
        put(writer, save(KEY, 2, error=text))

        assert loaded(reader).instance.error == text
        assert reader.read_retries(KEY, "step")[0].error == text
        assert reader.read_env(KEY) == {"A": text}


@pytest.mark.parametrize("text", [text for text in ODD if "\0" not in text], ids=range(len(ODD) - 2))
def test_a_name_may_be_any_text_without_nul(database: str, text: str) -> None:
    name = text[:256]
    with opened(PostgresStore(database)) as (writer, reader):
        put(
            writer,
            save(
                KEY,
                checkpoint_id=name,
                checkpoints=(checkpoint(name),),
                events=(event(subtype=name),),
                signals=(signal("s", name=name),),
                waits=(wait(name, name=name),),
                retries=(retry(name, 1),),
            ),
        )

        assert loaded(reader).checkpoint_ids == (name,)
        assert reader.read_checkpoint(KEY, name) == checkpoint(name)
        assert reader.list_events(KEY, None, name, 1, None).events[0].subtype == name
        assert [(one.place, one.name) for one in loaded(reader).waits] == [(name, name)]
        assert loaded(reader).signals[0].name == name
        assert [one.checkpoint_id for one in reader.read_retries(KEY, name)] == [name]
        assert reader.verify() == []


def test_a_text_that_nothing_can_hold_stores_nothing_and_the_next_commit_works(database: str) -> None:
    with opened(PostgresStore(database)) as (writer, reader):
        for broken in (save(OTHER, error="\ud800"), save(OTHER, attempt_id="\0")):
            with pytest.raises((UnicodeEncodeError, Internal)):
                writer.commit([save(KEY), broken])
        assert reader.load([KEY, OTHER]) == {}
        put(writer, save(KEY))


LARGEST = 2**63 - 1


@pytest.mark.parametrize("number", [LARGEST, -LARGEST - 1, 0])
def test_numbers_of_64_bits_come_back(database: str, number: int) -> None:
    names = ("epoch", "created_at", "started_at", "heartbeat_at", "exit_code", "claimed_at")
    fields: dict[str, Any] = dict.fromkeys(names, number)
    with opened(PostgresStore(database)) as (writer, reader):
        put(writer, save(KEY, wake_at=number, **fields, checkpoints=(checkpoint("c", epoch=number, request=number),)))

        assert loaded(reader).instance == instance(KEY, wake_at=number, **fields)
        assert reader.read_checkpoint(KEY, "c") == checkpoint("c", epoch=number, request=number)


def test_a_number_beyond_64_bits_stores_nothing(database: str) -> None:
    with opened(PostgresStore(database)) as (writer, reader):
        with pytest.raises(Internal):
            writer.commit([save(OTHER), save(KEY, epoch=LARGEST + 1)])
        assert reader.load([KEY, OTHER]) == {}


def test_a_state_of_the_largest_size_takes_a_bounded_time_and_memory(database: str) -> None:
    size = 64 * 2**20
    state = random.Random(1).randbytes(2**20) * (size // 2**20)
    with opened(PostgresStore(database)) as (writer, reader):
        began, before = monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        put(writer, save(KEY, checkpoints=(checkpoint("large", state),)))
        found = reader.read_checkpoint(KEY, "large")
        (info,) = reader.list_checkpoints(KEY, 1, None).checkpoints
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

        assert found is not None
        assert found.state == state
        assert info.size == size
        assert grown * 1024 < 10 * size
        assert monotonic() - began < 60


# What somebody else has changed ---------------------------------------------------------------------------------------

PLANTED = {
    "no instant at which it finished": "UPDATE instances SET status = 'failed', finished_at = NULL",
    "goes on has an instant": "UPDATE instances SET finished_at = 1",
    "a last checkpoint that is not stored": "UPDATE instances SET checkpoint_id = 'nowhere'",
    "a signal that is not stored": "DELETE FROM signals",
    "belongs to an instance that does not exist": "DELETE FROM instances",
    "not a list of names and values": "INSERT INTO environments SELECT number, '[]' FROM instances",
    "owned by a node that does not exist": "UPDATE instances SET owner = 99",
    "a finished instance is owned": "UPDATE instances SET status = 'failed', finished_at = 1, owner = 1",
    "index instances_due is missing": "ALTER INDEX instances_due RENAME TO gone",
    "trigger events_stay is missing": "ALTER TRIGGER events_stay ON events RENAME TO gone",
}
MENDED = {
    "index instances_due is missing": "ALTER INDEX gone RENAME TO instances_due",
    "trigger events_stay is missing": "ALTER TRIGGER gone ON events RENAME TO events_stay",
}


@pytest.mark.parametrize("problem", PLANTED)
def test_a_check_finds_what_nobody_can_have_written(database: str, problem: str) -> None:
    history: dict[str, Any] = {"signals": (signal("s"),), "waits": (wait("p", ended_at=1, signal_id="s"),)}
    with opened(PostgresStore(database)) as (writer, reader), raw(database) as admin:
        put(writer, save(KEY, input=b"i", events=(event(),), **history))
        before = reader.verify()
        admin.execute(PLANTED[problem].encode())
        found = reader.verify()
        admin.execute(MENDED.get(problem, "SELECT").encode())

    assert before == []
    assert [line for line in found if problem in line], found


EDITS = {
    "termination_reason": "UPDATE instances SET termination_reason = 'boredom' WHERE instance_id = 'order-2'",
    "losses": "UPDATE instances SET created_at = -9223372036854775808, losses = -1 WHERE instance_id = 'order-2'",
}


def test_a_row_that_nobody_understands_does_not_affect_its_neighbours(database: str) -> None:
    keys = [InstanceKey("acme", f"order-{number}") for number in range(1, 5)]
    with opened(PostgresStore(database)) as (writer, reader), raw(database) as admin:
        put(writer, *(save(key, signals=(signal("s"),)) for key in keys))
        admin.execute(EDITS["termination_reason"].encode())
        found = reader.load(keys)
        with pytest.raises(StoreCorrupt, match="cannot be understood"):
            reader.list_instances("acme", None, 10, None)

    assert isinstance(found[OTHER], LoadError)
    assert [found[key] for key in keys if key != OTHER] == [
        Snapshot(instance=instance(key), signals=(signal("s"),), signal_ids=("s",)) for key in keys if key != OTHER
    ]


@pytest.mark.parametrize("env", ["", "{", "[]", '{"A": 1}', '{"A": null}'])
def test_an_environment_that_nobody_understands_is_never_believed(database: str, env: str) -> None:
    with opened(PostgresStore(database)) as (writer, reader), raw(database) as admin:
        put(writer, save(KEY), save(OTHER, env={"A": "1"}))
        admin.execute("INSERT INTO environments SELECT number, %s FROM instances WHERE instance_id = 'order-1'", [env])

        with pytest.raises(StoreCorrupt, match="nobody can have written"):
            reader.read_env(KEY)
        assert reader.read_env(OTHER) == {"A": "1"}


FORBIDDEN = [
    "UPDATE checkpoints SET state = ''",
    "UPDATE events SET type = 'x'",
    "UPDATE inputs SET input = ''",
    "UPDATE environments SET env = '{}'",
    "UPDATE waits SET signal_id = 'x'",
    "UPDATE instances SET status = 'running'",
    "UPDATE instances SET output = 'x'",
    "UPDATE instances SET status = 'lost', finished_at = NULL WHERE instance_id = 'order-2'",
    "UPDATE instances SET version = NULL",
    "INSERT INTO checkpoints OVERRIDING SYSTEM VALUE SELECT -1, instance_number, 'step', '', 1, 1 FROM checkpoints",
    "INSERT INTO events OVERRIDING SYSTEM VALUE SELECT -1, instance_number, 'x', 1, 1, '', '', '', 7 FROM events",
    "INSERT INTO environments SELECT instance_number, '{}' FROM environments",
    "INSERT INTO nodes (name, version, opened_at, lease_until) SELECT name, '', 1, 1 FROM nodes",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_database_itself_refuses(database: str, statement: str) -> None:
    history: dict[str, Any] = {
        "checkpoints": (checkpoint("step"),),
        "events": (event(request=7),),
        "waits": (wait("p", ended_at=1),),
    }
    end: dict[str, Any] = {"status": Status.FAILED, "finished_at": 1}
    with opened(PostgresStore(database)) as (writer, _), raw(database) as admin:
        put(writer, save(KEY, input=b"i", env={"A": "1"}, **end, **history), save(OTHER))

        with pytest.raises(psycopg.Error) as caught:
            admin.execute(statement.encode())

    assert str(caught.value.sqlstate)[:2] in ("23", "RT")


def test_a_change_that_the_database_refuses_is_a_bug_and_stores_nothing(database: str) -> None:
    with opened(PostgresStore(database)) as (writer, reader):
        put(writer, save(KEY, status=Status.FAILED, finished_at=1))

        with pytest.raises(Internal, match="a finished instance never changes"):
            writer.commit([save(OTHER), save(KEY, 2, status=Status.RUNNING)])

        assert loaded(reader).instance.version == 1
        assert reader.load([OTHER]) == {}


# Readers --------------------------------------------------------------------------------------------------------------


def test_a_reader_in_another_thread_sees_whole_saves_only(database: str) -> None:
    assert torn_while_written(PostgresStore(database), 99) == []


def test_a_reader_that_was_thrown_out_looks_again_by_itself(database: str) -> None:
    with opened(PostgresStore(database)) as (writer, reader), raw(database) as admin:
        put(writer, save(KEY))
        for _ in range(3):
            admin.execute("SELECT pg_terminate_backend(%s)", [connection_of(reader).info.backend_pid])
            assert loaded(reader).instance == instance(KEY)
