import hashlib
from typing import Any

import pytest

from runtara.sdk.flow import Flow, LoopResult, RetryPolicy, Workflow, task
from runtara.sdk.flow._definition import definition_text, difference
from tests.sdk.flow.graphs import GRAPHS, Calls, Graph


def same(x: Any) -> Any:
    return x


def named(name: str, **options: Any) -> Any:
    return task(name, **options)(lambda x: x)


def test_the_hash_is_that_of_sayiir_bit_by_bit() -> None:
    b = task("b", timeout="30s", retries=3)(lambda x: x)
    workflow = Flow("check value").then(same, name="a").then(b).build()

    assert workflow.definition == "T:a;T:b:t:30000:r:3:1000:2;"
    assert workflow.definition_hash == "0790f99f97d556c3481260594c473653ef3542c4f382d438bc6332725012698e"


@pytest.mark.parametrize(
    ("multiplier", "text"), [(2.0, "2"), (1.5, "1.5"), (1.1, "1.1"), (1.123456789, "1.1234568"), (10, "10")]
)
def test_a_multiplier_is_written_as_in_single_precision(multiplier: float, text: str) -> None:
    policy = RetryPolicy(1, 0.5, multiplier)
    workflow = Flow("w").then(task("a", retries=policy)(lambda x: x)).build()

    assert workflow.definition == f"T:a:r:1:500:{text};"


def test_every_kind_of_node_has_its_text() -> None:
    def done(x: Any) -> LoopResult[Any]:
        return LoopResult.Done(x)

    inner = Flow("inner").then(same, name="i").build()
    workflow = (
        Flow("all")
        .then(task("a", version="2")(lambda x: x))
        .fork()
        .branch(same, name="l")
        .branch(same, name="r")
        .join(same, name="j")
        .delay("d", "1.5s")
        .wait_for_signal("go", name="s", timeout="1m")
        .wait_for_signal("on")
        .route(lambda x: "k")
        .branch("z", named("bz"))
        .branch("k", named("bk"))
        .default_branch(named("else"))
        .done()
        .loop(done, max_iterations=7, on_max="exit_with_last")
        .then_flow(inner)
        .build()
    )

    assert workflow.definition == (
        "T:a:v:2;F:l||r[T:l;,T:r;,]J:T:j;D:d:1500;S:s:go:t:60000;S:on:on;"
        "B:branch_0{k=>T:bk;,z=>T:bz;,}_=>T:else;;L:loop_0:7:exit_with_last{T:done;};CW:child_0{T:i;};"
    )


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_the_hash_is_the_sha_256_of_the_text_and_the_same_each_time(graph: Graph) -> None:
    first, second = graph.build(Calls()), graph.build(Calls())

    assert first.definition_hash == second.definition_hash
    assert first.definition_hash == hashlib.sha256(definition_text(first.steps).encode()).hexdigest()


def test_names_tags_and_priorities_are_no_part_of_it() -> None:
    plain = Flow("one").then(task("a")(lambda x: x)).build()
    other = Flow("two").then(task("a", priority=1, tags=["t"], description="d")(lambda x: x)).build()

    assert plain.definition_hash == other.definition_hash


def changed(**options: Any) -> Workflow[Any, Any]:
    workflow: Workflow[Any, Any] = Flow("w").then(same, name="a").then(named("b", **options)).build()
    return workflow


def test_a_difference_says_what_is_gone_and_what_is_new() -> None:
    before, after = changed(timeout=30), changed(timeout=60)

    assert difference(before.definition, after.definition) == ["gone: T:b:t:30000;", "new: T:b:t:60000;"]
    assert difference(before.definition, before.definition) == []
