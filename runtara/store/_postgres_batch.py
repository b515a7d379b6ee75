"""What one transaction of a PostgreSQL store says to the database: the saves of a batch, as documents of JSON.

One statement takes them all (`commit_round`), so that a batch costs one way there and back however large it is. JSON,
because msgspec writes it twenty times as fast as arrays of columns are written, and the database reads it on a
processor that is not ours.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from runtara.records import Checkpoint, Event, Instance, Retry, Signal, Wait
from runtara.store._postgres_door import SQL
from runtara.store._terms import Save, copies_of

__all__ = ["rounds_of", "statement_of"]

_encoder: Final = msgspec.json.Encoder()


def _row_of(name: str, before: Sequence[str], fields: Sequence[str], after: Sequence[str] = ()) -> Any:
    """Return a struct of a document's rows. Any: the fields are the records', which know their types."""
    return msgspec.defstruct(name, [(field, Any) for field in (*before, *fields, *after)], gc=False)


_PART: Final = ("save", "nth")
"""The save that a row belongs to, and its place among its kind."""

_InstanceRow: Final = _row_of(
    "InstanceRow",
    ("save", "expected_version", "inserts", "told"),
    Instance.__struct_fields__,
    ("output", "input", "env"),
)
_CheckpointRow: Final = _row_of("CheckpointRow", _PART, Checkpoint.__struct_fields__)
_EventRow: Final = _row_of("EventRow", _PART, Event.__struct_fields__[:-1])  # its seq is assigned by the database
_SignalRow: Final = _row_of("SignalRow", _PART, Signal.__struct_fields__)
_AcknowledgedRow: Final = _row_of("AcknowledgedRow", ("save",), ("signal_id", "at"))
_WaitRow: Final = _row_of("WaitRow", _PART, Wait.__struct_fields__)
_CopyRow: Final = _row_of("CopyRow", ("save",), ("tenant_id", "source_id", "checkpoint_id", "source_created_at"))
_RetryRow: Final = _row_of("RetryRow", _PART, Retry.__struct_fields__)

_COPYING: Final = re.compile(r"/\*\[\*/.*?/\*\]\*/\s*", re.DOTALL)
_REPLACING: Final = re.compile(r"/\*\{\*/.*?/\*\}\*/\s*", re.DOTALL)
_NOTHING: Final = "[]"
_ERROR: Final = Instance.__struct_fields__.index("error")


def rounds_of(saves: Sequence[Save]) -> Iterator[dict[str, str]]:
    """Split saves so that no round has two of one instance, and return what each round says.

    The saves of an instance follow upon each other in its rounds. Within a round they are in the order of their ids, as
    with every other node, so that no two wait for each other.
    """
    rounds: list[_Round] = []
    seen: dict[tuple[str, str], int] = {}
    for at, save in enumerate(saves):
        key = (save.instance.tenant_id, save.instance.instance_id)
        number = seen.get(key, -1) + 1
        if save.copies is not None:  # behind what was saved of its source before, and not behind what is saved later
            number = max(number, seen.get(save.copies.source, -1) + 1)
            seen[save.copies.source] = number - 1
        seen[key] = number
        if number == len(rounds):
            rounds.append(_Round())
        rounds[number].add(at, save)
    return (round_.documents() for round_ in rounds or [_Round()])


def statement_of(round_: Mapping[str, Any]) -> str:
    """Return the statement that stores a round, without the parts for what no save of the round does."""
    return _without(SQL["commit_round"], round_["copies"] != _NOTHING, round_["replacing"] != _NOTHING)


@functools.cache
def _without(statement: str, copies: bool, replaces: bool) -> str:
    for part, is_needed in ((_COPYING, copies), (_REPLACING, replaces)):
        if not is_needed:
            statement = part.sub("", statement)
    return statement


class _Round:
    def __init__(self) -> None:
        self._saves: list[Any] = []
        self._checkpoints: list[Any] = []
        self._events: list[Any] = []
        self._signals: list[Any] = []
        self._acknowledged: list[Any] = []
        self._waits: list[Any] = []
        self._retries: list[Any] = []
        self._copies: list[Any] = []
        self._replacing: list[int] = []

    def add(self, number: int, save: Save) -> None:
        """Take a save, the `number`-th of its batch."""
        instance = save.instance
        values = astuple(instance)
        if instance.error is not None:
            values = (*values[:_ERROR], instance.error.encode(), *values[_ERROR + 1 :])
        env = _document(save.env) if save.env else None
        self._saves.append(
            _InstanceRow(number, save.expected_version, save.inserts, save.told, *values, save.output, save.input, env)
        )
        if save.inserts and save.expected_version > 0:
            self._replacing.append(number)
        for checkpoint in save.checkpoints:
            self._checkpoints.append(_CheckpointRow(number, len(self._checkpoints), *astuple(checkpoint)))
        if save.events:
            self._add_events(number, save.events)
        if save.signals or save.acknowledged or save.waits or save.retries:
            self._add_history(number, save)
        if copies := copies_of(save):
            self._copies.append(_CopyRow(number, *copies.source, copies.checkpoint_id, copies.created_at))

    def documents(self) -> dict[str, str]:
        """Return the parameters of `commit_round` that are documents, and which saves replace: see `statement_of`."""
        self._saves.sort(key=lambda row: (row.tenant_id, row.instance_id))
        return {
            "saves": _document(self._saves),
            "checkpoints": _document(self._checkpoints),
            "events": _document(self._events),
            "signals": _document(self._signals),
            "acknowledged": _document(self._acknowledged),
            "waits": _document(self._waits),
            "retries": _document(self._retries),
            "copies": _document(self._copies),
            "replacing": _document(self._replacing),
        }

    def _add_events(self, number: int, events: Sequence[Event]) -> None:
        requests = set()
        for event in events:
            if event.request is not None:
                if (event.epoch, event.request) in requests:
                    continue  # it would be left out anyway, but would leave a gap in the numbers
                requests.add((event.epoch, event.request))
            self._events.append(_EventRow(number, len(self._events), *astuple(event)[:-1]))

    def _add_history(self, number: int, save: Save) -> None:
        acknowledged = dict(reversed(save.acknowledged))  # the first acknowledgement of a signal counts
        for signal in save.signals:
            row = _SignalRow(number, len(self._signals), *astuple(signal))
            if row.acknowledged_at is None:
                # A statement does not see the row that it inserts.
                row.acknowledged_at = acknowledged.get(signal.signal_id)
            self._signals.append(row)
        self._acknowledged += [_AcknowledgedRow(number, *pair) for pair in acknowledged.items()]
        for wait in _folded(save.waits):
            self._waits.append(_WaitRow(number, len(self._waits), *astuple(wait)))
        for retry in save.retries:
            row = _RetryRow(number, len(self._retries), *astuple(retry))
            row.error = None if retry.error is None else retry.error.encode()
            self._retries.append(row)


def _document(value: object) -> str:
    return _encoder.encode(value).decode()


def _folded(waits: Sequence[Wait]) -> list[Wait]:
    """Return one wait for each place, with its first end: a statement changes a row only once."""
    folded: dict[str, Wait] = {}
    for wait in waits:
        begun = folded.setdefault(wait.place, wait)
        if begun.ended_at is None and wait.ended_at is not None:
            folded[wait.place] = msgspec.structs.replace(begun, ended_at=wait.ended_at, signal_id=wait.signal_id)
    return list(folded.values())
