"""The way from every door to the actor that answers: checks a call, and finds out whom to ask.

What is malformed or too large is refused here, once for all doors. `ENDPOINTS` says who answers.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

import msgspec

from runtara import messages
from runtara.actors._cell import CellRef
from runtara.actors._dispatch_checks import CHECKS, PAGE_MAX, PAYLOADS, TEXT_MAX_BYTES
from runtara.actors._hand_in import Behind, BehindAll, HandIn, Tray
from runtara.actors._images_checks import IMAGE_CHECKS, check_image
from runtara.actors._list_checks import LIST_CHECKS
from runtara.actors._many_checks import MANY_CHECKS
from runtara.actors._pool_checks import POOL_CHECKS
from runtara.actors._ref import Askable, Ref
from runtara.actors._reply import Reply
from runtara.actors._rest_checks import REST_CHECKS
from runtara.actors._schedule_checks import SCHEDULE_CHECKS
from runtara.actors._system import System
from runtara.actors.storage import Query
from runtara.endpoints import ENDPOINTS
from runtara.errors import InvalidInput, NotFound, TooLarge
from runtara.ids import ImageRef, InstanceKey, check_id, is_pooled
from runtara.messages import Call, Request
from runtara.traces import current_trace

__all__ = ["PAGE_MAX", "TEXT_MAX_BYTES", "Dispatch", "Line", "Outcome"]

R = TypeVar("R")


class Outcome(Protocol):
    """What came of a call: a reply, or the error that stands for it."""

    value: Any
    error: BaseException | None


class Dispatch:
    """Sends calls to the actors of one system, from any thread and any event loop.

    `runner` is the path of the actor that keeps the logs of programs: it hears a `Call` with a `ReadLog`. `images` is
    that of the registry of images, which hears calls about them, starts of them included; `upkeep` that of the actor
    that does the chores; `keys` that of the keeper of keys; `many` and `schedules` those of the actors that hear what
    is said about many instances, and about schedules; `pool` that of the pool of workers. `answers` are the functions
    by which the system as a whole answers; they run on its loop.
    `check_program` raises `NotFound` for a program that cannot be launched. `ends_with_process` says of the store that
    nothing of it is left once this process has ended, so that checkpoints may be handed in.
    """

    def __init__(
        self,
        system: System,
        *,
        instances: str,
        reader: str,
        payload_max_bytes: int,
        runner: str | None = None,
        images: str | None = None,
        upkeep: str | None = None,
        keys: str | None = None,
        many: str | None = None,
        schedules: str | None = None,
        pool: str | None = None,
        answers: Mapping[type, Callable[[], object]] | None = None,
        check_program: Callable[[str], object] | None = None,
        ends_with_process: bool = False,
    ) -> None:
        self._instances: Ref = system.ref(instances)
        self._tray: Final = Tray() if ends_with_process else None
        self.reader: Final[Askable] = (
            system.ref(reader) if self._tray is None else BehindAll(system.ref(reader), self._tray)
        )
        self.runner: Final = None if runner is None else system.ref(runner)
        self.images: Final = None if images is None else system.ref(images)
        self.upkeep: Final = None if upkeep is None else system.ref(upkeep)
        self.keys: Final = None if keys is None else system.ref(keys)
        self.many: Final = None if many is None else system.ref(many)
        self.schedules: Final = None if schedules is None else system.ref(schedules)
        self.pool: Final = None if pool is None else system.ref(pool)
        self.system: Final = _SystemAnswers(self._instances, answers or {})
        self.check_program: Final = check_program
        self.payload_max_bytes: Final = payload_max_bytes
        self.ask_timeout: Final = system.ask_timeout

    def line(self, key: InstanceKey, *, passed_on: bool = False, hands_in: bool = False) -> "Line":
        """Return the way to one instance (or, for lists, to its tenant). Raises `InvalidInput` for malformed ids.

        `passed_on`: another node was asked, and has passed it on; then it is not passed on again. `hands_in`: it is the
        way of one program of this process, which may hand in checkpoints where the store ends with the process.
        """
        check_id(key.tenant_id, "tenant id")
        check_id(key.instance_id, "instance id")
        if self._tray is None:
            return Line(key, CellRef(self._instances, key), self, passed_on=passed_on)
        kind = HandIn if hands_in else Behind
        return Line(key, kind(self._instances, key, self._tray), self, passed_on=passed_on)

    async def call(
        self, key: InstanceKey, command: Request[R], epoch: int | None = None, *, timeout: float | None = None
    ) -> R:
        """Have a command answered. Raises what the actor refuses with; see `Ref.ask` for the rest."""
        return await self.line(key).call(command, epoch, timeout=timeout)

    def call_from_thread(
        self, key: InstanceKey, command: Request[R], epoch: int | None = None, *, timeout: float | None = None
    ) -> R:
        """Like `call`, blocking the calling thread."""
        return self.line(key).call_from_thread(command, epoch, timeout=timeout)


class _SystemAnswers(Askable):
    """The system as a whole, as somebody who can be asked. `place` is an actor whose loop it lives on."""

    __slots__ = ("_answers",)

    def __init__(self, place: Ref, answers: Mapping[type, Callable[[], object]]) -> None:
        super().__init__(place.slot)
        self._answers = answers

    def _send(self, message: object, timeout: float | None, frame: Any, waiter: Any) -> Reply:
        reply = self._open_reply(timeout, frame, waiter)
        answer = self._answers.get(type(message))
        try:
            if answer is None:
                raise NotFound(f"{type(message).__name__} is not answered by this system: ask a host")
            reply.settle(answer())
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the asker
            reply.fail(error)
        return reply


class Line:
    """The way to one instance, its ids checked once."""

    __slots__ = ("cell", "dispatch", "key", "passed_on")

    def __init__(
        self, key: InstanceKey, cell: CellRef[InstanceKey], dispatch: Dispatch, *, passed_on: bool = False
    ) -> None:
        self.key = key
        self.cell = cell
        self.dispatch = dispatch
        self.passed_on = passed_on

    async def call(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R:
        """Have a command answered. Raises what the actor refuses with; see `Ref.ask` for the rest."""
        target, message = self._route(command, epoch)
        return _reply(command, await target.ask(message, timeout=self._patience(command, timeout)))

    def call_from_thread(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R:
        """Like `call`, blocking the calling thread."""
        target, message = self._route(command, epoch)
        return _reply(command, target.ask_from_thread(message, timeout=self._patience(command, timeout)))

    def hand_in(self, checkpoint_id: str, state: bytes, epoch: int | None) -> bool:
        """Take a checkpoint that is saved before anything else is heard that is said on this way; from any thread.

        False where a call has to save it. Raises what earlier ones were refused with.
        """
        cell = self.cell
        return isinstance(cell, HandIn) and epoch is not None and cell.hand_in(checkpoint_id, state, epoch)

    def is_left_alone(self, epoch: int | None) -> bool:
        """Whether it is known here that an attempt runs and was told nothing; where it is not, it has to ask."""
        return isinstance(self.cell, HandIn) and self.cell.is_left_alone(epoch)

    def call_then(
        self,
        command: Request[Any],
        epoch: int | None,
        then: Callable[[Outcome], None],
        timeout: float | None = None,
    ) -> None:
        """Have `then` called with what came of a command, once; on the loop only. Raises if it is refused at once.

        For doors: it costs no task. `then` must not raise, and may be called before this returns.
        """
        target, message = self._route(command, epoch)
        wrap = _REPLIES.get(type(command))
        target.ask_then(
            message, then if wrap is None else _Wrapped(wrap, then), timeout=self._patience(command, timeout)
        )

    def _route(self, command: Any, epoch: int | None) -> tuple[Askable, object]:
        """Return whom to ask, and what. Raises `InvalidInput` or `TooLarge`, and what the way itself refuses with."""
        rule = _RULES.get(type(command))
        if rule is None:
            raise InvalidInput(f"{type(command).__name__} is not an operation that a door offers")
        check, payload, has_results, way = rule
        if check is not None:
            check(command)
        if payload is not None:
            content = getattr(command, payload)
            if content.__class__ is not bytes or len(content) > self.dispatch.payload_max_bytes:
                self._check_payload(type(command), payload, content)
        if has_results:
            for result in command.results:
                self._check_payload(type(command), "a result", result.state)
        return way(self, command, epoch)

    def _check_payload(self, kind: type, field: str, payload: object) -> None:
        most = self.dispatch.payload_max_bytes
        if payload is None and kind in (messages.StartInstance, messages.ForkInstance):
            return
        if not isinstance(payload, bytes):
            raise InvalidInput(f"{field} must be bytes, not {type(payload).__name__}: encode it first")
        if len(payload) > most:
            raise TooLarge(
                f"{field} of {kind.__name__} has {len(payload)} bytes: at most {most} are allowed; "
                "keep large data elsewhere and store a reference to it"
            )

    def _patience(self, command: object, timeout: float | None) -> float | None:
        """Return how long to wait for the answer: whoever wants to wait for something waits so much longer."""
        if timeout is None and isinstance(command, _WAITING):
            return self.dispatch.ask_timeout + command.wait_ms / 1000
        return timeout


_WAITING: Final = (messages.ReadLog, messages.ClaimWork, messages.KeepClaims, messages.OfferTask)


class _Wrapped:
    """Has a reader's answer made into the reply before it is handed on."""

    __slots__ = ("_then", "_wrap", "error", "value")

    def __init__(self, wrap: Callable[[Any], object], then: Callable[[Outcome], None]) -> None:
        self._wrap = wrap
        self._then = then
        self.value: Any = None
        self.error: BaseException | None = None

    def __call__(self, reply: Outcome) -> None:
        self.error = reply.error
        if reply.error is None:
            self.value = self._wrap(reply.value)
        self._then(self)


