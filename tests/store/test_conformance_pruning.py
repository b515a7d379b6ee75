"""What every store promises of finished instances that are deleted while it is at work."""

from typing import Any

import pytest

from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.store import Copies, Finished, Reader, Writer
from tests.store.samples import KEY, NOW, checkpoint, event, loaded, put, retry, save, signal, wait

ALL = Finished(before_ms=NOW + 100)


def finish(
    writer: Writer, name: str, at: int | None = NOW, status: Status = Status.COMPLETED, tenant: str = "acme"
) -> Any:
    """Store a finished instance with something in every table; return its key."""
    key = InstanceKey(tenant, name)
    end: dict[str, Any] = {"status": status, "finished_at": at}
    history: dict[str, Any] = {
        "checkpoints": (checkpoint("step"),),
        "events": (event(request=1),),
        "signals": (signal("s"),),
        "waits": (wait("p"),),
        "retries": (retry("step", 1),),
    }
    put(writer, save(key, input=b"in", env={"A": "1"}, output=b"out", **end, **history))
    return key


def test_finished_instances_go_with_all_that_belongs_to_them(writer: Writer, reader: Reader) -> None:
    key = finish(writer, "ended")
    put(writer, save(checkpoints=(checkpoint("step"),)))

    gone = writer.prune_finished(ALL, 10, False)

    assert gone == [key]
    assert list(reader.load([key, KEY])) == [KEY]
    assert (reader.read_input(key), reader.read_env(key), reader.read_output(key)) == (None, {}, None)
    assert (reader.read_checkpoint(key, "step"), reader.read_signal(key, "s")) == (None, None)
    assert (reader.read_retries(key, "step"), reader.list_events(key, None, None, 9, None).events) == ([], ())
    assert loaded(reader).checkpoint_ids == ("step",)
    assert reader.verify() == []
    assert writer.prune_finished(ALL, 10, False) == []


def test_a_dry_run_says_what_would_go_and_changes_nothing(writer: Writer, reader: Reader) -> None:
    keys = [finish(writer, name) for name in "ab"]

    said = [writer.prune_finished(ALL, 10, True) for _ in range(2)]

    assert said == [keys, keys]
    assert set(reader.load(keys)) == set(keys)


def test_those_that_finished_first_go_first_and_no_more_than_are_asked_for(writer: Writer, reader: Reader) -> None:
    keys = {name: finish(writer, name, NOW + at) for name, at in (("c", 3), ("a", 1), ("b", 2), ("d", 1))}

    gone = [writer.prune_finished(ALL, 3, False), writer.prune_finished(ALL, 3, False)]

    assert gone == [[keys["a"], keys["d"], keys["b"]], [keys["c"]]]


def test_who_goes_on_or_finished_too_late_or_differently_or_elsewhere_stays(writer: Writer, reader: Reader) -> None:
    finished = Finished(before_ms=NOW + 1, statuses=(Status.FAILED,), tenant_id="acme")
    stay = [
        finish(writer, "late", NOW + 1, Status.FAILED),
        finish(writer, "completed", NOW),
        finish(writer, "foreign", NOW, Status.FAILED, "globex"),
        finish(writer, "no-instant", None, Status.FAILED),
    ]
    for status in Status:
        if status not in FINAL:
            stay.append(InstanceKey("acme", status.value))
            put(writer, save(stay[-1], status=status, finished_at=NOW - 1))
    goes = finish(writer, "failed", NOW, Status.FAILED)

    gone = writer.prune_finished(finished, 10, False)

    assert gone == [goes]
    assert set(reader.load(stay)) == set(stay)


def test_what_is_saved_of_an_instance_that_is_gone_does_not_apply_and_its_id_is_free(
    writer: Writer, reader: Reader
) -> None:
    key = finish(writer, "ended")
    end: dict[str, Any] = {"status": Status.COMPLETED, "finished_at": NOW}
    put(writer, save(key, 2, output=b"out", **end))
    writer.prune_finished(ALL, 10, False)

    stored = writer.commit([save(key, 3, events=(event(),), **end), save(key), save(key, 2)])

    assert stored == [False, True, True]
    assert loaded(reader, key).checkpoint_ids == ()
    assert reader.list_events(key, None, None, 9, None).events == ()


@pytest.mark.parametrize("limit", [1, 5])
def test_a_copy_outlives_its_source(writer: Writer, reader: Reader, limit: int) -> None:
    key = finish(writer, "ended")
    put(writer, save(copies=Copies(key)))

    writer.prune_finished(ALL, limit, False)

    assert loaded(reader).checkpoint_ids == ("step",)
    assert reader.read_checkpoint(KEY, "step") is not None
