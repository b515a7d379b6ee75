"""An engine on a cluster of one machine, with images to launch and ways to wait for what they do."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing

from runtara.actors.runners import Attempt, Ended, Plan
from runtara.actors.runners.kubernetes import KubernetesEngine, KubernetesOptions
from runtara.ids import InstanceKey
from runtara.transport.certificates import Identity
from tests.actors.runners.cluster import Cluster, open_cluster

__all__ = ["KEY", "PATIENCE_S", "Yard", "open_yard"]

KEY = InstanceKey("acme", "order-7")
PATIENCE_S = 60.0


class Yard:
    """A cluster, an engine, and the images that it may launch."""

    def __init__(self, folder: Path, cluster: Cluster, **options: Any) -> None:
        self.folder = folder
        self.cluster = cluster
        self.given: dict[str, Any] = {
            "node": "node-1",
            "namespace": "programs",
            "kill_grace_ms": 20_000,
            "request_timeout_ms": 60_000,
        }
        self.given |= {"kubeconfig": str(folder / "kubeconfig"), **options}
        self.engine = self.another()
        self._images = 0

    def another(self, **options: Any) -> KubernetesEngine:
        """An engine of a host that has come back, or of another node."""
        return KubernetesEngine(KubernetesOptions(**self.given | options))

    def image(self, text: str) -> str:
        """Make an image whose program is a script; return its reference."""
        self._images += 1
        reference = f"registry.example.org/acme/program:{self._images}"
        script = self.folder / f"program-{self._images}.sh"
        script.write_text(text)
        self.cluster.images[reference] = script
        return reference

    def plan(self, text: str = "true", **more: Any) -> Plan:
        """What it takes to launch a new program."""
        plain: dict[str, Any] = {"key": KEY, "epoch": 1, "program": more.get("program") or self.image(text)}
        return Plan(**plain | more)

    async def launch(self, text: str = "true", **plan: Any) -> Attempt:
        """Launch a new program."""
        with trio.fail_after(PATIENCE_S):
            return await self.engine.launch(self.plan(text, **plan))

    async def run(self, text: str = "true", **plan: Any) -> Ended:
        """Launch a new program and wait for its end."""
        return await self.end(await self.launch(text, **plan))

    async def end(self, attempt: Attempt) -> Ended:
        """Wait for the end of an attempt, and forget it."""
        with trio.fail_after(PATIENCE_S):
            ended = await attempt.wait_ended()
            attempt.close()
            await attempt.forget()
        return ended

    async def read(self, stream: str = "stdout", key: InstanceKey = KEY) -> bytes:
        """All that is kept of a stream."""
        return (await self.engine.read_log(key, stream, 0, 1 << 24))[0]

    async def wait_written(self, text: str, key: InstanceKey = KEY) -> str:
        """Wait until a program has written something; return all of the stream."""
        while True:
            written = self.engine.watch_log(key)
            found = (await self.read(key=key)).decode()
            if text in found:
                return found
            with trio.fail_after(PATIENCE_S):
                await written.wait()

    async def wait(self, condition: Callable[[Cluster], Any]) -> Any:
        """Wait until something is the case in the cluster."""
        return await trio.to_thread.run_sync(self.cluster.wait, condition)

    async def pod(self) -> dict[str, Any]:
        """Wait for the only Pod, and return it."""
        found: dict[str, Any] = (await self.wait(lambda cluster: cluster.pods()))[0]
        return found

    def texts(self, kind: str) -> str:
        """All that was posted or patched of a kind, as text."""
        return repr([body for verb, path, body in self.cluster.requests if f"/{kind}" in path])


@asynccontextmanager
async def open_yard(folder: Path, identity: Identity | None = None, **options: Any) -> AsyncIterator[Yard]:
    """Have a cluster and an engine for the length of the block."""
    with open_cluster(folder, identity) as cluster:
        yard = Yard(folder, cluster, **options)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(yard.engine.serve)
            yield yard
            nursery.cancel_scope.cancel()
    shutil.rmtree(cluster.folder, ignore_errors=True)
