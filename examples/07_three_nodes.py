"""Three servers on one database, two hundred instances, and a server that is killed while all of them run.

Most instances register by themselves, here in this process; the others are programs that the servers launch
(08_stages.py). Everybody is told of all three servers, so whoever loses his own goes on with another one.
"""

import trio
from nodes import Node, open_nodes, start

from runtara.sdk import AsyncRuntaraSdk, InstanceStatus
from runtara.sdk.config import SdkConfig

CLIENTS, LAUNCHED, STAGES = 188, 12, 8
AT_ONCE = 16
"""Most clients that connect at once: more handshakes than that, and a small machine is late with all of them."""


def config(nodes: list[Node], name: str) -> SdkConfig:
    """Return how an instance finds the servers."""
    addresses, ca_file = ",".join(node.address for node in nodes), str(nodes[0].folder / "tls" / "ca.pem")
    patience_ms = 60_000  # a small machine may have much to do
    return SdkConfig(instance_id=name, server_addr=addresses, ca_file=ca_file, connect_timeout_ms=patience_ms)


async def work(config: SdkConfig, connecting: trio.Semaphore, stages_run: list[str], go_on: trio.Event) -> None:
    """Be one instance: work through its stages, each of which is a checkpoint."""
    sdk = AsyncRuntaraSdk.new(config)
    async with connecting:
        await sdk.register()
    async with sdk:
        for stage in range(STAGES):
            if await sdk.get_checkpoint(f"stage {stage}") is None:
                stages_run.append(f"{config.instance_id}/{stage}")
                await sdk.checkpoint(f"stage {stage}", b"")
            if stage == STAGES // 2:
                await go_on.wait()
        await sdk.completed(b"done")


async def await_checkpoints(sdk: AsyncRuntaraSdk, names: list[str], count: int) -> list[InstanceStatus | None]:
    """Return how instances stand once each of them has so many checkpoints, and has ended if these are all."""
    ends = []
    for name in names:
        found = await sdk.get_instance_status(name)
        while found.checkpoint_count < count or (count == STAGES and not found.is_finished):
            await trio.sleep(0.5)
            found = await sdk.get_instance_status(name)
        ends.append(found.status)
    return ends


async def main() -> None:
    """Start everything, kill one server in the middle, and count."""
    clients = [f"client-{number}" for number in range(CLIENTS)]
    programs = [f"program-{number}" for number in range(LAUNCHED)]
    with open_nodes(3) as nodes:
        start(nodes, "08_stages.py", programs, data=120)
        stages_run, go_on, connecting = list[str](), trio.Event(), trio.Semaphore(AT_ONCE)
        async with AsyncRuntaraSdk.new(config(nodes, "manager")) as manager, trio.open_nursery() as nursery:
            for name in clients:
                nursery.start_soon(work, config(nodes, name), connecting, stages_run, go_on)
            await await_checkpoints(manager, [*clients, *programs], STAGES // 2 + 1)
            nodes[1].kill()
            print(f"node-2 is killed while {CLIENTS + LAUNCHED} instances run on {len(nodes)} nodes")
            go_on.set()
            for name in programs:
                await manager.send_custom_signal(name, "go on")
            ends = await await_checkpoints(manager, [*clients, *programs], STAGES)
    print(ends.count(InstanceStatus.COMPLETED), "instances have completed")
    print(f"{len(stages_run)} stages were run by the clients, {len(stages_run) - len(set(stages_run))} of them twice")


if __name__ == "__main__":
    trio.run(main)

# Output:
# node-2 is killed while 200 instances run on 3 nodes
# 200 instances have completed
# 1504 stages were run by the clients, 0 of them twice