def _reply(command: Request[R], answer: Any) -> R:
    wrap = _REPLIES.get(type(command))
    return cast("R", answer if wrap is None else wrap(answer))


_REPLIES: Final[dict[type, Callable[[Any], object]]] = {
    messages.ListRetries: lambda retries: messages.RetriesFound(tuple(retries)),
    messages.ListNodes: lambda nodes: messages.NodesFound(tuple(nodes)),
    messages.CountInstances: messages.InstancesCounted,
}
"""What a reader's answer becomes, where it is not the reply itself."""


# Ways -----------------------------------------------------------------------------------------------------------------


def _to_instance(line: Line, command: Any, epoch: int | None) -> tuple[Askable, object]:
    return line.cell, Call(line.key, command, epoch, line.passed_on, current_trace())


def _to_new_instance(line: Line, command: messages.StartInstance, epoch: int | None) -> tuple[Askable, object]:
    if line.passed_on and command.image and ImageRef.of_program(command.program) is not None:
        return _to_instance(line, command, epoch)  # the node that was asked has found the image already
    if command.image and line.dispatch.images is not None:
        check_image(command.program)
        return _to_images(line, command, epoch)
    if line.dispatch.check_program is not None and not is_pooled(command.program):
        line.dispatch.check_program(command.program)
    return line.cell, Call(line.key, command, epoch, line.passed_on, current_trace())


