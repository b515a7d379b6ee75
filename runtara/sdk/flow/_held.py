"""What an attempt of a worker holds: the last result, until it says something else, and what an earlier one has kept.

Nothing of the user's runs between a result and what is said next, so that both can be said, and stored, as one: before
the next task begins, the result is saved; a rest or an end takes it along. A crash in between costs what it would cost
before the result was saved: its task runs again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from runtara import messages
from runtara.lifecycle import Status
from runtara.sdk import _flows as flows
from runtara.sdk._flows import Flow
from runtara.sdk._types import Signal
from runtara.sdk.flow._faces import Resting
from runtara.sdk.flow._notes import REST, RestNote

__all__ = ["HELD_MAX_BYTES", "Held"]

HELD_MAX_BYTES: Final = 16_384
"""The largest result that is held; a larger one is saved at once."""


class Held:
    """What one attempt holds."""

    def __init__(self) -> None:
        self._result: messages.StepResult | None = None
        self._kept: dict[str, messages.KeptStep] = {}
        self._forks = 0
        self.knows_all = False
        """Whether nothing has to be looked for that an earlier attempt may have kept."""
        self.input: bytes | None = None
        """That of the instance, where it is known."""

    def replay(self, replay: messages.Replay | None) -> None:
        """Take note of what the registration has told; None where it has told nothing."""
        if replay is not None:
            self._kept = {step.checkpoint_id: step for step in replay.steps}
            self.knows_all, self.input = replay.is_all, replay.input

    def known(self, checkpoint_id: str) -> messages.KeptStep | None:
        """Return what an earlier attempt has kept under an id, as far as it was told."""
        return self._kept.get(checkpoint_id)

    @property
    def is_alone(self) -> bool:
        """Whether nothing else of the instance is under way: no branch of a fork beside this one."""
        return not self._forks

    @contextmanager
    def forking(self) -> Iterator[None]:
        """Have nothing held while several walks are under way: what one has done is not for the others to say."""
        self._forks += 1
        try:
            yield
        finally:
            self._forks -= 1

    def take(self, checkpoint_id: str, state: bytes) -> bool:
        """Hold a result until the next thing is said; False where it has to be saved now."""
        if self._forks or self._result is not None or len(state) > HELD_MAX_BYTES:
            return False
        self._result = messages.StepResult(checkpoint_id=checkpoint_id, state=state)
        return True

    def results(self) -> tuple[messages.StepResult, ...]:
        """Return what is held, for the command that takes it along."""
        return () if self._result is None else (self._result,)

    def saved(self) -> Flow[None]:
        """Save what is held, by itself. Raises what a signal means that was sent meanwhile."""
        if self._result is not None:
            result = self._result
            command = messages.SaveCheckpoint(checkpoint_id=result.checkpoint_id, state=result.state)
            reply: messages.CheckpointSaved = yield command
            self._result = None
            flows.raise_for(Signal.of(reply.signal))

    def rest_for(self, checkpoint_id: str, place: str, duration_ms: int) -> Flow[None]:
        """Rest for a delay, with what is held. Raises `Resting` unless the delay is over."""
        reply: messages.Acknowledged = yield messages.RestInstance(
            results=self.results(),
            subtype=REST,
            payload=msgspec.json.encode(RestNote(place=place)),
            checkpoint_id=checkpoint_id,
            duration_ms=duration_ms,
        )
        self._result = None
        if reply.status is not Status.RUNNING:
            raise Resting(place, wake_at=None, is_stored=True)
