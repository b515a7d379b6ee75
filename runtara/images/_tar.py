"""Reads the members of a tar archive, one after the other, from a stream.

Written by hand, and strict, because `tarfile` trusts what it reads: it takes headers of any size into memory, its
patterns can be kept busy for hours (CVE-2024-6232), a negative size makes it run in circles (CVE-2025-8194), and what
it guesses of odd headers differs from what others guess. Here a header that is odd is refused. Whether a member is
*allowed* is not decided here (see `_members`).
"""

import enum
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from runtara.errors import InvalidInput, TooLarge
from runtara.images._source import Source

__all__ = ["Member", "TarReader", "Type"]

_BLOCK: Final = 512
_CHUNK: Final = 1024 * 1024
_EMPTY: Final = bytes(_BLOCK)
_EXTRA_MAX_BYTES: Final = 1024 * 1024
"""Largest header that extends another one: long names, extended attributes."""
_SIZE_MAX: Final = 2**63 - 1
_OCTAL: Final = re.compile(rb" *([0-7]*)[ \0]*")
_RECORD: Final = re.compile(rb"([1-9][0-9]{0,7}) ")
_DECIMAL: Final = re.compile(rb"[0-9]{1,19}")
_CHARSETS: Final = {b"BINARY", b"ISO-IR 10646 2000 UTF-8"}
_STATED: Final = {b"path", b"linkpath", b"size"}
"""What a PAX header may say of the member that follows, in place of the member's own header."""


class Type(enum.Enum):
    """What a member is; the value is how an error calls it."""

    FILE = "a file"
    FOLDER = "a folder"
    SYMLINK = "a symbolic link"
    HARDLINK = "a hard link"
    CHARACTER_DEVICE = "a character device"
    BLOCK_DEVICE = "a block device"
    FIFO = "a FIFO"


_TYPES: Final = {
    b"\0": Type.FILE,
    b"0": Type.FILE,
    b"1": Type.HARDLINK,
    b"2": Type.SYMLINK,
    b"3": Type.CHARACTER_DEVICE,
    b"4": Type.BLOCK_DEVICE,
    b"5": Type.FOLDER,
    b"6": Type.FIFO,
}

_EXTRA: Final = {b"L": b"path", b"K": b"linkpath", b"x": b"", b"g": b""}
"""Headers that extend another one: GNU's long names, each with what it stands for, and those of PAX."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One member of an archive, as its headers say."""

    name: bytes
    type: Type
    size: int = 0
    """Bytes of a file; of everything else none."""
    target: bytes = b""
    """Where a link leads."""
    executable: bool = False
    """Whether its owner may run it."""
    modified_at: int = 0
    """Seconds since 1970; never negative."""


class TarReader:
    """Iterates over the members of an archive; the data of the current one comes from `chunks`.

    Raises `InvalidInput` for what is damaged or odd, `TooLarge` for a header that is too long. `needs_end` is False for
    what a digest vouches for: some programs, umoci among them, leave out the empty blocks at the end.
    """

    def __init__(self, source: Source, *, needs_end: bool = True) -> None:
        self._source = source
        self._needs_end = needs_end
        self._left = 0
        """Bytes of the current member's data that nobody has read."""
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        while (member := self._next()) is not None:
            yield member

    def chunks(self) -> Iterator[bytes]:
        """The data of the current member, in pieces of up to a megabyte."""
        while self._left:
            data = self._source.read(min(self._left, _CHUNK))
            if not data:
                raise InvalidInput("the archive ends in the middle of a member: make it and push it again")
            self._left -= len(data)
            yield data
        if self._padding:
            self._exactly(self._padding, or_nothing=not self._needs_end)
            self._padding = 0

    def _next(self) -> Member | None:
        stated: dict[bytes, bytes] = {}
        extended = False
        while True:
            for _ in self.chunks():  # what nobody wanted
                pass
            block = self._exactly(_BLOCK, or_nothing=not self._needs_end)
            if block in (_EMPTY, b""):
                self._end(extended)
                return None
            _check_sum(block)
            kind = block[156:157]
            if kind not in _EXTRA:
                return self._member(block, stated)
            extended = extended or kind != b"g"
            self._extend(kind, self._extra(block), stated)

    def _end(self, extended: bool) -> None:
        second = self._source.read(_BLOCK)
        if extended or (second and second != _EMPTY):
            raise InvalidInput("the archive has an empty block in its middle: make it and push it again")
        self._source.drain()

    def _extra(self, block: bytes) -> bytes:
        size = _number(block[124:136], "size")
        if size > _EXTRA_MAX_BYTES:
            raise TooLarge(f"a header of the archive has {size} bytes: at most {_EXTRA_MAX_BYTES} are allowed")
        self._hold(size)
        return b"".join(self.chunks())

    def _extend(self, kind: bytes, data: bytes, stated: dict[bytes, bytes]) -> None:
        said = _records(data) if kind in (b"x", b"g") else {_EXTRA[kind]: data.split(b"\0")[0]}
        if kind == b"g":
            if said.keys() & _STATED:
                raise InvalidInput("a header of the archive says where all its members are: this is not allowed")
        elif said.keys() & stated.keys():
            raise InvalidInput("two headers of the archive extend the same member: make it with another program")
        else:
            stated.update(said)

    def _member(self, block: bytes, stated: dict[bytes, bytes]) -> Member:
        kind = block[156:157]
        name, target = stated.get(b"path", _name(block)), stated.get(b"linkpath", _text(block[157:257]))
        if kind not in _TYPES:
            raise InvalidInput(f"{_shown(name)} is of a type that is not allowed in an archive: {kind!r}")
        size = _decimal(stated[b"size"]) if b"size" in stated else _number(block[124:136], "size")
        type_ = Type.FOLDER if kind == b"\0" and name.endswith(b"/") else _TYPES[kind]
        if size and type_ is not Type.FILE:
            raise InvalidInput(f"{_shown(name)} is {type_.value} and yet has {size} bytes: this is not allowed")
        self._hold(size)
        return Member(
            name=name,
            type=type_,
            size=size,
            target=target if type_ in (Type.SYMLINK, Type.HARDLINK) else b"",
            executable=bool(_number(block[100:108], "mode") & 0o100),
            modified_at=_seconds(stated.get(b"mtime"), block[136:148]),
        )

    def _hold(self, size: int) -> None:
        self._left, self._padding = size, -size % _BLOCK

    def _exactly(self, size: int, *, or_nothing: bool) -> bytes:
        data = self._source.read(size)
        if len(data) != size and (data or not or_nothing):
            raise InvalidInput("the archive is not a whole tar file, it ends too early: make it and push it again")
        return data


