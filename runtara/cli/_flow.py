"""`runtara flow`: workflows as graphs, of an instance with how each node stands, or of a definition in a file."""

import runpy
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import trio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from runtara.cli._completion import instance_argument
from runtara.cli._follow import BREATH, RECHECK, ask_patiently, wait_for_push
from runtara.cli._reach import Door, Reach, client_options
from runtara.cli._tables import json_option, print_json
from runtara.errors import InvalidInput, NotFound, Retry, RuntaraError
from runtara.lifecycle import FINAL
from runtara.messages import GetStatus

if TYPE_CHECKING:
    from runtara.sdk.flow import Graph, Workflow, WorkflowClient
    from runtara.transport.websocket.live import LiveSpec

__all__ = ["client_of", "flow", "watch_graph"]

LOOK_EVERY: Final = 1.0
"""Seconds after which --watch looks again where no live stream tells what a task has returned; a change of status is
pushed everywhere."""

mermaid_option = click.option("--mermaid", is_flag=True, help="Print a Mermaid flowchart instead of text.")
whole_option = click.option("--whole", is_flag=True, help="Draw every node, however many there are.")


@click.group()
def flow() -> None:
    """Look at workflows as graphs."""


@flow.command()
@instance_argument
@mermaid_option
@whole_option
@click.option("--watch", is_flag=True, help="Show it as it changes, until the instance has ended.")
@json_option
@client_options
def show(reach: Reach, *, instance_id: str, mermaid: bool, whole: bool, watch: bool, as_json: bool) -> None:
    """Show the graph of an instance of a workflow, with how each node stands."""
    if as_json and watch:
        raise click.UsageError("--json is one document: it does not go with --watch.")
    with reach.door() as connection:
        client = client_of(connection)
        if watch:
            live = reach.live()
            follow = None if live is None else partial(_follow, live, instance_id)
            trio.run(
                watch_graph, connection, client, instance_id, partial(_drawn, mermaid=mermaid, whole=whole), follow
            )
            return
        connection.beside(instance_id).call_from_thread(GetStatus())  # an unknown one is refused as everywhere
        graph = _graph(client, instance_id)
    _print(graph, mermaid, whole, as_json)


@flow.command()
@click.argument("source", metavar="FILE[:NAME]")
@mermaid_option
@whole_option
@json_option
def draw(source: str, mermaid: bool, whole: bool, as_json: bool) -> None:
    """Draw the graph of a workflow that a Python file defines, by the NAME that it has there.

    The file is run, under another name than __main__; where it defines only one workflow, NAME is not needed.
    """
    path, _, name = (source, "", "") if Path(source).is_file() else source.partition(":")
    _print(_defined(Path(path), name).graph, mermaid, whole, as_json)


def _print(graph: "Graph", mermaid: bool, whole: bool, as_json: bool) -> None:
    if as_json and mermaid:
        raise click.UsageError("--json and --mermaid are two ways to print it: choose one.")
    if as_json:
        print_json(graph)
    else:
        click.echo(_drawn(graph, mermaid=mermaid, whole=whole), nl=False)


def _drawn(graph: "Graph", *, mermaid: bool, whole: bool) -> str:
    draw = graph.to_mermaid if mermaid else graph.to_text
    return draw(None) if whole else draw()


# Of an instance -------------------------------------------------------------------------------------------------------


def client_of(connection: Door) -> "WorkflowClient":
    """Return a client of the instances that a connection reaches."""
    from runtara.sdk.flow import Backend, WorkflowClient

    class Through(Backend):
        """The instances that a connection reaches."""

        def open_door(self, instance_id: str, epoch: int | None = None, *, beats: bool = True) -> Door:
            return connection

    return WorkflowClient(Through())


def _graph(client: "WorkflowClient", instance_id: str) -> "Graph":
    """Return the graph of an instance. Raises `NotFound` for one that has none."""
    from runtara.sdk.flow import BackendError

    try:
        return client.graph(instance_id)
    except BackendError as error:
        raise NotFound(str(error)) from None


Drawing = Callable[["Graph"], str]

Follow = Callable[[Callable[[], None]], Awaitable[None]]
"""Tells of every change until it raises. See `follow_instance`."""


