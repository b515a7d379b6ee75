"""The engines under the names of the field's binding: handed a workflow in parts, they do what runners do."""

import pytest

from runtara.sdk.flow import (
    Backend,
    BackendError,
    DurableEngine,
    Flow,
    InvalidOption,
    TaskError,
    WorkflowEngine,
    WorkflowError,
)


def double(x: int) -> int:
    return x * 2


def fail(x: int) -> int:
    raise ValueError(f"no {x}")


WAITS = Flow("waits").then(double).wait_for_signal("go").then(lambda x: [x]).build()


def test_an_engine_runs_a_workflow_in_parts() -> None:
    workflow, engine = Flow("w").then(double).build(), WorkflowEngine()

    assert engine.run(workflow._inner, 5, workflow._task_registry) == 10
    assert engine.run(workflow, 6) == 12
    assert repr(engine) == "WorkflowEngine()"
    with pytest.raises(TaskError, match="no 1"):
        engine.run(Flow("f").then(fail).build(), 1)


def test_other_functions_than_its_own_are_refused() -> None:
    workflow = Flow("w").then(double).build()

    with pytest.raises(InvalidOption, match="'double' is no task of"):
        WorkflowEngine().run(workflow, 5, {"double": fail})
    with pytest.raises(InvalidOption, match="'other' is no task of"):
        WorkflowEngine().run(workflow, 5, {"other": double})


def test_a_durable_engine_runs_tells_and_resumes(backend: Backend, instance_id: str) -> None:
    engine = DurableEngine(backend)

    assert engine.run(WAITS, instance_id, 1).is_awaiting_signal()
    engine.send_signal(instance_id, "go", "now")
    assert engine.pause(instance_id, "lunch", "Kim").is_paused()
    assert (engine.resume(WAITS, instance_id).reason, repr(engine).startswith("DurableEngine(")) == ("lunch", True)
    engine.unpause(instance_id)
    assert engine.resume(WAITS, instance_id, WAITS._task_registry).output == ["now"]
    assert engine.resume(WAITS, instance_id).is_completed()


def test_a_durable_engine_keeps_to_its_conflict_policy(backend: Backend, instance_id: str) -> None:
    first = DurableEngine(backend).run(WAITS, instance_id, 1)

    assert DurableEngine(backend, "use_existing").run(WAITS, instance_id, 2) == first
    assert DurableEngine(backend).cancel(instance_id, "enough").is_cancelled()
    with pytest.raises(ValueError, match="conflict policy 'sometimes'"):
        DurableEngine(backend, "sometimes")


def test_an_instance_that_is_not_there_was_not_found(backend: Backend) -> None:
    engine = DurableEngine(backend)

    with pytest.raises(BackendError, match="not found"):
        engine.cancel("nobody")
    with pytest.raises(WorkflowError, match="not found"):
        engine.resume(WAITS, "nobody")
