"""The reader of a PostgreSQL store: every look is one statement, or one short transaction that sees one state."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from runtara.errors import RuntaraError, StoreCorrupt, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import InstanceSummary, NodeInfo
from runtara.records import Checkpoint, Holder, Snapshot
from runtara.store._postgres_door import SQL, Connection, Error, PostgresLimits, connect, explain, fault_of, name_of
from runtara.store._postgres_migrate import pending_migrations, schema_differences
from runtara.store._sql_reader import HISTORY, Row, SqlReader, snapshots_of
from runtara.store._tenure import LOST_KEPT_MS, Tenure
from runtara.store._terms import SHORT_MAX_BYTES, LoadError, Wanted

__all__ = ["PostgresReader"]

_KEYS_PER_QUERY: Final = 1_000
_TRIES: Final = 2
"""A look may be taken twice: a connection that was lost in the meantime is noticed only when it is used."""


class PostgresReader(SqlReader):
    """Looks at a PostgreSQL store; belongs to the thread that opened it.

    Every call may raise `StoreUnavailable`, `Busy` or `StoreCorrupt`.
    """

    PARAMETER = "%({})s"

    def __init__(self, url: str, limits: PostgresLimits, tenure: Tenure) -> None:
        self._url = url
        self._where = name_of(url)
        self._limits = limits
        self._tenure = tenure
        self._closed = False
        self._connection: Connection | None = None
        try:
            if pending_migrations(self._connected(), self._where):
                raise StoreUnavailable(f"the store {self._where} is not ready: open its writer first")
        except Error as error:
            self._hang_up()
            raise explain(error, url, opening=True) from error
        except BaseException:
            self._hang_up()
            raise

    def load(self, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Snapshot | LoadError]:
        """Return what is stored about each instance; unknown ones are left out."""
        wanted = list(dict.fromkeys(keys))
        found: dict[InstanceKey, Snapshot | LoadError] = {}
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            together = wanted[start : start + _KEYS_PER_QUERY]
            loaded = self._look(
                lambda connection, together=together: _hydrate(connection, together, self._tenure.number)
            )
            found |= {key: loaded[key] for key in together if key in loaded}
        return found

    def read_all(self, wanted: Sequence[Wanted]) -> list[Checkpoint | bytes | None]:
        """Return each of several things as it is read alone, in their order."""
        lines = [(nth, one.kind, *one.key, one.id) for nth, one in enumerate(wanted)]
        names = ("nth", "kind", "tenant_id", "instance_id", "name")
        document = msgspec.json.encode([dict(zip(names, line, strict=True)) for line in lines]).decode()
        found: list[Checkpoint | bytes | None] = [None] * len(wanted)
        for row in self._rows("read_all", {"wanted": document, "short": SHORT_MAX_BYTES}):
            found[row[0]] = row[1] if row[2] is None else self._decode(Checkpoint, row[2:])
        return found

    def find_changed(self, numbers: Sequence[int], tenants: Sequence[str]) -> list[tuple[str, int, InstanceSummary]]:
        """Return tenant, version and row of those of some rows that belong to some tenants."""
        rows = self._rows("find_changed", {"numbers": list(numbers), "tenants": list(tenants)})
        return [(row[0], row[1], self._decode(InstanceSummary, row[2:])) for row in rows]

    def list_nodes(self) -> list[NodeInfo]:
        """Return the nodes that share the database, lost ones behind the others."""
        return [self._decode(NodeInfo, row) for row in self._rows("list_nodes", {"kept_ms": LOST_KEPT_MS})]

    def list_peers(self) -> list[Holder]:
        """Return the other nodes that live and can be reached, by name."""
        return [_holder(*row) for row in self._rows("list_peers", {})]

    def find_log_node(self, key: InstanceKey) -> Holder | None:
        """Return the other node that ran the instance last; None where that is this node, or nobody."""
        return next((_holder(*row) for row in self._rows("find_log_node", key._asdict())), None)

    def read_documents(self) -> dict[str, tuple[bytes, int]]:
        """Return content and version of every document that all nodes agree on."""
        return {name: (content, version) for name, content, version in self._rows("read_documents", {})}

    def verify(self) -> list[str]:
        """Check the store from end to end; return what is wrong, in words, or nothing."""
        problems = self._check_all("postgres")
        try:
            problems += [f"the schema differs: {difference}" for difference in self._look(schema_differences)]
        except RuntaraError as error:
            problems.append(str(error))
        return problems

    def close(self) -> None:
        """Let go of the database; harmless when repeated."""
        self._closed = True
        self._hang_up()

    def _rows(self, statement: str, parameters: Mapping[str, object], **filling: str) -> list[Row]:
        """Return all rows of a named statement."""
        text = SQL[statement].format(**filling) if filling else SQL[statement]
        names = {**parameters, "node": self._tenure.number} if statement in _OF_THIS_NODE else parameters

        def look(connection: Connection) -> list[Row]:
            cursor = connection.execute(text.encode(), names, binary=True)
            return _with_text(cursor.fetchall(), [column.name for column in cursor.description or ()])

        rows: list[Row] = self._look(look)
        return rows

    def _look(self, look: Any) -> Any:
        """Return what `look` finds with a connection. Any: whatever it returns."""
        for tries in range(1, _TRIES + 1):
            try:
                return look(self._connected())
            except Error as error:
                lost = fault_of(error).stops
                self._let_go(lost=lost)
                if not lost or tries == _TRIES:
                    raise explain(error, self._url) from error
        raise AssertionError("the last try returns or raises")

    def _connected(self) -> Connection:
        if self._closed:
            raise StoreUnavailable(f"the reader of {self._where} is closed: open another one")
        if self._connection is None:
            self._connection = connect(self._url, self._limits, read_only=True)
        self._connection.use()
        return self._connection

    def _let_go(self, *, lost: bool) -> None:
        """Leave no transaction behind, nor a connection that cannot be used."""
        connection = self._connection
        if connection is None:
            return
        if not lost and not connection.closed:
            with contextlib.suppress(Error):
                connection.rollback()
                return
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Error):
                self._connection.close()
            self._connection = None

    def _corrupt(self, error: Exception) -> StoreCorrupt:
        return StoreCorrupt(f"the store {self._where} holds what nobody can have written: {error}; restore a backup")


def _hydrate(
    connection: Connection, keys: Sequence[InstanceKey], node: int | None
) -> dict[InstanceKey, Snapshot | LoadError]:
    """Load instances with a single statement; again, those that have signals or waits, with what belongs to them."""
    rows, history = _rows_of(connection, keys), _NO_HISTORY
    if any(row[_HAS_MORE] for row in rows):
        with _one_state(connection):
            rows = _rows_of(connection, keys)
            names = {"numbers": [row[0] for row in rows if row[_HAS_MORE]]}
            history = [connection.execute(SQL[name], names, binary=True).fetchall() for name in HISTORY[1:]]
    checkpoint_ids = [(row[0], checkpoint_id) for row in rows for checkpoint_id in row[_CHECKPOINT_IDS]]
    found = snapshots_of([row[: _HOLDER.start] for row in rows], checkpoint_ids, *history)
    for row in rows:
        key, owner = InstanceKey(row[1], row[2]), row[_HOLDER.start]
        snapshot = found[key]
        if isinstance(snapshot, Snapshot) and owner != node and (owner or snapshot.instance.status is Status.RUNNING):
            found[key] = replace(snapshot, holder=_holder(*row[_HOLDER]))
    return found


def _rows_of(connection: Connection, keys: Sequence[InstanceKey]) -> list[Row]:
    wanted = msgspec.json.encode([key._asdict() for key in keys]).decode()
    cursor = connection.execute(SQL["load_instances"], {"keys": wanted}, binary=True)
    return _with_text(cursor.fetchall(), [column.name for column in cursor.description or ()])


_HAS_MORE: Final = -1
_CHECKPOINT_IDS: Final = -2
_HOLDER: Final = slice(-7, _CHECKPOINT_IDS)
_NO_HISTORY: Final[Sequence[list[Row]]] = ([],) * len(HISTORY[1:])
_OF_THIS_NODE: Final = frozenset({"list_running", "list_peers", "find_log_node"})
"""What is asked as the node that this process is."""


def _holder(node: int | None, name: str | None, address: str | None, fingerprint: str | None, lost: bool) -> Holder:
    """Return the owner of an instance; where one runs and nobody owns it, somebody who is lost."""
    return Holder(node=node or 0, name=name or "", address=address, fingerprint=fingerprint, lost=lost)


@contextlib.contextmanager
def _one_state(connection: Connection) -> Iterator[None]:
    connection.execute(SQL["begin_read"])
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(SQL["commit"])


def _with_text(rows: list[Row], columns: Sequence[str]) -> list[Row]:
    """Turn errors, which are kept as bytes, into text."""
    if "error" not in columns:
        return rows
    place = columns.index("error")
    return [
        row if row[place] is None else (*row[:place], bytes(row[place]).decode(errors="replace"), *row[place + 1 :])
        for row in rows
    ]
