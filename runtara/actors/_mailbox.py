"""Where an actor's mail waits: a bounded queue with a named policy, and a queue of control messages that goes first.

A mailbox is filled on the thread of the event loop only; other threads hand their mail to the loop. It outlives the
actor's restarts. Mail is a pair of message and `Reply`, the reply being None for a tell.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from enum import Enum
from typing import NamedTuple, TypeAlias

import msgspec

from runtara.actors._reply import Reply
from runtara.errors import InvalidInput, MailboxFull

__all__ = ["Asked", "DeadLetter", "DeadLetters", "Mail", "Mailbox", "MailboxSpec", "Policy", "open_mailbox"]

Mail: TypeAlias = tuple[object, Reply | None]


class Policy(Enum):
    """What happens to a message that finds the mailbox full."""

    WAIT = "wait"
    """The sender waits for room; a sender that cannot wait is refused."""
    REJECT = "reject"
    """The sender is refused."""
    DROP_OLDEST = "drop-oldest"
    """The oldest message makes room and becomes a dead letter."""
    COALESCE = "coalesce"
    """A tell replaces the waiting tell of the same key, in its place; beyond that many keys, senders are refused."""


class MailboxSpec(msgspec.Struct, frozen=True):
    """How much mail may wait, and what happens to more. `key` tells which tells replace each other (coalesce)."""

    bound: int = 1024
    policy: Policy = Policy.WAIT
    key: Callable[[object], Hashable] = type

    def __post_init__(self) -> None:
        if self.bound < 1:
            raise InvalidInput(f"a mailbox of {self.bound} messages would take none: give a bound of at least 1")


class DeadLetter(NamedTuple):
    """Mail that came to nothing: where it was, and why."""

    path: str
    reason: str
    """One of:

    - ``expired``: nobody waited for the answer any more; dropped unread
    - ``dropped``: made room for newer mail (drop-oldest)
    - ``mailbox-full``: came from another thread, and there was no room
    - ``stopped``: the actor ended before it read the mail
    - ``refused``: a tell that was refused, with nobody to tell so
    - ``failed``: a tell that crashed the actor, or met a bug of the cell
    - ``unknown``: a tell whose handler was cut off, or whose outcome could not be stored for certain

    Actors may add reasons of their own.
    """
    message: object


class DeadLetters:
    """The last few dead letters of a system, and how many there have been of each reason."""

    def __init__(self, kept: int = 256) -> None:
        self.recent: deque[DeadLetter] = deque(maxlen=kept)
        self.counts: dict[str, int] = {}

    def add(self, path: str, reason: str, message: object) -> None:
        """Keep a dead letter."""
        self.recent.append(DeadLetter(path, reason, message))
        self.counts[reason] = self.counts.get(reason, 0) + 1


class Asked:
    """A message that somebody waits for the answer to. A tell is kept without a wrapping: most mail is told."""

    __slots__ = ("message", "reply")

    def __init__(self, message: object, reply: Reply) -> None:
        self.message = message
        self.reply = reply

    def unwrap(self) -> tuple[object, Reply]:
        """Return both parts."""
        return self.message, self.reply


class Mailbox:
    """A queue of mail for one reader. `notify` is what the idle reader wants to be called with when mail comes."""

    __slots__ = (
        "bound",
        "control",
        "dead_letters",
        "notify",
        "path",
        "policy",
        "pop",
        "refused",
        "room",
        "senders",
        "user",
    )

    def __init__(self, path: str, spec: MailboxSpec, dead_letters: DeadLetters) -> None:
        self.path = path
        self.bound = spec.bound
        self.policy = spec.policy
        self.refused = 0
        """How many messages found no room."""
        self.room = spec.bound if type(self) is Mailbox else 0
        """Messages that fit without asking `put`: none where every message is a case of its own, or senders wait."""
        self.control: deque[object] = deque()
        self.user: deque[object] = deque()
        """Mail as it is kept: what was told as it is, what was asked as `Asked`."""
        self.senders: deque[tuple[object, Reply | None, Reply | None]] = deque()
        """Mail that waits for room, with the ticket of a teller to be told once it is in."""
        self.pop: Callable[[], object] = self.user.popleft
        """Returns the next mail as it is kept. Raises `IndexError` if there is none."""
        self.dead_letters = dead_letters
        self.notify: Callable[[], None] | None = None

    def put(self, message: object, reply: Reply | None) -> bool:
        """Take the mail in and return True, or return False because there is no room."""
        user = self.user
        if len(user) >= self.bound:
            return False
        user.append(message if reply is None else Asked(message, reply))
        self.ring()
        return True

    def take(self) -> Mail:
        """Return the next mail. Raises `IndexError` if there is none."""
        kept = self.pop()
        return kept.unwrap() if isinstance(kept, Asked) else (kept, None)

    def put_control(self, message: object) -> None:
        """Take a control message in; there is always room, and it is read before all other mail."""
        self.control.append(message)
        self.ring()

    def waits(self, message: object, reply: Reply | None, ticket: Reply | None) -> None:
        """Let the mail wait for room, or raise `MailboxFull` where the policy does not let senders wait."""
        if self.policy is not Policy.WAIT:
            raise self.full()
        self.senders.append((message, reply, ticket))
        self.room = 0  # whoever comes now comes after those who wait

    def admit(self) -> None:
        """Let waiting senders in while there is room."""
        while self.senders and len(self.user) < self.bound:
            message, reply, ticket = self.senders.popleft()
            if ticket is not None and ticket.waiter is None:
                continue  # the teller went away before its message was accepted
            if reply is not None and reply.waiter is None:
                self.dead_letters.add(self.path, "expired", message)
                continue
            self.put(message, reply)
            if ticket is not None:
                ticket.settle(None)
        if not self.senders:
            self.room = self.bound  # in plain mailboxes, where alone senders wait

    def full(self) -> MailboxFull:
        """Count a sender that is refused, and return the error for it."""
        self.refused += 1
        return MailboxFull(f"the mailbox of {self.path} holds {self.bound} messages, its bound: try again later")

    def close(self) -> None:
        """Take nothing in any more."""
        self.bound = self.room = 0

    def depth(self) -> int:
        """Return how much mail waits, senders without room included."""
        return len(self.user) + len(self.senders)

    def drain(self) -> list[Mail]:
        """Take everything out, senders that wait for room included."""
        mail: list[Mail] = []
        with suppress(IndexError):
            while True:  # a thread that was cut off may be taking too, so that a count would lie
                mail.append(self.take())
        while self.senders:
            message, reply, ticket = self.senders.popleft()
            mail.append((message, reply if ticket is None else ticket))
        return mail

    def ring(self) -> None:
        """Wake the reader if it is idle."""
        notify = self.notify
        if notify is not None:
            self.notify = None
            notify()


class _DropOldest(Mailbox):
    __slots__ = ()

    def put(self, message: object, reply: Reply | None) -> bool:
        if len(self.user) >= self.bound:
            self._drop()
        return super().put(message, reply)

    def _drop(self) -> None:
        try:
            dropped, waiting = self.take()
        except IndexError:  # a reader in a thread of its own has just emptied the mailbox
            return
        self.dead_letters.add(self.path, "dropped", dropped)
        if waiting is not None:
            waiting.fail(MailboxFull(f"the message to {self.path} made room for a newer one: try again later"))


class _Coalesce(Mailbox):
    """`user` holds the keys in order of arrival; the mail itself is kept by key. Asks never coalesce.

    Key and mail change together, and a blocking actor takes its mail in a thread of its own: hence the lock.
    """

    __slots__ = ("_key", "_lock", "_newest")

    def __init__(self, path: str, spec: MailboxSpec, dead_letters: DeadLetters) -> None:
        super().__init__(path, spec, dead_letters)
        self._key = spec.key
        self._newest: dict[Hashable, object] = {}
        self._lock = threading.Lock()
        self.pop = self._pop

    def put(self, message: object, reply: Reply | None) -> bool:
        key = object() if reply is not None else self._key(message)
        with self._lock:
            if key not in self._newest and len(self.user) >= self.bound:
                return False
            if key not in self._newest:
                self.user.append(key)
            self._newest[key] = message if reply is None else Asked(message, reply)
        self.ring()
        return True

    def _pop(self) -> object:
        with self._lock:
            return self._newest.pop(self.user.popleft())


_KINDS: dict[Policy, type[Mailbox]] = {
    Policy.WAIT: Mailbox,
    Policy.REJECT: Mailbox,
    Policy.DROP_OLDEST: _DropOldest,
    Policy.COALESCE: _Coalesce,
}


def open_mailbox(path: str, spec: MailboxSpec, dead_letters: DeadLetters) -> Mailbox:
    """Return an empty mailbox for the actor at `path`."""
    return _KINDS[spec.policy](path, spec, dead_letters)
