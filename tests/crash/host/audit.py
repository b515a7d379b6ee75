"""The auditor of a whole system: what `tests.crash.audit` holds, and that no program ends otherwise than its plan says.

It reads the one journal of a site as it grows.
"""

from pathlib import Path

import msgspec

from tests.crash.audit import Audit
from tests.crash.journal import Line

__all__ = ["HostAudit"]


TOLD_MS = 55_000
"""A push that was lost is made up for by a look, but that comes later than this. A server that is away is not."""


class HostAudit(Audit):
    """What is known about one site, over all lives of all its processes."""

    def __init__(self, journal: Path) -> None:
        super().__init__()
        self._journal = journal
        self._offset = 0
        self._told_at: dict[str, int] = {}

    def catch_up(self) -> None:
        """Read what was written since the last time."""
        with self._journal.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]
        for line in lines:
            self._note(line)
        self.read(lines)

    def _note(self, line: Line) -> None:
        if line.mark != "ended":
            return
        self._told_at[line.who] = line.at
        if line.op == "failed":
            self._say("no surprises", line.who, "has failed:", line.value)

    def settle(self, data_dir: Path) -> None:
        """Check also that who waited for an end was told of it soon."""
        super().settle(data_dir)
        for who, (row, _) in self._final.items():
            late = self._told_at.get(who, 0) - (row.finished_at or 0)
            if late > TOLD_MS:
                self._say("an end is told soon", who, "was told", late, "ms later")
