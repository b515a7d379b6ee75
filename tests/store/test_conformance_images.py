"""What every store promises of images and their versions."""

import contextlib
from typing import Any

import pytest
from msgspec.structs import replace

from runtara.errors import AlreadyExists
from runtara.ids import ImageRef, InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.records import Image, ImageVersion
from runtara.store import Reader, Store, Writer
from tests.store.samples import NOW, image_version, instance, pages_of, put, save

ID, OTHER_ID, FOREIGN_ID = "a" * 32, "b" * 32, "0" * 32
UNFINISHED = [status for status in Status if status not in FINAL]

FULL = ImageVersion(
    version=1,
    digest="c" * 64,
    size=2**40,
    kind="rootfs",
    created_at=NOW + 1,
    description="it does \N{SNOWMAN}",
    metadata=b'{"a": "\0"}',
    defaults=b"",
    options=b'{"cpus": 2}',
)
"""Every field has a value of its own, so that no two can be mixed up."""


def push(writer: Writer, content: str, name: str = "orders", image_id: str = ID, **fields: Any) -> ImageVersion:
    """Push something to the tenant ``acme``; return the version that it has become."""
    return writer.push_image("acme", name, image_id, image_version(content, **fields))[1]


def start(writer: Writer, name: str, version: int, status: Status = Status.PENDING, image_id: str = ID) -> None:
    """Store an instance of an image."""
    put(writer, save(InstanceKey("acme", name), program=ImageRef(image_id, version).program, status=status))


def versions_of(reader: Reader, image_id: str = ID) -> list[int]:
    """The numbers of all versions of an image, deleted or not, that can be read."""
    refs = [ImageRef(image_id, number) for number in range(1, 10)]
    return [ref.version for ref in refs if reader.read_image_version("acme", ref)]


# Pushing --------------------------------------------------------------------------------------------------------------


def test_every_field_of_an_image_and_its_version_comes_back(writer: Writer, reader: Reader) -> None:
    image, version = writer.push_image("acme", "orders", ID, replace(FULL, version=77))

    expected = Image(tenant_id="acme", image_id=ID, name="orders", version=1, created_at=NOW + 1, updated_at=NOW + 1)
    assert (image, version) == (expected, FULL)
    assert reader.read_image("acme", "orders") == expected
    assert reader.read_image("acme", ID) == expected
    assert reader.read_image_version("acme", ImageRef(ID, 1)) == FULL


def test_empty_defaults_are_not_absent_ones(writer: Writer, reader: Reader) -> None:
    push(writer, "one", defaults=None)
    push(writer, "one", defaults=b"")

    found = [reader.read_image_version("acme", ImageRef(ID, number)) for number in (1, 2)]

    assert [one.defaults for one in found if one] == [None, b""]


def test_what_is_pushed_under_a_name_that_there_is_becomes_its_next_version(writer: Writer, reader: Reader) -> None:
    push(writer, "one")

    image, version = writer.push_image("acme", "orders", OTHER_ID, image_version("two", created_at=NOW + 5))

    assert (image.image_id, image.version, image.created_at, image.updated_at) == (ID, 2, NOW, NOW + 5)
    assert version == image_version("two", version=2, created_at=NOW + 5)
    assert reader.read_image("acme", "orders") == image
    assert reader.read_image("acme", OTHER_ID) is None
    assert versions_of(reader) == [1, 2]


def test_what_is_current_already_may_be_pushed_again_and_changes_nothing(writer: Writer, reader: Reader) -> None:
    before = writer.push_image("acme", "orders", ID, FULL)

    again = writer.push_image("acme", "orders", OTHER_ID, replace(FULL, created_at=NOW + 9, version=5))

    assert again == before
    assert reader.read_image("acme", "orders") == before[0]
    assert versions_of(reader) == [1]


@pytest.mark.parametrize(
    "field",
    [
        {"digest": "d" * 64},
        {"kind": "oci"},
        {"description": ""},
        {"metadata": b"{}"},
        {"defaults": None},
        {"options": b"{}"},
    ],
    ids=lambda field: next(iter(field)),
)
def test_whatever_is_different_makes_another_version(writer: Writer, reader: Reader, field: dict[str, Any]) -> None:
    writer.push_image("acme", "orders", ID, FULL)

    _, version = writer.push_image("acme", "orders", ID, replace(FULL, **field))

    assert version == replace(FULL, version=2, **field)
    assert versions_of(reader) == [1, 2]


