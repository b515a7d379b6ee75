"""Hears from the kernel that something has changed: one descriptor for any number of folders. Linux only."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

import trio

__all__ = ["REPLACED", "WRITTEN", "FolderWatch"]

WRITTEN: Final = 0x2 | 0x100
"""Something in a folder is written, or made."""
REPLACED: Final = 0x80 | 0x100 | 0x200
"""Something is put into a folder, made there, or removed; what is written into what is there already does not count."""

_ONESHOT = 0x8000_0000
_OVERFLOW: Final = -1
"""The watch of an event that says that others were lost."""
_HEADER_BYTES: Final = 16
_BUFFER_BYTES: Final = 65_536


class FolderWatch:
    """Watches folders, each until its first event of a `kind`."""

    def __init__(self, kind: int = WRITTEN) -> None:
        self._kind = kind
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        self._events: dict[int, trio.Event] = {}

    def watch(self, folder: Path) -> trio.Event:
        """Return an event that is set as soon as something of the kind happens in the folder. Raises `OSError`."""
        # One watch per folder, whoever asks; asked for again, the kernel gives it the same number.
        number = self._call("inotify_add_watch", self._descriptor, bytes(folder), self._kind | _ONESHOT)
        return self._events.setdefault(number, trio.Event())

    async def serve(self) -> None:
        """Set the events, until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._descriptor)
            data = os.read(self._descriptor, _BUFFER_BYTES)
            while data:
                number = int.from_bytes(data[:4], sys.byteorder, signed=True)
                self._happened(number)
                data = data[_HEADER_BYTES + int.from_bytes(data[12:16], sys.byteorder) :]

    def close(self) -> None:
        """Cease to watch; everybody is woken."""
        os.close(self._descriptor)
        self._happened(_OVERFLOW)

    def _happened(self, number: int) -> None:
        gone = list(self._events) if number == _OVERFLOW else [number]
        for key in gone:
            event = self._events.pop(key, None)
            if event is not None:
                event.set()

    def _call(self, name: str, *arguments: int | bytes) -> int:
        result: int = getattr(self._libc, name)(*arguments)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"{name}: {os.strerror(code)}")
        return result
