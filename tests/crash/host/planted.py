"""Bugs to plant into a host on purpose: each breaks one promise, and names the check that must notice."""

import os
from typing import Any

import pytest

from runtara.actors.places import PlaceFreed
from runtara.actors.runners import _process, native
from runtara.actors.scheduler import WakeScheduler
from runtara.host import Host
from runtara.ids import InstanceKey
from runtara.transport._admission import Admission
from runtara.transport.gate import Caller
from tests.crash.planted import Planted

__all__ = ["PLANTED"]


def _place_not_freed(patches: pytest.MonkeyPatch) -> None:
    patches.setitem(WakeScheduler.HEARS, PlaceFreed, lambda scheduler, message: None)


def _drain_without_a_word(patches: pytest.MonkeyPatch) -> None:
    async def say_nothing(host: Host, key: InstanceKey) -> None:
        pass

    patches.setattr(Host, "_ask_to_shut_down", say_nothing)


def _token_for_any_attempt(patches: pytest.MonkeyPatch) -> None:
    def admit(admission: Admission, key: InstanceKey, epoch: int | None, shown: Any) -> Caller:
        return Caller(key, epoch, admission._line(key))

    patches.setattr(Admission, "_admit", admit)


def _number_without_start(patches: pytest.MonkeyPatch) -> None:
    def find(pid: int, started: int) -> int | None:
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            return None

    for module in (_process, native):
        patches.setattr(module, "open_process", find)


PLANTED: dict[str, Planted] = {
    "place-not-freed": Planted("a place serves one program after the other", "place_is_freed", _place_not_freed),
    "drain-without-a-word": Planted("a drain brings programs to rest", "drain_suspends", _drain_without_a_word),
    "token-for-any-attempt": Planted(
        "a token is good for one attempt", "token_opens_one_attempt", _token_for_any_attempt
    ),
    "number-without-start": Planted(
        "who has the number of a process need not be it", "number_used_again_is_nobody", _number_without_start
    ),
}
