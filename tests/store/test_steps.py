"""What an instance has done, as steps; the same from every store."""

import msgspec
import pytest

from runtara.errors import InvalidInput
from runtara.lifecycle import Status
from runtara.messages import Step
from runtara.records import Event
from runtara.store import Reader, Save, Writer, _steps
from tests.store.samples import KEY, NOW, checkpoint, event, pages_of, put, retry, save, wait


def said(kind: str, at: int, **fields: object) -> Event:
    """What a program says about a step of its own."""
    return event(subtype=f"step_debug_{kind}", created_at=NOW + at, payload=msgspec.json.encode(fields))


def every(reader: Reader, limit: int = 100, status: str | None = None, step_type: str | None = None) -> list[Step]:
    pages = pages_of(lambda cursor: reader.list_steps(KEY, status, step_type, limit, cursor), "steps")  # type: ignore[arg-type]  # a test may ask for anything
    return [step for page in pages for step in page]


def test_checkpoints_sleeps_waits_and_failed_tries_are_steps_by_when_they_began(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        save(
            checkpoints=(
                checkpoint("one", created_at=NOW + 1),
                checkpoint("nap", created_at=NOW + 5, wake_at=NOW + 9, epoch=2),
                checkpoint("two", created_at=NOW + 20),
            ),
            waits=(wait("p", started_at=NOW + 3, deadline_at=NOW + 8, ended_at=NOW + 4, signal_id="s"),),
            retries=(retry("two", 1, recorded_at=NOW + 10, error="no", retry_at=NOW + 15),),
        ),
    )

    assert every(reader) == [
        Step(
            step_id="one",
            type="checkpoint",
            status="completed",
            started_at=NOW + 1,
            completed_at=NOW + 1,
            duration_ms=0,
            epoch=1,
        ),
        Step(
            step_id="p",
            type="signal",
            status="completed",
            started_at=NOW + 3,
            name="go",
            completed_at=NOW + 4,
            duration_ms=1,
            wake_at=NOW + 8,
            signal_id="s",
        ),
        Step(
            step_id="nap",
            type="sleep",
            status="completed",
            started_at=NOW + 5,
            completed_at=NOW + 9,
            duration_ms=4,
            epoch=2,
            wake_at=NOW + 9,
        ),
        Step(
            step_id="two",
            type="retry",
            status="failed",
            started_at=NOW + 10,
            completed_at=NOW + 10,
            duration_ms=0,
            error="no",
            attempt=1,
            wake_at=NOW + 15,
        ),
        Step(
            step_id="two",
            type="checkpoint",
            status="completed",
            started_at=NOW + 20,
            completed_at=NOW + 20,
            duration_ms=0,
            epoch=1,
        ),
    ]


def test_a_step_of_the_program_is_its_start_and_its_end(writer: Writer, reader: Reader) -> None:
    about = {"step_id": "fetch", "step_name": "Fetch", "step_type": "agent", "scope_id": "s", "parent_scope_id": "r"}
    put(
        writer,
        save(
            events=(
                said("start", 1, **about, inputs={"a": [1]}),
                said("end", 4, **about, outputs={"b": None}),
            )
        ),
    )

    (step,) = every(reader)

    assert step == Step(
        step_id="fetch",
        type="agent",
        status="completed",
        started_at=NOW + 1,
        name="Fetch",
        completed_at=NOW + 4,
        duration_ms=3,
        epoch=1,
        scope_id="s",
        parent_scope_id="r",
        inputs='{"a":[1]}',
        outputs='{"b":null}',
    )


def test_a_step_without_an_end_runs_and_one_whose_end_has_an_error_has_failed(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        save(
            events=(
                said("start", 1, step_id="a"),
                said("start", 2, step_id="b"),
                said("start", 3, step_id="c"),
                said("end", 4, step_id="b", error="it broke"),
                said("end", 5, step_id="c", error={"code": 7}),
                said("end", 6, step_id="d"),
            )
        ),
    )

    assert [(step.step_id, step.type, step.status, step.error) for step in every(reader)] == [
        ("a", "step", "running", None),
        ("b", "step", "failed", "it broke"),
        ("c", "step", "failed", '{"code":7}'),
    ]


