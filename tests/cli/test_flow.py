"""`runtara flow`: graphs of instances and of definitions."""

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara.cli import _flow
from runtara.cli._flow import client_of, watch_graph
from runtara.errors import Code
from runtara.ids import InstanceKey
from runtara.messages import CompleteInstance, RegisterInstance, SaveCheckpoint
from runtara.sdk._doors import Doors
from runtara.sdk.embedded import Embedded
from runtara.sdk.flow import CheckpointingRunner, Flow, Graph, SystemBackend, WorkflowClient
from runtara.sdk.flow._kept import BEGIN, write_begin
from runtara.sdk.flow._runs import begun
from runtara.transport.addresses import parse_address
from runtara.transport.client.door import ServerSpec
from runtara.transport.websocket.live import LiveSpec, follow_instance
from tests.cli.terminal import SECONDS, Terminal, type_command
from tests.sdk.flow.standings import named
from tests.test_host import opened

APPROVAL = Flow("approval").then(named("price")).wait_for_signal("approve").then(named("ship")).build()


def rest(system: Embedded) -> CheckpointingRunner:
    """Run the workflow as far as it comes."""
    runner = CheckpointingRunner(SystemBackend(system))
    assert runner.run(APPROVAL, "order-1", 1).is_awaiting_signal
    return runner


def test_an_instance_is_shown_with_how_its_nodes_stand(terminal: Terminal) -> None:
    rest(terminal.system)

    assert terminal.lines("flow", "show", "order-1") == [
        "approval: awaiting signal",
        "  ✓ price · done",
        "  ✉ approve · signal approve · awaiting signal",
        "  · ship · not reached",
    ]
    assert terminal.lines("flow", "show", "order-1", "--mermaid")[0] == "flowchart TD"
    shown = json.loads(terminal("flow", "show", "order-1", "--json").stdout)
    assert [node["state"] for node in shown["nodes"]] == ["done", "awaiting_signal", "not_reached"]


def test_what_changes_is_shown_until_the_end(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, show, is_shown = rest(terminal.system), _flow._show, threading.Event()

    def shown_and_said(*drawn: Any) -> None:
        show(*drawn)
        is_shown.set()

    def go_on() -> None:
        is_shown.wait(SECONDS)
        WorkflowClient(runner.backend).send_signal("order-1", "approve", 7)
        runner.resume(APPROVAL, "order-1")

    monkeypatch.setattr(_flow, "_show", shown_and_said)
    later = threading.Thread(target=go_on)
    later.start()
    shown = terminal("flow", "show", "order-1", "--watch").stdout
    later.join(SECONDS)

    first, *_, last = shown.strip().split("\n\n")
    assert first.startswith("approval: awaiting signal\n")
    assert last.splitlines()[0] == "approval: completed"
    assert last.count("✓") == 3


async def test_what_tasks_have_returned_is_told_by_the_live_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOOK_EVERY", "RECHECK"):
        monkeypatch.setattr(f"runtara.cli._flow.{name}", 3_600.0)
    sender, receiver = trio.open_memory_channel[str](100)
    monkeypatch.setattr("runtara.cli._flow._show", lambda _console, _live, drawn: sender.send_nowait(drawn))

    async def shown_with(words: str) -> None:
        with trio.fail_after(SECONDS):
            while words not in await receiver.receive():
                pass

    async with opened(tmp_path, http_tls=False) as host:
        address = parse_address(host.http_address.replace("http", "ws", 1))
        live = LiveSpec(server=ServerSpec(address=str(address)), address=address, tenant_id="default")
        key, call = InstanceKey("default", "order-1"), host.runtime.dispatch.call
        connection = Doors(host.runtime).open_beside(InstanceKey("default", "cli"))
        await call(key, RegisterInstance(attempt_id="a"))
        await call(key, SaveCheckpoint(checkpoint_id=BEGIN, state=write_begin(begun(APPROVAL, 1))), 1)
        async with trio.open_nursery() as nursery:
            follow = partial(follow_instance, live, "order-1")
            nursery.start_soon(watch_graph, connection, client_of(connection), "order-1", Graph.to_text, follow)
            await shown_with("price · running")
            await call(key, SaveCheckpoint(checkpoint_id="flow::price", state=b"1"), 1)
            await shown_with("price · done")
            await call(key, CompleteInstance(output=b"1"), 1)
            await shown_with("approval: completed")


def test_what_has_no_graph_is_refused(terminal: Terminal) -> None:
    terminal("start", "/programs/greet.py", "--id", "g", "--wait")

    assert terminal("flow", "show", "nobody").exit_code == Code.INSTANCE_NOT_FOUND.exit_code
    assert terminal("flow", "show", "nobody", "--watch").exit_code == Code.INSTANCE_NOT_FOUND.exit_code
    for options in ((), ("--watch",)):
        refused = terminal("flow", "show", "g", *options)
        assert refused.exit_code == Code.NOT_FOUND.exit_code
        assert "not one of a workflow" in refused.stderr
    assert terminal("flow", "show", "g", "--json", "--watch").exit_code == 2


FILE = """
from beside import add
from runtara.sdk.flow import Flow

one = Flow("first").then(add).build()
{more}
if __name__ == "__main__":
    raise SystemExit("it was run as a program")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a workflow."""
    (tmp_path / "beside.py").write_text("def add(x):\n    return x + 1\n")
    path = tmp_path / "flows.py"
    path.write_text(FILE.format(more=""))
    return path


def test_a_definition_is_drawn(file: Path) -> None:
    assert type_command("flow", "draw", str(file)).stdout == "first\n  - add\n"
    assert type_command("flow", "draw", f"{file}:one", "--mermaid").stdout.startswith("flowchart TD\n")
    assert json.loads(type_command("flow", "draw", str(file), "--json").stdout)["workflow"] == "first"
    assert type_command("flow", "draw", str(file), "--json", "--mermaid").exit_code == 2


def test_a_large_definition_is_drawn_as_far_as_it_can_be_looked_at(file: Path) -> None:
    file.write_text(
        "from runtara.sdk.flow import Flow\nflow = Flow('large')\n"
        "for number in range(3_000): flow = flow.then(abs, name=f'n{number}')\nlarge = flow.build()\n"
    )

    assert type_command("flow", "draw", str(file)).stdout.splitlines()[:5] == [
        "large · 2,994 nodes are not drawn one by one",
        "  - n0",
        "  - n1",
        "  - n2",
        "  - … 2,994 more nodes",
    ]
    assert type_command("flow", "draw", str(file), "--whole").stdout.count("\n") == 3_001


def test_which_definition_must_be_clear(file: Path) -> None:
    def refusal(source: str) -> str:
        done = type_command("flow", "draw", source)
        assert done.exit_code == Code.INVALID_INPUT.exit_code
        return done.stderr

    assert "defines no workflow called two: it has one" in refusal(f"{file}:two")
    assert "there is no file" in refusal(f"{file}x")
    file.write_text(FILE.format(more="two = Flow('second').then(add).build()"))
    assert "defines 2 workflows (one, two): say which one" in refusal(str(file))
    file.write_text("1 / 0")
    assert "cannot be run (ZeroDivisionError: division by zero)" in refusal(str(file))
