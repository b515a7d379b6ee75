"""What is said about the chores of a host: what of its past is not needed any more, and is removed.

The package offers them.
"""

from typing import Literal

import msgspec

from runtara.messages._requests import Request

__all__ = ["Chore", "ChoreDone", "RunChore"]

Chore = Literal["instances", "runs", "images"]
"""``instances``: those that are finished and old. ``runs``: the folders in which they ran. ``images``: what was pushed
and nothing uses any more."""


class ChoreDone(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """What a chore has removed, or would remove."""

    chore: Chore
    dry_run: bool
    removed: int
    """How many things, of all tenants."""
    names: tuple[str, ...] = ()
    """Those of the asker's tenant, the first thousand."""


class RunChore(msgspec.Struct, Request[ChoreDone], frozen=True, gc=False, tag=True, kw_only=True):
    """Do a chore now, or only say what it would remove. Hosts do all of them by themselves, again and again."""

    chore: Chore
    dry_run: bool = False
