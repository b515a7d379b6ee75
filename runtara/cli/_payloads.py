"""Bytes that a user gives on the command line: as they stand there, from a file, or from standard input."""

import sys
from pathlib import Path

from runtara.errors import InvalidInput

__all__ = ["is_elsewhere", "read_payload"]


def is_elsewhere(text: str) -> bool:
    """Return whether the text says where the bytes are instead of being them."""
    return text == "-" or text.startswith("@")


def read_payload(text: str, what: str) -> bytes:
    """Return the bytes meant by TEXT, @FILE or -. Raises `InvalidInput` for a file that cannot be read."""
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode(errors="surrogateescape")  # bytes that are no UTF-8 come as surrogates, and go as they came
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{what} file {text[1:]!r} cannot be read: {error.strerror}") from None
