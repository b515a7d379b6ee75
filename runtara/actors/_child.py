"""One child of a supervisor while it lives: its task, its start, its end."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

from runtara.actors._blocking import Incarnation, is_blocking
from runtara.actors._service import Actor, Life, single
from runtara.actors._slot import STOP, Down, Slot, State
from runtara.actors._specs import Child, Supervisor
from runtara.errors import ActorFailed

if TYPE_CHECKING:
    from runtara.actors._supervisor import SupervisorActor

__all__ = ["Ended", "Running", "not_started", "run"]


class _Parent(Protocol):
    def child_ended(self, ended: Ended) -> None: ...


class Ended(NamedTuple):
    """A child's task is over; `failure` is None where it ended well."""

    name: str
    incarnation: int
    failure: BaseException | None


class Running:
    """A child, through all its lives."""

    def __init__(self, spec: Child | Supervisor, slot: Slot) -> None:
        self.spec = spec
        self.slot = slot
        self.restart_at = inf
        self.failure: BaseException | None = None
        """Why the latest life ended, if badly."""
        self.late: TimeoutError | None = None
        """Set where a life was ended because its start took too long."""
        self.gone_by_request = False
        self.unwanted = False
        self.running = False
        self.group: SupervisorActor | None = None
        self.thread: Incarnation | None = None

    @property
    def stop_grace(self) -> float:
        """Seconds from the request to stop until the child is cut off. Groups bound themselves."""
        return self.spec.stop_grace if isinstance(self.spec, Child) else inf

    def begin(self) -> None:
        """Prepare for a new life."""
        self.slot.incarnation += 1
        self.slot.state = State.STARTING
        self.scope = trio.CancelScope()
        self.started_or_gone = trio.Event()
        self.gone = trio.Event()
        self.failure = self.late = None
        self.gone_by_request = self.unwanted = False
        self.running = True
        self.group = self.thread = None

    def started(self) -> None:
        """The child says that it has started."""
        self.slot.started()
        self.started_or_gone.set()

    def request_stop(self) -> None:
        """Ask the child to end."""
        self.unwanted = True
        if self.group is not None:
            self.group.request_stop()
        elif self.thread is not None:
            self.thread.stop()
        else:
            self.slot.mailbox.put_control(STOP)


@trio.lowlevel.enable_ki_protection  # an interrupt from the keyboard is for the program, not for some actor
async def run(child: Running, parent: _Parent) -> None:
    """Live one life of a child and tell its supervisor how it ended. Never raises into the supervisor's nursery."""
    slot = child.slot
    incarnation = slot.incarnation
    failure: BaseException | None = None
    try:
        with child.scope:
            await _live(child)
    except trio.Cancelled:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it raises, SystemExit included, a child ends only itself
        failure = single(error)
    finally:
        child.failure = child.late or failure
        slot.ended(child.failure)
        _forget_private_mail(slot)
        child.running = False
        child.gone.set()
        child.started_or_gone.set()
        parent.child_ended(Ended(child.spec.name, incarnation, child.failure))


async def _live(child: Running) -> None:
    if child.unwanted:  # before it began
        return
    spec, slot = child.spec, child.slot
    if isinstance(spec, Supervisor):
        child.group = slot.system.group(slot, spec)
        slot.actor = child.group
        await child.group.live(child.started)
    elif is_blocking(spec.factory):
        child.thread = Incarnation(slot, child.started)
        await child.thread.live(spec.factory, spec.args, dict(spec.kwargs))
    else:
        actor = spec.factory(*spec.args, **spec.kwargs)
        if not isinstance(actor, Actor):
            raise TypeError(f"{slot.path}: {spec.factory!r} made {actor!r}, which is not an Actor")
        slot.actor = actor
        slot.life = Life(actor, slot)
        await slot.life.run(spec.stop_grace, child.started)


def _forget_private_mail(slot: Slot) -> None:
    """Forget control messages that were for the ended life alone, such as its timers; news of others stays."""
    news = [message for message in slot.mailbox.control if isinstance(message, Down)]
    slot.mailbox.control.clear()
    slot.mailbox.control.extend(news)


def not_started(path: str, failure: BaseException) -> ActorFailed:
    """Return the error for somebody who asked for a child that could not be started."""
    error = ActorFailed(f"{path} could not be started: {failure!r}")
    error.__cause__ = failure
    return error
