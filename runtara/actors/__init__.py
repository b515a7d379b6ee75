"""Actors with mailboxes under supervision, usable on their own.

Three kinds behind one `Ref`: service actors (a trio task each), cells (no task while idle) and blocking actors (a pykka
thread each).
"""

from runtara.actors._blocking import BlockingActor, Delivery
from runtara.actors._cell import Cell, CellRef, Decision, Write
from runtara.actors._inspect import ActorInfo, draw_tree
from runtara.actors._mailbox import DeadLetter, MailboxSpec, Policy
from runtara.actors._ref import Ref
from runtara.actors._region import Region
from runtara.actors._reply import Reply
from runtara.actors._service import Actor, hears
from runtara.actors._slot import Down
from runtara.actors._specs import Backoff, Child, Intensity, Restart, Strategy, Supervisor, child, supervisor
from runtara.actors._system import System, SystemFailed, open_system, refusing
from runtara.threads import ForeignEvent

__all__ = [
    "Actor",
    "ActorInfo",
    "Backoff",
    "BlockingActor",
    "Cell",
    "CellRef",
    "Child",
    "DeadLetter",
    "Decision",
    "Delivery",
    "Down",
    "ForeignEvent",
    "Intensity",
    "MailboxSpec",
    "Policy",
    "Ref",
    "Region",
    "Reply",
    "Restart",
    "Strategy",
    "Supervisor",
    "System",
    "SystemFailed",
    "Write",
    "child",
    "draw_tree",
    "hears",
    "open_system",
    "refusing",
    "supervisor",
]
