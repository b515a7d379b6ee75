"""Whatever is committed, all stores show the same: memory is the model that SQLite and PostgreSQL are compared with."""

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from runtara.errors import Internal
from runtara.ids import InstanceKey
from runtara.lifecycle import Status, TerminationReason
from runtara.records import Event
from runtara.store import Reader, Save, Writer, open_store
from tests.postgres import Cluster, fresh_database
from tests.store.samples import NOW, checkpoint, event, instance, opened, retry, signal, wait

KEYS = [InstanceKey(tenant, name) for tenant in ("a", "b") for name in ("x", "y")]
NAMES = ["s", "t", "é 1"]
BYTES = st.sampled_from([b"", b"\0", b"bytes"])
INSTANTS = st.integers(NOW, NOW + 3)
MAYBE_INSTANTS = st.none() | INSTANTS
names = st.sampled_from(NAMES)
errors = st.none() | st.sampled_from(["", "n\0t good", "é"])


def few(each: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(each, max_size=2).map(tuple)


instances = st.builds(
    instance,
    st.sampled_from(KEYS),
    st.sampled_from(Status),
    program=st.none() | st.just("p"),
    epoch=st.integers(0, 2),
    attempt_id=st.none() | names,
    checkpoint_id=st.none() | names,
    wake_at=MAYBE_INSTANTS,
    started_at=MAYBE_INSTANTS,
    finished_at=MAYBE_INSTANTS,
    heartbeat_at=MAYBE_INSTANTS,
    termination_reason=st.none() | st.sampled_from(TerminationReason),
    exit_code=st.none() | st.integers(-1, 1),
    error=errors,
    version=st.integers(1, 3),
    timeout_ms=st.none() | st.integers(1, 3),
    claimed_at=MAYBE_INSTANTS,
    ran_ms=st.integers(0, 2),
    losses=st.integers(0, 2),
    claimed_epoch=st.none() | st.integers(1, 2),
)
requests = st.none() | st.integers(1, 2)
checkpoints = st.builds(checkpoint, names, BYTES, wake_at=MAYBE_INSTANTS, request=requests)
events = st.builds(
    event,
    names,
    epoch=st.integers(1, 2),
    subtype=st.none() | names,
    checkpoint_id=st.none() | names,
    payload=st.none() | BYTES,
    request=requests,
)
signals = st.builds(
    signal, names, st.integers(1, 3), payload=BYTES, name=st.none() | names, acknowledged_at=MAYBE_INSTANTS
)
waits = st.builds(
    wait, names, deadline_at=MAYBE_INSTANTS, ended_at=MAYBE_INSTANTS, signal_id=st.none() | names, name=names
)
retries = st.builds(retry, names, st.integers(1, 3), error=errors, retry_at=MAYBE_INSTANTS)
saves = st.builds(
    Save,
    instance=instances,
    expected_version=st.integers(0, 2),
    input=st.none() | BYTES,
    env=st.dictionaries(names, st.sampled_from(["", "é"]), max_size=2),
    output=st.none() | BYTES,
    checkpoints=few(checkpoints),
    events=few(events),
    signals=few(signals),
    acknowledged=few(st.tuples(names, INSTANTS)),
    waits=few(waits),
    retries=few(retries),
)
commits = st.lists(saves, max_size=5)
heartbeats = st.lists(st.tuples(st.sampled_from(KEYS), INSTANTS), min_size=1, max_size=3)
histories = st.lists(commits | heartbeats, max_size=8)


EXAMPLES = settings(
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


QUICK = settings(EXAMPLES, max_examples=12)
LONG = settings(EXAMPLES, max_examples=80)


@QUICK
@given(history=histories)
def test_memory_and_sqlite_show_the_same_after_every_step(history: list[list[Any]]) -> None:
    with opened_file() as sqlite:
        compare(history, sqlite)


@QUICK
@given(history=histories)
def test_memory_and_postgres_show_the_same_after_every_step(cluster: Cluster, history: list[list[Any]]) -> None:
    with fresh_database(cluster) as url, opened(url) as postgres:
        compare(history, postgres)


@pytest.mark.slow
@LONG
@given(history=histories)
def test_all_stores_show_the_same_after_every_step_of_many_histories(
    cluster: Cluster, history: list[list[Any]]
) -> None:
    with opened_file() as sqlite:
        compare(history, sqlite)
    with fresh_database(cluster) as url, opened(url) as postgres:
        compare(history, postgres)


def compare(history: list[list[Any]], other: tuple[Writer, Reader]) -> None:
    """Take every step in memory and in another store; both must answer and look the same."""
    with opened("memory://") as memory:
        for step in history:
            assert do(memory[0], step) == do(other[0], step)
            assert view(memory[1]) == view(other[1])


def do(writer: Writer, step: list[Any]) -> Any:
    """Take a step; return what came of it."""
    if step and isinstance(step[0], tuple):
        return writer.record_heartbeats(step)
    try:
        return writer.commit(step)
    except Internal:
        return Internal


def view(reader: Reader) -> list[Any]:
    """Everything that a reader can see."""
    seen: list[Any] = [reader.load(KEYS), reader.count_by_status()]
    seen += [reader.list_due(NOW + 2, 10), reader.list_running(10)]
    seen += [reader.list_instances(tenant, status, 10, None) for tenant in ("a", "b") for status in [None, *Status]]
    for key in KEYS:
        seen += [reader.read_input(key), reader.read_env(key), reader.read_output(key)]
        seen += [reader.list_checkpoints(key, 10, None), events_of(reader, key, None, None)]
        for name in NAMES:
            seen += [reader.read_checkpoint(key, name), reader.read_signal(key, name), reader.read_retries(key, name)]
            seen += [events_of(reader, key, name, None), events_of(reader, key, None, name)]
    return seen


def events_of(reader: Reader, key: InstanceKey, type_: str | None, subtype: str | None) -> list[Event]:
    """The events in their order. Their numbers grow, but a database leaves out those of what was rolled back."""
    found = reader.list_events(key, type_, subtype, 99, None).events
    assert [one.seq for one in found] == sorted({one.seq for one in found})
    return [replace(one, seq=0) for one in found]


@contextlib.contextmanager
def opened_file() -> Iterator[tuple[Writer, Reader]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "runtara.db")
        path.write_bytes(empty_file())
        with opened(f"sqlite:///{path}") as pair:
            yield pair


@functools.cache
def empty_file() -> bytes:
    """An SQLite store without instances; made once, because every example needs one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "runtara.db")
        open_store(f"sqlite:///{path}").open_writer().close()
        return path.read_bytes()


def test_the_comparison_would_notice_a_difference() -> None:
    with opened("memory://") as one, opened("memory://") as other:
        one[0].commit([Save(instance=instance(KEYS[0]), expected_version=0, checkpoints=(checkpoint("s", b"1"),))])
        other[0].commit([Save(instance=instance(KEYS[0]), expected_version=0, checkpoints=(checkpoint("s", b"2"),))])

        with pytest.raises(AssertionError):
            assert view(one[1]) == view(other[1])
