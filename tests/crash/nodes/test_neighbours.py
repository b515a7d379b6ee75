"""What lies at one node only, and is needed at another: images that were pushed there, and what programs wrote."""

import pytest

from runtara.lifecycle import Status
from runtara.messages import ImageInfo, LogRead, ReadLog, StartInstance
from runtara.sdk.images import push_image
from runtara.transport.client.door import RemoteDoor
from tests.crash.nodes.fleet import LEDGER, Fleet, Node

MANY = 9


@pytest.mark.slow
def test_an_image_of_one_node_runs_on_all_also_when_that_is_killed_and_every_log_is_read_everywhere(
    fleet: Fleet,
) -> None:
    one, two, three = fleet.start(3)
    names = [f"said-{number}" for number in range(MANY)]
    go = fleet.site.path / "go"
    image = push(fleet, one, f"#!/bin/sh\necho begins\nwhile [ ! -e {go} ]; do sleep 0.1; done\necho ends\n")

    start(fleet, one, names)
    at_three = fleet.manager(three)
    fleet.await_true(lambda: all(log_of(at_three, name).data for name in names), "the first line of all programs")
    ran_on = {log_of(at_three, name).node for name in names}
    fetched = {node.name for node in (two, three) if has(node, image)}
    one.kill()
    fleet.await_true(lambda: fleet.owners().get(one.name, 0) == 0, "the takeover")
    go.touch()
    fleet.await_completed(two, names)
    logs = [log_of(door, name) for door in (fleet.manager(two), at_three) for name in names]

    assert len(ran_on) > 1, "one node has not taken them all"
    assert ran_on - {one.name} <= fetched
    assert {log.node for log in logs} <= {two.name, three.name}
    assert [log.data for log in logs] == [b"begins\nends\n"] * len(logs)
    assert {fleet.status(three, name).status for name in names} == {Status.COMPLETED}


def push(fleet: Fleet, node: Node, script: str) -> ImageInfo:
    """Push a script to one node."""
    path = fleet.site.path / "script"
    path.write_text(script)
    return push_image(fleet.manager(node), "said", path, kind="executable")


def start(fleet: Fleet, node: Node, names: list[str]) -> None:
    """Start instances of the image, asked for at one node."""
    door = fleet.manager(node)
    for name in names:
        command = StartInstance(program="said", image=True, env={LEDGER: str(fleet.ledger)})
        door.beside(name).call_from_thread(command)


def log_of(door: RemoteDoor, name: str) -> LogRead:
    """What a program has written, asked for at a door."""
    found: LogRead = door.beside(name).call_from_thread(ReadLog())
    return found


def has(node: Node, image: ImageInfo) -> bool:
    """Whether a node has what was pushed in its own folder."""
    return (node.folder / "images" / "blobs" / image.digest[:2] / image.digest).is_file()
