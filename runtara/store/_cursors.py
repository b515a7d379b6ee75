"""Page cursors: where the next page begins, as text that means nothing to whoever carries it.

A cursor is written by one page and read by the next; in between it was out of our hands, so it is checked like any
other input.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final, TypeVar

from runtara.errors import InvalidInput

__all__ = [
    "check_limit",
    "cursor_of_id",
    "cursor_of_place",
    "cursor_of_seq",
    "cursor_of_text",
    "id_of_cursor",
    "page_of",
    "place_of_cursor",
    "seq_of_cursor",
    "text_of_cursor",
]

T = TypeVar("T")

_SEQ: Final = re.compile(r"[0-9]{1,19}")
_INSTANT: Final = re.compile(r"-?[0-9]{1,18}")
_SEQ_MAX: Final = 2**63 - 1
_MARK_OF_ID: Final = "id:"
_MARK_OF_SEQ: Final = "seq:"


def cursor_of_id(last: str) -> str:
    """Return the cursor of a page that begins behind the id `last`."""
    return _encode(_MARK_OF_ID + last)


def cursor_of_seq(last: int) -> str:
    """Return the cursor of a page that begins behind the row `last`."""
    return _encode(f"{_MARK_OF_SEQ}{last}")


def id_of_cursor(cursor: str | None) -> str:
    """Return the id behind which a page begins; the empty text, which lies before all ids, for the first page.

    Raises `InvalidInput` for a cursor that no page of ids has given out.
    """
    return "" if cursor is None else _decode(cursor, _MARK_OF_ID)


def seq_of_cursor(cursor: str | None) -> int:
    """Return the row behind which a page begins; 0, which lies before all rows, for the first page.

    Raises `InvalidInput` for a cursor that no page of rows has given out.
    """
    if cursor is None:
        return 0
    digits = _decode(cursor, _MARK_OF_SEQ)
    if not _SEQ.fullmatch(digits) or int(digits) > _SEQ_MAX:
        raise _malformed(cursor)
    return int(digits)


def cursor_of_place(at: int, last: str, order: str) -> str:
    """Return the cursor of a page that begins behind the id `last`, which has `at` in the column of an order.

    By the ids alone, `at` counts for nothing, and the cursor is that of the id.
    """
    return cursor_of_id(last) if order == "id" else _encode(f"{order}:{at}:{last}")


def place_of_cursor(cursor: str, order: str) -> tuple[int, str]:
    """Return what `cursor_of_place` was given. Raises `InvalidInput` for a cursor that no page in that order gave."""
    if order == "id":
        return 0, id_of_cursor(cursor)
    at, colon, last = _decode(cursor, f"{order}:").partition(":")
    if not _INSTANT.fullmatch(at) or not colon:
        raise _malformed(cursor)
    return int(at), last


def cursor_of_text(text: str, mark: str) -> str:
    """Return a cursor that holds what a list says of its own place; `mark` is the name of the list."""
    return _encode(f"{mark}:{text}")


def text_of_cursor(cursor: str, mark: str) -> str:
    """Return what `cursor_of_text` was given. Raises `InvalidInput` for a cursor of another list."""
    return _decode(cursor, f"{mark}:")


def check_limit(limit: int) -> int:
    """Return `limit` if a page may be that long, else raise `InvalidInput`."""
    if limit < 1:
        raise InvalidInput(f"a page of {limit} rows is not possible: ask for at least 1")
    return limit


def page_of(rows: Sequence[T], limit: int) -> tuple[tuple[T, ...], bool]:
    """Split rows, of which one more than `limit` was asked for, into the page and whether another one follows."""
    return tuple(rows[:limit]), len(rows) > limit


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decode(cursor: str, mark: str) -> str:
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise _malformed(cursor) from None
    if not text.startswith(mark) or _encode(text) != cursor:
        raise _malformed(cursor)
    return text.removeprefix(mark)


def _malformed(cursor: str) -> InvalidInput:
    return InvalidInput(f"the cursor {cursor[:100]!a} is not one of this list: begin again without a cursor")
