"""How many instances of each image a host may run at a time: what the version of the image says, read once.

A version never changes, so what was read stays true. As long as it is being read nobody of the image may go; the actor
that asks is told when it is known, and never waits.
"""

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Any, Final

import msgspec

from runtara.actors._ref import Ref
from runtara.actors._reply import Reply
from runtara.actors._service import Actor, hears
from runtara.actors.storage import Query
from runtara.decoders import decode_json
from runtara.errors import RuntaraError
from runtara.ids import ImageRef
from runtara.records import ImageVersion

__all__ = ["CAPS_MAX", "CapReader", "ImageCaps"]

CAPS_MAX: Final = 10_000
"""Most versions of images whose caps are remembered; the one that was used longest ago is read anew."""

_AGAIN: Final = 1.0
"""Seconds until a cap that could not be read is read again."""

_Version = tuple[str, str]
"""Tenant and program."""


class _CapRead(msgspec.Struct, frozen=True):
    """The store has said how many instances of a version of an image may run at a time, or (None) could not."""

    version: _Version
    cap: float | None


class _CapUnread(msgspec.Struct, frozen=True):
    """The store is away."""

    version: _Version


class ImageCaps:
    """What is known. `read` begins to read what is not; what comes of that is told to `learn`."""

    def __init__(self, read: Callable[[str, ImageRef], None]) -> None:
        self._read: Final = read
        self._caps: Final[OrderedDict[_Version, float]] = OrderedDict()
        self._asked: Final[set[_Version]] = set()

    def cap_of(self, tenant_id: str, program: str) -> float:
        """Return most places for the instances of an image by what this version says; 0 until that is known."""
        version, ref = (tenant_id, program), ImageRef.of_program(program)
        if ref is None:
            return inf
        cap = self._caps.get(version)
        if cap is not None:
            self._caps.move_to_end(version)
            return cap
        if version not in self._asked:
            self._asked.add(version)
            self._read(tenant_id, ref)
        return 0

    def is_known(self, tenant_id: str, program: str | None) -> bool:
        """Return whether the cap of a program is known, or it can have none."""
        return ImageRef.of_program(program) is None or (tenant_id, program) in self._caps

    def bounded(self) -> tuple[_Version, ...]:
        """Return the versions of images, as tenant and program, that have a cap or whose cap is being read."""
        return (*self._asked, *(version for version, cap in self._caps.items() if cap != inf))

    def learn(self, version: _Version, cap: float | None) -> None:
        """Remember a cap; one that could not be read is asked for again by the next who wants to know."""
        self._asked.discard(version)
        if cap is None:
            return
        self._caps[version] = cap
        if len(self._caps) > CAPS_MAX:
            self._caps.popitem(last=False)


class CapReader(Actor):
    """An actor that has the caps of images read from the store, and goes on when one more is known."""

    _reader: Ref

    def __init__(self) -> None:
        self._caps = ImageCaps(self._read_cap)

    def go_on(self) -> None:
        """Do what may have become possible."""
        raise NotImplementedError  # each subclass has something else to do

    @hears(_CapRead)
    def cap_read(self, message: _CapRead) -> None:
        """Remember a cap."""
        self._caps.learn(message.version, message.cap)
        self.go_on()

    @hears(_CapUnread)
    def cap_unread(self, message: _CapUnread) -> None:
        """Forget after a while that it was asked for, so that it is asked for again."""
        self.tell_later(_AGAIN, _CapRead(message.version, None))

    def _read_cap(self, tenant_id: str, ref: ImageRef) -> None:
        mine, version = self._slot.mailbox, (tenant_id, ref.program)

        def then(reply: Reply) -> None:
            found: Any = reply.value
            failed = reply.error is not None
            mine.put_control(_CapUnread(version) if failed else _CapRead(version, _cap_of(found)))

        try:
            self._reader.ask_then(Query("read_image_version", (tenant_id, ref)), then)
        except RuntaraError:
            mine.put_control(_CapUnread(version))


class _Options(msgspec.Struct):
    """What concerns us of `ImageOptions`; those of a newer host may hold more."""

    max_concurrent: int | None = None


def _cap_of(version: ImageVersion | None) -> float:
    """Return most places for the instances of an image; one that is gone has no cap, and its launch says that it is."""
    cap = None if version is None else decode_json(version.options, _Options).max_concurrent
    return inf if cap is None else cap
