"""Whatever is committed, all stores show the same: memory is the model that SQLite and PostgreSQL are compared with."""

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from runtara.errors import AlreadyExists, Internal
from runtara.ids import ImageRef, InstanceKey
from runtara.lifecycle import FINAL, Status, TerminationReason
from runtara.records import Event
from runtara.store import Copies, Finished, Reader, Save, Writer, open_store
from tests.postgres import Cluster, fresh_database
from tests.store.samples import NOW, checkpoint, event, image_version, instance, opened, retry, schedule, signal, wait

KEYS = [InstanceKey(tenant, name) for tenant in ("a", "b") for name in ("x", "y")]
NAMES = ["s", "t", "é 1"]
IMAGE_IDS = ["a" * 32, "b" * 32]
BYTES = st.sampled_from([b"", b"\0", b"bytes"])
INSTANTS = st.integers(NOW, NOW + 3)
MAYBE_INSTANTS = st.none() | INSTANTS
names = st.sampled_from(NAMES)
errors = st.none() | st.sampled_from(["", "n\0t good", "é"])


class Call(NamedTuple):
    """A step that is no commit: a method of the writer."""

    method: str
    arguments: tuple[Any, ...]


def calls(method: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    return st.builds(Call, st.just(method), st.tuples(*arguments))


def few(each: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(each, max_size=2).map(tuple)


instances = st.builds(
    instance,
    st.sampled_from(KEYS),
    st.sampled_from(Status),
    program=st.sampled_from([None, "p", *(ImageRef(image_id, n).program for image_id in IMAGE_IDS for n in (1, 2))]),
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
    priority=st.integers(-1, 1),
)
requests = st.none() | st.integers(1, 2)
checkpoints = st.builds(checkpoint, names, BYTES, created_at=INSTANTS, wake_at=MAYBE_INSTANTS, request=requests)
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
    replaces=st.sampled_from([False, False, True]),
)
forks = st.builds(
    Save,
    instance=instances,
    expected_version=st.integers(0, 1),
    copies=st.builds(Copies, st.sampled_from(KEYS), st.none() | names, st.sampled_from([None, None, NOW, NOW + 1])),
    events=few(events),
)
commits = st.lists(saves | forks, max_size=5)
heartbeats = st.lists(st.tuples(st.sampled_from(KEYS), INSTANTS), min_size=1, max_size=3)
TENANTS = st.sampled_from(["a", "b"])
image_ids = st.sampled_from(IMAGE_IDS)
versions = st.builds(
    image_version, names, created_at=INSTANTS, description=names, defaults=st.none() | BYTES, metadata=BYTES
)
schedules = st.builds(schedule, names, st.integers(0, 3), tenant_id=TENANTS, next_at=MAYBE_INSTANTS, plan=BYTES)
which = st.builds(
    Finished,
    before_ms=st.integers(NOW, NOW + 4),
    statuses=st.sets(st.sampled_from(sorted(FINAL))).map(lambda found: tuple(sorted(found))),
    tenant_id=st.none() | TENANTS,
)
dry = st.booleans()
acts = st.one_of(
    calls("push_image", TENANTS, names, image_ids, versions),
    calls("push_image", TENANTS, names, image_ids, versions),
    calls("use_image_version", TENANTS, image_ids, st.integers(1, 3), INSTANTS),
    calls("delete_image", TENANTS, image_ids, INSTANTS),
    calls("collect_images", INSTANTS, st.integers(0, 2), st.integers(1, 3), dry),
    calls("put_schedule", schedules),
    calls("delete_schedule", TENANTS, names),
    calls("prune_finished", which, st.integers(1, 3), dry),
)
histories = st.lists(commits | heartbeats | acts, max_size=8)


EXAMPLES = settings(
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


QUICK = settings(EXAMPLES, max_examples=8)
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


def do(writer: Writer, step: Any) -> Any:
    """Take a step; return what came of it."""
    try:
        if isinstance(step, Call):
            return getattr(writer, step.method)(*step.arguments)
        if step and isinstance(step[0], tuple):
            return writer.record_heartbeats(step)
        return writer.commit(step)
    except (Internal, AlreadyExists) as error:
        return type(error)


def view(reader: Reader) -> list[Any]:
    """Everything that a reader can see."""
    seen: list[Any] = [reader.load(KEYS), reader.count_by_status()]
    seen += [[tuple(row) for row in reader.list_due(NOW + 2, 10)], reader.list_running(10)]
    seen += [reader.list_instances(tenant, status, 10, None) for tenant in ("a", "b") for status in [None, *Status]]
    for key in KEYS:
        seen += [reader.read_input(key), reader.read_env(key), reader.read_output(key)]
        seen += [reader.list_checkpoints(key, 10, None), events_of(reader, key, None, None)]
        for name in NAMES:
            seen += [reader.read_checkpoint(key, name), reader.read_signal(key, name), reader.read_retries(key, name)]
            seen += [events_of(reader, key, name, None), events_of(reader, key, None, name)]
    return seen + view_of_catalog(reader)


def view_of_catalog(reader: Reader) -> list[Any]:
    """Everything that a reader can see of images and schedules."""
    seen: list[Any] = [reader.list_digests(9, ""), reader.list_due_schedules(NOW + 2, 9), reader.next_schedule_at()]
    for tenant_id in ("a", "b"):
        seen += [reader.list_images(tenant_id, 9, None), reader.list_schedules(tenant_id, 9, None)]
        seen += [reader.read_image(tenant_id, name) for name in (*NAMES, *IMAGE_IDS)]
        seen += [reader.read_schedule(tenant_id, name) for name in NAMES]
        seen += [reader.list_image_versions(tenant_id, image_id, 9, None) for image_id in IMAGE_IDS]
        refs = [ImageRef(image_id, number) for image_id in IMAGE_IDS for number in range(1, 9)]
        seen += [reader.read_image_version(tenant_id, ref) for ref in refs]
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
