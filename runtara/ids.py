"""Names and identifiers: what they may look like, and where new ones come from.

Owns the only door to the operating system's randomness. Every id that enters the runtime passes one of the checks
here, so that no id is ever used as a path, a log line or a key before it is known to be harmless.
"""

import re
import secrets
import unicodedata
from typing import Final, NamedTuple

from runtara.errors import InvalidInput

__all__ = [
    "CHECKPOINT_ID_MAX_BYTES",
    "ID_MAX_CHARS",
    "ImageRef",
    "InstanceKey",
    "check_checkpoint_id",
    "check_id",
    "is_pooled",
    "new_id",
    "new_secret",
    "pooled_program",
]

ID_MAX_CHARS: Final = 128
"""Longest tenant, instance, signal or program id, in characters."""

CHECKPOINT_ID_MAX_BYTES: Final = 1024
"""Longest checkpoint id, signal name or event subtype, in UTF-8 bytes."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]*\Z")
_POOL: Final = "pool:"
_IMAGE: Final = "image:"
_IMAGE_PROGRAM: Final = re.compile(r"image:([0-9a-f]{32})@([1-9][0-9]{0,8})\Z", re.ASCII)


class InstanceKey(NamedTuple):
    """One instance of one tenant. Two tenants may use the same instance id without ever noticing each other."""

    tenant_id: str
    instance_id: str


class ImageRef(NamedTuple):
    """One version of one image of a tenant. As the program of an instance it is written ``image:<id>@<version>``."""

    image_id: str
    version: int

    @property
    def program(self) -> str:
        """How the program of an instance is called that runs it."""
        return f"{_IMAGE}{self.image_id}@{self.version}"

    @classmethod
    def of_program(cls, program: str | None) -> "ImageRef | None":
        """Return the image version that a program is, or None for one that lies in a folder."""
        found = _IMAGE_PROGRAM.match(program or "")
        return cls(found[1], int(found[2])) if found else None


def pooled_program(name: str, version: str) -> str:
    """Return how the program of an instance is called that workers of a pool run: a name, and which version of it."""
    return f"{_POOL}{name}@{version}"


def is_pooled(program: str | None) -> bool:
    """Return whether a program is run by workers of a pool, and launched by no host."""
    return program is not None and program.startswith(_POOL)


def check_id(value: object, what: str) -> str:
    """Return `value` if it is a plain id: letters, digits and ``. _ : @ + -``, starting with a letter or digit.

    Raises `InvalidInput` naming `what` when it is anything else or longer than `ID_MAX_CHARS`.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be text, not {type(value).__name__}")
    if not value:
        raise InvalidInput(f"{what} is empty: give it a name of 1 to {ID_MAX_CHARS} characters")
    if len(value) > ID_MAX_CHARS:
        raise InvalidInput(f"{what} has {len(value)} characters: at most {ID_MAX_CHARS} are allowed")
    if not _PLAIN.match(value):
        raise InvalidInput(
            f"{what} {value!a} is not allowed: use letters, digits and . _ : @ + -, starting with a letter or digit"
        )
    return value


def check_checkpoint_id(value: object, what: str = "checkpoint id") -> str:
    """Return `value` if it is printable text of 1 to `CHECKPOINT_ID_MAX_BYTES` bytes, else raise `InvalidInput`.

    Checkpoint ids, signal names and event subtypes are chosen by programs and may hold spaces and any script, but no
    control characters (NUL among them) and no lone surrogates.
    """
    if value.__class__ is str and 0 < len(value) <= CHECKPOINT_ID_MAX_BYTES and value.isascii() and value.isprintable():
        return value  # nearly all of them
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be text, not {type(value).__name__}")
    if not value:
        raise InvalidInput(f"{what} is empty: give it a name of 1 to {CHECKPOINT_ID_MAX_BYTES} bytes")
    if len(value) > CHECKPOINT_ID_MAX_BYTES or len(value.encode(errors="replace")) > CHECKPOINT_ID_MAX_BYTES:
        raise InvalidInput(f"{what} is longer than {CHECKPOINT_ID_MAX_BYTES} bytes: shorten it or hash the long part")
    if not value.isprintable() and any(unicodedata.category(char) in ("Cc", "Cs") for char in value):
        raise InvalidInput(f"{what} {value!a} holds control characters or lone surrogates: remove them")
    return value


def new_id() -> str:
    """Return a fresh id of 128 random bits as 32 hexadecimal digits."""
    return secrets.token_hex(16)


def new_secret() -> str:
    """Return 256 random bits that nobody can guess, as 64 hexadecimal digits."""
    return secrets.token_hex(32)
