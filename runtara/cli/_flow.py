"""`runtara flow`: workflows as graphs, of an instance with how each node stands, or of a definition in a file."""

import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import trio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from runtara.cli._completion import instance_argument
from runtara.cli._follow import ask_patiently, wait_for_push
from runtara.cli._reach import Door, Reach, client_options
from runtara.cli._tables import json_option, print_json
from runtara.errors import InvalidInput, NotFound, Retry, RuntaraError
from runtara.lifecycle import FINAL
from runtara.messages import GetStatus

if TYPE_CHECKING:
    from runtara.sdk.flow import Graph, Workflow, WorkflowClient

__all__ = ["flow"]

LOOK_EVERY: Final = 1.0
"""Seconds after which --watch looks again: a change of status is pushed, what a task has returned is not."""

mermaid_option = click.option("--mermaid", is_flag=True, help="Print a Mermaid flowchart instead of text.")


@click.group()
def flow() -> None:
    """Look at workflows as graphs."""


@flow.command()
@instance_argument
@mermaid_option
@click.option("--watch", is_flag=True, help="Show it as it changes, until the instance has ended.")
@json_option
@client_options
def show(reach: Reach, *, instance_id: str, mermaid: bool, watch: bool, as_json: bool) -> None:
    """Show the graph of an instance of a workflow, with how each node stands."""
    if as_json and watch:
        raise click.UsageError("--json is one document: it does not go with --watch.")
    with reach.door() as connection:
        client = _client(connection)
        if watch:
            trio.run(_watch, connection, client, instance_id, mermaid)
            return
        connection.beside(instance_id).call_from_thread(GetStatus())  # an unknown one is refused as everywhere
        graph = _graph(client, instance_id)
    _print(graph, mermaid, as_json)


@flow.command()
@click.argument("source", metavar="FILE[:NAME]")
@mermaid_option
@json_option
def draw(source: str, mermaid: bool, as_json: bool) -> None:
    """Draw the graph of a workflow that a Python file defines, by the NAME that it has there.

    The file is run, under another name than __main__; where it defines only one workflow, NAME is not needed.
    """
    path, _, name = (source, "", "") if Path(source).is_file() else source.partition(":")
    _print(_defined(Path(path), name).graph, mermaid, as_json)


def _print(graph: "Graph", mermaid: bool, as_json: bool) -> None:
    if as_json and mermaid:
        raise click.UsageError("--json and --mermaid are two ways to print it: choose one.")
    if as_json:
        print_json(graph)
    else:
        click.echo(_drawn(graph, mermaid), nl=False)


def _drawn(graph: "Graph", mermaid: bool) -> str:
    return graph.to_mermaid() if mermaid else graph.to_text()


# Of an instance -------------------------------------------------------------------------------------------------------


def _client(connection: Door) -> "WorkflowClient":
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


async def _watch(connection: Door, client: "WorkflowClient", instance_id: str, mermaid: bool) -> None:
    """Show a graph whenever it has changed: in the same place of a terminal, or else one below the other."""
    console, shown = Console(), ""
    door = connection.beside(instance_id, watch=True)
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                since = door.session.pushes
                info = await ask_patiently(door, GetStatus())
                drawn = await _drawn_now(client, instance_id, mermaid)
                if drawn not in (None, shown):
                    _show(console, live, drawn)
                    shown = drawn
                if info.status in FINAL and drawn is not None:
                    return
                await wait_for_push(door.session, since, LOOK_EVERY)
    finally:
        door.close()


async def _drawn_now(client: "WorkflowClient", instance_id: str, mermaid: bool) -> str | None:
    """Return the graph as it is now; None where the server is away, as it may be for a while."""
    from runtara.sdk.flow import BackendError

    try:
        return _drawn(await client.graph_async(instance_id), mermaid)
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