def test_what_was_current_once_is_another_version_when_it_is_pushed_again(writer: Writer, reader: Reader) -> None:
    contents = ["one", "two", "one"]

    numbers = [push(writer, content).version for content in contents]

    assert numbers == [1, 2, 3]
    first, third = (reader.read_image_version("acme", ImageRef(ID, number)) for number in (1, 3))
    assert first
    assert third
    assert first.digest == third.digest


def test_names_and_ids_belong_to_their_tenants(writer: Writer, reader: Reader) -> None:
    push(writer, "one")
    push(writer, "two")

    image, version = writer.push_image("globex", "orders", ID, image_version("one"))

    assert (image.tenant_id, image.image_id, image.version, version.version) == ("globex", ID, 1, 1)
    assert reader.read_image_version("globex", ImageRef(ID, 2)) is None
    assert [one.tenant_id for one in reader.list_images("acme", 9, None).images] == ["acme"]


def test_an_id_is_not_given_to_two_images(writer: Writer, reader: Reader) -> None:
    push(writer, "one")

    with pytest.raises(AlreadyExists, match="taken by another image"):
        push(writer, "two", name="other")

    assert reader.read_image("acme", "other") is None
    assert versions_of(reader) == [1]


def test_an_id_wins_over_a_name(writer: Writer, reader: Reader) -> None:
    push(writer, "one", name=OTHER_ID, image_id=FOREIGN_ID)
    push(writer, "two", image_id=OTHER_ID)

    found = reader.read_image("acme", OTHER_ID)

    assert found is not None
    assert found.name == "orders"
    assert reader.read_image("acme", "unknown") is None
    assert reader.read_image("globex", "orders") is None


def test_what_was_pushed_is_there_for_the_next_writer(store: Store) -> None:
    with contextlib.closing(store.open_writer()) as first:
        push(first, "one")

    with contextlib.closing(store.open_writer()) as second, contextlib.closing(store.open_reader()) as reader:
        assert push(second, "two").version == 2
        assert versions_of(reader) == [1, 2]


# Choosing -------------------------------------------------------------------------------------------------------------


def test_another_version_may_be_made_current_and_the_newest_again(writer: Writer, reader: Reader) -> None:
    push(writer, "one")
    push(writer, "two")

    back = writer.use_image_version("acme", ID, 1, NOW + 7)
    seen = reader.read_image("acme", "orders")
    forth = writer.use_image_version("acme", ID, 2, NOW + 8)

    assert back is not None
    assert (back.version, back.updated_at, back.created_at) == (1, NOW + 7, NOW)
    assert seen == back
    assert forth == replace(back, version=2, updated_at=NOW + 8)
    assert reader.read_image("acme", ID) == forth


def test_what_is_current_stays_as_it_is_when_it_is_chosen(writer: Writer) -> None:
    image, _ = writer.push_image("acme", "orders", ID, image_version())

    assert writer.use_image_version("acme", ID, 1, NOW + 7) == image


def test_a_version_that_there_is_not_cannot_be_chosen(writer: Writer, reader: Reader) -> None:
    image, _ = writer.push_image("acme", "orders", ID, image_version())

    chosen = [
        writer.use_image_version("acme", ID, 2, NOW + 7),
        writer.use_image_version("acme", OTHER_ID, 1, NOW + 7),
        writer.use_image_version("globex", ID, 1, NOW + 7),
        writer.use_image_version("acme", "orders", 1, NOW + 7),
    ]

    assert chosen == [None] * 4
    assert reader.read_image("acme", ID) == image


def test_a_push_follows_on_the_newest_version_and_not_on_the_current_one(writer: Writer) -> None:
    push(writer, "one")
    push(writer, "two")
    writer.use_image_version("acme", ID, 1, NOW)

    unchanged, added = push(writer, "one"), push(writer, "two")

    assert (unchanged.version, added.version) == (1, 3)


# Deleting -------------------------------------------------------------------------------------------------------------


def test_a_deleted_image_is_found_no_more_but_its_versions_can_be_read(writer: Writer, reader: Reader) -> None:
    push(writer, "one")
    push(writer, "two")

    users = writer.delete_image("acme", ID, NOW + 1)

    assert users == ()
    assert [reader.read_image("acme", name) for name in ("orders", ID)] == [None, None]
    assert reader.list_images("acme", 9, None).images == ()
    assert reader.list_image_versions("acme", ID, 9, None).versions == ()
    assert versions_of(reader) == [1, 2]
    assert writer.delete_image("acme", ID, NOW + 2) is None
    assert writer.use_image_version("acme", ID, 1, NOW + 2) is None


