"""What one transaction of an SQLite store does to the tables, save by save.

The row of an instance is changed first, and only if its version is the expected one: the row count decides. So a
conflict leaves no trace and needs no savepoint.
"""

import functools
import math
import re
from itertools import chain
from typing import Final

import msgspec
from msgspec.structs import astuple

from runtara.lifecycle import Status
from runtara.records import Instance
from runtara.store._sqlite_door import SQL, Cursor
from runtara.store._terms import Copies, Save, copies_of

__all__ = ["Batch", "Numbers"]

Numbers = dict[tuple[str, str], int]
"""The numbers of instances by tenant and id, as far as they are known."""

_NUMBERS_MAX: Final = 50_000
"""Most numbers that are remembered; beyond it they are looked up again."""

_ROWS_AT_ONCE: Final = 40
"""Rows per statement, where many are inserted."""

Row = tuple[object, ...]
"""The values of a statement."""

_NULL: Final = math.nan
"""What SQLite takes for NULL, as it has no NaN. It does so with None, too, but only after the sqlite3 module has looked
for somebody who would adapt it, which takes as long as binding three numbers; most rows have several."""

# These run for every save; looked up once.
_INSERT_INSTANCE: Final = SQL["insert_instance"]
_UPDATE_INSTANCE: Final = SQL["update_instance"]
_UPDATE_RUNNING: Final = SQL["update_running"]
_RUNNING: Final = Status.RUNNING


