"""Every error that may leave the runtime: one row in `Code`, one exception class per row.

The wire code, the HTTP status, the exit code of the command line and the answer to "may I try again?" are columns of
the row, so that every door reports one fact in its own language. Library-internal surprises are not in the table:
they are bugs and reach the asker as `Internal`.
"""

import enum
from typing import ClassVar, Final

__all__ = [
    "ERRORS",
    "ActorFailed",
    "ActorStopped",
    "AlreadyExists",
    "AskCycle",
    "Busy",
    "Code",
    "ConfigError",
    "DeadlineExceeded",
    "Draining",
    "Fenced",
    "Forbidden",
    "InstanceCancelled",
    "InstanceNotFound",
    "InstancePaused",
    "InstanceShutdown",
    "Internal",
    "InvalidInput",
    "InvalidState",
    "MailboxFull",
    "NotFound",
    "OutcomeUnknown",
    "Quarantined",
    "RetriesExhausted",
    "Retry",
    "RuntaraError",
    "StoreCorrupt",
    "StoreFull",
    "StoreInUse",
    "StoreTooNew",
    "StoreUnavailable",
    "TooLarge",
    "Unauthenticated",
    "Unreachable",
    "UntrustedServer",
]


class Retry(enum.Enum):
    """What an asker may do after an error."""

    NEVER = "never"
    """Refused: asking the same again gives the same answer."""
    SAFE = "safe"
    """Not run: nothing happened, ask again later."""
    SAME_ID = "same-id"
    """Unknown: it may or may not have happened; ask again with the same ids and it happens at most once."""


class Code(enum.Enum):
    """The error table. Columns: wire code, HTTP status, command-line exit code, retry class, meaning."""

    INVALID_INPUT = ("invalid-input", 400, 2, Retry.NEVER, "an argument is malformed or out of range")
    CONFIG_ERROR = ("config-error", 400, 2, Retry.NEVER, "a setting is unknown or has an unusable value")
    UNAUTHENTICATED = ("unauthenticated", 401, 8, Retry.NEVER, "the credential is missing, wrong, expired or revoked")
    FORBIDDEN = ("forbidden", 403, 8, Retry.NEVER, "the credential is good, but not for this operation")
    UNTRUSTED_SERVER = ("untrusted-server", 495, 8, Retry.NEVER, "the server's certificate is not the expected one")
    NOT_FOUND = ("not-found", 404, 3, Retry.NEVER, "the named thing does not exist, or is not yours")
    INSTANCE_NOT_FOUND = ("instance-not-found", 404, 3, Retry.NEVER, "no such instance, or not yours")
    ALREADY_EXISTS = ("already-exists", 409, 4, Retry.NEVER, "the id is taken by something with other content")
    INVALID_STATE = ("invalid-state", 409, 4, Retry.NEVER, "the instance's status does not allow this")
    FENCED = ("fenced", 409, 4, Retry.NEVER, "a newer attempt of this instance has taken over; stop")
    INSTANCE_CANCELLED = ("instance-cancelled", 409, 5, Retry.NEVER, "the instance was cancelled")
    INSTANCE_PAUSED = ("instance-paused", 409, 5, Retry.NEVER, "the instance was paused")
    INSTANCE_SHUTDOWN = ("instance-shutdown", 409, 5, Retry.NEVER, "the instance must stop and will be resumed")
    RETRIES_EXHAUSTED = ("retries-exhausted", 409, 5, Retry.NEVER, "a step has failed as often as it may")
    TOO_LARGE = ("too-large", 413, 2, Retry.NEVER, "a payload exceeds its limit")
    BUSY = ("busy", 429, 6, Retry.SAFE, "a limit is reached; nothing was done")
    MAILBOX_FULL = ("mailbox-full", 429, 6, Retry.SAFE, "the actor's mailbox is at its bound; nothing was done")
    INTERNAL = ("internal", 500, 70, Retry.SAME_ID, "a bug in the runtime")
    ACTOR_FAILED = ("actor-failed", 500, 70, Retry.SAME_ID, "the actor crashed while it handled the message")
    ASK_CYCLE = ("ask-cycle", 500, 70, Retry.NEVER, "the ask would wait for itself")
    ACTOR_STOPPED = ("actor-stopped", 503, 6, Retry.SAFE, "the actor ended before it read the message")
    QUARANTINED = ("quarantined", 503, 6, Retry.SAFE, "the instance could not be loaded and rests for a while")
    STORE_UNAVAILABLE = ("store-unavailable", 503, 6, Retry.SAFE, "the store cannot be reached; nothing was done")
    DRAINING = ("draining", 503, 6, Retry.SAFE, "the host is going down and starts nothing new")
    UNREACHABLE = ("unreachable", 503, 6, Retry.SAFE, "no server answers at the address; nothing was done")
    OUTCOME_UNKNOWN = ("outcome-unknown", 503, 6, Retry.SAME_ID, "it is not known whether the change was stored")
    DEADLINE_EXCEEDED = ("deadline-exceeded", 504, 6, Retry.SAME_ID, "no answer within the time allowed")
    STORE_FULL = ("store-full", 507, 6, Retry.SAFE, "no room left on the store's disk; nothing was done")
    STORE_IN_USE = ("store-in-use", 503, 7, Retry.SAFE, "another process owns this store file")
    STORE_TOO_NEW = ("store-too-new", 500, 7, Retry.NEVER, "the store was written by a newer version")
    STORE_CORRUPT = ("store-corrupt", 500, 7, Retry.NEVER, "the store's file is damaged")

    def __init__(self, wire: str, http_status: int, exit_code: int, retry: Retry, meaning: str) -> None:
        self.wire: Final = wire
        self.http_status: Final = http_status
        self.exit_code: Final = exit_code
        self.retry: Final = retry
        self.meaning: Final = meaning


