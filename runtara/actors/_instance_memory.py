"""What is believed of an instance that somebody else may have changed, and what that is good for.

Several nodes may share a store, so what is known of an instance that nobody owns is out of date at any time. It is
still good for a change, since no change is stored of a row that is not the expected one. Pure functions.
"""

from msgspec.structs import replace

from runtara.actors._instance_state import InstanceState
from runtara.ids import InstanceKey
from runtara.messages import StartInstance, WakeInstance

__all__ = ["is_remembered", "presumed", "recalled"]


def is_remembered(state: InstanceState) -> bool:
    """Return whether a state that is not kept is worth to be remembered: that of an instance which is to be woken."""
    row = state.instance
    return row is not None and row.wake_at is not None and row.program is not None and not state.unread


def recalled(loaded: InstanceState, remembered: InstanceState | None) -> InstanceState:
    """Return a state as it was loaded, with its input, if that is remembered of the very same."""
    if remembered is None or remembered.input is None or _found(loaded) != _found(remembered):
        return loaded
    return replace(loaded, input=remembered.input)


def presumed(key: InstanceKey, command: object, remembered: InstanceState | None) -> InstanceState | None:
    """Return the state on which a command is decided without a look at the store; None where it has to be looked.

    A start is presumed to be of a new instance: nearly all are. A wake-up is of an instance that this node has claimed,
    so that nobody else changes it; it says as what it was found.
    """
    if isinstance(command, StartInstance) and not command.replace:
        return InstanceState.from_snapshot(key, None)
    if remembered is None or not isinstance(command, WakeInstance) or command.found is None:
        return None
    return remembered if _found(remembered) == command.found else None


def _found(state: InstanceState) -> tuple[int, int] | None:
    """Return what tells a stored state of an instance from all others: its version, and when it was created."""
    row = state.instance
    return None if row is None else (row.version, row.created_at)