def test_the_name_of_a_deleted_image_is_free_and_its_id_is_not(writer: Writer, reader: Reader) -> None:
    for image_id in (ID, OTHER_ID):
        assert push(writer, "one", image_id=image_id).version == 1
        writer.delete_image("acme", image_id, NOW)

    with pytest.raises(AlreadyExists):
        push(writer, "one")
    push(writer, "one", image_id=FOREIGN_ID)

    found = reader.read_image("acme", "orders")
    assert found is not None
    assert found.image_id == FOREIGN_ID


def test_an_image_that_there_is_not_cannot_be_deleted(writer: Writer, reader: Reader) -> None:
    push(writer, "one")

    assert [writer.delete_image(*key, NOW) for key in (("acme", OTHER_ID), ("globex", ID), ("acme", "orders"))] == [
        None,
        None,
        None,
    ]
    assert reader.read_image("acme", "orders") is not None


@pytest.mark.parametrize("status", UNFINISHED)
def test_an_image_that_is_used_stays_and_who_uses_it_is_named(writer: Writer, reader: Reader, status: Status) -> None:
    push(writer, "one")
    push(writer, "two")
    start(writer, "user", 1, status)

    users = writer.delete_image("acme", ID, NOW + 1)

    assert users == ("user",)
    assert reader.read_image("acme", "orders") is not None


def test_those_that_are_finished_or_use_something_else_keep_no_image(writer: Writer) -> None:
    push(writer, "one")
    for status in FINAL:
        start(writer, f"ended-{status.value}", 1, status)
    start(writer, "other", 1, image_id=OTHER_ID)
    put(writer, save(InstanceKey("acme", "plain"), program=ID), save(InstanceKey("acme", "none")))
    put(writer, save(InstanceKey("globex", "foreign"), program=ImageRef(ID, 1).program))

    assert writer.delete_image("acme", ID, NOW + 1) == ()


def test_of_many_that_use_an_image_ten_are_named(writer: Writer) -> None:
    push(writer, "one")
    for number in range(30):
        start(writer, f"user-{29 - number:02}", 1 + number % 2)

    assert writer.delete_image("acme", ID, NOW) == tuple(f"user-{number:02}" for number in range(1, 21, 2))


# Collecting -----------------------------------------------------------------------------------------------------------


def test_the_versions_of_images_deleted_long_ago_go_and_the_images_with_them(writer: Writer, reader: Reader) -> None:
    for content in ("one", "two"):
        push(writer, content)
        push(writer, content, name="later", image_id=OTHER_ID)
    writer.delete_image("acme", ID, NOW)
    writer.delete_image("acme", OTHER_ID, NOW + 1)

    would_go = writer.collect_images(NOW + 1, 9, 9, True)
    kept = versions_of(reader)
    gone = writer.collect_images(NOW + 1, 9, 9, False)

    assert gone == would_go == [("acme", ImageRef(ID, 1)), ("acme", ImageRef(ID, 2))]
    assert (kept, versions_of(reader), versions_of(reader, OTHER_ID)) == ([1, 2], [], [1, 2])
    assert writer.collect_images(NOW + 1, 9, 9, False) == []
    assert push(writer, "three").version == 1, "the id is free, as nothing is left of the image"


@pytest.mark.parametrize(
    ("keep_versions", "current", "kept"), [(2, 5, [4, 5]), (1, 2, [2, 5]), (0, 1, [1, 5]), (9, 5, [1, 2, 3, 4, 5])]
)
def test_of_an_image_the_current_and_the_newest_versions_stay(
    writer: Writer, reader: Reader, keep_versions: int, current: int, kept: list[int]
) -> None:
    for content in "abcde":
        push(writer, content)
    writer.use_image_version("acme", ID, current, NOW)

    gone = writer.collect_images(NOW, keep_versions, 9, False)

    assert versions_of(reader) == kept
    assert [ref.version for _, ref in gone] == [number for number in range(1, 6) if number not in kept]
    assert push(writer, "f").version == 6


def test_versions_that_went_before_are_not_counted_among_the_newest(writer: Writer, reader: Reader) -> None:
    for content in "abc":
        push(writer, content)
    writer.use_image_version("acme", ID, 1, NOW)
    writer.collect_images(NOW, 1, 9, False)
    push(writer, "d")

    writer.collect_images(NOW, 2, 9, False)

    assert versions_of(reader) == [3, 4]


