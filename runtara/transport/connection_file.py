"""The file in a data folder by which clients on the same machine find the server that works there.

Written when the server is ready and taken away when it has stopped. What a server that was killed leaves behind is
harmless: nobody answers at its address, and the certificate that it names is still the right one.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from runtara.decoders import decode_json

__all__ = ["ConnectionFile", "read_connection_file", "remove_connection_file", "write_connection_file"]

NAME: Final = "server.json"


class ConnectionFile(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is, and how to know that it is the right one."""

    address: str
    """As host:port."""
    ca_file: str | None
    """What clients trust; None where an authority that they know anyway has signed."""
    fingerprint: str
    pid: int
    version: str
    http_address: str | None = None
    """Of the HTTP door, as a URL."""


def write_connection_file(folder: Path, content: ConnectionFile) -> None:
    """Put the file into a data folder, in one piece and readable by its owner only."""
    draft = folder / f"{NAME}.{content.pid}"
    with suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(content))
    draft.replace(folder / NAME)


def read_connection_file(folder: Path) -> ConnectionFile | None:
    """Return what the file of a data folder says; None where there is none, or none that can be used."""
    try:
        return decode_json((folder / NAME).read_bytes(), ConnectionFile)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def remove_connection_file(folder: Path, pid: int) -> None:
    """Take the file away, if it is still that of the process `pid`; harmless when repeated."""
    found = read_connection_file(folder)
    if found is not None and found.pid == pid:
        with suppress(OSError):
            (folder / NAME).unlink()
