"""The writer of a PostgreSQL store: one statement per batch, and no guessing about commits whose answer was lost.

The statement writes the number of the batch beside the node's lease. Where its answer is lost, the next connection
first raises the node's incarnation: that waits for what the lost one has begun, and makes void what it has not. Then
the number says whether the batch is stored. So the writer answers with the truth as soon as it can connect again at
once; where it cannot, the outcome is unknown, and settled before anything else is written.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from runtara.clock import monotonic
from runtara.errors import ConfigError, RuntaraError, StoreInUse, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.store._postgres_batch import rounds_of, statement_of
from runtara.store._postgres_door import (
    SQL,
    Connection,
    Error,
    PostgresLimits,
    connect,
    executing,
    explain,
    fault_of,
    is_definite,
    name_of,
)
from runtara.store._postgres_migrate import migrate
from runtara.store._sql_writer import Execute, SqlWriter
from runtara.store._tenure import LOST_KEPT_MS, Tenure
from runtara.store._terms import AGING_MS, NOBODY, Barred, Claims, DueInstance, LeaseLost, RunningInstance, Save

__all__ = ["PostgresWriter", "displaced"]

T = TypeVar("T")

_WINDOW: Final = 1_000
"""How many due instances are counted before they are shared out."""

_TRIES: Final = 4
"""How often a batch is tried that crosses somebody else's."""