def _check_sum(block: bytes) -> None:
    if sum(block) - sum(block[148:156]) + 8 * 0x20 != _number(block[148:156], "checksum"):
        raise InvalidInput("this is not a tar archive, or a damaged one: make it and push it again")


def _name(block: bytes) -> bytes:
    """The name as it is in the header itself; its front may be in a place of its own."""
    name, magic = _text(block[:100]), block[257:265]
    if magic == b"ustar\x0000":
        prefix = _text(block[345:476] if block[508:512] == b"tar\0" else block[345:500])
        return prefix + b"/" + name if prefix else name
    if magic in (b"ustar  \0", bytes(8)):
        if any(block[345:500]):
            raise InvalidInput(f"{_shown(name)} has a header of an old form: make the archive with another program")
        return name
    raise InvalidInput(f"{_shown(name)} has a header of an unknown form: make the archive with another program")


def _text(field: bytes) -> bytes:
    return field.split(b"\0")[0]


def _number(field: bytes, what: str) -> int:
    """A number as octal digits, or in binary as GNU writes large ones."""
    if field[0] == 0x80:
        value = int.from_bytes(field[1:], "big")
    elif (found := _OCTAL.fullmatch(field)) is not None:
        value = int(found[1] or b"0", 8)
    else:
        raise InvalidInput(f"a header of the archive has an unusable {what}, {field!r}: make it and push it again")
    if value > _SIZE_MAX:
        raise InvalidInput(f"a header of the archive has an impossible {what}, {value}: make it and push it again")
    return value


def _decimal(text: bytes) -> int:
    if not _DECIMAL.fullmatch(text) or int(text) > _SIZE_MAX:
        raise InvalidInput(f"a header of the archive has an impossible size, {text[:40]!r}: make it and push it again")
    return int(text)


def _seconds(stated: bytes | None, field: bytes) -> int:
    """When a member was changed; 0 where that is not to be had, as it decides nothing."""
    if stated is not None:
        whole = stated.split(b".")[0]
        seconds = int(whole) if _DECIMAL.fullmatch(whole) else 0
    else:
        seconds = 0 if field[0] == 0xFF else _number(field, "time")
    return seconds if seconds < 2**33 else 0


def _records(data: bytes) -> dict[bytes, bytes]:
    """What a PAX header says: ``length key=value`` and a line feed, again and again."""
    said: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        found = _RECORD.match(data, at)
        end = at + int(found[1]) if found else 0
        key, equals, value = data[found.end() : end - 1].partition(b"=") if found else (b"", b"", b"")
        if not (found and found.end() < end <= len(data) and data[end - 1] == 0x0A and equals and key):
            raise InvalidInput("a header of the archive is damaged: make it and push it again")
        _check_record(key, value)
        said[key] = value
        at = end
    return said


def _check_record(key: bytes, value: bytes) -> None:
    if key.startswith(b"GNU.sparse.") or key == b"SCHILY.realsize":
        raise InvalidInput("the archive holds a sparse file: make it without (GNU tar: leave out --sparse)")
    if key == b"hdrcharset" and value not in _CHARSETS:
        raise InvalidInput(f"the archive's names are in an unknown character set, {value[:40]!r}: use UTF-8")
    if key in _STATED and not value:
        raise InvalidInput(f"a header of the archive says {key.decode()} and leaves it empty: this is not allowed")


def _shown(name: bytes) -> str:
    """A name for people, whatever it holds."""
    return ascii(name[:200].decode(errors="surrogateescape"))