def _to_reader(line: Line, command: Any, _epoch: int | None) -> tuple[Askable, object]:
    if isinstance(command, messages.GetTenantMetrics) and command.tenant_id != line.key.tenant_id:
        raise NotFound(f"there is no tenant {command.tenant_id!r} here: ask for your own")
    return line.dispatch.reader, _QUERIES[type(command)](line.key, command)


def _to_keeper(name: str, lack: str) -> "_Way":
    """Return the way to an actor that not every system has; `lack` says what one without it cannot do."""

    def way(line: Line, command: Any, epoch: int | None) -> tuple[Askable, object]:
        keeper: Ref | None = getattr(line.dispatch, name)
        if keeper is None:
            raise NotFound(f"{type(command).__name__} is not answered by this system: {lack}")
        return keeper, Call(line.key, command, epoch, line.passed_on, current_trace())

    return way


_to_images: Final = _to_keeper("images", "it keeps no images")
_to_many: Final = _to_keeper("many", "ask for each instance by itself")


def _to_system(line: Line, command: Any, epoch: int | None) -> tuple[Askable, object]:
    return line.dispatch.system, command


_Way = Callable[[Line, Any, int | None], tuple[Askable, object]]

_WAYS: Final[dict[str, _Way]] = {
    "instance": _to_instance,
    "reader": _to_reader,
    "runner": _to_keeper("runner", "it launches no processes"),
    "pool": _to_keeper("pool", "it has no pool of workers"),
    "images": _to_images,
    "upkeep": _to_keeper("upkeep", "it has no upkeep of its own"),
    "keys": _to_keeper("keys", "it keeps no keys of tenants"),
    "many": _to_many,
    "schedules": _to_keeper("schedules", "it keeps no schedules"),
    "system": _to_system,
}
"""Owner of an operation to the way to it."""


def _list_query(key: InstanceKey, command: messages.ListInstances) -> Query:
    if command.filter is None and command.order == "id":
        return Query("list_instances", (key.tenant_id, command.status, command.limit, command.cursor))
    wanted = command.filter or messages.InstanceFilter()
    wanted = msgspec.structs.replace(wanted, status=wanted.status or command.status)
    return Query("find_instances", (key.tenant_id, wanted, command.order, command.limit, command.cursor))


_QUERIES: Final[dict[type, Callable[[InstanceKey, Any], Query]]] = {
    messages.ListRetries: lambda key, command: Query("read_retries", (key, command.checkpoint_id)),
    messages.ListNodes: lambda _key, _command: Query("list_nodes"),
    messages.ListCheckpoints: lambda key, command: Query("list_checkpoints", (key, command.limit, command.cursor)),
    messages.ListEvents: lambda key, command: Query(
        "list_newest_events" if command.newest_first else "list_events",
        (key, command.event_type, command.subtype, command.limit, command.cursor),
    ),
    messages.ListSteps: lambda key, command: Query(
        "list_steps", (key, command.status, command.step_type, command.limit, command.cursor)
    ),
    messages.ListInstances: _list_query,
    messages.CountInstances: lambda key, _command: Query("count_instances", (key.tenant_id,)),
    messages.GetTenantMetrics: lambda key, command: Query(
        "measure_tenant", (key.tenant_id, command.from_ms, command.to_ms, command.granularity)
    ),
}
"""What readers answer: command to the reader's method."""


class _Rule(NamedTuple):
    """All that is known about a command, so that a call costs one look-up."""

    check: Callable[[Any], None] | None
    payload: str | None
    """The field that holds bytes of the user's."""
    has_results: bool
    """Whether checkpoints are saved with it."""
    way: _Way


_RULES: Final = {
    kind: _Rule(
        (CHECKS | REST_CHECKS | POOL_CHECKS | LIST_CHECKS | IMAGE_CHECKS | MANY_CHECKS | SCHEDULE_CHECKS).get(kind),
        PAYLOADS.get(kind),
        kind in REST_CHECKS,
        _to_new_instance if kind is messages.StartInstance else _WAYS[row.owner],
    )
    for kind, row in ENDPOINTS.items()
}
