"""The blocking client, and that it has whatever a manager may ask."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtara import messages
from runtara.endpoints import ENDPOINTS
from runtara.errors import InstanceNotFound, RuntaraError
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.records import ImageOptions
from runtara.sdk import embedded
from runtara.sdk.management import Management, new_start
from runtara.transport import Session
from tests.sdk.management.clients import PROGRAMS

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
    messages.ListNodes: lambda manage: manage.nodes(),
    messages.GetTree: lambda manage: manage.tree(),
    messages.GetHealth: lambda manage: manage.health(),
}
"""What asks a command."""

_INFO = messages.InstanceInfo(tenant_id="t", instance_id="a", status=Status.FAILED, epoch=1, created_at=0)
_IMAGE = messages.ImageInfo(
    image_id="a",
    name="a",
    version=1,
    current=True,
    kind="python",
    digest="",
    size=1,
    pushed_at=0,
    description="",
    metadata=b"{}",
    defaults=None,
    options=ImageOptions(),
)
_FIRST: dict[type, Any] = {
    messages.GetStatus: _INFO,
    messages.GetImage: _IMAGE,
    messages.PushImage: messages.ImagePushed(offset=0),
}
"""What is answered before it comes to the command that is meant."""


class _Asked(Exception):  # it ends what a method does as soon as it has asked what it should
    """The command was asked."""


class Listening:
    """A door that hears which commands are asked."""

    def __init__(self, awaited: type) -> None:
        self.session = Session(InstanceKey("t", "a"))
        self.awaited = awaited

    def beside(self, instance_id: str, *, watch: bool = False) -> "Listening":
        return self

    def call_from_thread(self, command: Any, *, timeout: float | None = None) -> Any:
        if type(command) is self.awaited:
            raise _Asked
        return _FIRST[type(command)]

    def close(self) -> None: ...


@pytest.mark.parametrize(
    "command", [row.command for row in ENDPOINTS.values() if row.caller != "program"], ids=lambda kind: kind.__name__
)
def test_whatever_a_manager_may_ask_there_is_a_method_for(command: type) -> None:
    assert command in ASKED, f"runtara.sdk.management has no method that asks {command.__name__}"

    with pytest.raises(_Asked):
        ASKED[command](Management(Listening(command)))  # type: ignore[arg-type]  # all that is used of a door


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
    waiting.join(30)

    assert [type(error).__name__ for error in raised] == ["ActorStopped"]
