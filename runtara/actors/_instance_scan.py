"""Looking for the instances of a tenant that a filter lets through: page by page, and so many rows at a time.

The store pages by id and status; the rest of the filter is applied here. A scan that has looked at its share of rows
stops where it is, and its cursor goes on from there.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from runtara.actors._ref import Ref
from runtara.actors.storage import Query
from runtara.ids import ImageRef
from runtara.messages import InstanceFilter, InstancePage, InstanceSummary
from runtara.store import cursor_of_id

__all__ = ["SCANNED_MAX", "Scan", "matches", "scan"]

SCANNED_MAX: Final = 10_000
"""Most rows that one call looks at."""

_PAGE: Final = 1_000


class Scan(NamedTuple):
    """What was found, and where to go on; None at the end."""

    rows: tuple[InstanceSummary, ...]
    cursor: str | None


async def scan(
    reader: Ref,
    tenant_id: str,
    wanted: InstanceFilter,
    *,
    limit: int,
    cursor: str | None,
    also: Callable[[InstanceSummary], bool] = lambda row: True,
) -> Scan:
    """Return at most `limit` instances, by id, of those behind the cursor. Raises what the store refuses with."""
    found: list[InstanceSummary] = []
    behind = cursor if cursor is not None else _before(wanted.prefix)
    for _ in range(SCANNED_MAX // _PAGE):
        query = Query("list_instances", (tenant_id, wanted.status, _PAGE, behind))
        page: InstancePage = await reader.ask(query)
        for row in page.instances:
            if _is_past(row.instance_id, wanted.prefix):
                return Scan(tuple(found), None)
            if matches(wanted, row) and also(row):
                found.append(row)
            if len(found) == limit:
                is_last = page.cursor is None and row is page.instances[-1]
                return Scan(tuple(found), None if is_last else cursor_of_id(row.instance_id))
        behind = page.cursor
        if behind is None:
            return Scan(tuple(found), None)
    return Scan(tuple(found), behind)


def matches(wanted: InstanceFilter, row: InstanceSummary) -> bool:
    """Return whether a filter lets an instance through."""
    image = ImageRef.of_program(row.program)
    return (
        wanted.status in (None, row.status)
        and wanted.program in (None, row.program)
        and (wanted.image_id is None or (image is not None and image.image_id == wanted.image_id))
        and row.instance_id.startswith(wanted.prefix)
        and (wanted.created_from is None or row.created_at >= wanted.created_from)
        and (wanted.created_before is None or row.created_at < wanted.created_before)
    )


def _before(prefix: str) -> str | None:
    """Return the cursor of the place right before the first id that begins so; ids are ASCII without DEL."""
    if not prefix:
        return None
    return cursor_of_id(prefix[:-1] + chr(ord(prefix[-1]) - 1) + "\x7f")


def _is_past(instance_id: str, prefix: str) -> bool:
    return instance_id > prefix and not instance_id.startswith(prefix)