@pytest.mark.parametrize("status", UNFINISHED)
def test_what_somebody_uses_stays_wherever_it_is(writer: Writer, reader: Reader, status: Status) -> None:
    for content in "abcd":
        push(writer, content)
    push(writer, "a", name="gone", image_id=OTHER_ID)
    writer.delete_image("acme", OTHER_ID, NOW)
    start(writer, "first", 2, status)
    start(writer, "second", 1, status, OTHER_ID)
    start(writer, "ended", 1, Status.FAILED)
    put(writer, save(InstanceKey("globex", "foreign"), program=ImageRef(ID, 3).program))

    gone = writer.collect_images(NOW + 1, 1, 9, False)

    assert gone == [("acme", ImageRef(ID, 1)), ("acme", ImageRef(ID, 3))]
    assert (versions_of(reader), versions_of(reader, OTHER_ID)) == ([2, 4], [1])


def test_versions_are_collected_some_at_a_time(writer: Writer, reader: Reader) -> None:
    for content in "abcd":
        push(writer, content)
    writer.delete_image("acme", ID, NOW)

    collected = [writer.collect_images(NOW + 1, 1, 3, dry_run) for dry_run in (True, False, False, False)]

    assert [[ref.version for _, ref in each] for each in collected] == [[1, 2, 3], [1, 2, 3], [4], []]
    assert versions_of(reader) == []


def test_images_of_all_tenants_are_collected(writer: Writer) -> None:
    for tenant_id in ("globex", "acme"):
        for content in "ab":
            writer.push_image(tenant_id, "orders", ID, image_version(content))

    assert writer.collect_images(NOW, 1, 9, False) == [("globex", ImageRef(ID, 1)), ("acme", ImageRef(ID, 1))]


# Looking --------------------------------------------------------------------------------------------------------------


def test_images_are_paged_by_name(writer: Writer, reader: Reader) -> None:
    names = ["b", "a", "d", "B", "c"]
    for number, name in enumerate(names):
        push(writer, "one", name, f"{number:032x}")
    writer.push_image("globex", "aa", ID, FULL)

    found = pages_of(lambda cursor: reader.list_images("acme", 2, cursor), "images")

    assert [[image.name for image in page] for page in found] == [["B", "a"], ["b", "c"], ["d"]]
    assert found[0][1] == reader.read_image("acme", "a")


def test_versions_are_paged_and_the_newest_come_first(writer: Writer, reader: Reader) -> None:
    for content in "abcde":
        push(writer, content)
    push(writer, "x", "other", OTHER_ID)

    found = pages_of(lambda cursor: reader.list_image_versions("acme", ID, 2, cursor), "versions")

    assert [[one.version for one in page] for page in found] == [[5, 4], [3, 2], [1]]
    assert found[2][0] == reader.read_image_version("acme", ImageRef(ID, 1))
    assert reader.list_image_versions("globex", ID, 9, None).versions == ()


def test_digests_are_listed_once_in_order_those_of_deleted_images_among_them(writer: Writer, reader: Reader) -> None:
    pushed = {
        push(writer, content, name, image_id).digest
        for name, image_id in (("a", ID), ("b", OTHER_ID))
        for content in "abc"
    }
    pushed.add(writer.push_image("globex", "c", ID, FULL)[1].digest)
    writer.delete_image("acme", ID, NOW)

    first = reader.list_digests(3, "")
    rest = reader.list_digests(3, first[-1])

    assert [*first, *rest] == sorted(pushed)
    writer.delete_image("acme", OTHER_ID, NOW)
    writer.collect_images(NOW + 1, 1, 99, False)
    assert reader.list_digests(9, "") == [FULL.digest]


def test_a_store_with_images_verifies(writer: Writer, reader: Reader) -> None:
    for content in "abc":
        push(writer, content)
        push(writer, content, "gone", OTHER_ID)
    writer.delete_image("acme", OTHER_ID, NOW)
    writer.collect_images(NOW + 1, 1, 2, False)

    assert reader.verify() == []


def test_instances_do_not_lose_their_image_when_they_change(writer: Writer) -> None:
    push(writer, "one")
    program = ImageRef(ID, 1).program
    key = InstanceKey("acme", "user")
    put(writer, save(key, program=program, status=Status.PENDING), save(key, 2, instance=instance(key, version=2)))

    assert writer.delete_image("acme", ID, NOW) == ("user",)
