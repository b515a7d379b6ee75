"""Rows to begin with: instances that sleep."""

from runtara.lifecycle import Status, TerminationReason
from runtara.records import Instance
from runtara.store import Save

__all__ = ["suspended"]


def suspended(number: int, wake_at: int) -> Save:
    """Return the save of a sleeping instance of the program ``noop``, due at `wake_at` (ms since 1970 UTC)."""
    row = Instance(
        tenant_id="default",
        instance_id=f"instance-{number}",
        status=Status.SUSPENDED,
        version=1,
        epoch=1,
        created_at=1,
        started_at=1,
        program="noop",
        wake_at=wake_at,
        termination_reason=TerminationReason.SLEEPING,
    )
    return Save(instance=row, expected_version=0)