ERRORS: dict[Code, type["RuntaraError"]] = {}
"""The exception class of every row; a door turns a wire code back into the class that the actor raised."""


class RuntaraError(Exception):
    """Something the runtime refuses or could not do; the text says what happened, to what, and what to try."""

    code: ClassVar[Code] = Code.INTERNAL

    def __init_subclass__(cls) -> None:
        ERRORS.setdefault(cls.code, cls)

    @property
    def retry(self) -> Retry:
        """Whether the same request may be sent again."""
        return self.code.retry


class InvalidInput(RuntaraError):
    """An argument is malformed or out of range."""

    code = Code.INVALID_INPUT


class ConfigError(RuntaraError):
    """A setting is unknown or has an unusable value."""

    code = Code.CONFIG_ERROR


class Unauthenticated(RuntaraError):
    """The credential is missing, wrong, expired or revoked."""

    code = Code.UNAUTHENTICATED


class Forbidden(RuntaraError):
    """The credential is good, but not for this operation."""

    code = Code.FORBIDDEN


class UntrustedServer(RuntaraError):
    """The server's certificate is not the expected one; nothing was sent to it."""

    code = Code.UNTRUSTED_SERVER


class NotFound(RuntaraError):
    """The named thing does not exist, or belongs to somebody else."""

    code = Code.NOT_FOUND


class InstanceNotFound(RuntaraError):
    """There is no such instance, or it belongs to somebody else."""

    code = Code.INSTANCE_NOT_FOUND


class AlreadyExists(RuntaraError):
    """The id is taken by something with other content."""

    code = Code.ALREADY_EXISTS


class InvalidState(RuntaraError):
    """The instance's status does not allow this."""

    code = Code.INVALID_STATE


class Fenced(RuntaraError):
    """A newer attempt of this instance has taken over; this one must stop."""

    code = Code.FENCED


class InstanceCancelled(RuntaraError):
    """The instance was cancelled; the program should clean up and end."""

    code = Code.INSTANCE_CANCELLED


class InstancePaused(RuntaraError):
    """The instance was paused; the program should end and will be resumed."""

    code = Code.INSTANCE_PAUSED


class InstanceShutdown(RuntaraError):
    """The host is going down; the program should end and will be resumed."""

    code = Code.INSTANCE_SHUTDOWN


class RetriesExhausted(RuntaraError):
    """A step has failed as often as it may."""

    code = Code.RETRIES_EXHAUSTED


class TooLarge(RuntaraError):
    """A payload exceeds its limit."""

    code = Code.TOO_LARGE


class Busy(RuntaraError):
    """A limit is reached; nothing was done."""

    code = Code.BUSY


class MailboxFull(RuntaraError):
    """The actor's mailbox is at its bound; nothing was done."""

    code = Code.MAILBOX_FULL


class Internal(RuntaraError):
    """A bug in the runtime."""

    code = Code.INTERNAL


class ActorFailed(RuntaraError):
    """The actor crashed while it handled the message; the cause is chained."""

    code = Code.ACTOR_FAILED


class AskCycle(RuntaraError):
    """The ask would wait, through other actors, for the asker itself."""

    code = Code.ASK_CYCLE


class ActorStopped(RuntaraError):
    """The actor ended before it read the message."""

    code = Code.ACTOR_STOPPED


class Quarantined(RuntaraError):
    """The instance could not be loaded several times and rests for a while."""

    code = Code.QUARANTINED


class StoreUnavailable(RuntaraError):
    """The store cannot be reached; nothing was done."""

    code = Code.STORE_UNAVAILABLE


class Draining(RuntaraError):
    """The host is going down and starts nothing new."""

    code = Code.DRAINING


class Unreachable(RuntaraError):
    """No server answers at the address; nothing was done."""

    code = Code.UNREACHABLE


class OutcomeUnknown(RuntaraError):
    """It is not known whether the change was stored; ask again with the same ids."""

    code = Code.OUTCOME_UNKNOWN


class DeadlineExceeded(RuntaraError):
    """There was no answer within the time allowed."""

    code = Code.DEADLINE_EXCEEDED


class StoreFull(RuntaraError):
    """There is no room left on the store's disk; nothing was done."""

    code = Code.STORE_FULL


class StoreInUse(RuntaraError):
    """Another process owns this store file."""

    code = Code.STORE_IN_USE


class StoreTooNew(RuntaraError):
    """The store was written by a newer version of Runtara."""

    code = Code.STORE_TOO_NEW


class StoreCorrupt(RuntaraError):
    """The store's file is damaged."""

    code = Code.STORE_CORRUPT
