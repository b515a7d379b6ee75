"""Whatever can be wrong with a workflow is found when it is built, all of it at once, and named."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from runtara.sdk.flow import BuildErrors, Flow, Migration, Workflow, task


def same(x: Any) -> Any:
    return x


def other(x: Any) -> Any:
    return x


def two(x: Any, y: Any) -> Any:
    return x, y


class Two:
    def __init__(self, x: Any, y: Any) -> None:
        self.both = x, y


def nested(depth: int) -> Workflow[Any, Any]:
    flow = Flow("leaf").then(same).build()
    for _ in range(depth):
        flow = Flow("shell").then_flow(flow).build()
    return flow


def two_names(outputs: dict[str, Any]) -> dict[str, Any]:
    return outputs


class _Migrating:
    def build(self) -> Workflow[Any, Any]:
        return Flow("w").then(same).build(migrations=[Migration(from_hash="0" * 64, renamed={"nobody": "x"})])


WRONG: dict[str, tuple[Callable[[], Any], list[tuple[str, str]]]] = {
    "nothing": (lambda: Flow("w"), [("EmptyWorkflow", "w")]),
    "no name": (lambda: Flow("").then(same), [("InvalidName", "")]),
    "same id twice": (lambda: Flow("w").then(same).then(same), [("DuplicateTaskId", "same")]),
    "same id in a branch": (
        lambda: Flow("w").then(same).fork().branch(same).join(other),
        [("DuplicateTaskId", "same")],
    ),
    "no function": (lambda: Flow("w").then(cast(Any, 3), name="x"), [("NotATask", "x")]),
    "two arguments": (lambda: Flow("w").then(cast(Any, two)), [("NotATask", "two")]),
    "a class of two arguments": (lambda: Flow("w").then(cast(Any, Two), name="d"), [("NotATask", "d")]),
    "no branches": (lambda: Flow("w").fork().join(same), [("EmptyFork", "fork_0")]),
    "an empty branch": (lambda: Flow("w").fork().branch(name="b").join(same), [("EmptyBranch", "b")]),
    "two branches of one name": (
        lambda: Flow("w").fork().branch(same, name="b").branch(other, same, name="b").join(two_names),
        [("DuplicateBranch", "b"), ("DuplicateTaskId", "b")],
    ),
    "no route": (lambda: Flow("w").route(same).done(), [("EmptyBranch", "branch_0")]),
    "an empty route": (lambda: Flow("w").route(same).branch("k").done(), [("EmptyBranch", "branch_0")]),
    "two routes of one key": (
        lambda: Flow("w").route(same).branch("k", other).branch("k", other).done(),
        [("DuplicateBranch", "branch_0")],
    ),
    "a missing route": (
        lambda: Flow("w").route(same, keys=["a", "b"]).branch("a", other).done(),
        [("MissingBranches", "branch_0")],
    ),
    "an orphan": (
        lambda: Flow("w").route(same, keys=["a"]).branch("a", other).branch("c", two_names).done(),
        [("OrphanBranches", "branch_0")],
    ),
    "no iterations": (lambda: Flow("w").loop(same, max_iterations=0), [("InvalidMaxIterations", "loop_0")]),
    "an unknown end of a loop": (lambda: Flow("w").loop(same, on_max="stop"), [("InvalidOnMax", "loop_0")]),
    "a bad duration": (lambda: Flow("w").delay("d", "soon"), [("InvalidDuration", "d")]),
    "a negative duration": (lambda: Flow("w").delay("d", timedelta(-1)), [("InvalidDuration", "d")]),
    "a bad timeout": (lambda: Flow("w").wait_for_signal("s", timeout="x"), [("InvalidDuration", "s")]),
    "a signal without a name": (lambda: Flow("w").wait_for_signal("", name="s"), [("InvalidSignal", "s")]),
    "no workflow": (lambda: Flow("w").then(same).then_flow(cast(Any, same)), [("NotAWorkflow", "child_0")]),
    "an id that is taken": (lambda: Flow("w").then(same, name="flow::begin"), [("InvalidTaskId", "flow::begin")]),
    "an id that cannot be printed": (lambda: Flow("w").then(same, name="a\nb"), [("InvalidTaskId", "a\nb")]),
    "an id that is too long": (lambda: Flow("w").then(same, name="x" * 2_000), [("InvalidTaskId", "x" * 2_000)]),
    "a flow that is wrong inside": (
        lambda: Flow("w").then_flow(Flow("i").delay("d", "soon")),
        [("InvalidDuration", "child_0/d")],
    ),
    "a migration of nothing": (_Migrating, [("UnknownNode", "nobody")]),
    "an id that is no text": (lambda: Flow("w").then(same, name=cast(Any, 4)), [("InvalidTaskId", "4")]),
    "a delay whose id is no text": (lambda: Flow("w").delay(cast(Any, 5), 1), [("InvalidTaskId", "5")]),
    "a delay without an id": (lambda: Flow("w").delay("", 1), [("InvalidTaskId", "")]),
    "a branch whose name is no text": (
        lambda: Flow("w").fork().branch(same, name=cast(Any, 6)).join(other),
        [("InvalidTaskId", "6")],
    ),
    "a signal that is no text": (lambda: Flow("w").wait_for_signal(cast(Any, 7), name="s"), [("InvalidSignal", "s")]),
    "a signal that cannot be sent": (lambda: Flow("w").wait_for_signal("a\0", name="s"), [("InvalidSignal", "s")]),
    "an id that a node of a child has": (
        lambda: Flow("w").then(same, name="child_0/other").then_flow(Flow("c").then(other)),
        [("DuplicateTaskId", "child_0/other")],
    ),
    "an id that an iteration has": (
        lambda: Flow("w").then(same, name="loop_0#12").loop(other),
        [("InvalidTaskId", "loop_0#12")],
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named(wrong: str) -> None:
    make, expected = WRONG[wrong]

    with pytest.raises(BuildErrors) as caught:
        make().build()

    assert [(error.kind, error.node) for error in caught.value.errors] == expected
    assert all(error.text for error in caught.value.errors)
    assert all(_as_shown(node) in str(caught.value) for _, node in expected)


def _as_shown(node: str) -> str:
    return node[:100] if node.isprintable() else ascii(node)


def test_an_id_may_hold_what_looks_like_an_iteration_where_there_is_no_such_loop() -> None:
    flow = Flow("w").then(same, name="step#1").loop(other, name="again").then(two_names, name="loop_0#one")

    assert [node.id for node in flow.build().iter_nodes()] == ["step#1", "loop_0", "again", "loop_0#one"]


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"codec": "json"}, "InvalidCodec"), ({"migrations": [5]}, "InvalidMigration")],
    ids=["codec", "migration"],
)
def test_what_is_given_to_build_is_looked_at_too(options: dict[str, Any], kind: str) -> None:
    with pytest.raises(BuildErrors) as caught:
        Flow("w").then(same).build(**options)

    assert [(error.kind, error.node) for error in caught.value.errors] == [(kind, "w")]


def test_everything_is_found_at_once() -> None:
    flow = Flow("w").then(same).then(same).delay("d", "?").loop(other, max_iterations=-1)

    with pytest.raises(BuildErrors) as caught:
        flow.build()

    assert {error.kind for error in caught.value.errors} == {
        "DuplicateTaskId",
        "InvalidDuration",
        "InvalidMaxIterations",
    }
    assert isinstance(caught.value, ValueError)


def test_what_is_nested_too_deep_is_refused_and_not_run_into() -> None:
    with pytest.raises(BuildErrors) as caught:
        nested(1_000)

    assert caught.value.errors[0].kind == "TooDeep"
    assert nested(50).definition.startswith("CW:child_0{CW:")


def test_a_thousand_nodes_in_a_row_are_no_problem() -> None:
    flow: Flow[Any, Any] = Flow("long")
    for number in range(1_000):
        flow = flow.then(same, name=f"n{number}")

    assert len(list(flow.build().iter_nodes())) == 1_000


def test_too_many_nodes_are_refused() -> None:
    flow: Flow[Any, Any] = Flow("longer")
    for number in range(10_001):
        flow = flow.then(same, name=f"n{number}")

    with pytest.raises(BuildErrors) as caught:
        flow.build()

    assert [error.kind for error in caught.value.errors] == ["TooManyNodes"]


def test_nodes_without_names_are_numbered() -> None:
    workflow = (
        Flow("w")
        .then(lambda x: x)
        .then(lambda x: x)
        .loop(same)
        .loop(other)
        .route(lambda x: x)
        .default_branch(lambda x: x)
        .done()
        .build()
    )

    assert [node.id for node in workflow.iter_nodes()] == [
        "lambda_0",
        "lambda_1",
        "loop_0",
        "same",
        "loop_1",
        "other",
        "branch_0",
        "lambda_2",
    ]


def test_a_child_may_be_used_twice_and_have_ids_of_its_parent() -> None:
    inner = Flow("inner").then(same).build()

    workflow = Flow("outer").then(same).then_flow(inner).then_flow(inner).build()

    assert workflow.definition == "T:same;CW:child_0{T:same;};CW:child_1{T:same;};"


def test_a_workflow_can_be_a_part_of_a_branch() -> None:
    inner = Flow("inner").wait_for_signal("go").then(same)
    fork = Flow("w").fork().branch(inner.build(), other).branch(inner, name="mine").join(two_names)
    flow = fork.route(lambda _: "k").branch("k", inner).done()

    assert flow.build().definition == (
        "F:child_0||mine[CW:child_0{S:go:go;T:same;};T:other;,CW:mine{S:go:go;T:same;};,]J:T:two_names;"
        "B:branch_0{k=>CW:child_1{S:go:go;T:same;};,};"
    )


def test_an_unbuilt_flow_can_be_a_child() -> None:
    assert Flow("o").then_flow(Flow("i").then(same)).build().definition == "CW:child_0{T:same;};"


def test_the_nodes_say_what_they_are_and_what_they_follow() -> None:
    marked = task("b", timeout=1, retries=2, priority=1, tags=["x"], version="3")(lambda x: x)
    workflow = (
        Flow("w", metadata={"team": "a"})
        .then(same, name="a")
        .then(marked)
        .fork()
        .branch(other)
        .branch(two_names)
        .join(same, name="j")
        .delay("d", 1)
        .wait_for_signal("s", timeout=2)
        .build()
    )

    nodes = {node.id: node for node in workflow.iter_nodes()}

    assert [(node.kind, node.predecessor_id) for node in nodes.values()] == [
        ("task", None),
        ("task", "a"),
        ("fork", "b"),
        ("task", "other||two_names"),
        ("task", "other||two_names"),
        ("task", "other||two_names"),
        ("delay", "j"),
        ("await_signal", "d"),
    ]
    assert (nodes["b"].timeout, nodes["b"].priority, nodes["b"].tags, nodes["b"].version) == (
        timedelta(seconds=1),
        1,
        ("x",),
        "3",
    )
    assert nodes["s"].timeout == timedelta(seconds=2)
    assert workflow.metadata == {"team": "a"}
    assert workflow.workflow_id == "w"


def test_a_call_that_is_refused_at_once_tells_of_all_that_is_wrong_by_then() -> None:
    flow = Flow("w").then(same).then(same).delay("d", "soon").route(other, keys=["a", "b"]).branch("a", two_names)

    with pytest.raises(BuildErrors) as caught:
        flow.done()

    assert {error.kind for error in caught.value.errors} == {"DuplicateTaskId", "InvalidDuration", "MissingBranches"}


def test_a_fork_or_a_route_that_is_left_open_says_how_it_ends() -> None:
    fork: Any = Flow("w").fork().branch(same)
    route: Any = Flow("w").route(other, keys=["a"]).branch("a", same)

    for name in ("build", "then", "delay"):
        with pytest.raises(
            AttributeError, match=rf"there is no '{name}' in a fork: end it with join\(function\) first"
        ):
            getattr(fork, name)
        with pytest.raises(AttributeError, match=rf"there is no '{name}' in a route: end it with done\(\) first"):
            getattr(route, name)


def test_keys_are_a_list() -> None:
    with pytest.raises(BuildErrors, match="keys are a list of texts, not the text 'ab'"):
        Flow("w").route(other, keys="ab")
