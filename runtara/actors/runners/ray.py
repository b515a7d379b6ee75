"""The engine that launches programs on the nodes of a Ray cluster.

Every attempt is a named actor of Ray, its keeper (`_ray_keeper`), which Ray places where the program's needs are met.
It outlives this process, and says what it has launched; so a host that comes back finds every attempt, running or
ended. An attempt whose node dies is lost, and nobody's fault: its instance goes on elsewhere, from its checkpoints.

Nothing that matters is kept here. What an attempt has written lies at its node; of an ended one, the end of it is kept
in memory until the next launch, for the instances that ended last, and is lost with this process.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import trio

from runtara.actors.runners import _shim
from runtara.actors.runners._contract import Ended, HostFailed, Plan
from runtara.actors.runners._program import command_of, environment_of, folders_of
from runtara.actors.runners._ray_cluster import Cluster, Gone, Handle, Unconnected, Unheard
from runtara.actors.runners._ray_keeper import Order
from runtara.actors.runners._ray_logs import TAIL_BYTES, LogTails, Tails
from runtara.errors import Forbidden
from runtara.ids import InstanceKey, new_id

__all__ = ["PROGRAM_MAX_BYTES", "RayAttempt", "RayEngine", "RayOptions"]

PROGRAM_MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest program; it is sent to the node with each launch."""
_PATIENCE_S: Final = 60.0
"""How long a keeper is asked to wait for something; then it is asked again, so that no wait outlives its asker long."""
_ANSWER_S: Final = 30.0
"""How long a keeper of an earlier life may take to say what it has launched."""
_GONE_S: Final = 10.0
"""In which a killed program is gone; then its keeper is killed, too."""
_AWAY_S: Final = 1.0
"""Between tries to reach a keeper that cannot be reached."""
_GONE: Final = "the Ray node, or the process on it that looked after the program, is gone"


class RayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to set."""

    address: str
    """Where the cluster is, as Ray has it: ``auto``, or host:port."""
    node: str
    """Who launches: a name of this host that no other host of the cluster has, and that stays the same."""
    programs: str
    """Folders, separated by colons, below which the programs lie that may be launched."""
    output_max_bytes: int
    """Largest output."""
    log_bytes: int
    """How much of stdout, and of stderr, is kept at the node; the oldest goes first."""
    kill_grace_ms: int
    """How long a program may take after SIGTERM before it is killed."""
    cpus: float = 1.0
    """Cores for a program that does not say what it needs."""
    limits: Mapping[str, int] = {}
    """Limits of each program, by the names that the system has for them; none leaves a core dump anyway."""
    namespace: str = "runtara"
    """Ray's namespace for the actors."""
    placement_timeout: float = 60.0
    """Seconds in which there must be a place for a program."""


class RayAttempt:
    """A program on a node, and its keeper."""

    def __init__(self, engine: "RayEngine", key: InstanceKey, epoch: int, handle: Handle) -> None:
        self.key: Final = key
        self.epoch: Final = epoch
        self.seen: int | None = None
        """The newest version of what it has written that was heard of."""
        self.ends: Final[dict[str, int]] = {}
        """How much of each stream was read."""
        self._engine = engine
        self._cluster = engine.cluster
        self._handle = handle
        self._destroyed = trio.Event()

    def stop(self, how: Literal["ask", "kill", "destroy"]) -> None:
        """Have the keeper stop it, which sees to the rest. A keeper that does not is killed by `wait_ended`."""
        self._cluster.tell(self._handle, "stop", how)
        if how == "destroy":
            self._destroyed.set()

    async def wait_ended(self) -> Ended:
        """Wait for what the keeper says, or Ray, if that is gone."""
        found: list[Ended] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._destroy)
            found.append(await self._wait_ended())
            nursery.cancel_scope.cancel()
        return found[0]

    async def forget(self) -> None:
        """Kill the keeper; the end of what its program wrote is kept."""
        tails: Tails | None = None
        with suppress(Gone, Unheard):  # then what was written is lost with the node
            tails = await self._cluster.call(self._handle, "leave", TAIL_BYTES)
        self._engine.part_from(self, tails)
        await self._cluster.kill(self._handle)

    def close(self) -> None:
        """Do nothing: the keeper is Ray's."""

    async def wait_news(self, known: int | None) -> int:
        """Wait until there is something newer; return its version. Raises `Gone` and `Unheard`."""
        return await self._wait("wait_news", known)  # type: ignore[no-any-return]  # Ray's answers are of any type

    async def read_log(self, stream: str, offset: int, limit: int) -> tuple[bytes, int]:
        """Read from the segments at the node. Raises `Gone` and `Unheard`."""
        data, at, version = await self._cluster.call(self._handle, "read_log", stream, offset, limit)
        self.seen = version if self.seen is None else max(self.seen, version)
        self.ends[stream] = max(self.ends.get(stream, 0), at + len(data))
        return data, at

    async def _wait_ended(self) -> Ended:
        while True:
            try:
                found = await self._wait("wait_ended")
            except Gone as gone:
                return Ended(exit_code=None, error=f"{_GONE}: {gone}", counts=False)
            except Unheard:  # either it can be reached again, or Ray finds that it is gone
                await trio.sleep(_AWAY_S)
                continue
            if found is not None:
                return Ended(**found)

    async def _wait(self, method: str, *args: object) -> Any:
        return await self._cluster.call(self._handle, method, *args, _PATIENCE_S, waits=True)

    async def _destroy(self) -> None:
        await self._destroyed.wait()
        await trio.sleep(_GONE_S)
        await self._cluster.kill(self._handle)


