"""What the nodes of a PostgreSQL store tell each other: a connection on which notices come by themselves.

A notice may be lost, with the connection or with the server. So it only ever says that it is worth looking now; whoever
relies on it looks now and then without being told.
"""

from contextlib import suppress
from typing import Final, Literal

from runtara.store._postgres_door import SQL, Connection, Error, PostgresLimits, connect, explain
from runtara.store._tenure import Tenure
from runtara.store._terms import Notice

__all__ = ["PostgresListener"]

_KINDS: Final[dict[str, Literal["due", "changed", "nodes", "tasks"]]] = {
    "runtara_due": "due",
    "runtara_changed": "changed",
    "runtara_nodes": "nodes",
    "runtara_tasks": "tasks",
}


class PostgresListener:
    """Hears the notices of other nodes. `fileno` becomes readable when there may be some."""

    def __init__(self, url: str, limits: PostgresLimits, tenure: Tenure) -> None:
        self._url = url
        self._tenure = tenure
        try:
            self._connection: Connection = connect(url, limits, read_only=True)
        except Error as error:
            raise explain(error, url) from error
        try:
            self._connection.execute(SQL["listen"])
        except Error as error:
            self.close()
            raise explain(error, url) from error

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        return self._connection.fileno()

    def read(self) -> list[Notice]:
        """Return what has come, without waiting. Raises `StoreUnavailable` where the connection is lost."""
        try:
            self._connection.pgconn.consume_input()
        except Error as error:
            raise explain(error, self._url) from error
        notices = []
        while (found := self._connection.pgconn.notifies()) is not None:
            kind = _KINDS.get(found.relname.decode())
            if kind is not None and found.be_pid != self._tenure.backend:
                notices.append(Notice(kind, found.extra.decode(errors="replace")))
        return notices

    def close(self) -> None:
        """Let go of the database; harmless when repeated."""
        with suppress(Error):
            self._connection.close()