def test_an_end_belongs_to_the_start_of_its_own_scope_and_counts_once(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        save(
            events=(
                said("end", 0, step_id="a", scope_id="x"),
                said("start", 1, step_id="a", scope_id="x"),
                said("start", 2, step_id="a", scope_id="y"),
                said("end", 3, step_id="a", scope_id="y"),
                said("end", 4, step_id="a", scope_id="x"),
                said("start", 5, step_id="a", scope_id="x"),
                said("start", 6, step_id="a"),
            )
        ),
    )

    assert [(step.scope_id, step.duration_ms) for step in every(reader)] == [
        ("x", 3),
        ("y", 1),
        ("x", None),
        (None, None),
    ]


@pytest.mark.parametrize("payload", [b"", b"no", b"[]", b"{}", b'{"step_id": 7}', b'{"step_id": ""}', b"\xff\xfe"])
def test_what_no_step_can_be_read_from_is_none(writer: Writer, reader: Reader, payload: bytes) -> None:
    bad = event(subtype="step_debug_start", payload=payload, created_at=NOW)
    put(writer, save(events=(bad, bad, said("start", 1, step_id="a"), event(subtype="note", payload=b"{}"))))

    assert [step.step_id for step in every(reader)] == ["a"]


@pytest.mark.parametrize(
    ("status", "wanted"), [(Status.SUSPENDED, "running"), (Status.RUNNING, "running"), (Status.FAILED, "completed")]
)
def test_the_last_sleep_goes_on_until_the_instance_ends(
    writer: Writer, reader: Reader, status: Status, wanted: str
) -> None:
    put(writer, save(status=status, checkpoints=(checkpoint("nap", created_at=NOW, wake_at=NOW + 9),)))

    (step,) = every(reader)

    assert (step.status, step.completed_at) == (wanted, NOW + 9 if wanted == "completed" else None)


def long() -> Save:
    """An instance that has done much of everything, at instants that are often the same."""
    return save(
        checkpoints=tuple(
            checkpoint(f"c{n}", created_at=NOW + n // 3, wake_at=NOW + n if n % 5 == 0 else None) for n in range(40)
        ),
        waits=tuple(wait(f"w{n}", started_at=NOW + n // 2, ended_at=NOW + n) for n in range(30)),
        retries=tuple(retry(f"r{n % 7}", n, recorded_at=NOW + n) for n in range(1, 20)),
        events=tuple(
            one
            for n in range(20)
            for one in (said("start", n, step_id=f"s{n}"), said("end", n + 1, step_id=f"s{n}", error=n % 2 or None))
        ),
    )


@pytest.mark.parametrize("chunk", [1, 7, 250])
@pytest.mark.parametrize("limit", [1, 10, 500])
def test_steps_are_the_same_whatever_the_pages(
    writer: Writer, reader: Reader, limit: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(writer, long())
    whole = every(reader, 1_000)

    monkeypatch.setattr(_steps, "_CHUNK", chunk)
    found = every(reader, limit)

    assert found == whole
    assert len(whole) == 40 + 30 + 19 + 20
    assert [step.started_at for step in whole] == sorted(step.started_at for step in whole)


@pytest.mark.parametrize(
    ("status", "step_type"), [("failed", None), (None, "sleep"), ("failed", "step"), ("running", "x")]
)
def test_steps_may_be_listed_by_status_and_type(
    writer: Writer, reader: Reader, status: str | None, step_type: str | None
) -> None:
    put(writer, long())

    wanted = [one for one in every(reader) if status in (None, one.status) and step_type in (None, one.type)]

    assert every(reader, 3, status, step_type) == wanted
    assert bool(wanted) == (step_type != "x")


def test_a_list_looks_at_its_share_of_steps_and_goes_on_behind_them(
    writer: Writer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_steps, "LOOKED_AT_MAX", 10)
    put(writer, long())

    first = reader.list_steps(KEY, None, "x", 5, None)

    assert first.steps == ()
    assert first.cursor is not None
    assert len(every(reader, 5, None, "sleep")) == 8


def test_nobody_has_done_nothing(reader: Reader) -> None:
    assert every(reader) == []


@pytest.mark.parametrize("cursor", ["", "x", "c3RlcHM6", "c3RlcHM6W10=x", "c3RlcHM6WzFd", "aWQ6YQ==", "c3RlcHM6e30="])
def test_a_cursor_of_another_list_is_refused(reader: Reader, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        reader.list_steps(KEY, None, None, 1, cursor)


def test_a_page_of_steps_has_at_least_one(reader: Reader) -> None:
    with pytest.raises(InvalidInput):
        reader.list_steps(KEY, None, None, 0, None)