class Batch:
    """The saves of one transaction. Whoever made it begins and ends the transaction."""

    def __init__(self, cursor: Cursor, numbers: Numbers) -> None:
        self._cursor = cursor
        self._execute = cursor.execute
        self._numbers = numbers
        self._checkpoints: list[Row] = []
        self._events: list[Row] = []

    def add(self, save: Save) -> bool:
        """Write the save and return True, or return False where the stored version is not the expected one."""
        last_seq = self._remove(save) if save.inserts and save.expected_version > 0 else 0
        if last_seq is None:
            return False
        number = self._insert(save) if save.inserts else self._update(save)
        if number is None:
            return False
        for checkpoint in save.checkpoints:
            self._checkpoints.append((number, *astuple(checkpoint)))
        if last_seq:  # else some of the removed events' numbers could be used again
            rows = [_row(last_seq + nth, number, *astuple(event)[:-1]) for nth, event in enumerate(save.events, 1)]
            self._cursor.executemany(SQL["insert_event_at"], rows)
        else:
            self._events += [(number, *astuple(event)[:-1]) for event in save.events]
        if save.signals or save.acknowledged or save.waits or save.retries:
            self._add_history(save, number)
        return True

    def finish(self) -> None:
        """Write what was held back: rows that only copies look for within the batch, cheaper all at once."""
        self._insert_many("insert_checkpoint", self._checkpoints)
        self._insert_many("insert_event", self._events)
        self._checkpoints, self._events = [], []

    def _insert_many(self, statement: str, rows: list[Row]) -> None:
        """Insert most rows a few dozen at a time, which costs little more than half, and the rest one by one."""
        split = len(rows) - len(rows) % _ROWS_AT_ONCE
        several = (_row(*chain(*rows[start : start + _ROWS_AT_ONCE])) for start in range(0, split, _ROWS_AT_ONCE))
        self._cursor.executemany(_insert_several(statement), several)
        self._cursor.executemany(SQL[statement], (_row(*row) for row in rows[split:]))

    def _remove(self, save: Save) -> int | None:
        """Remove an instance with all that belongs to it; return the last seq of all events, or None on a conflict."""
        self.finish()  # what earlier saves of the batch have brought goes, too
        ((last_seq,),) = self._execute(SQL["find_last_event"]).fetchall()
        instance = save.instance
        self._execute(SQL["remove_instance"], (instance.tenant_id, instance.instance_id, save.expected_version))
        return last_seq if self._cursor.rowcount == 1 else None

    def _insert(self, save: Save) -> int | None:
        copies = copies_of(save)
        source = self._find_source(save.instance, copies) if copies else None
        if copies and source is None:
            return None
        self._execute(_INSERT_INSTANCE, _row(*astuple(save.instance), save.output))
        if self._cursor.rowcount == 0:
            return None
        number = self._remember(save.instance, self._cursor.lastrowid)
        if source:
            for statement in ("copy_checkpoints", "copy_waits", "copy_signals"):
                self._execute(SQL[statement], source | {"number": number})
        if save.input is not None:
            self._execute(SQL["insert_input"], (number, save.input))
        if save.env:
            self._execute(SQL["insert_env"], (number, msgspec.json.encode(save.env).decode()))
        return number

    def _find_source(self, instance: Instance, copies: Copies) -> dict[str, object] | None:
        """Return what the copying statements need to know; None where there is no such instance or checkpoint."""
        if copies.source.tenant_id != instance.tenant_id:
            return None
        self.finish()  # what earlier saves of the batch have brought may be copied, too
        names = copies.source._asdict() | {"checkpoint_id": copies.checkpoint_id, "created_at": copies.created_at}
        found = self._execute(SQL["find_source"], names).fetchone()
        return None if found is None else dict(zip(("source", "last_seq", "last_at"), found, strict=True))

    def _update(self, save: Save) -> int | None:
        instance = save.instance
        number = self._numbers.get((instance.tenant_id, instance.instance_id)) or self._find_number(instance)
        if number is None:
            return None
        if _may_have_kept_running(save):
            row = _row(
                instance.version,
                instance.epoch,
                instance.attempt_id,
                instance.checkpoint_id,
                instance.started_at,
                instance.heartbeat_at,
                instance.claimed_at,
                instance.ran_ms,
                instance.losses,
                instance.claimed_epoch,
                number,
                save.expected_version,
            )
            self._execute(_UPDATE_RUNNING, row)
            if self._cursor.rowcount == 1:
                return number
        self._execute(_UPDATE_INSTANCE, _row(*astuple(instance), save.output, number, save.expected_version))
        return number if self._cursor.rowcount == 1 else None

    def _find_number(self, instance: Instance) -> int | None:
        row = self._execute(SQL["find_number"], (instance.tenant_id, instance.instance_id)).fetchone()
        return None if row is None else self._remember(instance, row[0])

    def _remember(self, instance: Instance, number: int | None) -> int | None:
        if number is not None:
            if len(self._numbers) >= _NUMBERS_MAX:
                self._numbers.clear()
            self._numbers[instance.tenant_id, instance.instance_id] = number
        return number

    def _add_history(self, save: Save, number: int) -> None:
        many = self._cursor.executemany
        many(SQL["insert_signal"], [_row(number, *astuple(signal)) for signal in save.signals])
        many(SQL["acknowledge_signal"], [(number, *acknowledged) for acknowledged in save.acknowledged])
        many(SQL["insert_wait"], [_row(number, *astuple(wait)) for wait in save.waits])
        many(SQL["insert_retry"], [_row(number, *astuple(retry)) for retry in save.retries])


def _row(*values: object) -> Row:
    return tuple([_NULL if value is None else value for value in values])


@functools.cache
def _insert_several(statement: str) -> str:
    """Return the statement with its one row of placeholders repeated."""
    placeholders = re.compile(r"VALUES (\([?, ]+\))")
    return placeholders.sub(lambda found: f"VALUES {', '.join([found[1]] * _ROWS_AT_ONCE)}", SQL[statement])


def _may_have_kept_running(save: Save) -> bool:
    """Whether the new row could be that of an instance that was running before; the database knows for sure."""
    instance = save.instance
    return (
        instance.status is _RUNNING
        and instance.wake_at is None
        and instance.termination_reason is None
        and instance.exit_code is None
        and instance.error is None
        and instance.finished_at is None
        and save.output is None
    )
