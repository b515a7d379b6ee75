"""Nodes that die, stop and come back, while instances run on them. All of them are real processes."""

import json
import signal

from runtara import __version__
from runtara.lifecycle import Status
from tests.crash.nodes.fleet import LONG_MS, Client, Fleet, Node, run_cli

STEPS = 60


def test_what_a_killed_node_ran_goes_on_elsewhere_and_nothing_is_lost_or_done_twice(fleet: Fleet) -> None:
    one, *others = fleet.start(3)
    programs = fleet.start_programs(one, 9, steps=4)
    fleet.await_lines("waits", programs)
    shares, tenures = fleet.owners(), fleet.tenures()
    epochs = {name: epoch for name, _, epoch in fleet.lines("waits")}
    others.sort(key=lambda node: shares.get(node.name, 0))
    spared, killed = others  # on a busy machine one of them may have been late for its share
    clients = [Client(f"client-{number}", killed.spec(spared), STEPS) for number in range(6)]
    fleet.await_true(lambda: all(client.told for client in clients), "the first step of all clients")

    killed.kill()
    fleet.say_go(one, programs)
    for client in clients:
        client.join()

    fleet.await_completed(spared, programs)
    assert max(shares.values()) < len(programs), "one node has not taken them all"
    relaunched = {name for name, _, epoch in fleet.lines("saved") if epoch > epochs[name]}
    assert len(relaunched) >= shares.get(killed.name, 0), "those of the killed node were launched again"
    lived = [tenures.get(node.name) == fleet.tenures().get(node.name, 0) for node in (one, spared)]
    if all(lived) and killed.name in tenures:  # on a machine that stalls, others may have been lost as well
        assert len(relaunched) == shares[killed.name], "and no others"
    fleet.audit(one, clients, programs)


def test_a_node_that_was_stopped_for_longer_than_its_lease_comes_back_as_a_newcomer(fleet: Fleet) -> None:
    one, two = fleet.start(2)
    programs = fleet.start_programs(two, 4, steps=4)
    fleet.await_lines("waits", programs)
    theirs = [name for name, owner in _owned(fleet) if owner == "node-2"]

    two.send(signal.SIGSTOP)
    fleet.await_true(lambda: fleet.owners().get("node-2", 0) == 0, "the takeover")
    fleet.say_go(one, programs)
    fleet.await_completed(one, theirs)
    two.send(signal.SIGCONT)

    for name in theirs:  # the stopped node is asked: it knows what has become of what was its own
        assert fleet.status(two, name).status is Status.COMPLETED
    fleet.await_true(lambda: "node-2" in run_cli("nodes", data_dir=one.folder), "node-2 among the nodes")
    fleet.await_completed(two, programs)
    fleet.audit(two, [], programs)


def test_servers_are_upgraded_one_after_the_other_and_clients_notice_nothing(fleet: Fleet) -> None:
    nodes = fleet.start_earlier(3, "0.0.9", RUNTARA_NODE_LEASE_MS=LONG_MS)
    clients = [
        Client(f"client-{number}", nodes[number % 3].spec(*nodes[: number % 3], *nodes[number % 3 + 1 :]), 4 * STEPS)
        for number in range(6)
    ]
    programs = fleet.start_programs(nodes[0], 3, steps=4)
    fleet.await_lines("waits", programs)

    seen = []
    for node in nodes:
        code, _ = node.drain()
        assert code == 0
        node.upgrade()
        seen.append(_versions(node))
    fleet.say_go(nodes[0], programs)
    for client in clients:
        client.join()

    for name in programs:
        fleet.await_true(
            lambda name=name: fleet.status(nodes[1], name).status is Status.COMPLETED, f"the end of {name}"
        )
    fleet.audit(nodes[2], clients, programs)
    assert seen == [{"0.0.9", __version__}, {"0.0.9", __version__}, {__version__}], "both worked side by side"


def test_nothing_waits_for_a_notification_that_never_comes(fleet: Fleet) -> None:
    one, two = fleet.start(2, RUNTARA_CLOCK_CHECK_MS="500", RUNTARA_NODE_LEASE_MS=LONG_MS)
    fleet.query(
        "CREATE FUNCTION runtara.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT CAST(NULL AS void)'"
    )

    try:
        programs = fleet.start_programs(one, 6, steps=3)
        fleet.await_lines("waits", programs)
        fleet.say_go(two, programs)

        fleet.await_completed(two, programs)
    finally:
        fleet.query("DROP FUNCTION runtara.pg_notify(text, text)")  # other tests use the database after this one
    fleet.audit(one, [], programs)


def test_a_database_that_fails_at_once_and_comes_back_loses_nothing(fleet: Fleet) -> None:
    one, two = fleet.start(2, RUNTARA_NODE_LEASE_MS=LONG_MS)
    clients = [Client(f"client-{number}", one.spec(two), STEPS) for number in range(4)]
    fleet.await_true(lambda: all(client.told for client in clients), "the first step of all clients")

    for _ in range(3):
        fleet.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'runtara'")
    for client in clients:
        client.join()

    fleet.audit(two, clients, [])


def _owned(fleet: Fleet) -> list[tuple[str, str]]:
    return fleet.query("SELECT instance_id, name FROM runtara.instances JOIN runtara.nodes ON owner = nodes.number")


def _versions(node: Node) -> set[str]:
    """Those of all nodes that are alive."""
    found = json.loads(run_cli("nodes", "--json", data_dir=node.folder))
    return {row["version"] for row in found if row["lost_at"] is None}
