"""The picture on the last line of a terminal."""

import io

import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from runtara.cli._progress import Progress, summary
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import GetStatus, InstanceInfo
from tests.cli.terminal import Terminal


def info(status: Status, **fields: object) -> InstanceInfo:
    return InstanceInfo(tenant_id="t", instance_id="i", status=status, epoch=2, created_at=0, **fields)  # type: ignore[arg-type]  # its fields


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (info(Status.PENDING, wake_at=0), "pending · attempt 2 · 0 checkpoints"),
        (info(Status.RUNNING, checkpoint_count=1), "running · attempt 2 · 1 checkpoint"),
        (
            info(Status.RUNNING, checkpoint_id="state\x1b-3", checkpoint_count=3),
            "running · attempt 2 · 3 checkpoints · last: state\\x1b-3",
        ),
        (
            info(Status.SUSPENDED, termination_reason=TerminationReason.SLEEPING, wake_at=0),
            "suspended (sleeping) · until 1970-01-01 00:00:00.000Z · attempt 2 · 0 checkpoints",
        ),
    ],
)
def test_it_says_in_a_few_words_how_an_instance_gets_on(found: InstanceInfo, said: str) -> None:
    assert summary(found) == said


class Answering:
    """A door to an instance that runs."""

    async def call(self, command: object, *, timeout: float | None = None) -> InstanceInfo:
        assert isinstance(command, GetStatus)
        await trio.lowlevel.checkpoint()
        return info(Status.RUNNING, checkpoint_count=7)


async def drawn(progress: Progress, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await progress.draw()


async def test_on_a_terminal_it_is_drawn_and_wiped_away(autojump_clock: MockClock) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)

    await drawn(Progress(Answering(), console), 1)  # type: ignore[arg-type]  # all that is used of a door

    assert "7 checkpoints" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")


async def test_it_stays_away_until_a_line_has_ended(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    screen = io.StringIO()
    progress = Progress(Answering(), Console(file=screen, force_terminal=True, width=100))  # type: ignore[arg-type]  # likewise

    with progress.hidden(b"half a li"):
        pass
    await drawn(progress, 1)
    half = screen.getvalue()
    with progress.hidden(b"ne\n"):
        pass
    await drawn(progress, 1)

    assert "7 checkpoints" not in half
    assert "7 checkpoints" in screen.getvalue()


async def test_where_there_is_no_terminal_nothing_is_drawn() -> None:
    screen = io.StringIO()
    progress = Progress(Answering(), Console(file=screen, force_terminal=False))  # type: ignore[arg-type]  # likewise

    await progress.draw()
    with progress.hidden(b"x"):
        pass

    assert screen.getvalue() == ""


def test_of_an_instance_that_has_gone_it_draws_nothing(terminal: Terminal) -> None:
    screen = io.StringIO()
    progress = Progress(
        terminal.system.open_door("nobody", "default"), Console(file=screen, force_terminal=True, width=100)
    )

    trio.run(drawn, progress, 0.3)

    assert "checkpoints" not in screen.getvalue()
