"""The sync face of the SDK: every call blocks its thread, and no other."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from runtara import messages
from runtara.clock import SystemClock
from runtara.sdk import _flows as flows
from runtara.sdk._base import TENANT, SdkBase
from runtara.sdk._drive import drive_blocking, perform_blocking
from runtara.sdk._each import Each
from runtara.sdk._endings import End, Program, complete, report
from runtara.sdk._types import CheckpointResult, CustomSignal, InstanceStatus, Signal, SignalType, StatusResponse
from runtara.sdk.config import SdkConfig
from runtara.sdk.context import check_registration, register_sdk

__all__ = ["RuntaraSdk"]

T = TypeVar("T")


class RuntaraSdk(SdkBase):
    """One attempt of one instance, as a sync program sees it.

    `with` registers the attempt, makes this the SDK that durable functions use, and lets go of both at the end.
    """

    def __enter__(self) -> Self:
        if not self.is_registered:
            try:
                self._run(flows.register(None, self._attempt_id, self._replace, fresh=self._fresh))
            except BaseException:
                self.close()
                raise
        self._begin_use()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._end_use()
        self.close()

    @classmethod
    def embedded(
        cls, instance_id: str, tenant_id: str = TENANT, *, data_dir: str | None = None, url: str | None = None
    ) -> Self:
        """Return the SDK for one instance, with a system of its own in this process, which `close` stops.

        For several instances in one process, open one system with `runtara.sdk.embedded.open`. Raises what the store
        refuses with: `StoreInUse`, `StoreTooNew`, `StoreCorrupt` …
        """
        from runtara.sdk import embedded  # it is made of this class

        opening = embedded.open(data_dir, url=url)
        system = opening.__enter__()
        stop = partial(opening.__exit__, None, None, None)
        try:
            return cls(system.open_door(instance_id, tenant_id), system.runtime.clock, on_close=stop)
        except BaseException:
            stop()
            raise

    def close(self) -> None:
        """Let go of the runtime, until the next call; the instance stays what it is. Harmless when repeated."""
        self._door.close()
        self._closed()

    @classmethod
    def new(cls, config: SdkConfig) -> Self:
        """Return the SDK for one instance of a server; it connects when it is used. See `SdkConfig` for refusals."""
        return cls(config.open_door(), SystemClock(), park_after=config.park_after)

    @classmethod
    def from_env(cls) -> Self:
        """Return the SDK as the ``RUNTARA_…`` variables say, which a host sets for the programs that it launches.

        Raises `ConfigError` if there is no RUNTARA_INSTANCE_ID, or for a value that does not fit.
        """
        return cls.new(SdkConfig.from_env())

    @classmethod
    def localhost(cls, instance_id: str, tenant_id: str = TENANT, *, data_dir: str = ".data") -> Self:
        """Return the SDK for one instance of the server on this machine, the one that works in `data_dir` if any."""
        return cls.new(SdkConfig.localhost(instance_id, tenant_id, data_dir=data_dir))

    def connect(self) -> None:
        """Connect to the server, which calls do by themselves, too.

        Raises `Unreachable`, `UntrustedServer` or `Unauthenticated` if that cannot be done.
        """
        self._door.connect_from_thread()

    def health(self) -> messages.HealthFound:
        """Return how the server is. Raises `Unreachable` if none answers."""
        return self._run(flows.health())

    def register(self, checkpoint_id: str | None = None, *, replace: bool = False) -> messages.InstanceRegistered:
        """Begin an attempt: create the instance, or take it over from an earlier attempt, which is then fenced.

        `checkpoint_id` names a checkpoint that must exist. With `replace`, a new instance comes into the place of
        whatever has this id, also of one that has ended, and nothing of that is left. Raises `InvalidState` or
        `InstanceCancelled` for an instance that has ended, and `NotFound` for an unknown checkpoint.
        """
        return self._run(flows.register(checkpoint_id, self._attempt_id, replace))

    def init(self, checkpoint_id: str | None = None) -> messages.InstanceRegistered:
        """Connect, register the attempt, and make this the SDK that durable functions use; see `register_sdk`."""
        check_registration(self)
        self.connect()
        reply = self.register(checkpoint_id)
        register_sdk(self)
        return reply

    def checkpoint(self, checkpoint_id: str, state: bytes) -> CheckpointResult:
        """Save `state` under `checkpoint_id`, or find what was saved there before.

        An id is written once and for ever: if it exists, `existing_state` holds its bytes and `state` is ignored. When
        this returns, the checkpoint is on stable storage. Raises `Fenced` if a newer attempt has taken over, and
        `InvalidState` or its like if the instance is not running.
        """
        command = messages.SaveCheckpoint(checkpoint_id=checkpoint_id, state=state)
        return CheckpointResult.of(self._ask(command))

    def get_checkpoint(self, checkpoint_id: str) -> bytes | None:
        """Return the state saved under `checkpoint_id`, or None. An empty state is not None."""
        found = self._ask(messages.GetCheckpoint(checkpoint_id=checkpoint_id))
        return found.state if found.found else None

    def sleep(self, duration: float | timedelta, checkpoint_id: str, state: bytes = b"") -> bytes | None:
        """Sleep durably for `duration` (seconds), and save a checkpoint along with the deadline.

        After a crash only the remainder is slept. Returns the state stored by an earlier attempt, or None if the sleep
        began just now. Raises `InstanceCancelled`, `InstancePaused` or `InstanceShutdown` if such a signal comes.
        """
        return self._run(flows.sleep(self._session, duration, checkpoint_id, state, self.park_after))

    def sleep_until(self, instant: datetime, checkpoint_id: str, state: bytes = b"") -> bytes | None:
        """Sleep durably until `instant`, which must have a time zone; otherwise like `sleep`."""
        return self._run(flows.sleep_until(self._session, instant, checkpoint_id, state, self.park_after))

    def heartbeat(self) -> None:
        """Say that the attempt is alive. The runtime does this by itself for programs in its own process."""
        self._run(flows.acknowledged(messages.Heartbeat()))

    def completed(self, output: bytes = b"") -> InstanceStatus:
        """End the instance well. Returns what it has become: cancelled, if a cancel came before."""
        return self._run(flows.acknowledged(messages.CompleteInstance(output=output)))

    def failed(self, error: str) -> InstanceStatus:
        """End the instance badly. Returns what it has become: cancelled, if a cancel came before."""
        return self._run(flows.acknowledged(messages.FailInstance(error=error)))

    def suspended(self, wake_at: datetime | None = None) -> InstanceStatus:
        """Stop for now, until a resume signal or `wake_at`. A pending pause or shutdown is thereby acknowledged.

        After a pause that was taken back meanwhile, a launched program is launched again at once.
        """
        return self._run(flows.suspended(self._session, self.clock, wake_at))

    def custom_event(self, subtype: str, payload: bytes = b"") -> None:
        """Write an event of the program's own into the instance's audit log."""
        self._run(flows.acknowledged(messages.RecordEvent(subtype=subtype, payload=payload)))

    def poll_signal(self) -> Signal | None:
        """Return the unacknowledged signal to the whole instance, a cancel before all others, or None."""
        return self._run(flows.poll_signal())

    def acknowledge_signal(self, signal: Signal | CustomSignal | str) -> InstanceStatus:
        """Say that a signal was acted upon: a cancel then ends the instance, a pause or shutdown suspends it.

        Returns what the instance has become. Harmless when repeated.
        """
        return self._run(flows.acknowledge_signal(signal))

    def check_cancelled(self) -> None:
        """Raise `InstanceCancelled` if the instance was asked to cancel."""
        self._run(flows.check(SignalType.CANCEL))

    def check_paused(self) -> None:
        """Raise `InstancePaused` if the instance was asked to pause."""
        self._run(flows.check(SignalType.PAUSE))

    def record_retry_attempt(self, checkpoint_id: str, attempt: int, error: str | None = None) -> None:
        """Count a failed try of a step (from 1), durably."""
        self._run(flows.record_retry(checkpoint_id, attempt, error))

    def get_status(self) -> StatusResponse:
        """Return how this instance stands."""
        return self._run(flows.get_status())

    def load_input(self) -> bytes | None:
        """Return what the instance was started with, or None."""
        return self._run(flows.load_input())

    def get_instance_status(self, instance_id: str) -> StatusResponse:
        """Return how another instance of the same tenant stands; one that is not theirs is not found."""
        return self._run_for(instance_id, flows.get_status())

    def send_signal(self, instance_id: str, signal_type: SignalType, payload: bytes = b"") -> InstanceStatus:
        """Ask another instance of the same tenant to cancel, pause, resume or shut down; return what it is now."""
        return self._run_for(instance_id, flows.send_signal(signal_type, None, payload))

    def send_custom_signal(self, instance_id: str, name: str, payload: bytes = b"") -> InstanceStatus:
        """Send a signal with a name to another instance of the same tenant; return what it is now."""
        return self._run_for(instance_id, flows.send_signal(None, name, payload))

    def poll_custom_signal(self, name: str) -> CustomSignal | None:
        """Take the next custom signal called `name`, or None if there is none yet.

        What the n-th look for a name finds, or that it finds nothing, is stored: a replay sees the same. So a look
        costs a commit, and `wait_for_signal` is the cheaper way to wait.
        """
        with self.scope.places.hold(name) as place:
            signal = self._run(flows.poll_custom_signal(name, place.id))
            place.is_taken = True
            return signal

    def wait_for_signal(self, name: str, timeout: float | timedelta | None = None) -> CustomSignal | None:
        """Wait for the next custom signal called `name`; None if none came within `timeout` (seconds).

        The deadline is stored when the wait begins; a replay neither prolongs it nor sees another outcome. Raises
        `InstanceCancelled`, `InstancePaused` or `InstanceShutdown` if such a signal comes first.
        """
        with self.scope.places.hold(name) as place:
            flow = flows.wait_for_signal(self._session, self.clock, name, place.id, timeout, park_after=self.park_after)
            signal = self._run(flow)
            place.is_taken = True
        return signal

    def acknowledge(self, signal_type: SignalType) -> bool:
        """Acknowledge the pending signal of that type; False if there is none."""
        return self._run(flows.acknowledge_pending(signal_type))

    @contextmanager
    def program(self) -> Iterator[Program]:
        """Run the whole program in the block: it registers the attempt, and reports how the program ends.

        A block that ends completes the instance, with `program.output`; one that raises fails it, and the error goes
        on. One that ends because the instance is cancelled, paused or shut down, or because a newer attempt has taken
        over, says so to the runtime and ends quietly: what stands behind the block goes on. Trouble of the runtime, an
        interrupt and `Parked` go on without a report: the instance is to be launched again.
        """
        program = Program()
        with self:
            try:
                yield program
                self._run(self._progress.write())
                self._run(complete(self._session, program.output))
            except BaseException as raised:
                if self._run(report(raised)) is not End.TOLD:
                    raise

    def each(self, items: Iterable[T], *, name: str, state: Any = None) -> Each[T]:
        """Return a loop over `items` whose body runs once for each, also if the program is interrupted in between.

        A checkpoint is saved when a body has ended; a replay goes on with the item behind the last one, so every
        attempt must give the same items in the same order. `state` is kept along (as JSON; a dataclass, a msgspec
        struct or a pydantic model comes back as what it was) and is found again in the `state` of the loop. An item
        that the program leaves by `break` or with an error is not done. What the body calls belongs to its item.

        Raises `InstanceCancelled`, `InstancePaused` or `InstanceShutdown` between two items if such a signal came, and
        `InvalidInput` if there are fewer items than are done, or for a state that cannot be stored.
        """
        return Each(self, items, name, state)

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the program has come, for `runtara status`: `done`, of `total` if that is known.

        Cheap to call for every item: it is written once a second at most, and when everything is done.
        """
        self._run(self._progress.say(done, total, message))

    def _ask(self, command: messages.Request[T]) -> T:
        return self._door.call_from_thread(self._prepare(command))  # type: ignore[no-any-return]  # a numbered command is still one

    def _run(self, flow: flows.Flow[T]) -> T:
        return drive_blocking(flow, self.perform)

    def _run_for(self, instance_id: str, flow: flows.Flow[T]) -> T:
        """Run a flow whose commands concern another instance of the same tenant."""
        return drive_blocking(flow, partial(perform_blocking, self._door.beside(instance_id)))

    def perform(self, wish: Any) -> Any:
        """Do what a flow wishes for."""
        return perform_blocking(self._door, self._prepare(wish))