class RayEngine:
    """Launches programs on a Ray cluster; connects to it when it is first needed."""

    def __init__(self, options: RayOptions) -> None:
        self.cluster: Final = Cluster(options.address, options.namespace)
        self._options: Final = options
        self._folders: Final = folders_of(options.programs)
        self._node: Final = _digest(options.node)[:8]
        self._attempts: Final[dict[InstanceKey, RayAttempt]] = {}
        """The last attempt of each instance that has one."""
        self._tails: Final = LogTails()
        self._events: Final[dict[InstanceKey, trio.Event]] = {}
        self._nursery: trio.Nursery | None = None

    def check(self, program: str) -> None:
        """Raise `NotFound` or `Forbidden` unless the program may be launched here."""
        self._command_of(program)

    async def launch(self, plan: Plan) -> RayAttempt:
        """Have a keeper made that launches the program; see `Engine.launch`. First, older attempts are killed."""
        order = await trio.to_thread.run_sync(self._order, plan)
        try:
            order["logs"] = await self._remove(plan.key) or self._tails.of(plan.key)
            handle = await self._launch(plan, order)
        except (ValueError, Unconnected) as error:
            raise HostFailed(f"Ray could not launch {plan.program!r}: {error}") from error
        return self._take(RayAttempt(self, plan.key, plan.epoch, handle))

    async def adopt(self) -> Sequence[RayAttempt]:
        """Return every attempt of this node that was not forgotten. Those that have not begun are taken back."""
        try:
            names = await self.cluster.names()
        except Unconnected as error:
            raise HostFailed(str(error)) from error
        found: list[RayAttempt] = []
        async with trio.open_nursery() as nursery:
            for name in names:
                if name.startswith(_PREFIX) and name.endswith(f"-{self._node}"):
                    nursery.start_soon(self._adopt, name, found)
        return [self._take(attempt) for attempt in sorted(found, key=lambda attempt: attempt.epoch)]

    async def read_log(self, key: InstanceKey, stream: str, offset: int, limit: int) -> tuple[bytes, int]:
        """Read at the node, or from what is kept of an ended attempt. A node that is away has nothing to read."""
        attempt = self._attempts.get(key)
        if attempt is not None:
            with suppress(Gone, Unheard):
                return await attempt.read_log(stream, offset, limit)
        return self._tails.read(key, stream, offset, limit)

    def watch_log(self, key: InstanceKey) -> trio.Event:
        """Have the keeper asked for what is newer than all that was read; see `Engine.watch_log`."""
        event, attempt = self._events.get(key), self._attempts.get(key)
        if event is None:
            event = self._events[key] = trio.Event()
            if attempt is not None and self._nursery is not None:
                self._nursery.start_soon(self._follow, attempt, attempt.seen)
        return event

    async def serve(self) -> None:
        """Ask keepers for news, for as long as somebody waits for them, until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                for key in list(self._events):
                    self._happened(key)
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def part_from(self, attempt: RayAttempt, tails: Tails | None) -> None:
        """Keep the end of what an attempt has written; where it is lost, go on where its readers are."""
        if self._attempts.get(attempt.key) is not attempt:
            return
        del self._attempts[attempt.key]
        self._tails.keep(attempt.key, tails or {stream: (end, b"") for stream, end in attempt.ends.items()})
        self._happened(attempt.key)

    # Launching -------------------------------------------------------------------------------------------------------

    def _command_of(self, program: str) -> list[str]:
        command = command_of(program, self._folders)
        size = Path(command[-1]).stat().st_size
        if size > PROGRAM_MAX_BYTES:
            raise Forbidden(
                f"program {program!r} has {size} bytes, and at most {PROGRAM_MAX_BYTES} are sent to a Ray node: "
                "install what is large on the nodes, and launch a small program that uses it"
            )
        return command

    def _order(self, plan: Plan) -> Order:
        command = self._command_of(plan.program)
        path = Path(command[-1])
        try:
            program, shim = path.read_bytes(), Path(_shim.__file__).read_bytes()
        except OSError as error:
            raise HostFailed(f"the host could not read {plan.program!r}: {error}") from error
        env = environment_of(plan, {}, {})
        if "PATH" not in {**plan.env, **plan.ours}:
            del env["PATH"]  # that of the node is better
        return {
            "launch_id": new_id(),
            "shim": shim,
            "name": path.name,
            "program": program,
            "by_python": len(command) > 1,
            "input": plan.input,
            "env": env,
            "logs": {},
            "limits": {"RLIMIT_CORE": 0, **self._options.limits},
            "log_bytes": self._options.log_bytes,
            "grace_ms": self._options.kill_grace_ms,
            "output_max_bytes": self._options.output_max_bytes,
        }

    async def _remove(self, key: InstanceKey) -> Tails:
        """Kill all attempts of an instance, whoever has launched them; return the end of what the last one wrote."""
        tails: Tails = {}
        for name in await self.cluster.names():
            handle = await self.cluster.find(name) if name.startswith(_prefix(key)) else None
            if handle is None:
                continue
            with trio.move_on_after(_GONE_S), suppress(Gone, Unheard):
                await self.cluster.call(handle, "stop", "kill")
                await self.cluster.call(handle, "wait_ended", _GONE_S, waits=True)
                tails = await self.cluster.call(handle, "leave", TAIL_BYTES)
            await self.cluster.kill(handle)
        return tails

    async def _launch(self, plan: Plan, order: Order) -> Handle:
        """Return the keeper, once it has launched the program."""
        about = {"tenant": plan.key.tenant_id, "instance": plan.key.instance_id, "epoch": plan.epoch}
        name, place = f"{_prefix(plan.key)}{plan.epoch}-{self._node}", _place_of(plan.resources, self._options.cpus)
        handle = await self.cluster.start(name, place, {**about, "node": self._options.node}, order)
        try:
            await self._wait_launched(plan, handle)
        except BaseException:  # whatever it is, a cancel included: nothing of it may be left
            with trio.CancelScope(shield=True):
                await self.cluster.kill(handle)
            raise
        return handle

    async def _wait_launched(self, plan: Plan, handle: Handle) -> None:
        """Wait until the program runs. Raises `HostFailed`."""
        about: dict[str, Any] | None = None
        try:
            with trio.move_on_after(self._options.placement_timeout):
                about = await self.cluster.call(handle, "about")
        except (Gone, Unheard) as gone:
            raise HostFailed(f"{_GONE}, and had not launched {plan.program!r} yet: {gone}") from gone
        if about is None:
            raise HostFailed(await self._why_not(plan))
        if about["failed"]:
            raise HostFailed(f"the Ray node could not launch {plan.program!r}: {about['failed']}")

    async def _why_not(self, plan: Plan) -> str:
        asked = {"CPU": self._options.cpus} | {_NAMES.get(name, name): much for name, much in plan.resources.items()}
        words = ", ".join(f"{name} {much:g}" for name, much in asked.items())
        for node in await self.cluster.nodes():
            if all(node.get(name, 0.0) >= much for name, much in asked.items()):
                return f"no node of the Ray cluster had {words} free within {self._options.placement_timeout:g} s"
        return f"no node of the Ray cluster has {words}: ask for less, or add a node that has it"

    # Attempts --------------------------------------------------------------------------------------------------------

    async def _adopt(self, name: str, found: list[RayAttempt]) -> None:
        handle = await self.cluster.find(name)
        if handle is None:
            return
        about: dict[str, Any] | None = None
        with trio.move_on_after(_ANSWER_S):
            with suppress(Gone, Unheard):
                about = await self.cluster.call(handle, "about")
        if about is None or about["failed"]:
            await self.cluster.kill(handle)
        else:
            key = InstanceKey(about["tenant"], about["instance"])
            found.append(RayAttempt(self, key, about["epoch"], handle))

    def _take(self, attempt: RayAttempt) -> RayAttempt:
        """Have an attempt answer for its instance, and those wait for it who wait for the instance."""
        self._attempts[attempt.key] = attempt
        self._happened(attempt.key)
        return attempt

    async def _follow(self, attempt: RayAttempt, seen: int | None) -> None:
        """Wait for news of an attempt, for all who wait for its instance."""
        event = self._events.get(attempt.key)
        while event is not None and not event.is_set():
            try:
                version = await attempt.wait_news(seen)
                if version == seen:
                    continue
                attempt.seen = version if attempt.seen is None else max(attempt.seen, version)
            except (Gone, Unheard):
                await trio.sleep(_AWAY_S)  # for as long as there is nothing to read, readers need not hurry
            if self._events.get(attempt.key) is event:
                self._happened(attempt.key)
            return

    def _happened(self, key: InstanceKey) -> None:
        event = self._events.pop(key, None)
        if event is not None:
            event.set()


# Names and needs ------------------------------------------------------------------------------------------------------

_PREFIX: Final = "runtara-"
_NAMES: Final = {"cpu": "CPU", "gpu": "GPU"}
"""What Ray calls it."""
_WORDS: Final = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
"""What Ray wants it to be called where it is asked for; all others have a place of their own."""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _prefix(key: InstanceKey) -> str:
    """Return how the names of all attempts of an instance begin."""
    digest = _digest("\0".join(key))
    return f"{_PREFIX}{digest}-e"


def _place_of(resources: Mapping[str, float], cpus: float) -> dict[str, Any]:
    """Return what an attempt needs, as Ray wants to be told."""
    asked = {"CPU": cpus} | {_NAMES.get(name, name): amount for name, amount in resources.items()}
    own = {
        _WORDS[name]: int(amount) if name == "memory" else amount for name, amount in asked.items() if name in _WORDS
    }
    return {**own, "resources": {name: amount for name, amount in asked.items() if name not in _WORDS and amount}}
