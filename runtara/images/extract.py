"""Unpacks a tar archive that nobody vouches for into a new folder.

Every member is judged by its header (`_members`) and then made without following a link (`_tree`). Owners, times of
folders, extended attributes and all bits of a mode but "may be run" are dropped. What is there under the final name is
complete; what was left by somebody who was killed is called ``.new-`` and may be removed.
"""

from pathlib import Path

import msgspec

from runtara.disk import answer_refusals
from runtara.errors import AlreadyExists
from runtara.images._limits import Account, ExtractLimits
from runtara.images._members import SYSTEM, Entry, Ledger, Rules
from runtara.images._scratch import scratch_folder, settle
from runtara.images._source import open_source
from runtara.images._tar import Member, TarReader, Type
from runtara.images._tree import Tree

__all__ = ["ExtractLimits", "Extracted", "Rules", "extract"]


class Extracted(msgspec.Struct, frozen=True, kw_only=True):
    """How much an archive held."""

    members: int
    """Entries, and the folders that only their names speak of."""
    bytes: int


def extract(archive: Path, target: Path, rules: Rules, limits: ExtractLimits) -> Extracted:
    """Unpack `archive` as the new folder `target`, wholly or not at all.

    Raises `InvalidInput` for what is damaged or not allowed, `TooLarge` for more than the limits, `AlreadyExists`,
    `StoreFull` where there is no room, `StoreUnavailable` for what else the disk refuses.
    """
    with answer_refusals(f"{archive.name} cannot be unpacked"):
        if target.exists():
            raise AlreadyExists(f"{target} is there already: unpack into a new folder")
        with scratch_folder(target) as scratch:
            made = scratch / "tree"
            made.mkdir(mode=0o700)
            account = Account(limits)
            _fill(archive, made, rules, account)
            settle(made, target)
    return Extracted(members=account.members, bytes=account.bytes)


def _fill(archive: Path, folder: Path, rules: Rules, account: Account) -> None:
    ledger = Ledger(rules, account)
    with open_source(archive, account.limits) as source, Tree(folder) as tree:
        reader = TarReader(source)
        for member in reader:
            entry = ledger.admit(member)
            if entry is not None:
                _make(tree, entry, member, reader)
        for name in SYSTEM if rules.system else ():
            tree.make_folder((name,))


def _make(tree: Tree, entry: Entry, member: Member, reader: TarReader) -> None:
    if entry.type is Type.FOLDER:
        tree.make_folder(entry.place)
    elif entry.type is Type.HARDLINK:
        tree.link(entry.place, entry.origin)
    elif entry.type is Type.SYMLINK:
        tree.symlink(entry.place, entry.target)
    else:
        tree.write(entry.place, reader.chunks(), executable=member.executable, modified_at=member.modified_at)
