"""How much an archive may hold: the limits, and the account of what was used of them."""

from typing import Final

import msgspec

from runtara.errors import TooLarge

__all__ = ["NAME_MAX_BYTES", "PATH_MAX_BYTES", "Account", "ExtractLimits"]

NAME_MAX_BYTES: Final = 255
"""Longest name of a file or folder."""
PATH_MAX_BYTES: Final = 4_096
"""Longest path, and longest target of a link."""


class ExtractLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The most that an archive may hold; a limit that is passed refuses the whole archive."""

    members: int = 100_000
    """Entries, those that are left out included; for an image of a container those of all its layers together."""
    total_bytes: int = 8 * 1024**3
    """Bytes of all files together, once unpacked."""
    ratio: int = 200
    """How many times its compressed size an archive may grow to."""
    depth: int = 64
    """Folders inside each other."""


class Account:
    """What was used of the limits; one for all the layers of an image."""

    def __init__(self, limits: ExtractLimits) -> None:
        self.limits: Final = limits
        self.members = 0
        self.bytes = 0

    def add(self, size: int) -> None:
        """Count one member and what its header says of its size. Raises `TooLarge`."""
        self.members += 1
        self.bytes += size
        if self.members > self.limits.members:
            raise TooLarge(f"the archive has more than {self.limits.members} members: leave out what is not needed")
        if self.bytes > self.limits.total_bytes:
            raise TooLarge(
                f"the archive holds more than {self.limits.total_bytes} bytes once unpacked: "
                "leave out what is not needed, or raise the limit"
            )
