"""What a graph must be like before it can be run. Everything that is wrong is found, not only the first thing."""

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from typing import Final, cast

from runtara.ids import CHECKPOINT_ID_MAX_BYTES
from runtara.sdk.flow._nodes import Child, Fork, Loop, Node, Route, Steps, inner
from runtara.sdk.flow.errors import BuildError
from runtara.sdk.flow.workflow import Migration

__all__ = ["DEPTH_MAX", "NODES_MAX", "check_graph"]

NODES_MAX: Final = 10_000
"""Most nodes of a workflow, those of its children included."""

DEPTH_MAX: Final = 64
"""How deep workflows, branches and loops may be inside each other."""

_RESERVED: Final = ("flow::", "durable::", "signal::")
"""What the ids of the checkpoints of others begin with."""


def check_graph(name: str, steps: Steps, migrations: Sequence[Migration]) -> Iterator[BuildError]:
    """Return everything that is wrong with a graph."""
    if not isinstance(cast(object, name), str) or not name:
        yield BuildError("InvalidName", str(name), "a workflow needs a name")
    if not steps:
        yield BuildError("EmptyWorkflow", name, "a workflow needs a node: add one with then()")
    yield from _check_size(name, steps)
    yield from _check_ids(steps)
    yield from _check_migrations(name, steps, migrations)


def _check_size(name: str, steps: Steps) -> Iterator[BuildError]:
    count = 0
    waiting: list[tuple[Steps, int]] = [(steps, 1)]
    while waiting:
        sequence, depth = waiting.pop()
        count += len(sequence)
        if count > NODES_MAX:
            yield BuildError("TooManyNodes", name, f"it has more than {NODES_MAX} nodes")
            return
        if depth > DEPTH_MAX:
            yield BuildError(
                "TooDeep",
                sequence[0].id if sequence else name,
                f"it is inside {DEPTH_MAX} others: {DEPTH_MAX - 1} is the most",
            )
            return
        waiting.extend((part, depth + 1) for node in sequence for part in inner(node))


def _check_ids(steps: Steps) -> Iterator[BuildError]:
    """What is kept of a node is found by its place: a child's id before its own; of a fork, nothing is kept.

    What the body of a loop returns is kept at the places of the iterations, so its id may be that of another node.
    """
    found = list(_places(steps, "", 1))
    loops = {place for place, node in found if isinstance(node, Loop)}
    bodies = {id(node.body) for _, node in found if isinstance(node, Loop)}
    kept = [(place, node) for place, node in found if not isinstance(node, Fork)]
    times_of = Counter(place for place, node in kept if id(node) not in bodies)
    for place in dict.fromkeys(place for place, _ in kept):
        times = times_of[place]
        if times > 1:
            yield BuildError("DuplicateTaskId", place, f"{times} nodes have this id: give them name=")
        problem = _problem(place, loops)
        if problem is not None:
            yield BuildError("InvalidTaskId", place, problem)


def _places(steps: Steps, where: str, depth: int) -> Iterator[tuple[str, Node]]:
    if depth > DEPTH_MAX:
        return  # said already
    for node in _of_one_workflow(steps):
        yield f"{where}{node.id}", node
        if isinstance(node, Child):
            yield from _places(node.steps, f"{where}{node.id}/", depth + 1)


def _of_one_workflow(steps: Steps) -> Iterator[Node]:
    """Return all nodes but those inside children."""
    for node in steps:
        yield node
        if isinstance(node, Fork | Route | Loop):
            for part in inner(node):
                yield from _of_one_workflow(part)


def _problem(place: str, loops: Container[str]) -> str | None:
    if not place.isprintable() or not place or place.endswith("/"):
        return "an id is printable text, and not empty"
    loop, mark, iteration = place.rpartition("#")
    if mark and iteration.isdecimal() and loop in loops:
        return f"the iterations of {loop} are called so: give it another name"
    if place.startswith(_RESERVED):
        return f"ids beginning with {place.partition('::')[0]}:: are taken"
    if len(place.encode(errors="replace")) > CHECKPOINT_ID_MAX_BYTES - 16:  # an iteration is written behind it
        return f"an id has at most {CHECKPOINT_ID_MAX_BYTES - 16} bytes, those of the nodes around it included"
    return None


def _check_migrations(name: str, steps: Steps, migrations: Sequence[Migration]) -> Iterator[BuildError]:
    known = {node.id for node in _of_one_workflow(steps)}
    for migration in migrations:
        if not isinstance(cast(object, migration), Migration):
            yield BuildError("InvalidMigration", name, f"{migration!r} is no Migration")
            continue
        for new in migration.renamed:
            if new not in known:
                yield BuildError("UnknownNode", new, "a migration renames it, but there is no such node")
