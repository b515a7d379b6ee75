"""The graph of an instance with the states of its nodes, read from the runtime: as a flow of commands to it."""

from typing import Any, Final

from msgspec.structs import replace

from runtara import messages
from runtara.sdk._flows import Flow
from runtara.sdk._results import UNFIT
from runtara.sdk._wishes import ask
from runtara.sdk.flow import _standing as standing
from runtara.sdk.flow._codecs import CODECS, Codec
from runtara.sdk.flow._kept import place_id
from runtara.sdk.flow._states import Facts, peeks, with_states
from runtara.sdk.flow.errors import BackendError
from runtara.sdk.flow.graph import Graph
from runtara.transport import Door

__all__ = ["graph_of"]

_PAGE: Final = 1_000


def graph_of(door: Door, info: messages.InstanceInfo, now_ms: int) -> Flow[Graph]:
    """Return the graph of an instance, as it stands.

    Raises `BackendError` for one that is no instance of a workflow, or was begun when no graph was kept.
    """
    begin = yield from standing.begin_of(door, info.instance_id)
    try:
        graph = Graph.kept_as(begin.workflow, bytes(begin.graph))
    except UNFIT:
        raise BackendError(f"instance {info.instance_id!r} keeps no graph that can be read") from None
    status = yield from standing.status_of(door, info, None)
    steps = yield from _steps(door)
    states = {}
    for place in peeks(graph, steps):
        found = yield from ask(door, messages.GetCheckpoint(checkpoint_id=place_id(place)))
        word = _word(place, found.state or b"", CODECS.get(begin.codec))
        if word is not None:
            states[place] = word
    facts = Facts(status=info.status, now_ms=now_ms, steps=steps, states=states, failure=status.failure)
    return with_states(replace(graph, instance_id=info.instance_id, status=status.status), facts)


def _steps(door: Door) -> Flow[tuple[messages.Step, ...]]:
    steps: tuple[messages.Step, ...] = ()
    cursor = None
    while True:
        page = yield from ask(door, messages.ListSteps(limit=_PAGE, cursor=cursor))
        steps, cursor = steps + page.steps, page.cursor
        if cursor is None:
            return steps


def _word(place: str, state: bytes, codec: Codec | None) -> str | None:
    """Return a route's key, or the mark of a loop's iteration; None for a key that is kept in an unknown way."""
    if not place.endswith("::key_fn"):
        return state[:1].decode(errors="replace")
    if codec is None:
        return None
    try:
        return str(codec.decode(state, Any))
    except UNFIT:
        return None
