"""The words of the contract: what they count as equal, and what they refuse."""

import heapq

import pytest
from msgspec.structs import replace

from runtara.errors import Internal, InvalidInput
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.store import Copies, DueInstance, Finished, digest_of
from runtara.store._terms import copies_of, is_pushed_again
from tests.store.samples import KEY, NOW, checkpoint, image_version, save

A, B = InstanceKey("acme", "a"), InstanceKey("acme", "b")

# Due instances --------------------------------------------------------------------------------------------------------


def test_due_instances_are_ordered_by_instant_and_key_whatever_else_they_say() -> None:
    rows = [
        DueInstance(2, A, 9, "p"),
        DueInstance(1, B, 0, None),
        DueInstance(1, A, 5, "q"),
        DueInstance(1, B, -5, "r"),
    ]

    heap = list(rows)
    heapq.heapify(heap)

    assert [row[:2] for row in sorted(rows)] == [(1, A), (1, B), (1, B), (2, A)]
    assert heap[0].key == A
    assert DueInstance(1, A, 5) < DueInstance(1, B, 0)
    assert DueInstance(1, B, 0) > DueInstance(1, A, 5)


def test_one_instance_at_one_instant_is_equal_to_itself_whatever_else_is_said() -> None:
    armed, read = DueInstance(1, A), DueInstance(1, A, 5, "p")

    assert armed == read
    assert len({armed, read}) == 1
    assert armed >= read
    assert armed <= read
    assert (armed != read, armed < read, armed > read) == (False, False, False)
    assert armed != DueInstance(2, A)
    assert armed != (1, A)


# Which are finished ---------------------------------------------------------------------------------------------------


def test_all_that_are_finished_are_meant_unless_it_is_said_which() -> None:
    assert set(Finished(before_ms=NOW).statuses) == FINAL


@pytest.mark.parametrize("status", sorted(set(Status) - FINAL))
def test_who_goes_on_cannot_be_meant(status: Status) -> None:
    with pytest.raises(InvalidInput, match="goes on"):
        Finished(before_ms=NOW, statuses=(Status.FAILED, status))


# Copies ---------------------------------------------------------------------------------------------------------------


def test_only_a_new_instance_copies() -> None:
    copies = Copies(A, "step")

    assert copies_of(save(copies=copies)) == copies
    assert copies_of(save(version=2, copies=copies, checkpoints=(checkpoint("own"),))) is None
    assert copies_of(save(checkpoints=(checkpoint("own"),))) is None


def test_who_copies_a_history_writes_none() -> None:
    with pytest.raises(Internal, match="order-1 has a history of its own"):
        copies_of(save(copies=Copies(A), checkpoints=(checkpoint("own"),)))


# Images and notices ---------------------------------------------------------------------------------------------------


def test_number_and_instant_do_not_make_another_version() -> None:
    current = image_version("one", version=3)

    assert is_pushed_again(image_version("one", created_at=NOW + 1), current)
    assert not is_pushed_again(image_version("two"), current)
    assert not is_pushed_again(replace(current, size=4), current)


def test_a_digest_is_sixteen_digits_that_depend_on_tenant_and_id() -> None:
    assert digest_of(KEY) == "271f74c0ee8691d0"
    assert digest_of(KEY) != digest_of(A)
