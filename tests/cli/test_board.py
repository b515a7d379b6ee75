"""What `runtara watch` shows."""

import io
from typing import Any

import pytest
from rich.console import Console

from runtara.cli._board import STYLES, Board, summary_of
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import InstanceInfo, InstanceSummary, NodeInfo


def row(name: str, status: Status = Status.RUNNING, **fields: Any) -> InstanceSummary:
    return InstanceSummary(instance_id=name, status=status, epoch=1, created_at=0, **fields)


def node(name: str, **fields: Any) -> NodeInfo:
    given: dict[str, Any] = {
        "address": None,
        "version": "1",
        "opened_at": 0,
        "places": 4,
        "in_use": 1,
        "draining": False,
        "lease_ms": 1,
        "lost_at": None,
        "owned": 0,
    }
    return NodeInfo(name=name, **given | fields)


def printed(board: Board, height: int = 20, **options: Any) -> str:
    screen = io.StringIO()
    Console(file=screen, width=120, height=height, **options).print(board.picture(height))
    return screen.getvalue()


def test_what_is_new_and_what_stands_elsewhere_is_a_change() -> None:
    board = Board(10)
    first = board.show([row("b"), row("a")], {}, [])
    second = board.show([row("c"), row("b", Status.FAILED), row("a")], {}, [])

    assert [str(change) for change in first] == ["a  running", "b  running"]
    assert [str(change) for change in second] == ["b  running → failed", "c  running"]


def test_what_is_heard_while_it_is_looked_is_newer_than_what_was_seen() -> None:
    board = Board(10)
    board.show([row("a"), row("b")], {}, [])
    board.put(row("b", Status.FAILED))
    board.look()
    board.put(row("a", Status.COMPLETED))

    changes = board.show([row("a"), row("b", Status.COMPLETED)], {}, [])
    board.look()
    again = board.show([row("a")], {}, [])

    assert [str(change) for change in changes] == ["b  failed → completed"], "what was heard before counts no more"
    assert [str(change) for change in again] == ["a  completed → running"]


def test_one_that_is_shown_is_kept_up_to_date() -> None:
    board = Board(10)
    board.show([row("a")], {}, [])
    rests = row("a", Status.SUSPENDED, termination_reason=TerminationReason.PAUSED)

    assert board.put(row("a")) is None
    assert str(board.put(rests)) == "a  running → suspended (paused)"
    assert board.put(row("unknown")) is None
    assert board.unfinished == ["a"]
    board.put(row("a", Status.COMPLETED))
    assert board.unfinished == []


def test_totals_places_and_rows_are_on_the_picture() -> None:
    board = Board(10)
    board.show(
        [
            row("order-1", program="/p/a.py"),
            row("order-2", Status.FAILED, termination_reason=TerminationReason.TIMEOUT),
        ],
        {Status.RUNNING: 1200, Status.FAILED: 1},
        [node("one"), node("two", draining=True), node("three", lost_at=5), node("four", places=None)],
    )
    text = printed(board)

    for part in ("running 1,200", "failed 1", "completed 0", "one 1/4", "two draining", "three gone", "four 1/-"):
        assert part in text
    for part in ("order-1", "/p/a.py", "failed (timeout)", "1,199 more", "q ends"):
        assert part in text


def test_no_more_rows_are_drawn_than_fit() -> None:
    board = Board(100)
    board.show([row(f"i-{number:02}") for number in range(50)], {Status.RUNNING: 50}, [])

    text = printed(board, height=16)

    assert len(text.splitlines()) <= 16
    assert ("i-09" in text, "i-10" in text, "40 more" in text) == (True, False, True)


def test_what_is_wrong_is_told_in_red() -> None:
    board = Board(10)
    board.trouble = "nobody answers"

    assert "nobody answers" in printed(board)
    assert "\x1b[31mnobody answers" in printed(board, force_terminal=True, color_system="standard", no_color=False)


@pytest.mark.parametrize("hostile", ["\x1b[2J", "a\nb", "[bold]x[/bold]"])
def test_nothing_that_users_name_can_move_a_cursor(hostile: str) -> None:
    board = Board(10)
    board.show([row("i", program=hostile)], {}, [node(hostile)])

    text = printed(board, force_terminal=True, color_system=None)

    assert "\x1b[2J" not in text
    assert hostile.replace("\x1b", "\\x1b").splitlines()[0] in text


def test_every_status_has_a_colour() -> None:
    assert set(STYLES) == set(Status)


def test_a_status_is_a_line_of_a_list() -> None:
    info = InstanceInfo(tenant_id="t", instance_id="a", status=Status.RUNNING, epoch=1, created_at=0, program="p")

    assert summary_of(info) == row("a", program="p")
