"""How things are said to people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.cli._words import EVENTS, instant, payload, plain, size, span, tell
from runtara.lifecycle import Trigger
from runtara.records import Event


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (None, "-"),
        (0, "1970-01-01 00:00:00.000Z"),
        (1_750_000_000_007, "2025-06-15 15:06:40.007Z"),
        (253_402_300_799_999, "9999-12-31 23:59:59.999Z"),
        (-1, "-"),
        (2**63, "-"),
    ],
)
def test_an_instant_is_in_utc_to_the_millisecond(at: int | None, said: str) -> None:
    assert instant(at) == said


@pytest.mark.parametrize(
    ("span_ms", "said"),
    [
        (None, "-"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1 s"),
        (1500, "1 s 500 ms"),
        (60_000, "1 min"),
        (7_512_345, "2 h 5 min"),
        (86_400_000 * 400, "400 d"),
    ],
)
def test_a_span_is_said_in_its_two_largest_units(span_ms: int | None, said: str) -> None:
    assert span(span_ms) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (64 << 20, "64.0 MiB"), (5 << 50, "5120.0 TiB")],
)
def test_a_size_is_said_in_the_unit_that_suits_it(count: int, said: str) -> None:
    assert size(count) == said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "-"),
        (b"", "(empty)"),
        (b'{"a": 1}', '{"a": 1}'),
        ("Zürich\n".encode(), "Zürich\n"),
        (b"\xff" * 3000, "(2.9 KiB of binary data)"),
        (b"a\x00\x1b[2J\tb", r"a\x00\x1b[2J\tb"),
    ],
)
def test_bytes_are_shown_as_the_text_that_they_are(data: bytes | None, said: str) -> None:
    assert payload(data) == said


def test_a_long_text_is_cut_and_says_how_long_it_is() -> None:
    said = payload(b"x" * 5000)

    assert said == "x" * 2000 + " … (4.9 KiB)"


@given(st.text())
def test_nothing_that_is_shown_can_steer_a_terminal(text: str) -> None:
    assert all(char.isprintable() or char == "\n" for char in plain(text))
    assert plain(text) == text or not text.isprintable()


def test_every_event_that_the_runtime_writes_has_its_words() -> None:
    assert {*Trigger, "created", "custom", "signal-sent", "signal-acknowledged"} == set(EVENTS)


@pytest.mark.parametrize("type_", EVENTS)
def test_an_event_is_told_in_one_line_with_its_details(type_: str) -> None:
    event = Event(
        type=str(type_), epoch=7, created_at=0, subtype="cancel", checkpoint_id="step-3", payload=b"why\nit did\x1b"
    )

    said = tell(event)

    assert said.isprintable(), said
    assert "{" not in said


def test_what_is_told_names_attempt_place_and_reason() -> None:
    woken = Event(type=Trigger.WOKEN, epoch=3, created_at=0)
    crashed = Event(type=Trigger.CRASHED, epoch=4, created_at=0, payload=b"killed by SIGKILL\n")
    slept = Event(type=Trigger.SLEPT, epoch=1, created_at=0, checkpoint_id="nap")
    custom = Event(type="custom", epoch=1, created_at=0, subtype="note", payload=b"half-way")
    paused = Event(type="signal-sent", epoch=1, created_at=0, subtype="pause", payload=b"id\nfor lunch")
    resumed = Event(type="signal-sent", epoch=1, created_at=0, subtype="resume", payload=b"id")

    assert tell(woken) == "it is time: the host launches attempt 3"
    assert tell(crashed) == "attempt 4 died without a report: killed by SIGKILL"
    assert tell(slept) == "the program sleeps and has left memory, at nap"
    assert tell(custom) == "the program says note: half-way"
    assert tell(paused) == "a pause signal was sent: for lunch"
    assert tell(resumed) == "a resume signal was sent"


def test_an_event_of_a_later_version_is_shown_as_it_is() -> None:
    assert tell(Event(type="levitated", epoch=1, created_at=0, payload=b"up")) == "levitated: up"