async def _follow(live: "LiveSpec", instance_id: str, told: Callable[[], None]) -> None:
    from runtara.transport.websocket.live import follow_instance

    await follow_instance(live, instance_id, told)


async def watch_graph(
    connection: Door, client: "WorkflowClient", instance_id: str, drawing: Drawing, follow: Follow | None
) -> None:
    """Show a graph whenever it has changed: in the same place of a terminal, or else one below the other.

    Raises what the server refuses for good, in a group.
    """
    door = connection.beside(instance_id, watch=True)
    try:
        async with trio.open_nursery() as nursery:
            changes = _Changes(door)
            if follow is not None:
                nursery.start_soon(changes.listen, follow)
            await _show_until_the_end(door, client, instance_id, drawing, changes)
            nursery.cancel_scope.cancel()
    finally:
        door.close()


async def _show_until_the_end(
    door: Door, client: "WorkflowClient", instance_id: str, drawing: Drawing, changes: "_Changes"
) -> None:
    console, shown = Console(), ""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            changes.begin()
            info = await ask_patiently(door, GetStatus())
            drawn = await _drawn_now(client, instance_id, drawing)
            if drawn not in (None, shown):
                _show(console, live, drawn)
                shown = drawn
            if info.status in FINAL and drawn is not None:
                return
            await changes.wait()


class _Changes:
    """Waits for what happens to an instance: told by a live stream, or pushed, and else looked for now and then."""

    def __init__(self, door: Door) -> None:
        self._session: Final = door.session
        self._since = 0
        self._change = trio.Event()
        self._is_told = False

    async def listen(self, follow: Follow) -> None:
        """Hear the live stream for as long as the server has one for us."""
        while True:
            try:
                await follow(self._hear)
            except RuntaraError as error:
                self._is_told = False
                self._change.set()
                if error.retry is Retry.NEVER:
                    return
            await trio.sleep(BREATH)

    def _hear(self) -> None:
        self._is_told = True
        self._change.set()

    def begin(self) -> None:
        """Count what happens from now on."""
        self._since, self._change = self._session.pushes, trio.Event()

    async def wait(self) -> None:
        """Return when something has happened, or may have."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_pushed, nursery.cancel_scope)
            await self._change.wait()
            nursery.cancel_scope.cancel()

    async def _wait_pushed(self, waiting: trio.CancelScope) -> None:
        await wait_for_push(self._session, self._since, RECHECK if self._is_told else LOOK_EVERY)
        waiting.cancel()


async def _drawn_now(client: "WorkflowClient", instance_id: str, drawing: Drawing) -> str | None:
    """Return the graph as it is now; None where the server is away, as it may be for a while."""
    from runtara.sdk.flow import BackendError

    try:
        return drawing(await client.graph_async(instance_id))
    except BackendError as error:
        raise NotFound(str(error)) from None
    except RuntaraError as error:
        if error.retry is Retry.NEVER:
            raise
        return None


def _show(console: Console, live: Live, drawn: str) -> None:
    if console.is_terminal:
        live.update(Text(drawn.rstrip("\n")), refresh=True)
    else:
        click.echo(drawn)


# Of a definition ------------------------------------------------------------------------------------------------------


def _defined(path: Path, name: str) -> "Workflow[Any, Any]":
    """Return the workflow that a file defines. Raises `InvalidInput` where that cannot be found, or which it is."""
    from runtara.sdk.flow import Workflow

    found = {key: value for key, value in _run(path).items() if isinstance(value, Workflow)}
    if name in found:
        return found[name]
    if not name and len(found) == 1:
        return found.popitem()[1]
    known = ", ".join(found) or "none"
    if name:
        raise InvalidInput(f"{path} defines no workflow called {name}: it has {known}")
    raise InvalidInput(f"{path} defines {len(found)} workflows ({known}): say which one, as in {path}:NAME")


def _run(path: Path) -> dict[str, Any]:
    """Run a file, and return what it defines; what it imports from beside it is found."""
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}: give a Python file, and the name that a workflow has in it")
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        return runpy.run_path(str(path), run_name="__runtara__")
    except Exception as error:
        raise InvalidInput(f"{path} cannot be run ({type(error).__name__}: {error}): mend it first") from error
    finally:
        del sys.path[0]
