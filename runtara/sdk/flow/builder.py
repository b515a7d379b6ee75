"""`Flow`: how a workflow is written down, node by node. What is wrong with it is collected, and told by `build()`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeAlias, TypeVar, cast, overload

from runtara.errors import InvalidInput
from runtara.ids import check_checkpoint_id
from runtara.sdk.flow._checks import check_graph
from runtara.sdk.flow._codecs import Codec
from runtara.sdk.flow._nodes import Child, Delay, Fork, Loop, Node, Route, Steps, Task, WaitForSignal
from runtara.sdk.flow._policies import OnMax, span_of
from runtara.sdk.flow._tasks import TaskSpec, name_of
from runtara.sdk.flow.errors import BuildError, BuildErrors
from runtara.sdk.flow.workflow import Migration, Workflow, WorkflowContext

__all__ = ["BranchBuilder", "Flow", "ForkBuilder"]

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output
R = TypeVar("R")

_Part: TypeAlias = "Callable[..., Any] | Workflow[Any, Any] | Flow[Any, Any]"
"""What a branch is made of."""


class Flow(Generic[I, O]):
    """A workflow that is being written: each call adds a node, whose input is the output of the one before it.

    Type checkers see what each node gets: a function that takes something else is an error where it is added.
    """

    def __init__(
        self: "Flow[Any, Any]", name: str | WorkflowContext = "workflow", *, metadata: Mapping[str, Any] | None = None
    ) -> None:
        context = name if isinstance(name, WorkflowContext) else WorkflowContext(name)
        self._name: Final = context.name
        self._codec: Final = context.codec
        said = [one for one in (context.metadata, metadata) if one is not None]
        self._metadata: Final = {key: value for one in said for key, value in one.items()} if said else None
        self._draft: Final = _Draft()
        self._steps: list[Node] = []

    @overload
    def then(self, task_func: Callable[[O], Awaitable[R]], *, name: str | None = None) -> "Flow[I, R]": ...
    @overload
    def then(self, task_func: Callable[[O], R], *, name: str | None = None) -> "Flow[I, R]": ...
    @overload
    def then(self, task_func: Callable[[], Awaitable[R]], *, name: str | None = None) -> "Flow[I, R]": ...
    @overload
    def then(self, task_func: Callable[[], R], *, name: str | None = None) -> "Flow[I, R]": ...
    def then(self, task_func: Callable[..., Any], *, name: str | None = None) -> "Flow[I, Any]":
        """Call a function, plain or async, with the value; one that takes nothing is called without.

        Its id is `name`, or that of its `@task`, or its own.
        """
        self._add(self._draft.task(task_func, name))
        return self

    def delay(self, name: str, duration: str | float | timedelta) -> "Flow[I, O]":
        """Wait durably: after a crash, only the rest of it. The value goes on to the next node."""
        node_id = self._draft.named(name)
        self._add(Delay(node_id, self._draft.span(node_id, duration)))
        return self

    def wait_for_signal(
        self, signal_name: str, *, name: str | None = None, timeout: str | float | timedelta | None = None
    ) -> "Flow[I, Any]":
        """Wait for a signal, whose payload goes on to the next node; None does, once `timeout` has passed."""
        node_id = self._draft.named(name or signal_name)
        limit = None if timeout is None else self._draft.span(node_id, timeout)
        try:
            check_checkpoint_id(signal_name, "signal name")
        except InvalidInput as error:
            self._draft.wrong("InvalidSignal", node_id, str(error))
        self._add(WaitForSignal(node_id, signal_name, limit))
        return self

    def fork(self) -> "ForkBuilder[I, O]":
        """Run several branches at once, each with the same input; `join` puts their outputs together."""
        return ForkBuilder(self, self._draft)

    def route(self, key_fn: Callable[[O], Any], *, keys: Sequence[str] | None = None) -> "BranchBuilder[I, O]":
        """Run the branch whose key `key_fn` returns. `keys` are all that it can return, where that is known.

        The output is ``{"branch": key, "result": output of the branch}``.
        """
        node_id = self._draft.next_id("branch")
        if isinstance(keys, str):
            self._refuse("InvalidKeys", node_id, f"keys are a list of texts, not the text {keys!r}")
        return BranchBuilder(self, self._draft, Task(f"{node_id}::key_fn", self._draft.spec(key_fn, node_id)), keys)

    def loop(
        self,
        task_func: Callable[[O], Any],
        *,
        max_iterations: int = 10,
        on_max: OnMax | str = OnMax.FAIL,
        name: str | None = None,
    ) -> "Flow[I, Any]":
        """Call a function again with what it returned, while that is `LoopResult.again`; `LoopResult.done` ends it.

        The function's id is `name`, or that of its `@task`, or its own; the loop's is ``loop_0``, then ``loop_1``.
        """
        node_id = self._draft.next_id("loop")
        if not isinstance(cast(object, max_iterations), int) or max_iterations < 1:
            self._draft.wrong(
                "InvalidMaxIterations", node_id, f"max_iterations must be at least 1, not {max_iterations!r}"
            )
        if on_max not in tuple(OnMax):
            self._draft.wrong("InvalidOnMax", node_id, f"on_max is {on_max!r}: use fail or exit_with_last")
            on_max = OnMax.FAIL
        body = self._draft.task(task_func, name)
        self._add(Loop(node_id, body, max_iterations, OnMax(on_max)))
        return self

    def then_flow(self, child_workflow: "Workflow[O, R] | Flow[O, R]") -> "Flow[I, R]":
        """Run another workflow in this place, as a part of the same instance."""
        self._steps += self._draft.child(child_workflow, None)
        return cast("Flow[I, R]", self)

    def build(self, *, codec: Codec | None = None, migrations: Sequence[Migration] = ()) -> Workflow[I, O]:
        """Return the workflow. Raises `BuildErrors`, which names everything that is wrong with it.

        `codec` keeps its values, instead of that of the context. `migrations` say which older definitions it may go on
        with.
        """
        steps = tuple(self._steps)
        kept_by = codec or self._codec
        errors = self._errors(migrations)
        if not all(hasattr(kept_by, name) for name in ("name", "encode", "decode", "join")):
            errors.append(BuildError("InvalidCodec", self._name, f"{kept_by!r} is no codec: use JSON or MSGPACK"))
        if errors:
            raise BuildErrors(self._name, errors)
        return Workflow(self._name, steps, metadata=self._metadata, codec=kept_by, migrations=tuple(migrations))

    def _add(self, node: Node) -> None:
        self._steps.append(node)

    def _errors(self, migrations: Sequence[Migration] = ()) -> list[BuildError]:
        return [*self._draft.errors, *check_graph(self._name, tuple(self._steps), migrations)]

    def _refuse(self, kind: str, node: str, text: str) -> NoReturn:
        """Raise `BuildErrors` for a call that nothing later can make good, with all that is known to be wrong."""
        self._draft.wrong(kind, node, text)
        raise BuildErrors(self._name, [one for one in self._errors() if one.kind != "EmptyWorkflow"])


class ForkBuilder(Generic[I, O]):
    """The branches of a fork, until they are joined."""

    def __init__(self, flow: Flow[I, O], draft: "_Draft") -> None:
        self._flow = flow
        self._draft = draft
        self._branches: list[tuple[str, Steps]] = []

    def branch(self, *functions: "_Part", name: str | None = None) -> "ForkBuilder[I, O]":
        """Add a branch: one function, or several, one after the other. It is called like its first one.

        A workflow may stand for a function: its delays and waits rest without holding a worker, and the other branches
        go on. `name` is the id of the first function. Raises `BuildErrors` where there is none.
        """
        steps = self._draft.sequence(functions, name)
        if not steps:
            label = name or f"branch {len(self._branches)}"
            self._flow._refuse("EmptyBranch", label, _NO_FUNCTION)  # noqa: SLF001 - the flow that this is a part of
        label = steps[0].id
        if label in dict(self._branches):
            self._draft.wrong("DuplicateBranch", label, "two branches of a fork have this name: give them name=")
        self._branches.append((label, steps))
        return self

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"there is no {name!r} in a fork: end it with join(function) first")

    def join(self, task_func: Callable[[dict[str, Any]], R], *, name: str | None = None) -> "Flow[I, Any]":
        """Call a function with the outputs of all branches, by their names, once all of them are there."""
        node_id = "||".join(label for label, _ in self._branches)
        if not self._branches:
            node_id = self._draft.next_id("fork")
            self._draft.wrong("EmptyFork", node_id, "a fork needs at least one branch")
        self._flow._add(Fork(node_id, tuple(self._branches)))  # noqa: SLF001 - the flow that this is a part of
        self._flow._add(self._draft.task(task_func, name))  # noqa: SLF001 - likewise
        return self._flow


class BranchBuilder(Generic[I, O]):
    """The branches of a route, until `done`."""

    def __init__(self, flow: Flow[I, O], draft: "_Draft", key: Task, keys: Sequence[str] | None) -> None:
        self._flow = flow
        self._draft = draft
        self._key = key
        self._keys = None if keys is None else [str(getattr(one, "value", one)) for one in keys]
        self._branches: dict[str, Steps] = {}
        self._default: Steps | None = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"there is no {name!r} in a route: end it with done() first")

    @property
    def _id(self) -> str:
        return self._key.id.removesuffix("::key_fn")

    def branch(self, key: str, *functions: "_Part", name: str | None = None) -> "BranchBuilder[I, O]":
        """Add the functions that are called, one after the other, for a key. `name` is the id of the first of them.

        Raises `BuildErrors` where there is none, and for a key that is not among those of `route`.
        """
        label = str(getattr(key, "value", key))
        if self._keys is not None and label not in self._keys:
            self._refuse("OrphanBranches", f"no key leads to a branch {label!r}: it is not in the declared keys")
        if label in self._branches:
            self._draft.wrong("DuplicateBranch", self._id, f"two branches have the key {label!r}")
        self._branches[label] = self._some(functions, name)
        return self

    def default_branch(self, *functions: "_Part", name: str | None = None) -> "BranchBuilder[I, O]":
        """Add the functions that are called where no branch has the key. `name` is the id of the first of them.

        Raises `BuildErrors` where there is none.
        """
        self._default = self._some(functions, name)
        return self

    def done(self) -> "Flow[I, dict[str, Any]]":
        """End the route, and go on with the flow. Raises `BuildErrors` where a key of `route` leads nowhere."""
        if not self._branches and self._default is None:
            self._draft.wrong("EmptyBranch", self._id, "a route needs a branch")
        missing = [key for key in self._keys or () if key not in self._branches]
        if missing and self._default is None:
            self._refuse("MissingBranches", f"missing branches for keys: {', '.join(missing)}; or add a default branch")
        route = Route(self._id, self._key, tuple(self._branches.items()), self._default)
        self._flow._add(route)  # noqa: SLF001 - the flow that this is a part of
        return cast("Flow[I, dict[str, Any]]", self._flow)

    def _some(self, functions: "Sequence[_Part]", name: str | None) -> Steps:
        steps = self._draft.sequence(functions, name)
        if not steps:
            self._refuse("EmptyBranch", _NO_FUNCTION)
        return steps

    def _refuse(self, kind: str, text: str) -> NoReturn:
        self._flow._refuse(kind, self._id, text)  # noqa: SLF001 - the flow that this is a part of


_NO_FUNCTION: Final = "a branch needs at least one task function"


class _Draft:
    """What a flow and its branches share while they are written: names given so far, and what is wrong."""

    def __init__(self) -> None:
        self.errors: list[BuildError] = []
        self._counts: dict[str, int] = {}

    def wrong(self, kind: str, node: str, text: str) -> None:
        """Keep in mind that something is wrong."""
        self.errors.append(BuildError(kind, node, text))

    def take_over(self, other: "_Draft", node: str) -> None:
        """Keep in mind what is wrong with a flow that becomes a part of this one."""
        self.errors += [BuildError(one.kind, f"{node}/{one.node}", one.text) for one in other.errors]

    def named(self, name: str) -> str:
        """Return the id of a node, if it is a text."""
        if not isinstance(cast(object, name), str):
            self.wrong("InvalidTaskId", str(name), f"an id is a text, not {type(name).__name__}")
        return str(name)

    def next_id(self, kind: str) -> str:
        """Return the id of a node that has no name of its own: ``loop_0``, then ``loop_1``."""
        number = self._counts.get(kind, 0)
        self._counts[kind] = number + 1
        return f"{kind}_{number}"

    def span(self, node: str, duration: str | float | timedelta) -> timedelta:
        """Return a duration; nothing, where it cannot be understood."""
        try:
            return span_of(duration)
        except InvalidInput as error:
            self.wrong("InvalidDuration", node, str(error))
            return timedelta(0)

    def task(self, function: Callable[..., Any], name: str | None) -> Task:
        """Return a function as a node."""
        node_id = self.named(name or self._own_name(function))
        return Task(node_id, self.spec(function, node_id))

    def spec(self, function: Callable[..., Any], node: str) -> TaskSpec:
        """Return a function as the task of a node; one that does nothing, where it is none."""
        try:
            return TaskSpec.of(function)
        except InvalidInput as error:
            self.wrong("NotATask", node, str(error))
            return TaskSpec.of(_nothing)

    def child(self, workflow: "Workflow[Any, Any] | Flow[Any, Any]", name: str | None) -> tuple[Child, ...]:
        """Return another workflow as a node; nothing, where it is none."""
        node_id = self.named(name or self.next_id("child"))
        if isinstance(workflow, Flow):
            self.take_over(workflow._draft, node_id)  # noqa: SLF001 - another one of ourselves
            return (Child(node_id, workflow._name, tuple(workflow._steps)),)  # noqa: SLF001 - likewise
        if isinstance(cast(object, workflow), Workflow):
            return (Child(node_id, workflow.name, workflow.steps),)
        self.wrong("NotAWorkflow", node_id, f"{workflow!r} is no workflow")
        return ()

    def sequence(self, functions: "Sequence[_Part]", name: str | None) -> Steps:
        """Return functions and workflows as nodes, one after the other; `name` is the id of the first."""
        return tuple(node for i, part in enumerate(functions) for node in self._part(part, None if i else name))

    def _part(self, part: "_Part", name: str | None) -> tuple[Node, ...]:
        return self.child(part, name) if isinstance(part, Flow | Workflow) else (self.task(part, name),)

    def _own_name(self, function: Callable[..., Any]) -> str:
        return (name_of(function) if callable(cast(object, function)) else None) or self.next_id("lambda")


def _nothing() -> None:
    """Stand in for what is no function, until `build` says so."""