class PostgresWriter(SqlWriter):
    """Writes to a PostgreSQL store; belongs to the thread that opened it."""

    def __init__(self, url: str, limits: PostgresLimits, tenure: Tenure, version: str) -> None:
        self._url = url
        self._where = name_of(url)
        self._limits = limits
        self._tenure = tenure
        self._batch = 0
        self._unsettled = False
        self._asked = 0
        """The newest incarnation that was asked for; whether the answer came or not, the next one is higher."""
        self._untold = False
        """Whether something may have been taken over of which nobody was told."""
        self._closed = False
        self._end: RuntaraError = StoreUnavailable(f"the writer of {self._where} is closed: open another one")
        self._last: tuple[int, Sequence[int] | None] = (0, None)
        """The last batch of a tenure that others have ended, and what was refused of it."""
        self._connection: Connection | None = None
        try:
            self._connection = connect(url, limits)
            migrate(self._connection, self._where)
            self._open_node(self._connection, version)
        except Error as error:
            self._hang_up()
            raise explain(error, url, opening=True) from error
        except BaseException:
            self._hang_up()
            raise

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written."""
        return self._closed

    def commit(self, saves: Sequence[Save]) -> list[bool]:
        """Store the batch in one transaction; True per save that was stored, False per version conflict.

        An empty batch renews the lease, and tells whether the store works. Raises `StoreUnavailable`, `StoreFull`,
        `Busy`, `OutcomeUnknown`, `StoreCorrupt` or `Internal`, and `LeaseLost` where others have taken over.
        """
        connection = self._ready()
        self._batch += 1
        rounds = list(rounds_of(saves))
        refused: Sequence[int] = ()
        for tries in range(1, _TRIES + 1):
            try:
                refused = self._store(connection, rounds)
                break
            except Error as error:
                if fault_of(error).again and tries < _TRIES:
                    continue
                refused = self._failed(error)
                break
        return _results(len(saves), refused)

    def record_heartbeats(self, beats: Sequence[tuple[InstanceKey, int]]) -> None:
        """Note when running instances of this node were last heard of. Raises like `commit`."""
        latest = dict(sorted(beats))  # a statement changes a row once
        rows = [{"tenant_id": key.tenant_id, "instance_id": key.instance_id, "at": at} for key, at in latest.items()]
        self._run("record_heartbeats", {"beats": msgspec.json.encode(rows).decode()})

    def close(self) -> None:
        """Let go of the database; harmless when repeated. Others take over what this node owns, unless it lasts."""
        self._closed = True
        if self._connection is not None and not self._tenure.lasting:
            with contextlib.suppress(Error):
                self._connection.execute(SQL["end_tenure"], self._me())
        self._tenure.until = 0.0
        self._hang_up()

    # Among nodes -----------------------------------------------------------------------------------------------------

    def claim_due(self, limit: int, turn: int, barred: Barred = NOBODY) -> Claims:
        """Claim at most `limit` instances that are due and not barred, of this node's share. Raises like `commit`.

        `turn` counts the looks in a row, so that what one node leaves, another takes. What was claimed and is not woken
        stays this node's until `release_claim`, or until the connection is lost, as the answer may be lost with it.
        """
        names = {
            "limit": limit,
            "turn": turn,
            "window": max(limit, _WINDOW),
            "programs": self._programs(),
            "barred_tenants": list(barred.tenants),
            "barred_programs": list(barred.programs),
            "pools": barred.pool_names(),
            "only_pools": barred.only_pools,
            "slots": barred.slots,
            "aging_ms": AGING_MS,
        }
        rows = self._run("claim_due", names)
        claimed = [
            DueInstance(wake_at, InstanceKey(*key), priority, program, (version, created_at))
            for wake_at, *key, priority, program, version, created_at, _ in rows
            if wake_at is not None
        ]
        return Claims(claimed=claimed, due=rows[-1][-1])

    def find_next_due(self) -> int | None:
        """Return how many milliseconds it is until the next instance is due that nobody has claimed."""
        wake_at, now_ms = self._run("find_next_due", {})[0]
        return None if wake_at is None else max(0, wake_at - now_ms)

    def release_claim(self, *keys: InstanceKey) -> None:
        """Give back what was claimed and could not be woken."""
        self._run("release_claim", {"keys": msgspec.json.encode([key._asdict() for key in keys]).decode()})

    def release_claims(self) -> None:
        """Give back all that was claimed and does not run: of an earlier life of this node, or of a lost answer."""
        self._run("release_claims", {})

    def present(self, fingerprint: str) -> None:
        """Have the other nodes know this one by another certificate from now on. Raises like `commit`."""
        self._tenure.fingerprint = fingerprint
        self._run("present", {"fingerprint": fingerprint})

    def tell_tasks(self, tenant_id: str, program: str) -> None:
        """Tell the other nodes that tasks of a tenant wait here for a program's workers. Raises like `commit`."""
        self._run("tell_tasks", {"tenant_id": tenant_id, "program": program})

    def take_over(self, limit: int, again: bool = False) -> list[RunningInstance]:
        """Declare nodes lost whose lease has run out; return at most `limit` running instances that were theirs.

        They are this node's now. With `again`, return beside them all that were taken over before and that nothing was
        stored of since. Raises like `commit`; what was taken over then is returned by the next call.
        """
        self._run("declare_lost", {})
        again, self._untold = again or self._untold, True
        running: list[RunningInstance] = []
        while (most := limit - len(running)) > 0:
            rows = self._run("take_over", {"limit": most, "again": again})
            again = False
            running += [
                RunningInstance(InstanceKey(row[0], row[1]), row[3], row[4], None, row[5])
                for row in rows
                if row[2] == "running"
            ]
            if len(rows) < most:
                break
        self._run("forget_lost", {"kept_ms": LOST_KEPT_MS})
        self._untold = False
        return running

    def _programs(self) -> list[str] | None:
        programs = self._tenure.spec.programs
        return None if programs is None else list(programs)

    def _change(self, work: Callable[[Execute], T]) -> T:
        connection = self._ready()
        self._batch += 1
        for tries in range(1, _TRIES + 1):
            try:
                with connection.transaction():
                    if not connection.execute(SQL["begin_change"], {**self._me(), "batch": self._batch}).fetchall():
                        raise self._fenced(connection)
                    done = work(executing(connection))
                break
            except Error as error:
                if fault_of(error).again and tries < _TRIES:
                    continue
                self._failed(error)
                break  # its answer was lost, but it is stored
        return done

    def _array(self, values: Sequence[object]) -> list[object]:
        return list(values)

    # One transaction -------------------------------------------------------------------------------------------------

    def _store(self, connection: Connection, rounds: Sequence[dict[str, str]]) -> Sequence[int]:
        """Store the rounds in one transaction; return the places of the saves that were refused."""
        asked_at = monotonic()
        names = {
            **self._me(),
            "batch": self._batch,
            "lease_ms": self._tenure.spec.lease_ms,
            "soon_ms": self._tenure.spec.soon_ms,
            "in_use": self._tenure.in_use,
            "draining": self._tenure.draining,
        }
        if len(rounds) == 1:
            row = connection.execute(statement_of(rounds[0]), {**rounds[0], **names}).fetchall()[0]
        else:
            row = self._store_several(connection, [{**documents, **names} for documents in rounds])
        node, now_ms, refused, nodes, *_ = row
        if node is None:
            raise self._fenced(connection)
        self._tenure.renewed(now_ms, asked_at)
        self._tenure.alone = nodes == 1
        return refused or ()

    def _store_several(self, connection: Connection, rounds: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        """Store several rounds together, sent in one go; return what the last one says, with all that were refused."""
        with connection.pipeline(), connection.transaction():
            cursors = [connection.execute(statement_of(round_), round_) for round_ in rounds]
        rows = [cursor.fetchall()[0] for cursor in cursors]
        # Each round's refusals come with those of the rounds before it.
        last = rows[-1]
        return (last[0], last[1], next((row[2] for row in reversed(rows) if row[2]), None), *last[3:])

    def _failed(self, error: Error) -> Sequence[int]:
        """Say what became of a batch that failed: return what was refused of it if it is stored, or raise."""
        if is_definite(error) or not fault_of(error).stops:
            self._let_go(lost=fault_of(error).stops)
            raise explain(error, self._url) from error
        self._hang_up()
        self._unsettled = True
        lost = self._batch
        try:
            batch, refused = self._settle()
        except LeaseLost:
            batch, refused = self._last
            if batch != lost:
                raise
        except RuntaraError:
            raise explain(error, self._url, unknown=True) from error
        if batch == lost:
            return refused or ()
        raise explain(error, self._url) from error

    # The connection --------------------------------------------------------------------------------------------------

    def _ready(self) -> Connection:
        """Return a connection under which everything that was begun before is settled."""
        if self._closed:
            raise type(self._end)(str(self._end))
        if self._connection is not None:
            with contextlib.suppress(Error):  # nothing has happened yet: where it is lost, there is another one
                self._connection.use()
        self._check_usable()
        if self._connection is None or self._unsettled:
            self._settle()
        assert self._connection is not None, "settling has connected"
        return self._connection

    def _settle(self) -> tuple[int, Sequence[int] | None]:
        """Connect again, fence what the lost connection may still do; return the last batch that is stored.

        Raises what the store refuses with, and `LeaseLost`.
        """
        try:
            self._hang_up()
            self._connection = connect(self._url, self._limits)
            asked_at = monotonic()
            self._asked = max(self._asked, self._tenure.incarnation) + 1
            names = {**self._me(), "next": self._asked, "lease_ms": self._tenure.spec.lease_ms}
            rows = self._connection.execute(SQL["settle_batch"], names).fetchall()
            if not rows:
                raise self._fenced(self._connection)
            self._connection.execute(SQL["release_claims"], self._me())
        except Error as error:
            self._hang_up()
            raise explain(error, self._url) from error
        except ConfigError as error:  # the server has changed since the writer was opened
            raise StoreUnavailable(str(error)) from None
        incarnation, batch, now_ms, refused = rows[0]
        assert self._tenure.number is not None, "a tenure begins with the writer"
        self._tenure.begin(self._tenure.number, incarnation, self._connection.info.backend_pid)
        self._tenure.renewed(now_ms, asked_at)
        self._unsettled = False
        return batch, refused

    def _open_node(self, connection: Connection, version: str) -> None:
        spec = self._tenure.spec
        asked_at = monotonic()
        names = {
            "name": spec.name,
            "address": spec.address,
            "fingerprint": self._tenure.fingerprint,
            "version": version,
            "places": spec.places,
            "lease_ms": spec.lease_ms,
        }
        with connection.transaction():
            number, incarnation, self._batch, now_ms = connection.execute(SQL["open_node"], names).fetchall()[0]
            if not self._tenure.was_lost:  # else what it ran is taken over like anybody's, and is nobody's fault
                connection.execute(SQL["inherit"], {"node": number, "name": spec.name})
            connection.execute(SQL["release_claims"], {"node": number})
        self._tenure.begin(number, incarnation, connection.info.backend_pid)
        self._tenure.renewed(now_ms, asked_at)

    def _me(self) -> dict[str, Any]:
        return {"node": self._tenure.number, "incarnation": self._tenure.incarnation}

    def _fenced(self, connection: Connection) -> RuntaraError:
        """Return the error that says why this node may not write any more."""
        rows = connection.execute(SQL["read_node"], self._me()).fetchall()
        self._tenure.until = 0.0
        self._closed = True
        if rows and not rows[0][0]:
            self._tenure.displaced = True
            self._end = displaced(self._tenure, self._where)
        else:
            self._last = rows[0][1:] if rows else self._last
            self._tenure.ended()
            self._end = LeaseLost(
                f"other nodes of {self._where} have taken over, because this one was out of touch: start anew"
            )
        return self._end

    def _run(self, statement: str, names: Mapping[str, object]) -> list[Any]:
        """Run a statement of its own that may be repeated."""
        connection = self._ready()
        try:
            return executing(connection)(statement, {**self._me(), **names})
        except Error as error:
            self._let_go(lost=fault_of(error).stops)
            raise explain(error, self._url) from error

    def _let_go(self, *, lost: bool) -> None:
        """Hang up where the connection must not be used any more."""
        if lost:
            self._hang_up()
        self._check_usable()

    def _check_usable(self) -> None:
        """Let go of a connection that is lost."""
        if self._connection is not None and (self._connection.closed or self._connection.broken):
            self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Error):
                self._connection.close()
            self._connection = None


def displaced(tenure: Tenure, where: str) -> StoreInUse:
    """Return the error that says that another process has come as this node."""
    return StoreInUse(
        f"another process runs as node {tenure.spec.name!r} of {where}: stop it, or give each its own data folder"
    )


def _results(count: int, refused: Sequence[int]) -> list[bool]:
    stored = [True] * count
    for place in refused:
        stored[place] = False
    return stored
