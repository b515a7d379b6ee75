"""What nodes tell each other: heard by the others, not by oneself, and never for longer than the connection."""

import re
import select
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest

from runtara.errors import StoreUnavailable
from runtara.lifecycle import Status
from runtara.store import Listener, NodeSpec, SharedWriter, digest_of
from runtara.store._postgres import PostgresStore
from runtara.store._terms import Notice
from tests.postgres import Cluster
from tests.store.samples import KEY, event, save

PATIENCE_S = 100.0


class Pair:
    """Two nodes; what the first says is heard at the second."""

    def __init__(self, url: str, held: ExitStack) -> None:
        self.url = url
        self.stores = [PostgresStore(url, NodeSpec(name=name)) for name in ("a", "b")]
        self.first, self.second = (held.enter_context(closing(store.open_writer())) for store in self.stores)
        self.own, self.other = (held.enter_context(closing(store.open_listener())) for store in self.stores)


@pytest.fixture
def pair(database: str) -> Iterator[Pair]:
    with ExitStack() as held:
        yield Pair(database, held)


def heard(listener: Listener, until: str) -> list[Notice]:
    """All that is heard until, and without, a notice with this text."""
    found: list[Notice] = []
    while until not in [notice.text for notice in found]:
        ready, _, _ = select.select([listener], [], [], PATIENCE_S)
        assert ready, f"heard only {found}"
        found += listener.read()
    return [notice for notice in found if notice.text != until]


def say(url: str, channel: str, text: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_notify(%s, %s)", (channel, text))


def test_a_change_that_is_to_be_told_is_told_by_its_digest_and_the_number_of_its_row(pair: Pair) -> None:
    pair.first.commit([save(events=(event(),), told=True)])
    say(pair.url, "runtara_nodes", "end")

    ((kind, text),) = heard(pair.other, "end")
    assert kind == "changed"
    assert re.fullmatch(rf"{digest_of(KEY)} #[0-9]+", text)


def test_the_numbers_of_a_notice_lead_to_the_rows_of_those_tenants_that_are_asked_for(pair: Pair) -> None:
    foreign = KEY._replace(tenant_id="globex")
    assert pair.first.commit([save(told=True), save(foreign, told=True)]) == [True, True]
    say(pair.url, "runtara_nodes", "end")
    (notice,) = heard(pair.other, "end")
    numbers = [int(word[1:]) for word in notice.text.split() if word.startswith("#")]
    with closing(pair.stores[1].open_reader()) as reader:
        found = reader.find_changed(numbers, ["acme"])
        nothing = [
            reader.find_changed([], ["acme"]),
            reader.find_changed(numbers, []),
            reader.find_changed([10**9], ["acme"]),
        ]

    assert [(tenant_id, version, row.instance_id) for tenant_id, version, row in found] == [("acme", 1, "order-1")]
    assert nothing == [[], [], []]


def test_a_change_that_is_not_to_be_told_is_not(pair: Pair) -> None:
    pair.first.commit([save(events=(event(),))])
    say(pair.url, "runtara_nodes", "end")

    assert heard(pair.other, "end") == []


def test_nobody_hears_what_it_has_said_itself(pair: Pair) -> None:
    pair.first.commit([save(told=True)])
    say(pair.url, "runtara_nodes", "end")

    assert heard(pair.own, "end") == []


def test_a_change_that_is_refused_is_not_told(pair: Pair) -> None:
    assert pair.first.commit([save(version=7, told=True)]) == [False]
    say(pair.url, "runtara_nodes", "end")

    assert heard(pair.other, "end") == []


def test_many_changes_at_once_are_told_as_that(pair: Pair) -> None:
    saves = [save(KEY._replace(instance_id=f"i{number}"), told=True) for number in range(201)]
    assert all(pair.first.commit(saves))
    say(pair.url, "runtara_nodes", "end")

    assert heard(pair.other, "end") == [Notice("changed", "*")]


def test_what_is_due_soon_is_told_with_its_time_and_what_is_due_later_is_not(pair: Pair) -> None:
    now = pair.stores[0].tenure.clock.now_ms()
    soon, later = now + 1_000, now + 3_600_000
    names: dict[str, Any] = {"status": Status.SUSPENDED, "program": "nap"}
    assert all(pair.first.commit([save(KEY._replace(instance_id="later"), wake_at=later, **names)]))
    assert all(pair.first.commit([save(KEY._replace(instance_id="soon"), wake_at=soon, **names)]))
    say(pair.url, "runtara_nodes", "end")

    assert heard(pair.other, "end") == [Notice("due", str(soon))]


def test_a_node_that_ends_and_a_document_that_changes_are_told(pair: Pair) -> None:
    pair.stores[0].agree({"keys": b"1"})
    assert pair.stores[0].publish("keys", b"2", 1)
    number = str(pair.stores[0].tenure.number)
    pair.first.close()
    say(pair.url, "runtara_nodes", "end")

    assert heard(pair.other, "end") == [Notice("nodes", "documents"), Notice("nodes", number)]


def test_tasks_that_wait_are_told_with_node_tenant_and_program_unless_the_node_was_lost(pair: Pair) -> None:
    number = pair.stores[0].tenure.number
    pair.first.tell_tasks("acme", "pool:größer als alles @1")
    with psycopg.connect(pair.url, autocommit=True, options="-c search_path=runtara") as connection:
        connection.execute("UPDATE nodes SET lost_at = 1 WHERE number = %s", (number,))
    pair.first.tell_tasks("acme", "pool:too-late@1")
    say(pair.url, "runtara_nodes", "end")

    assert heard(pair.other, "end") == [Notice("tasks", f"{number} acme pool:größer als alles @1")]


def test_the_first_thing_that_a_newcomer_and_its_elder_say_is_heard(database: str) -> None:
    with ExitStack() as held:
        elder = PostgresStore(database, NodeSpec(name="elder"))
        writer: SharedWriter = held.enter_context(closing(elder.open_writer()))
        writer.commit(())  # it has learned that it is alone
        newcomer = PostgresStore(database, NodeSpec(name="newcomer"))
        second = held.enter_context(closing(newcomer.open_writer()))
        ears = [held.enter_context(closing(store.open_listener())) for store in (elder, newcomer)]
        writer.commit([save(told=True)])
        second.commit([save(KEY._replace(instance_id="other"), told=True)])
        say(database, "runtara_nodes", "end")

        told = [heard(ear, "end") for ear in ears]

    other = digest_of(KEY._replace(instance_id="other"))
    assert [[one.text.partition(" ")[0] for one in each] for each in told] == [[other], [digest_of(KEY)]]


def test_a_connection_that_is_lost_is_noticed_at_once(pair: Pair, cluster: Cluster) -> None:
    cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'listen runtara%'")
    ready, _, _ = select.select([pair.other], [], [], PATIENCE_S)

    assert ready
    with pytest.raises(StoreUnavailable):
        _read_to_the_end(pair.other)
    pair.other.close()
    pair.other.close()


def _read_to_the_end(listener: Listener) -> None:
    while True:
        listener.read()


def test_a_server_that_is_away_is_named(pair: Pair) -> None:
    store = PostgresStore("postgresql://postgres@127.0.0.1:1/nowhere", NodeSpec(name="a"))

    with pytest.raises(StoreUnavailable):
        store.open_listener()
