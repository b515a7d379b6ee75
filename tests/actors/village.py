"""Several nodes that share a database, in one process, and reach each other without a network.

Everything is real but the way between the nodes: a call that one passes on is asked at the other's own dispatch. What a
node does to the database takes its time, so nothing here knows a clock that jumps.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
import trio

from runtara.actors.programs import Program
from runtara.errors import Retry, RuntaraError, Unreachable
from runtara.ids import InstanceKey
from runtara.messages import Request
from runtara.records import Holder
from runtara.settings import Settings
from runtara.store import NodeSpec
from runtara.store._postgres import PostgresStore
from runtara.system import Neighbours, Runtime, in_process, open_runtime

__all__ = ["LEASE_MS", "PATIENCE_S", "Node", "Village", "until"]

PATIENCE_S: Final = 60.0
LEASE_MS: Final = 60_000
"""So long that no slow machine loses it; who wants to see one lost gives less."""


class Node:
    """A node, and all that a test may want to touch."""

    def __init__(self, name: str, runtime: Runtime, store: PostgresStore) -> None:
        self.name = name
        self.runtime = runtime
        self.store = store
        self.reachable = True
        self.passed: list[Any] = []
        """What other nodes have passed on to this one."""
        self.gate = trio.Event()
        """Until it is set, what they pass on waits."""
        self.gate.set()
        self.answered: list[Any] = []
        """What it has answered to that."""
        self.answers = trio.Event()
        """Until it is set, the answers are on their way."""
        self.answers.set()
        self.loses_answers = False
        """Whether they hear nothing of what it has answered."""

    async def ask(
        self, instance_id: str, command: Request[Any], epoch: int | None = None, tenant: str = "acme", **options: Any
    ) -> Any:
        return await self.runtime.dispatch.call(InstanceKey(tenant, instance_id), command, epoch, **options)

    def facts(self, path: str) -> Mapping[str, Any]:
        """What an actor says about itself."""
        info = self.runtime.system.inspect()
        for name in path.split("/")[1:]:
            info = next(child for child in info.children if child.name == name)
        return info.facts

    async def hears(self) -> bool:
        """Whether what other nodes say is heard by now."""
        return bool(self.facts("root/timers/node")["hears"])

    async def is_cut_off(self) -> bool:
        """Whether the lease has run out."""
        return not self.store.tenure.holds

    async def pass_on(self, key: InstanceKey, command: Any, epoch: int | None, timeout: float) -> Any:
        """Be another node's way to this one."""
        if not self.reachable:
            raise Unreachable(f"{self.name} is cut off")
        self.passed.append(command)
        await self.gate.wait()
        line = self.runtime.dispatch.line(key, passed_on=True)
        answer = await line.call(command, epoch, timeout=timeout)
        self.answered.append(answer)
        await self.answers.wait()
        if self.loses_answers:
            raise Unreachable(f"{self.name} is cut off, and was not before")
        return answer


class Village:
    """The database, and who shares it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.nodes: dict[str | None, Node] = {}
        self.took_documents: Callable[[Mapping[str, bytes]], None] | None = None

    @asynccontextmanager
    async def open(
        self,
        name: str,
        *,
        programs: Mapping[str, Program] | None = None,
        lease_ms: int = LEASE_MS,
        address: str | None = "",
        timeout_ms: int = 10_000,
        **settings: Any,
    ) -> AsyncIterator[Node]:
        """Run a node for the length of the block. Without an address, the others cannot reach it."""
        spec = NodeSpec(
            name=name,
            address=f"{name}.test:1" if address == "" else address,
            lease_ms=lease_ms,
            programs=tuple(programs or ()),
        )
        store = PostgresStore(self.url, spec)
        patient = {"heartbeat_timeout_ms": 10**9, "relaunch_after_ms": 1, "readers": 1}
        async with open_runtime(
            Settings(database_url=self.url, **patient | settings),
            launcher=in_process(programs or {}),
            store=store,
            neighbours=Neighbours(peer_of=self._way, took_documents=self.took_documents),
        ) as runtime:
            node = self.nodes[spec.address] = Node(name, runtime, store)
            try:
                with trio.fail_after(PATIENCE_S):
                    await until(node.hears)
                    yield node
            finally:
                node.reachable = False

    async def execute(self, statement: str, *values: object) -> list[Any]:
        """Have somebody else execute a statement."""
        return await trio.to_thread.run_sync(self._execute, statement, values)

    async def lose(self, name: str) -> None:
        """Declare a node lost, as another one does that has not heard of it, and have all others told."""
        await self.execute("UPDATE nodes SET lost_at = now_ms() WHERE name = %s AND lost_at IS NULL", name)
        await self.execute("NOTIFY runtara_nodes, 'somebody'")

    async def owner_of(self, instance_id: str) -> str | None:
        """The name of the node that owns an instance."""
        rows = await self.execute(
            "SELECT nodes.name FROM instances LEFT JOIN nodes ON nodes.number = owner WHERE instance_id = %s",
            instance_id,
        )
        return rows[0][0] if rows else None

    def _execute(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True, options="-c search_path=runtara") as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def _way(self, holder: Holder) -> Node:
        return self.nodes[holder.address]


async def until(probe: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool] = bool) -> Any:
    """Ask until the answer is the wanted one; "not now" is none. Nobody is told when what is asked about changes."""
    while True:
        try:
            answer = await probe()
        except RuntaraError as refusal:
            if refusal.retry is Retry.NEVER:
                raise
        else:
            if wanted(answer):
                return answer
        await trio.sleep(0.01)
