"""What every actor is doing, as data and as a picture in text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from runtara.actors._slot import Kind, Slot

__all__ = ["ActorInfo", "draw_tree", "inspect"]


class ActorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One actor at one moment."""

    path: str
    kind: Kind
    state: str
    mailbox_depth: int
    mailbox_bound: int
    mailbox_policy: str
    mailbox_refused: int = 0
    """Messages that found no room; for a region, those to its cells."""
    handled: int
    """Messages answered, over all lives."""
    restarts: int
    failure: str | None = None
    """How its last life ended, if badly."""
    waits_for: tuple[str, ...] = ()
    """Whom it is asking right now."""
    facts: Mapping[str, Any] = {}
    """What the actor itself has to say."""
    children: tuple[ActorInfo, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def walk(self) -> Iterator[ActorInfo]:
        """Yield this actor, and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def inspect(slots: Mapping[str, Slot]) -> ActorInfo:
    """Return the tree that the slots make up; the first one is the root."""
    below: dict[str, list[Slot]] = {}
    for path, slot in slots.items():
        below.setdefault(path.rpartition("/")[0], []).append(slot)
    return _info(next(iter(slots.values())), below)


def _info(slot: Slot, below: Mapping[str, list[Slot]]) -> ActorInfo:
    describe = getattr(slot.actor, "describe", None)
    return ActorInfo(
        path=slot.path,
        kind=slot.kind,
        state=slot.state.value,
        mailbox_depth=slot.mailbox.depth(),
        mailbox_bound=slot.mailbox.bound,
        mailbox_policy=slot.mailbox.policy.value,
        mailbox_refused=slot.mailbox.refused,
        handled=slot.handled,
        restarts=slot.restarts,
        failure=None if slot.failure is None else repr(slot.failure),
        waits_for=tuple(waited.path for waited in slot.waits_for),
        facts={} if describe is None else _facts(describe),
        children=tuple(_info(child, below) for child in below.get(slot.path, ())),
    )


def _facts(describe: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return describe()
    except Exception as error:  # noqa: BLE001 - a bug in what one actor says of itself must not hide all others
        return {"describe": repr(error)}


def draw_tree(info: ActorInfo) -> str:
    """Return the tree as text, a line an actor."""
    rows = list(_rows(info, "", ""))
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {what}" for label, what in rows)


def _rows(info: ActorInfo, lead: str, below: str) -> Iterator[tuple[str, str]]:
    what = f"{info.kind:<10} {info.state:<10} mail {info.mailbox_depth}/{info.mailbox_bound}  handled {info.handled}"
    if info.kind == "supervisor":
        what = f"{info.kind:<10} {info.state}"
    if info.restarts:
        what += f"  restarts {info.restarts}"
    if info.failure is not None:
        what += f"  last failure {info.failure}"
    for name, fact in info.facts.items():
        what += f"  {name} {fact}"
    yield lead + info.name, what
    for i, child in enumerate(info.children):
        last = i == len(info.children) - 1
        yield from _rows(child, below + ("└ " if last else "├ "), below + ("  " if last else "│ "))
