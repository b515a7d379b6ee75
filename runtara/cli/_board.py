"""What `runtara watch` shows: instances, how many stand where, and the places of the servers. It does no I/O."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from runtara.cli._words import ABSENT, instant, plain
from runtara.lifecycle import FINAL, Status
from runtara.messages import InstanceInfo, InstanceSummary, NodeInfo

__all__ = ["Board", "Change", "summary_of"]

STYLES: Final = {
    Status.PENDING: "yellow",
    Status.RUNNING: "blue",
    Status.SUSPENDED: "magenta",
    Status.COMPLETED: "green",
    Status.FAILED: "bold red",
    Status.CANCELLED: "dim",
}
"""How a status is coloured; it is always written, too."""

_BESIDE: Final = 6
"""Lines of a screen that are not rows: totals, the head of the table, what is wrong, what to press."""


class Change(NamedTuple):
    """An instance that was not known before, or stood elsewhere."""

    row: InstanceSummary
    before: Status | None

    def __str__(self) -> str:
        arrow = self.row.status if self.before is None else f"{self.before} → {self.row.status}"
        return f"{plain(self.row.instance_id)}  {arrow}{_why(self.row)}"


class Board:
    """The newest instances that are wanted, at most `most`, as far as they are known."""

    def __init__(self, most: int) -> None:
        self.most: Final = most
        self.trouble: str | None = None
        """Why nothing new is known, if that is so."""
        self._rows: dict[str, InstanceSummary] = {}
        self._heard: dict[str, InstanceSummary] = {}
        """What was put since the last look began."""
        self._counts: Mapping[Status, int] = {}
        self._nodes: tuple[NodeInfo, ...] = ()

    @property
    def unfinished(self) -> list[str]:
        """Ids of the instances to which something may still happen, the newest first."""
        return [name for name, row in self._rows.items() if row.status not in FINAL]

    def __contains__(self, instance_id: str) -> bool:
        return instance_id in self._rows

    def look(self) -> None:
        """Say that it is looked what there is: what is put from now on is newer than what is shown next."""
        self._heard = {}

    def show(
        self, rows: Iterable[InstanceSummary], counts: Mapping[Status, int], nodes: Iterable[NodeInfo]
    ) -> list[Change]:
        """Take these for what there was at the last `look`; return what has changed, the oldest instance first."""
        before = self._rows
        self._rows = {row.instance_id: self._heard.get(row.instance_id, row) for row in rows}
        self._counts, self._nodes = counts, tuple(nodes)
        return [
            change for row in reversed(self._rows.values()) if (change := _change(before.get(row.instance_id), row))
        ]

    def put(self, row: InstanceSummary) -> Change | None:
        """Take note of how a shown instance stands now; return whether that is a change."""
        before = self._rows.get(row.instance_id)
        if before is None:
            return None
        self._rows[row.instance_id] = self._heard[row.instance_id] = row
        return _change(before, row)

    def totals(self) -> Text:
        """Return how many instances stand where, and how many places of the servers are taken."""
        said = Text()
        for status in Status:
            said.append(f"{status} ", STYLES[status]).append(f"{self._counts.get(status, 0):,}   ")
        for node in self._nodes:
            places = ABSENT if node.places is None else str(node.places)
            state = "gone" if node.lost_at is not None else "draining" if node.draining else f"{node.in_use}/{places}"
            said.append(f"{plain(node.name)} {state}   ")
        return said

    def picture(self, height: int) -> RenderableType:
        """Return what fits on a screen."""
        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        for title, ratio in (("INSTANCE", 3), ("STATUS", 2), ("ATTEMPT", 1), ("CREATED", 2), ("PROGRAM", 4)):
            table.add_column(title, ratio=ratio, no_wrap=True, overflow="ellipsis")
        shown = list(self._rows.values())[: max(1, height - _BESIDE)]
        for row in shown:
            table.add_row(*_cells(row))
        left_out = sum(self._counts.values()) - len(shown)
        foot = f"{left_out:,} more   " if left_out > 0 else ""
        trouble = Text(plain(self.trouble), "red") if self.trouble else Text()
        return Group(self.totals(), Text(), table, Text(), trouble, Text(f"{foot}q ends", "dim"))


def _cells(row: InstanceSummary) -> tuple[Text, ...]:
    status = Text(row.status, STYLES[row.status]).append(_why(row))
    texts = (plain(row.instance_id), str(row.epoch), instant(row.created_at), plain(row.program or ABSENT))
    name, attempt, created, program = (Text(text) for text in texts)
    return name, status, attempt, created, program


def _why(row: InstanceSummary) -> str:
    """Return why an instance stands so, where that says more."""
    reason = row.termination_reason
    return "" if reason is None or reason.value == row.status.value else f" ({reason})"


def _change(before: InstanceSummary | None, after: InstanceSummary) -> Change | None:
    if before is not None and before.status is after.status:
        return None
    return Change(after, None if before is None else before.status)


def summary_of(info: InstanceInfo) -> InstanceSummary:
    """Return the line of a list that says how an instance stands."""
    fields: dict[str, Any] = {name: getattr(info, name) for name in InstanceSummary.__struct_fields__}
    return InstanceSummary(**fields)
