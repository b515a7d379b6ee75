"""How workflows are known to the pool: the programs that their instances are of, and the tasks at their places."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from runtara.errors import InvalidInput
from runtara.ids import ID_MAX_CHARS, pooled_program
from runtara.sdk.flow._nodes import Child, Loop, Steps, Task, inner
from runtara.sdk.flow.errors import WorkflowError
from runtara.sdk.flow.workflow import Workflow

__all__ = ["Served", "program_of", "served_by"]

_HASH_CHARS: Final = 16
_NAME_MAX_CHARS: Final = ID_MAX_CHARS - len(pooled_program("", "")) - _HASH_CHARS
_DIGEST_BYTES: Final = 4
_STRANGE: Final = re.compile(r"[^A-Za-z0-9._+-]")


def program_of(workflow: Workflow[Any, Any], definition_hash: str | None = None) -> str:
    """Return the program that instances of a workflow are of; `definition_hash` for that of an older definition."""
    return pooled_program(_plain(workflow.name), (definition_hash or workflow.definition_hash)[:_HASH_CHARS])


def _plain(name: str) -> str:
    """Return a name as ids may have it: one that has to be changed carries a digest of what it was."""
    plain = _STRANGE.sub("-", name)[:_NAME_MAX_CHARS]
    if plain == name:
        return name
    digest = hashlib.blake2b(name.encode(errors="backslashreplace"), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{plain[: _NAME_MAX_CHARS - len(digest) - 1]}-{digest}"


class Served:
    """A workflow that a worker runs, and its tasks by their places."""

    def __init__(self, workflow: Workflow[Any, Any]) -> None:
        self.workflow: Final = workflow
        self._tasks: Final = dict(_tasks(workflow.steps, ""))

    def task_at(self, place: str) -> Task:
        """Return the task at a place. Raises `WorkflowError` where there is none."""
        found = self._tasks.get(place) or self._tasks.get(place.rpartition("#")[0])
        if found is None:
            raise WorkflowError(f"workflow {self.workflow.name!r} has no task at {place!r}: is this another version?")
        return found


def _tasks(steps: Steps, where: str) -> Iterator[tuple[str, Task]]:
    for node in steps:
        if isinstance(node, Task):
            yield where + node.id, node
        elif isinstance(node, Loop):
            yield where + node.id, node.body
        else:
            for part in inner(node):
                yield from _tasks(part, f"{where}{node.id}/" if isinstance(node, Child) else where)


def served_by(workflows: Iterable[Workflow[Any, Any]]) -> dict[str, Served]:
    """Return the programs that a worker of these workflows runs, those of older definitions included.

    Raises `InvalidInput` where there are none, for what is no workflow, and for two of one program.
    """
    programs: dict[str, Served] = {}
    for workflow in workflows:
        if not isinstance(workflow, Workflow):
            raise InvalidInput(f"{workflow!r} is no workflow: give what Flow.build() returns")
        served = Served(workflow)
        for definition_hash in (workflow.definition_hash, *workflow.migrations):
            program = program_of(workflow, definition_hash)
            if program in programs and programs[program].workflow is not workflow:
                raise InvalidInput(f"workflow {workflow.name!r} is given twice, and each could run {program}: give one")
            programs[program] = served
    if not programs:
        raise InvalidInput("a worker without workflows has nothing to do: give at least one")
    return programs
