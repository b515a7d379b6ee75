"""What writers of all databases do with statements and rows, without a database."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pytest

from runtara.errors import AlreadyExists, StoreCorrupt
from runtara.ids import ImageRef, InstanceKey
from runtara.lifecycle import Status
from runtara.store import Finished
from runtara.store._sql_writer import Execute, SqlWriter, count_finished, prune_finished
from tests.store.samples import NOW, image_version, schedule

T = TypeVar("T")
ID = "a" * 32
IMAGE = (7, "acme", ID, "orders", 2, NOW, NOW)
VERSION = tuple(getattr(image_version("one", version=2), name) for name in image_version().__struct_fields__)


class Recorded(SqlWriter):
    """A writer that returns the rows it was given, statement by statement, and remembers what was asked."""

    def __init__(self, **rows: Sequence[Any]) -> None:
        self.rows = rows
        self.asked: list[tuple[str, Mapping[str, object]]] = []
        self.transactions = 0

    def _change(self, work: Callable[[Execute], T]) -> T:
        self.transactions += 1
        return work(self.execute)

    def _array(self, values: Sequence[object]) -> object:
        return tuple(values)

    def execute(self, statement: str, names: Mapping[str, object]) -> Sequence[Any]:
        self.asked.append((statement, names))
        return self.rows.get(statement, ())

    @property
    def statements(self) -> list[str]:
        return [statement for statement, _ in self.asked]


def test_a_push_of_what_is_current_writes_nothing() -> None:
    writer = Recorded(find_image_named=[IMAGE], find_image_version=[VERSION])

    image, version = writer.push_image("acme", "orders", "b" * 32, image_version("one"))

    assert (image.image_id, image.version, version.version) == (ID, 2, 2)
    assert writer.statements == ["find_image_named", "find_image_version"]
    assert writer.transactions == 1


def test_a_push_of_something_else_adds_the_next_version_in_the_same_transaction() -> None:
    writer = Recorded(find_image_named=[IMAGE], find_image_version=[VERSION], number_image_version=[(5,)])

    image, version = writer.push_image("acme", "orders", "b" * 32, image_version("two", created_at=NOW + 1))

    assert (image.version, image.updated_at, version.version) == (5, NOW + 1, 5)
    assert writer.statements[2:] == ["number_image_version", "insert_image_version", "update_image"]
    assert writer.asked[3][1].items() >= {"number": 7, "version": 5}.items()
    assert writer.asked[4][1] == {"number": 7, "version": 5, "at": NOW + 1}
    assert writer.transactions == 1


def test_an_image_that_could_not_be_made_is_refused() -> None:
    writer = Recorded()

    with pytest.raises(AlreadyExists, match=ID):
        writer.push_image("acme", "orders", ID, image_version())

    assert writer.statements == ["find_image_named", "insert_image", "find_image_named"]


def test_a_version_is_made_current_only_where_it_is_found() -> None:
    missing = Recorded(find_image=[IMAGE])
    found = Recorded(find_image=[IMAGE], find_image_version=[VERSION])

    assert missing.use_image_version("acme", ID, 1, NOW) is None
    assert found.use_image_version("acme", ID, 1, NOW + 1) is not None
    assert (missing.statements[2:], found.statements[2:]) == ([], ["update_image"])


def test_an_image_is_deleted_only_where_nobody_uses_it() -> None:
    used = Recorded(find_image=[IMAGE], list_image_users=[("one",), ("two",)])
    free = Recorded(find_image=[IMAGE])

    assert (used.delete_image("acme", ID, NOW), free.delete_image("acme", ID, NOW)) == (("one", "two"), ())
    assert ("delete_image" in used.statements, "delete_image" in free.statements) == (False, True)
    assert Recorded().delete_image("acme", ID, NOW) is None


def test_a_version_that_somebody_else_has_removed_is_not_said_to_be_collected() -> None:
    spare = [(7, "acme", ID, 1), (7, "acme", ID, 2)]
    raced, first = Recorded(list_spare_versions=spare), Recorded(list_spare_versions=spare, delete_image_version=[(1,)])

    assert raced.collect_images(NOW, 0, 9, False) == []
    assert first.collect_images(NOW, 0, 9, False) == [("acme", ImageRef(ID, 1)), ("acme", ImageRef(ID, 2))]
    assert first.statements.count("forget_image") == 1
    assert first.asked[0][1]["keep_versions"] == 1, "the newest always stays"


def test_a_dry_run_removes_nothing() -> None:
    writer = Recorded(list_spare_versions=[(7, "acme", ID, 1)], list_finished=[(1, "acme", "a")])

    writer.collect_images(NOW, 1, 9, True)
    writer.prune_finished(Finished(before_ms=NOW), 9, True)

    assert writer.statements == ["list_spare_versions", "list_finished"]


def test_the_first_version_of_a_schedule_is_inserted_and_every_other_one_replaces() -> None:
    writer = Recorded(insert_schedule=[(1,)])

    assert (writer.put_schedule(schedule()), writer.put_schedule(schedule(version=2))) == (True, False)
    assert writer.statements == ["insert_schedule", "update_schedule"]
    assert writer.delete_schedule("acme", "nightly") is False


def test_a_row_that_nobody_understands_is_corrupt() -> None:
    writer = Recorded(find_image_named=[(*IMAGE[:4], None, NOW, NOW)])

    with pytest.raises(StoreCorrupt, match="nobody can have written"):
        writer.push_image("acme", "orders", ID, image_version())


def test_finished_instances_are_named_to_the_database_by_lists_of_its_own_kind() -> None:
    writer = Recorded(list_finished=[(1, "acme", "a"), (5, "globex", "b")], count_finished=[(2,)])
    finished = Finished(before_ms=NOW, statuses=(Status.FAILED,), tenant_id="acme")
    meant = {"before_ms": NOW, "statuses": ("failed",), "tenant_id": "acme"}

    gone = prune_finished(writer.execute, tuple, finished, 9)
    count = count_finished(writer.execute, tuple, finished)

    assert (gone, count) == ([InstanceKey("acme", "a"), InstanceKey("globex", "b")], 2)
    assert writer.asked == [
        ("list_finished", meant | {"limit": 9}),
        ("delete_instances", {"numbers": (1, 5)}),
        ("count_finished", meant),
    ]


def test_nothing_is_deleted_where_nothing_was_found() -> None:
    writer = Recorded()

    assert prune_finished(writer.execute, tuple, Finished(before_ms=NOW), 9) == []
    assert writer.statements == ["list_finished"]
