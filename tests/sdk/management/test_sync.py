"""The blocking client, and that it has whatever a manager may ask."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runtara import messages
from runtara.endpoints import ENDPOINTS
from runtara.errors import Forbidden, InstanceNotFound, RuntaraError
from runtara.sdk import embedded
from runtara.sdk.management import Management, new_start
from tests.sdk.management.clients import PROGRAMS, Listening

ASKED: dict[type, Callable[[Management], Any]] = {
    messages.StartInstance: lambda manage: manage.start("greet"),
    messages.ForkInstance: lambda manage: manage.fork("a", "b"),
    messages.StartMany: lambda manage: manage.start_many({"a": new_start("greet")}),
    messages.GetCheckpoint: lambda manage: manage.checkpoint("a", "begun"),
    messages.GetStatus: lambda manage: manage.status("a"),
    messages.GetInput: lambda manage: manage.input_bytes("a"),
    messages.SendSignal: lambda manage: manage.signal("a", "word"),
    messages.SignalMany: lambda manage: manage.signal_many("cancel"),
    messages.ListRetries: lambda manage: manage.retries("a", "step"),
    messages.ListCheckpoints: lambda manage: manage.list_checkpoints("a").page(),
    messages.ListEvents: lambda manage: manage.list_events("a").page(),
    messages.ListSteps: lambda manage: manage.list_steps("a").page(),
    messages.CountInstances: lambda manage: manage.count_instances(),
    messages.GetTenantMetrics: lambda manage: manage.tenant_metrics(*2 * [datetime(2026, 1, 1, tzinfo=UTC)]),
    messages.ListInstances: lambda manage: manage.list_instances().page(),
    messages.ReadLog: lambda manage: manage.log("a"),
    messages.PushImage: lambda manage: manage.push_image("a", __file__),
    messages.WriteImage: lambda manage: manage.push_image("a", __file__),
    messages.ReadImage: lambda manage: manage.pull_image("a", Path(__file__).parent / "never-written"),
    messages.GetImage: lambda manage: manage.image("a"),
    messages.ListImages: lambda manage: manage.list_images().page(),
    messages.ListImageVersions: lambda manage: manage.list_image_versions("a").page(),
    messages.UseImageVersion: lambda manage: manage.use_image("a@1"),
    messages.DeleteImage: lambda manage: manage.delete_image("a"),
    messages.PutSchedule: lambda manage: manage.put_schedule("a", new_start("greet"), every=60),
    messages.GetSchedule: lambda manage: manage.schedule("a"),
    messages.ListSchedules: lambda manage: manage.list_schedules().page(),
    messages.DeleteSchedule: lambda manage: manage.delete_schedule("a"),
    messages.PauseSchedule: lambda manage: manage.pause_schedule("a"),
    messages.RunChore: lambda manage: manage.run_chore("runs"),
    messages.ListKeys: lambda manage: manage.keys(),
    messages.AddKey: lambda manage: manage.add_key("read-only"),
    messages.RotateKey: lambda manage: manage.rotate_key("k"),
    messages.RevokeKey: lambda manage: manage.revoke_key("k"),
    messages.ListNodes: lambda manage: manage.nodes(),
    messages.GetTree: lambda manage: manage.tree(),
    messages.GetHealth: lambda manage: manage.health(),
}
"""What asks a command."""


@pytest.mark.parametrize(
    "command",
    [row.command for row in ENDPOINTS.values() if row.caller in ("manager", "both")],
    ids=lambda kind: kind.__name__,
)
def test_whatever_a_manager_may_ask_there_is_a_method_for(command: type) -> None:
    assert command in ASKED, f"runtara.sdk.management has no method that asks {command.__name__}"

    door = Listening(command)
    with pytest.raises(Forbidden):
        ASKED[command](Management(door))  # type: ignore[arg-type]  # all that is used of a door

    assert door.heard


def test_nothing_is_asked_that_only_programs_may_ask() -> None:
    assert {ENDPOINTS[command].caller for command in ASKED} == {"manager", "both"}


def test_one_client_serves_many_threads() -> None:
    with embedded.open(url="memory://", programs=PROGRAMS) as system, Management.embedded(system) as manage:
        outputs: list[Any] = []
        threads = [
            threading.Thread(target=lambda n=n: outputs.append(manage.run("greet", n, wait=30).output))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(outputs) == [b'{"hello":"%d"}' % number for number in range(8)]


def test_whoever_waits_hears_that_the_system_has_ended() -> None:
    raised: list[BaseException] = []

    def wait(manage: Management) -> None:
        try:
            manage.wait_for_completion("w")
        except RuntaraError as error:
            raised.append(error)

    with embedded.open(url="memory://", programs=PROGRAMS) as system:
        manage = Management.embedded(system)
        manage.start("wait", instance_id="w")
        with pytest.raises(InstanceNotFound):
            manage.wait_for_completion("other")
        waiting = threading.Thread(target=wait, args=(manage,))
        waiting.start()
    waiting.join(100)

    assert [type(error).__name__ for error in raised] == ["ActorStopped"]
