"""What the engine reads of Kubernetes' objects; every other field of theirs is ignored."""

from typing import Final, Generic, TypeVar

import msgspec

__all__ = ["CONTAINER", "Condition", "Job", "Metadata", "Page", "Pod", "Terminated", "Trouble", "Waiting", "WatchEvent"]

CONTAINER: Final = "program"
"""The name of the container that a program runs in."""


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """Who an object is."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """Something that is, or is not, the case."""

    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is the case."""
        return self.status == "True"


class _JobSpec(msgspec.Struct, frozen=True, rename="camel"):
    suspend: bool | None = False


class _JobStatus(msgspec.Struct, frozen=True, rename="camel"):
    conditions: tuple[Condition, ...] = ()


class Job(msgspec.Struct, frozen=True, rename="camel"):
    """An attempt, as the cluster keeps it."""

    metadata: Metadata
    spec: _JobSpec = _JobSpec()
    status: _JobStatus = _JobStatus()


class Waiting(msgspec.Struct, frozen=True, rename="camel"):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Terminated(msgspec.Struct, frozen=True, rename="camel"):
    """How a container has ended."""

    exit_code: int
    reason: str = ""
    message: str | None = None


class _State(msgspec.Struct, frozen=True, rename="camel"):
    waiting: Waiting | None = None
    running: dict[str, str | None] | None = None
    terminated: Terminated | None = None


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    state: _State = _State()


class _PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[_Container, ...] = ()


class Pod(msgspec.Struct, frozen=True, rename="camel"):
    """The processes of an attempt."""

    metadata: Metadata
    status: _PodStatus = _PodStatus()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs, or will ever run."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def state(self) -> _State:
        """How the program's container stands; others may have been put beside it."""
        return next((one.state for one in self.status.container_statuses if one.name == CONTAINER), _State())

    @property
    def has_begun(self) -> bool:
        """Whether its container has run, so that there may be a log."""
        return self.state.running is not None or self.state.terminated is not None


_Item = TypeVar("_Item", Job, Pod)


class _ListMetadata(msgspec.Struct, frozen=True, rename={"resource_version": "resourceVersion", "more": "continue"}):
    resource_version: str = ""
    more: str = ""


class Page(msgspec.Struct, Generic[_Item], frozen=True):
    """A page of a list."""

    items: list[_Item]
    metadata: _ListMetadata = _ListMetadata()


class Trouble(msgspec.Struct, frozen=True, rename="camel"):
    """What the object of a watch's ERROR event says."""

    code: int = 500
    message: str = ""


class WatchEvent(msgspec.Struct, frozen=True, rename="camel"):
    """A line of a watch."""

    type: str
    object: msgspec.Raw
