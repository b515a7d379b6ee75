"""Which members an archive may have, and where they go: decided from headers alone, before anything is written.

The same decisions hold for what is extracted here and for the layers of an image that another program unpacks. Nothing
here touches a disk. That nothing leads out of the folder while it is filled is seen to a second time in `_tree`.
"""

import enum
import unicodedata
from typing import Final

import msgspec

from runtara.errors import InvalidInput
from runtara.images._limits import NAME_MAX_BYTES, PATH_MAX_BYTES, Account
from runtara.images._tar import Member, Type

__all__ = ["SYSTEM", "Entry", "Ledger", "Place", "Rules", "check_target", "place_of", "shown"]

Place = tuple[bytes, ...]
"""The names on the way from the root to a file or folder; none for the root itself."""

SYSTEM: Final = (b"dev", b"proc", b"sys")
"""Folders of a root file system that are filled when it is run; what an archive has for them is left out."""

_WHITEOUT: Final = b".wh."
_OPAQUE: Final = b".wh..wh..opq"
_CONTROLS: Final = frozenset([*range(0x20), 0x7F])


class Rules(enum.Enum):
    """What an archive is, and so what it may hold: (links, names that are no text, system folders, whiteouts)."""

    FOLDER = ("folder", False, False, False, False)
    """A project: files and folders, nothing else."""
    BUNDLE = ("bundle", True, False, False, False)
    """What an image is saved as: some programs link a layer that occurs twice."""
    ROOTFS = ("rootfs", True, True, True, False)
    LAYER = ("layer", True, True, True, True)
    """One layer of an image, over others."""

    def __init__(self, word: str, links: bool, raw_names: bool, system: bool, whiteouts: bool) -> None:
        self.word: Final = word
        self.links: Final = links
        self.raw_names: Final = raw_names
        self.system: Final = system
        self.whiteouts: Final = whiteouts


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be made of a member, and where."""

    place: Place
    type: Type
    target: bytes = b""
    """Of a symbolic link, as it is in the archive."""
    origin: Place = ()
    """Of a hard link: the file that gets another name."""


class Ledger:
    """Judges the members of one archive, in order; it remembers what is where. The account may be that of several."""

    def __init__(self, rules: Rules, account: Account) -> None:
        self._rules = rules
        self._account = account
        self._made: dict[Place, Type] = {(): Type.FOLDER}

    def admit(self, member: Member) -> Entry | None:
        """Return what is to be made of a member, or None where that is nothing. Raises `InvalidInput`, `TooLarge`.

        What a layer has for a system folder is judged like the rest, as another program unpacks it.
        """
        self._account.add(member.size)
        place = place_of(member.name, self._rules, self._account)
        left_out = self._rules.system and bool(place) and place[0] in SYSTEM
        if left_out and not self._rules.whiteouts:
            return None
        self._check_type(member, place, devices=left_out)
        if self._rules.whiteouts and _is_whiteout(member, place):
            self._enter(place[:-1], member)
            return None
        if not place:
            return None
        self._enter(place[:-1], member)
        self._check_replaced(place, member)
        entry = self._entry(member, place)
        self._made[place] = member.type if member.type in (Type.FOLDER, Type.SYMLINK) else Type.FILE
        return None if left_out else entry

    def _check_type(self, member: Member, place: Place, *, devices: bool) -> None:
        if member.type in (Type.FILE, Type.FOLDER):
            allowed = True
        elif member.type in (Type.SYMLINK, Type.HARDLINK):
            allowed = self._rules.links
        else:
            allowed = devices  # whoever unpacks the layer makes plain files of them, and these are left out
        if not allowed:
            raise InvalidInput(f"{shown(member.name)} is {member.type.value}: {self._hint()}")
        if not place and member.type is not Type.FOLDER:
            raise InvalidInput(f"{shown(member.name)} would replace the root itself: leave it out of the archive")
        if member.type is not Type.FOLDER and member.name.endswith(b"/"):
            raise InvalidInput(f"{shown(member.name)} is {member.type.value} with the name of a folder: rename it")

    def _hint(self) -> str:
        return (
            "only files, folders and links are allowed" if self._rules.links else "only files and folders are allowed"
        )

    def _enter(self, parent: Place, member: Member) -> None:
        """See to it that all on the way to a member are folders."""
        if self._made.get(parent) is Type.FOLDER:
            return
        for count in range(1, len(parent) + 1):
            there = self._made.get(parent[:count])
            if there is None:
                self._account.add(0)  # it costs what a member costs
                self._made[parent[:count]] = Type.FOLDER
            elif there is not Type.FOLDER:
                raise InvalidInput(
                    f"{shown(member.name)} lies below {shown(b'/'.join(parent[:count]))}, which is {there.value}: "
                    "nothing is written through it"
                )

    def _check_replaced(self, place: Place, member: Member) -> None:
        there = self._made.get(place)
        if there is not None and (there is Type.FOLDER) is not (member.type is Type.FOLDER):
            raise InvalidInput(
                f"{shown(member.name)} is {member.type.value} and was {there.value} earlier in the archive: "
                "give it one of the two"
            )

    def _entry(self, member: Member, place: Place) -> Entry:
        if member.type is Type.HARDLINK:
            return Entry(place=place, type=member.type, origin=self._origin(member, place))
        if member.type is Type.SYMLINK:
            check_target(place, member.target, self._account, self._rules)
        return Entry(place=place, type=member.type, target=member.target)

    def _origin(self, member: Member, place: Place) -> Place:
        origin = place_of(member.target, self._rules, self._account)
        if self._made.get(origin) is not Type.FILE or origin == place:
            raise InvalidInput(
                f"{shown(member.name)} is a hard link to {shown(member.target)}, which is no file that comes before "
                "it in the archive"
            )
        return origin


def place_of(name: bytes, rules: Rules, account: Account) -> Place:
    """Return where a name leads, from the root of the archive. Raises `InvalidInput` for one that is not allowed."""
    if name.startswith(b"/"):
        raise InvalidInput(f"{shown(name)} begins with a slash: use names from the root of the archive")
    if len(name) > PATH_MAX_BYTES:
        raise InvalidInput(f"{shown(name)} has {len(name)} bytes: at most {PATH_MAX_BYTES} are allowed")
    if not name:
        raise InvalidInput("a member of the archive has no name: make it and push it again")
    _check_characters(name, rules)
    place = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in place:
        raise InvalidInput(f"{shown(name)} leads out of its folder: names with .. are not allowed")
    if len(place) > account.limits.depth:
        raise InvalidInput(f"{shown(name)} lies {len(place)} folders deep: at most {account.limits.depth} are allowed")
    if any(len(part) > NAME_MAX_BYTES for part in place):
        raise InvalidInput(f"{shown(name)} has a part of more than {NAME_MAX_BYTES} bytes: shorten it")
    return place


def check_target(place: Place, target: bytes, account: Account, rules: Rules = Rules.ROOTFS) -> Place:
    """Return where a symbolic link at `place` leads, by its words alone; an absolute one begins at the root.

    Raises `InvalidInput` where it leads above the root, or has a target that is not allowed.
    """
    if not 0 < len(target) < PATH_MAX_BYTES:
        raise InvalidInput(f"{shown(b'/'.join(place))} is a link with a target of {len(target)} bytes: shorten it")
    _check_characters(target, rules)
    reached = [] if target.startswith(b"/") else list(place[:-1])
    for part in target.split(b"/"):
        if part == b"..":
            if not reached:
                raise InvalidInput(
                    f"{shown(b'/'.join(place))} is a link to {shown(target)}, which leads out of the root"
                )
            reached.pop()
        elif part not in (b"", b"."):
            reached.append(part)
    return tuple(reached)


def _check_characters(name: bytes, rules: Rules) -> None:
    try:
        bad = any(unicodedata.category(char) == "Cc" for char in name.decode())
    except UnicodeDecodeError:
        if not rules.raw_names:
            raise InvalidInput(f"{shown(name)} is not UTF-8: rename it") from None
        bad = not _CONTROLS.isdisjoint(name)
    if bad:
        raise InvalidInput(f"{shown(name)} has control characters in its name: rename it")


def _is_whiteout(member: Member, place: Place) -> bool:
    """Whether a member of a layer takes away something of the layers below. Raises `InvalidInput` for an odd one."""
    marked = [part for part in place if part.startswith(_WHITEOUT)]
    if not marked:
        if member.type is Type.HARDLINK and _WHITEOUT in member.target:
            raise InvalidInput(f"{shown(member.name)} links to {shown(member.target)}: names with .wh. are not allowed")
        return False
    name = place[-1]
    removed = name.removeprefix(_WHITEOUT)
    plain = removed not in (b"", b".", b"..") and not removed.startswith(_WHITEOUT)
    if marked != [name] or member.type is not Type.FILE or not (plain or name == _OPAQUE):
        raise InvalidInput(f"{shown(member.name)} takes away what is not its own: make the layer again")
    return True


def shown(name: bytes) -> str:
    """A name for people, whatever it holds."""
    return ascii(name[:200].decode(errors="surrogateescape"))
