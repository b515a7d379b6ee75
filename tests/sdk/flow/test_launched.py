"""Workflows as programs: launched, parked, woken, launched again after a crash, and told to end."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from runtara.errors import ConfigError
from runtara.lifecycle import TerminationReason
from runtara.messages import SendSignal
from runtara.sdk import AsyncRuntaraSdk, InstanceStatus, RuntaraSdk, durable, embedded, sdk
from runtara.sdk.embedded import Embedded
from runtara.sdk.flow import (
    MSGPACK,
    Flow,
    SystemBackend,
    Workflow,
    WorkflowClient,
    WorkflowStatus,
    run_program,
)
from tests.cli.terminal import SECONDS, Server
from tests.sdk.flow.graphs import GRAPHS, Calls, Graph
from tests.sdk.flow.standings import named, standing


@contextmanager
def running(workflow: Workflow[Any, Any], input: bytes | None = None, **settings: Any) -> Iterator[Embedded]:
    """Have a system run a workflow as instance ``i``; what takes time is parked for at once."""
    program = partial(run_program, workflow)
    with embedded.open(url="memory://", programs={"flow": program}, **{"park_after_ms": 1} | settings) as system:
        system.start("flow", "i", input)
        yield system


def ended(workflow: Workflow[Any, Any], input: bytes | None = None) -> WorkflowStatus:
    """Run a workflow to its end, and return how it stands."""
    with running(workflow, input) as system:
        return WorkflowClient(SystemBackend(system)).wait("i", SECONDS)


def until(system: Embedded, reached: Callable[[WorkflowStatus], bool]) -> WorkflowClient:
    """Wait until the instance rests in a certain way."""
    client = WorkflowClient(SystemBackend(system))
    for _ in range(SECONDS * 100):
        if reached(client.status("i")):
            return client
        threading.Event().wait(0.01)
    raise AssertionError(f"it is {client.status('i')}")


@pytest.mark.parametrize("example", GRAPHS, ids=lambda example: example.name)
def test_every_kind_of_node_runs_as_a_program(example: Graph) -> None:
    calls = Calls()

    status = ended(example.build(calls), msgspec.json.encode(example.input))

    assert (status.status, status.output, len(calls.seen)) == ("completed", example.output, example.tasks)


def test_the_input_is_json_or_what_the_codec_of_the_workflow_writes() -> None:
    def build(**options: Any) -> Workflow[Any, Any]:
        return Flow("echo").then(named("echo")).build(**options)

    assert ended(build(), b'{"a": [1]}').output == {"a": [1]}
    assert ended(build(), None).output is None
    assert ended(build(codec=MSGPACK), b'{"a": [1]}').output == {"a": [1]}
    assert ended(build(codec=MSGPACK), msgspec.msgpack.encode({"a": b"\xff"})).output == {"a": b"\xff"}
    failed = ended(build(), b"no json")
    assert (failed.status, str(failed.error)[:21]) == ("failed", "the input of echo is ")


def test_a_failure_is_the_failure_of_the_instance() -> None:
    def fail(_: Any) -> None:
        raise ValueError("no luck")

    with running(Flow("fails").then(fail).build()) as system:
        status = WorkflowClient(SystemBackend(system)).wait("i", SECONDS)
        graph = WorkflowClient(SystemBackend(system)).graph("i")

    assert (status.failure and status.failure.error_type, status.error) == (
        "ValueError",
        "task 'fail' failed: ValueError: no luck",
    )
    assert standing(graph) == "failed (no luck)"


def test_a_signal_wakes_an_instance_that_is_parked_for_it() -> None:
    calls = Calls()
    flow = (
        Flow("approval").then(calls.task("price", lambda x: x)).wait_for_signal("approve").then(named("ship")).build()
    )
    with running(flow, b"1") as system:
        client = until(system, lambda status: status.is_awaiting_signal())
        assert client.graph("i").nodes[1].state == "awaiting_signal"
        client.send_signal("i", "approve", 7)
        status = client.wait("i", SECONDS)

    assert (status.output, calls.seen) == (7, ["price"])


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_task_may_park_and_what_it_has_done_before_is_not_done_again(is_async: bool) -> None:
    calls: list[str] = []

    @durable
    def step() -> str:
        calls.append("step")
        return "kept"

    @durable
    async def step_async() -> str:
        calls.append("step")
        return "kept"

    def plain(_: Any) -> Any:
        calls.append("task")
        own = cast(RuntaraSdk, sdk())
        kept = step()
        own.sleep(0.5, "nap")
        return [kept, own.wait_for_signal("word") is not None]

    async def awaited(_: Any) -> Any:
        calls.append("task")
        own = cast(AsyncRuntaraSdk, sdk())
        kept = await step_async()
        await own.sleep(0.5, "nap")
        return [kept, await own.wait_for_signal("word") is not None]

    with running(Flow("parks").then(awaited if is_async else plain).build()) as system:
        client = WorkflowClient(SystemBackend(system))
        client_of_the_instance = system.open_door("manager", "default").beside("i")
        word = SendSignal(kind="custom", signal_id="s", name="word")
        while system.status("i").termination_reason is not TerminationReason.WAITING_SIGNAL:
            threading.Event().wait(0.01)
        client_of_the_instance.call_from_thread(word)
        status = client.wait("i", SECONDS)

    assert status.output == ["kept", True]
    assert calls == ["task", "step", "task", "task"]


def test_a_cancel_and_a_pause_take_hold_between_tasks_and_while_it_is_parked() -> None:
    flow = Flow("rests").wait_for_signal("go").then(named("end")).build()
    with running(flow, b"1") as system:
        client = until(system, lambda status: status.is_awaiting_signal())
        assert client.pause("i").is_paused
        client.send_signal("i", "go", 5)
        assert client.status("i").is_paused
        client.unpause("i")
        assert client.wait("i", SECONDS).output == 5
    with running(flow, b"1") as system:
        client = until(system, lambda status: status.is_awaiting_signal())
        assert client.cancel("i").is_cancelled


def test_a_cancel_in_the_middle_of_a_task_ends_the_program_quietly() -> None:
    clients: list[WorkflowClient] = []

    def cancel(x: Any) -> Any:
        clients[0].cancel("i")
        return x

    with embedded.open(url="memory://", programs={}) as system:
        clients.append(WorkflowClient(SystemBackend(system)))
        with system.sdk("i") as own:
            assert run_program(Flow("c").then(cancel).then(named("never")).build(), own) is None
        status = system.status("i")

    assert (status.status, status.termination_reason) == (InstanceStatus.CANCELLED, TerminationReason.CANCELLED)


def test_a_program_that_nobody_has_launched_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTARA_INSTANCE_ID", raising=False)

    with pytest.raises(ConfigError, match="RUNTARA_INSTANCE_ID"):
        run_program(Flow("alone").then(named("a")).build())


PROGRAM = """
import os, pathlib, signal
from runtara.sdk import durable
from runtara.sdk.flow import Flow, run_program

def note(word):
    with open({log!r}, "a") as log:
        log.write(word + "\\n")

@durable
def pay():
    note("pay")
    return 7

def die_once(x):
    note("die")
    paid = pay()
    died = pathlib.Path({log!r} + ".died")
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return paid + x

def first(x):
    note("first")
    return x

flow = Flow("dies").then(first).then(die_once).wait_for_signal("go").then(lambda y: y, name="end").build()
run_program(flow)
"""


def test_a_program_that_is_killed_under_a_server_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = Server(tmp_path, RUNTARA_RELAUNCH_AFTER_MS="1", RUNTARA_PARK_AFTER_MS="1")
    try:
        program = server.write_program("dies.py", PROGRAM.format(log=str(log)))
        assert server("start", program, "--id", "i", "--input", "3").exit_code == 0
        assert server("signal", "i", "go", "--payload", '"yes"', "--wait").stdout == '"yes"\n'
        shown = server("flow", "show", "i").stdout
    finally:
        server.stop()

    assert log.read_text().split() == ["first", "die", "pay", "die"]
    assert shown.count("✓") == 4
