"""What every store promises of schedules."""

from msgspec.structs import replace

from runtara.records import Schedule
from runtara.store import Reader, Writer
from tests.store.samples import NOW, pages_of, schedule

FULL = Schedule(
    tenant_id="acme",
    name="nightly",
    plan=b"\0\xff plan",
    next_at=NOW + 1,
    version=1,
    created_at=NOW + 2,
    updated_at=NOW + 3,
)
"""Every field has a value of its own, so that no two can be mixed up."""


def test_every_field_of_a_schedule_comes_back(writer: Writer, reader: Reader) -> None:
    stored = writer.put_schedule(FULL)

    assert stored
    assert reader.read_schedule("acme", "nightly") == FULL
    assert reader.read_schedule("acme", "other") is None
    assert reader.read_schedule("globex", "nightly") is None


def test_every_field_of_a_new_version_comes_back(writer: Writer, reader: Reader) -> None:
    writer.put_schedule(schedule())
    new = replace(FULL, version=2, next_at=None)

    stored = writer.put_schedule(new)

    assert stored
    assert reader.read_schedule("acme", "nightly") == new


def test_a_schedule_is_made_once(writer: Writer, reader: Reader) -> None:
    writer.put_schedule(FULL)

    stored = writer.put_schedule(replace(FULL, plan=b"other"))

    assert not stored
    assert reader.read_schedule("acme", "nightly") == FULL


def test_a_schedule_is_replaced_by_its_next_version_only(writer: Writer, reader: Reader) -> None:
    for version in (1, 2, 3):
        writer.put_schedule(replace(FULL, version=version))

    stored = [writer.put_schedule(replace(FULL, version=version, plan=b"other")) for version in (1, 2, 3, 5)]

    assert stored == [False] * 4
    assert reader.read_schedule("acme", "nightly") == replace(FULL, version=3)


def test_a_later_version_of_a_schedule_that_there_is_not_is_refused(writer: Writer, reader: Reader) -> None:
    assert [writer.put_schedule(replace(FULL, version=version)) for version in (0, 2)] == [False, False]
    assert reader.read_schedule("acme", "nightly") is None


def test_a_schedule_is_forgotten_and_may_be_made_again(writer: Writer, reader: Reader) -> None:
    for version in (1, 2):
        writer.put_schedule(replace(FULL, version=version))
    writer.put_schedule(replace(FULL, tenant_id="globex"))

    forgotten = [writer.delete_schedule("acme", "nightly") for _ in range(2)]

    assert forgotten == [True, False]
    assert reader.read_schedule("acme", "nightly") is None
    assert reader.read_schedule("globex", "nightly") is not None
    assert not writer.put_schedule(replace(FULL, version=3))
    assert writer.put_schedule(FULL)


def test_schedules_are_paged_by_name(writer: Writer, reader: Reader) -> None:
    for name in ("b", "a", "c"):
        writer.put_schedule(schedule(name))
    writer.put_schedule(schedule("aa", tenant_id="globex"))

    found = pages_of(lambda cursor: reader.list_schedules("acme", 2, cursor), "schedules")

    assert [[one.name for one in page] for page in found] == [["a", "b"], ["c"]]
    assert found[0][0] == schedule("a")


def test_schedules_that_are_due_come_earliest_first(writer: Writer, reader: Reader) -> None:
    later, same, foreign = (
        schedule("a", next_at=NOW + 2),
        schedule("b", next_at=NOW + 1),
        schedule("a", next_at=NOW + 1, tenant_id="globex"),
    )
    for one in (later, foreign, same, schedule("too-late", next_at=NOW + 3), schedule("paused", next_at=None)):
        writer.put_schedule(one)

    assert reader.list_due_schedules(NOW + 2, 9) == [same, foreign, later]
    assert reader.list_due_schedules(NOW + 2, 2) == [same, foreign]
    assert reader.list_due_schedules(NOW, 9) == []


def test_the_next_start_is_the_earliest_of_all(writer: Writer, reader: Reader) -> None:
    before = reader.next_schedule_at()
    writer.put_schedule(schedule("paused", next_at=None))
    paused = reader.next_schedule_at()
    writer.put_schedule(schedule("a", next_at=NOW + 2))
    writer.put_schedule(schedule("b", next_at=NOW + 1, tenant_id="globex"))

    first = reader.next_schedule_at()
    writer.put_schedule(schedule("b", 2, next_at=NOW + 9, tenant_id="globex"))

    assert (before, paused, first, reader.next_schedule_at()) == (None, None, NOW + 1, NOW + 2)
