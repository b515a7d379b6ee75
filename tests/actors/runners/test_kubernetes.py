"""The engine for Kubernetes keeps what every engine promises, through the real client and real HTTP."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara.actors.runners import Attempt, Ended, Engine, HostFailed
from runtara.actors.runners import _kubernetes_logs as logs
from runtara.actors.runners._kubernetes_board import Board
from runtara.actors.runners._kubernetes_manifest import INPUT_MAX_BYTES
from runtara.actors.runners._kubernetes_names import name_of, selector_of_node
from runtara.actors.runners.kubernetes import KubernetesOptions
from runtara.clock import SystemClock
from runtara.errors import ConfigError, Forbidden, NotFound, Unreachable
from runtara.ids import InstanceKey
from runtara.transport.certificates import ensure_certificate
from tests.actors.runners.cluster import Cluster, Fault
from tests.actors.runners.yard import KEY, PATIENCE_S, Yard, open_yard
from tests.house.source import ROOT, environment
from tests.requirements import require

if sys.platform != "linux":
    require("linux", "containers are played by processes of Linux")

READY = "trap 'echo bye; exit 7' TERM; echo ready; sleep 1000 & wait"
"""A program that ends when it is asked to."""


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with open_yard(tmp_path) as yard:
        yield yard


async def test_it_has_the_shape_of_an_engine(yard: Yard) -> None:
    engine: Engine = yard.engine  # held by the type checker

    assert callable(engine.launch)


# What an attempt is given and leaves ----------------------------------------------------------------------------------


async def test_exit_code_output_and_the_end_of_the_log_are_what_an_attempt_leaves(yard: Yard) -> None:
    good = await yard.run('printf result >"$RUNTARA_OUTPUT_FILE"; echo note >&2')
    bad = await yard.run('printf result >"$RUNTARA_OUTPUT_FILE"; echo oops >&2; exit 3', epoch=2)

    assert good == Ended(exit_code=0, output=b"result", error="note")
    assert bad == Ended(exit_code=3, error="oops")


async def test_only_what_this_attempt_wrote_is_its_error_and_only_the_end_of_it(yard: Yard) -> None:
    await yard.run("echo first; exit 1")

    ended = await yard.run("head -c 10000 /dev/zero | tr '\\0' x; echo end; exit 1", epoch=2)

    assert ended.error == "x" * (4_096 - len("end\n")) + "end"


async def test_a_program_that_leaves_no_output_has_none(yard: Yard) -> None:
    assert (await yard.run("true")).output is None


async def test_an_output_that_the_cluster_may_have_cut_is_refused(yard: Yard) -> None:
    whole = await yard.run('head -c 4095 /dev/zero | tr "\\0" x >"$RUNTARA_OUTPUT_FILE"')
    cut = await yard.run('head -c 9000 /dev/zero | tr "\\0" x >"$RUNTARA_OUTPUT_FILE"', epoch=2)

    assert whole.output == b"x" * 4_095
    assert cut.exit_code == 1
    assert "report it with the SDK" in cut.error


async def test_a_program_reads_its_input_and_works_in_a_folder_of_its_own(yard: Yard) -> None:
    ended = await yard.run(
        'cd "$RUNTARA_WORK_DIR" && od -An -tx1 "$RUNTARA_INPUT_FILE" >kept; cat kept >"$RUNTARA_OUTPUT_FILE"',
        input=b"\0\xff",
    )

    assert ended.output == b" 00 ff\n"


async def test_an_input_too_large_for_a_secret_is_left_to_the_sdk(yard: Yard) -> None:
    program = 'printf "${RUNTARA_INPUT_FILE-none}" >"$RUNTARA_OUTPUT_FILE"'

    largest = await yard.run(program, input=bytes(INPUT_MAX_BYTES))
    larger = await yard.run(program, input=bytes(INPUT_MAX_BYTES + 1), epoch=2)

    assert (largest.output or b"").endswith(b"/input")
    assert larger.output == b"none"


async def test_variables_arrive_as_they_are_and_ours_win(yard: Yard) -> None:
    env = {"PRICE": "$(HOME) $$5 $HOME", "RUNTARA_EPOCH": "9"}
    ended = await yard.run(
        'printf "%s|%s|%s|%s" "$PRICE" "$RUNTARA_EPOCH" "$RUNTARA_TENANT_ID" "$RUNTARA_TOKEN" >"$RUNTARA_OUTPUT_FILE"',
        env=env,
        ours={"RUNTARA_TOKEN": "s3cret"},
    )

    assert ended.output == b"$(HOME) $$5 $HOME|1|acme|s3cret"


async def test_credentials_and_input_are_in_a_secret_that_goes_with_its_job(yard: Yard, caplog: Any) -> None:
    attempt = await yard.launch(READY, ours={"RUNTARA_TOKEN": "s3cret"}, input=b"private")
    await yard.wait_written("ready")

    (secret,) = yard.cluster.objects["secrets"].values()
    (job,) = yard.cluster.objects["jobs"].values()

    assert secret["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert sorted(secret["data"]) == ["RUNTARA_TOKEN", "input"]
    assert "s3cret" not in json.dumps(job) + yard.texts("jobs") + caplog.text
    assert "private" not in json.dumps(job)

    attempt.stop("kill")
    await yard.end(attempt)
    assert yard.cluster.objects["secrets"] == {}


async def test_a_signal_that_kills_the_program_is_told(yard: Yard) -> None:
    assert (await yard.run("kill -SEGV $$")).exit_code == -signal.SIGSEGV


async def test_a_pod_may_do_as_little_as_can_be(yard: Yard) -> None:
    await yard.run(resources={"cpu": 0.25, "memory": 1 << 20, "example.org/gpu": 2})

    job = next(body for verb, path, body in yard.cluster.requests if verb == "create" and path.endswith("/jobs"))
    spec = job["spec"]["template"]["spec"]
    needs = {"cpu": "250m", "memory": "1048576", "example.org/gpu": "2"}

    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert spec["automountServiceAccountToken"] is False
    assert spec["terminationGracePeriodSeconds"] == 20
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["containers"][0]["resources"] == {"requests": needs, "limits": needs}


async def test_programs_run_under_the_account_and_with_the_secrets_that_are_set(tmp_path: Path) -> None:
    async with open_yard(tmp_path, service_account="programs", image_pull_secrets=("registry",)) as yard:
        await yard.run()

        job = next(body for verb, path, body in yard.cluster.requests if verb == "create" and path.endswith("/jobs"))
        spec = job["spec"]["template"]["spec"]

        assert spec["serviceAccountName"] == "programs"
        assert spec["imagePullSecrets"] == [{"name": "registry"}]


# Names and images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("instance", ["order-7", "Ä?".encode().hex(), "A.b_C:d@e+f-", "x" * 128, "..", "@"])
def test_a_jobs_name_is_a_label_that_no_two_attempts_share(instance: str) -> None:
    names = {name_of(InstanceKey(tenant, instance), epoch) for tenant in ("a", "b") for epoch in (1, 999_999_999)}

    assert len(names) == 4
    for name in names:
        assert len(name) <= 63
        assert name.replace("-", "a").isalnum()
        assert name == name.lower()
        assert name[0] != "-"


def test_what_looks_alike_has_different_names() -> None:
    keys = [("ab", "c"), ("a", "bc"), ("a", "BC"), ("a", "b:c"), ("a:b", "c")]

    assert len({name_of(InstanceKey(*key), 1) for key in keys}) == len(keys)


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("", NotFound),
        ("../etc/passwd", NotFound),
        ("Upper/Case", NotFound),
        ("image:tag with space", NotFound),
        ("image@sha256:short", NotFound),
        ("docker.io/library/alpine", Forbidden),
        ("ghcr.io/acme-evil/program", Forbidden),
    ],
)
async def test_an_image_that_may_not_be_launched_is_refused(
    tmp_path: Path, program: str, error: type[Exception]
) -> None:
    async with open_yard(tmp_path, images=("ghcr.io/acme", "localhost:5000/")) as yard:
        with pytest.raises(error):
            yard.engine.check(program)
        with pytest.raises(error):
            await yard.engine.launch(yard.plan(program=program or "-"))


@pytest.mark.parametrize(
    "program", ["ghcr.io/acme/a.b_c/d__e:v1.2", f"ghcr.io/acme@sha256:{'a' * 64}", "localhost:5000/x:1"]
)
async def test_an_image_below_an_allowed_prefix_may_be_launched(tmp_path: Path, program: str) -> None:
    async with open_yard(tmp_path, images=("ghcr.io/acme", "localhost:5000/")) as yard:
        yard.engine.check(program)


@pytest.mark.parametrize("options", [{"node": "a/b"}, {"node": ""}, {"node": "n", "namespace": "x" * 64}])
def test_a_name_that_cannot_be_a_label_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        KubernetesOptions(**options)


def test_nothing_is_imported_before_it_is_needed_and_what_is_missing_is_named() -> None:
    program = (
        "import sys\n"
        "from runtara.actors.runners.kubernetes import KubernetesEngine, KubernetesOptions\n"
        "assert 'kubernetes' not in sys.modules\n"
        "sys.modules['kubernetes'] = None\n"
        "try: KubernetesEngine(KubernetesOptions(node='n'))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("ConfigError")
    assert "pip install 'runtara[kubernetes]'" in done.stdout


@pytest.mark.parametrize("kubeconfig", ["missing", None])
def test_without_a_way_to_the_cluster_there_is_no_engine(
    tmp_path: Path, kubeconfig: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="where the Kubernetes cluster is"):
        Yard(tmp_path, None, kubeconfig=kubeconfig and str(tmp_path / kubeconfig))  # type: ignore[arg-type]


# Stopping -------------------------------------------------------------------------------------------------------------


async def test_asked_to_end_a_program_has_its_grace_and_its_last_words_are_kept(yard: Yard) -> None:
    attempt = await yard.launch(READY)
    await yard.wait_written("ready")

    attempt.stop("ask")
    ended = await yard.end(attempt)

    assert ended.exit_code == 7
    assert await yard.read() == b"ready\nbye\n"


async def test_last_words_that_come_after_the_news_of_the_end_are_kept(yard: Yard) -> None:
    attempt = await yard.launch(READY)
    await yard.wait_written("ready")

    yard.cluster.slow = ("tell", "pods")
    async with trio.open_nursery() as nursery:
        attempt.stop("ask")
        nursery.start_soon(yard.end, attempt)
        await yard.wait(lambda cluster: not cluster.objects["pods"])
        await see_held(yard)
        yard.cluster.let_go()

    assert await yard.read() == b"ready\nbye\n"


async def test_a_program_that_does_not_end_is_killed_when_its_grace_is_over(tmp_path: Path) -> None:
    async with open_yard(tmp_path, kill_grace_ms=50) as yard:
        attempt = await yard.launch("trap '' TERM; echo ready; while :; do sleep 0.05; done")
        await yard.wait_written("ready")

        attempt.stop("ask")

        assert (await yard.end(attempt)).exit_code == -signal.SIGKILL


async def test_a_killed_program_has_no_time(yard: Yard) -> None:
    attempt = await yard.launch("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    await yard.wait_written("ready")

    attempt.stop("kill")

    assert (await yard.end(attempt)).exit_code == -signal.SIGKILL
    assert yard.cluster.objects == {"jobs": {}, "pods": {}, "secrets": {}}


async def test_what_is_destroyed_is_waited_for_while_its_machine_answers(yard: Yard) -> None:
    attempt = await yard.launch("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    await yard.wait_written("ready")

    attempt.stop("destroy")

    assert (await yard.end(attempt)).exit_code == -signal.SIGKILL
    assert yard.cluster.objects == {"jobs": {}, "pods": {}, "secrets": {}}


async def test_what_is_destroyed_on_a_machine_that_is_lost_is_given_up(tmp_path: Path) -> None:
    async with open_yard(tmp_path, force_after_ms=50) as yard:
        attempt = await yard.launch("echo ready; sleep 1000")
        await yard.wait_written("ready")
        yard.cluster.is_lost = True

        attempt.stop("kill")
        attempt.stop("destroy")
        ended = await yard.end(attempt)

        assert ended.exit_code is None
        assert yard.cluster.objects == {"jobs": {}, "pods": {}, "secrets": {}}


async def test_a_program_that_has_no_pod_yet_can_be_stopped(yard: Yard) -> None:
    yard.cluster.makes_pods = False
    attempt = await yard.launch()

    attempt.stop("kill")

    assert (await yard.end(attempt)).exit_code is None


async def test_stopping_again_or_too_late_does_no_harm(yard: Yard) -> None:
    attempt = await yard.launch("exit 5")

    ended = await attempt.wait_ended()
    for how in ("ask", "kill", "destroy", "ask"):
        attempt.stop(how)
    attempt.close()
    await attempt.forget()
    attempt.stop("kill")
    await attempt.forget()

    assert ended.exit_code == 5


# What outlives the server ---------------------------------------------------------------------------------------------


async def test_a_running_attempt_is_adopted_and_its_end_seen(yard: Yard) -> None:
    (await yard.launch(READY, epoch=4)).close()
    await yard.wait_written("ready")
    yard.engine = yard.another()

    async with trio.open_nursery() as nursery:
        (adopted,) = await yard.engine.adopt()
        nursery.start_soon(yard.engine.serve)
        adopted.stop("ask")
        ended = await yard.end(adopted)
        nursery.cancel_scope.cancel()

    assert (adopted.key, adopted.epoch) == (KEY, 4)
    assert ended.exit_code == 7


async def see_held(yard: Yard) -> None:
    """Wait until the cluster holds a request, and as long as others take that would not wait for its answer."""
    await yard.wait(lambda cluster: cluster.held)
    for _ in range(10):
        await yard.engine.find_pods(name_of(KEY, 1))


@pytest.mark.parametrize("slow", ["list", "follow"])
async def test_an_attempt_is_stopped_only_once_its_end_will_be_seen_and_its_last_words_heard(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr(logs, "_KEEP_S", PATIENCE_S)
    (await yard.launch(READY, epoch=4)).close()
    await yard.wait_written("ready")
    yard.engine = yard.another()

    async with trio.open_nursery() as nursery:
        (adopted,) = await yard.engine.adopt()
        yard.cluster.slow = (slow, "pods")
        nursery.start_soon(yard.engine.serve)
        adopted.stop("ask")
        await see_held(yard)
        deleted_early = "delete" in [verb for verb, *_ in yard.cluster.requests]
        yard.cluster.let_go()
        ended = await yard.end(adopted)
        nursery.cancel_scope.cancel()

    assert not deleted_early
    assert ended.exit_code == 7
    assert await yard.read() == b"ready\nbye\n"


async def test_a_pod_that_goes_while_the_pods_are_listed_is_missed_then(yard: Yard) -> None:
    board = Board(yard.engine.cluster, selector_of_node("node-1"))
    await yard.launch("echo ready; sleep 1000")
    await yard.wait_written("ready")
    (pod,) = await yard.engine.find_pods(name_of(KEY, 1))

    async with trio.open_nursery() as nursery:
        yard.cluster.slow = ("list", "pods")
        nursery.start_soon(board.list_pods)
        await yard.wait(lambda cluster: cluster.held)
        board.pods.put(pod)
        with yard.cluster.changed:
            yard.cluster.remove("pods", pod.metadata.name)
        yard.cluster.let_go()

    assert board.pods.all() == []


async def test_an_attempt_that_ended_meanwhile_is_found_until_it_is_forgotten(yard: Yard) -> None:
    await (await yard.launch('printf result >"$RUNTARA_OUTPUT_FILE"; echo words')).wait_ended()
    later = yard.another()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(later.serve)
        found = [await (await later.adopt())[0].wait_ended() for _ in range(2)]
        kept = await later.read_log(KEY, "stdout", 0, 100)
        await (await later.adopt())[0].forget()
        nursery.cancel_scope.cancel()

    assert found == [Ended(exit_code=0, output=b"result", error="words")] * 2
    assert kept == (b"words\n", 0)
    assert await later.adopt() == []


async def test_a_node_adopts_what_it_has_launched_and_nothing_else(yard: Yard) -> None:
    keys = [InstanceKey("acme", "a"), InstanceKey("acme", "b"), InstanceKey("other", "a")]
    yard.cluster.page = 2
    for epoch, key in enumerate(keys):
        await yard.launch("sleep 1000", key=key, epoch=epoch)
    forged = json.loads(json.dumps(next(iter(yard.cluster.objects["jobs"].values()))))
    forged["metadata"] |= {"name": "forged", "uid": "forged"}
    with yard.cluster.changed:
        yard.cluster.objects["jobs"]["forged"] = forged

    ours, theirs = await yard.another().adopt(), await yard.another(node="node-2").adopt()

    assert {(attempt.key, attempt.epoch) for attempt in ours} == {(key, epoch) for epoch, key in enumerate(keys)}
    assert theirs == []


async def test_a_launch_that_was_cut_short_has_not_begun_and_is_nobodys_fault(yard: Yard) -> None:
    yard.cluster.faults.extend([Fault("patch", "jobs", 403), Fault("delete", "jobs", 403)])
    with pytest.raises(HostFailed):
        await yard.launch()

    (adopted,) = await yard.engine.adopt()
    ended = await yard.end(adopted)

    assert (ended.exit_code, ended.counts) == (None, False)
    assert "before it could launch" in ended.error
    assert yard.cluster.objects == {"jobs": {}, "pods": {}, "secrets": {}}


async def test_launching_an_attempt_again_makes_no_second_one(yard: Yard) -> None:
    plan = yard.plan("echo once; sleep 1000")
    first = await yard.engine.launch(plan)
    await yard.wait_written("once")

    second = await yard.engine.launch(plan)
    second.stop("kill")
    await yard.end(second)

    assert (second.key, second.epoch) == (first.key, first.epoch)
    assert await yard.read() == b"once\n"


async def test_a_job_of_that_name_that_another_node_has_made_is_not_taken(yard: Yard) -> None:
    await yard.another(node="node-2").launch(yard.plan("sleep 1000"))

    with pytest.raises(HostFailed, match="was not made here"):
        await yard.launch()


@pytest.mark.parametrize("node", ["node-1", "node-2"])
async def test_older_attempts_are_gone_before_a_newer_one_begins(yard: Yard, node: str) -> None:
    await yard.another(node=node).launch(yard.plan("trap '' TERM; while :; do sleep 0.05; done", epoch=1))
    pod = await yard.pod()

    await yard.launch("sleep 1000", epoch=2)

    order = [(verb, path) for verb, path, _ in yard.cluster.requests if "/pods/" in path or "/jobs" in path]
    created = max(at for at, (verb, _) in enumerate(order) if verb == "create")
    assert ("delete", f"/api/v1/namespaces/programs/pods/{pod['metadata']['name']}") in order[:created]
    assert list(yard.cluster.objects["jobs"]) == [name_of(KEY, 2)]
    assert yard.cluster.containers[pod["metadata"]["name"]].over


async def test_a_launch_does_not_wait_for_ever_for_an_older_attempt(tmp_path: Path) -> None:
    async with open_yard(tmp_path, gone_timeout_ms=100) as yard:
        await yard.launch("sleep 1000")
        await yard.pod()
        yard.cluster.is_lost = True

        with pytest.raises(HostFailed, match="if its machine is lost, delete"):
            await yard.launch(epoch=2)

        assert list(yard.cluster.objects["jobs"]) == []


async def test_an_attempt_that_is_late_does_not_replace_a_newer_one(yard: Yard) -> None:
    await yard.launch("sleep 1000", epoch=2)

    with pytest.raises(HostFailed, match="newer attempt"):
        await yard.launch(epoch=1)

    assert list(yard.cluster.objects["jobs"]) == [name_of(KEY, 2)]


async def test_a_launch_that_is_cancelled_leaves_a_whole_attempt_or_none(yard: Yard) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(yard.engine.launch, yard.plan("sleep 1000"))
            await yard.wait(lambda cluster: any(verb == "create" for verb, *_ in cluster.requests))
            scope.cancel()

    (job,) = yard.cluster.objects["jobs"].values()
    assert job["spec"]["suspend"] is False


# Whose fault it is ----------------------------------------------------------------------------------------------------


async def test_an_evicted_pod_is_not_the_programs_fault(yard: Yard) -> None:
    attempt = await yard.launch("echo ready; sleep 1000")
    await yard.wait_written("ready")

    with yard.cluster.changed:
        yard.cluster.evict(yard.cluster.pods()[0])
    ended = await yard.end(attempt)

    assert (ended.exit_code, ended.counts) == (None, False)
    assert "The node was low on memory" in ended.error


@pytest.mark.parametrize("kind", ["jobs", "pods"])
async def test_what_somebody_else_has_deleted_is_not_the_programs_fault(yard: Yard, kind: str) -> None:
    attempt = await yard.launch("echo ready; sleep 1000")
    await yard.wait_written("ready")

    with yard.cluster.changed:
        name = next(iter(yard.cluster.objects["pods"]))
        if kind == "jobs":
            yard.cluster.remove("jobs", name_of(KEY, 1))
        yard.cluster.remove("pods", name)
    ended = await yard.end(attempt)

    assert (ended.exit_code, ended.counts) == (None, False)


async def test_a_program_that_somebody_else_asks_to_end_is_not_at_fault(yard: Yard) -> None:
    attempt = await yard.launch(READY)
    await yard.wait_written("ready")

    with yard.cluster.changed:
        yard.cluster.delete("pods", next(iter(yard.cluster.objects["pods"])), {})
    ended = await yard.end(attempt)

    assert (ended.exit_code, ended.counts) == (None, False)
    assert "somebody has deleted its pod" in ended.error


async def test_an_end_that_the_machine_did_not_see_is_not_the_programs_fault(yard: Yard) -> None:
    attempt = await yard.launch("echo ready; sleep 1000")
    await yard.wait_written("ready")

    with yard.cluster.changed:
        state = {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}
        yard.cluster.tell(yard.cluster.pods()[0], state, phase="Failed")
    ended = await yard.end(attempt)

    assert (ended.exit_code, ended.counts) == (None, False)


async def test_a_job_that_fails_without_a_pod_is_not_the_programs_fault(yard: Yard) -> None:
    yard.cluster.makes_pods = False
    attempt = await yard.launch()

    with yard.cluster.changed:
        job = yard.cluster.objects["jobs"][name_of(KEY, 1)]
        job["status"] = {"conditions": [yard.cluster.condition("Failed", "True", "DeadlineExceeded", "too long")]}
        yard.cluster.note("jobs", "MODIFIED", job)
    ended = await yard.end(attempt)

    assert (ended.exit_code, ended.counts) == (None, False)
    assert "DeadlineExceeded" in ended.error


async def test_too_much_memory_is_the_programs_own_fault(yard: Yard) -> None:
    attempt = await yard.launch("echo ready; sleep 1000")
    await yard.wait_written("ready")

    with yard.cluster.changed:
        state = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
        yard.cluster.tell(yard.cluster.pods()[0], state, phase="Failed")
    ended = await yard.end(attempt)

    assert (ended.exit_code, ended.counts) == (-signal.SIGKILL, True)
    assert "more memory than it may" in ended.error


async def test_a_command_that_cannot_be_started_is_told(yard: Yard) -> None:
    attempt = await yard.launch("sleep 1000")
    await yard.pod()

    with yard.cluster.changed:
        state = {"terminated": {"exitCode": 128, "reason": "StartError", "message": "exec: no such file"}}
        yard.cluster.tell(yard.cluster.pods()[0], state, phase="Failed")
    ended = await yard.end(attempt)

    assert (ended.exit_code, ended.counts) == (128, True)
    assert "exec: no such file" in ended.error


@pytest.mark.parametrize(
    ("what", "words"), [("image", "ImagePullBackOff"), ("place", "Insufficient cpu"), ("pod", "not made a pod")]
)
async def test_what_does_not_begin_in_time_is_given_up_and_nobodys_fault(tmp_path: Path, what: str, words: str) -> None:
    async with open_yard(tmp_path, place_timeout_ms=50, image_timeout_ms=50) as yard:
        yard.cluster.has_room = what != "place"
        yard.cluster.makes_pods = what != "pod"
        program = "registry.example.org/acme/missing" if what == "image" else yard.image("true")

        ended = await yard.run(program=program)

        assert (ended.exit_code, ended.counts) == (None, False)
        assert words in ended.error
        assert yard.cluster.objects == {"jobs": {}, "pods": {}, "secrets": {}}


async def test_what_begins_late_runs(yard: Yard) -> None:
    yard.cluster.has_room = False
    attempt = await yard.launch('printf late >"$RUNTARA_OUTPUT_FILE"')
    await yard.pod()

    with yard.cluster.changed:
        yard.cluster.has_room = True
        yard.cluster.reconcile()

    assert (await yard.end(attempt)).output == b"late"


# A cluster that does not answer as it should --------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["broken", "too old", "errors"])
async def test_a_watch_that_fails_loses_nothing(yard: Yard, fault: str) -> None:
    (yard.folder / "gate").touch()
    attempt = await yard.launch(f"while [ -e {yard.folder / 'gate'} ]; do sleep 0.01; done; exit 3")
    await yard.wait(lambda cluster: cluster.watches >= 2)
    await yard.pod()

    with yard.cluster.changed:
        if fault == "too old":
            yard.cluster.forget_history()
        if fault == "errors":
            yard.cluster.faults.extend([Fault("watch", "*", 500), Fault("watch", "*", 0)] * 2)
        yard.cluster.break_watches()
        (yard.folder / "gate").unlink()
        yard.cluster.wait(lambda cluster: "conditions" in next(iter(cluster.objects["jobs"].values()))["status"])
        if fault == "too old":
            yard.cluster.forget_history()

    assert (await yard.end(attempt)).exit_code == 3


async def test_a_pod_that_goes_while_nobody_watches_is_missed_later(yard: Yard) -> None:
    attempt = await yard.launch("echo ready; sleep 1000")
    await yard.wait_written("ready")

    with yard.cluster.changed:
        yard.cluster.remove("pods", next(iter(yard.cluster.objects["pods"])))
        yard.cluster.forget_history()
        yard.cluster.break_watches()
    ended = await yard.end(attempt)

    assert (ended.exit_code, ended.counts) == (None, False)


async def test_a_pod_that_nobody_has_seen_yet_is_not_overlooked(yard: Yard) -> None:
    yard.cluster.makes_pods = False
    attempt = await yard.launch("sleep 1000")
    await yard.wait(lambda cluster: cluster.watches == 2)

    with yard.cluster.changed:
        yard.cluster.faults.extend([Fault("watch", "pods", 500)] * 2)
        yard.cluster.break_watches()
        yard.cluster.makes_pods = True
        yard.cluster.reconcile()
        (pod,) = yard.cluster.pods()
        yard.cluster.remove("jobs", name_of(KEY, 1))
    async with trio.open_nursery() as nursery:
        ends: list[Ended] = []
        nursery.start_soon(note_end, yard, attempt, ends)
        await yard.wait(has_asked_for_pods)
        assert not ends
        yard.cluster.containers[pod["metadata"]["name"]].kill(signal.SIGKILL)

    assert ends[0].exit_code == -signal.SIGKILL


def has_asked_for_pods(cluster: Cluster) -> bool:
    """Whether the Pods were listed once more than at a launch and at the start of a watch."""
    return sum(verb == "list" and path.endswith("/pods") for verb, path, _ in cluster.requests) > 2


async def note_end(yard: Yard, attempt: Attempt, ends: list[Ended]) -> None:
    ends.append(await yard.end(attempt))


@pytest.mark.parametrize("status", [500, 503, 429, 0, -1])
@pytest.mark.parametrize(
    ("verb", "kind"), [("list", "jobs"), ("create", "jobs"), ("create", "secrets"), ("patch", "jobs")]
)
async def test_a_call_that_fails_once_is_made_again(yard: Yard, verb: str, kind: str, status: int) -> None:
    yard.cluster.faults.append(Fault(verb, kind, status))

    if (verb, kind, status) == ("create", "secrets", -1):
        with pytest.raises(HostFailed):  # it cannot be told from the secret of an earlier job
            await yard.launch("exit 4")
        return

    assert (await yard.run("exit 4")).exit_code == 4


async def test_a_cluster_that_refuses_the_launch_is_the_hosts_failure(yard: Yard) -> None:
    yard.cluster.faults.append(Fault("create", "jobs", 403))

    with pytest.raises(HostFailed, match="403"):
        await yard.launch()


async def test_a_plan_that_the_cluster_finds_wrong_is_refused(yard: Yard) -> None:
    yard.cluster.faults.append(Fault("create", "jobs", 422))

    with pytest.raises(Forbidden):
        await yard.launch()


async def test_a_launch_that_fails_half_way_leaves_nothing(yard: Yard) -> None:
    yard.cluster.faults.append(Fault("create", "secrets", 403))

    with pytest.raises(HostFailed):
        await yard.launch()

    assert yard.cluster.objects == {"jobs": {}, "pods": {}, "secrets": {}}


async def test_forgetting_and_stopping_go_on_until_the_cluster_has_heard(yard: Yard) -> None:
    attempt = await yard.launch("echo ready; sleep 1000")
    await yard.wait_written("ready")

    yard.cluster.faults.extend([Fault("delete", "pods", 500), Fault("delete", "jobs", 0)])
    attempt.stop("kill")
    await yard.end(attempt)

    assert yard.cluster.objects == {"jobs": {}, "pods": {}, "secrets": {}}
    assert yard.cluster.faults == []


async def test_a_cluster_that_is_away_cannot_be_asked_what_there_is(yard: Yard) -> None:
    await yard.wait(lambda cluster: cluster.watches == 2)  # the yard's own engine has nothing more to list
    yard.cluster.faults.append(Fault("list", "jobs", 403))

    with pytest.raises(Unreachable):
        await yard.another().adopt()


async def test_over_tls_it_lets_go_at_once_when_it_is_cancelled(tmp_path: Path) -> None:
    identity = ensure_certificate(tmp_path / "tls", ("localhost",), clock=SystemClock())
    with trio.fail_after(60):  # far less than a connection may be silent
        async with open_yard(tmp_path, identity) as yard:
            await yard.launch("echo ready; sleep 1000")
            await yard.wait_written("ready")
            await yard.wait(lambda cluster: cluster.watches == 2)


# What is written ------------------------------------------------------------------------------------------------------


async def test_what_all_attempts_write_is_one_stream_and_outlives_their_pods(yard: Yard) -> None:
    for epoch in range(1, 4):
        await yard.run(f"echo attempt {epoch}; echo aside {epoch} >&2", epoch=epoch)

    lines = (await yard.read()).decode().splitlines()

    assert sorted(lines[:2]) == ["aside 1", "attempt 1"]
    assert len(lines) == 6
    assert await yard.read("stderr") == b""


@pytest.mark.parametrize(
    ("offset", "limit", "found"),
    [(0, 4, (b"0123", 0)), (4, 100, (b"456789", 4)), (-3, 100, (b"789", 7)), (-100, 2, (b"01", 0)), (10, 5, (b"", 10))],
)
async def test_a_stream_is_read_from_any_byte(yard: Yard, offset: int, limit: int, found: tuple[bytes, int]) -> None:
    attempt = await yard.launch("printf 0123456789; sleep 1000")
    await yard.wait_written("9")

    assert await yard.engine.read_log(KEY, "stdout", offset, limit) == found

    attempt.stop("kill")
    await yard.end(attempt)
    assert await yard.engine.read_log(KEY, "stdout", offset, limit) == found


async def test_of_an_instance_that_was_never_launched_there_is_nothing_to_read(yard: Yard) -> None:
    assert await yard.engine.read_log(KEY, "stdout", 0, 10) == (b"", 0)
    assert await yard.engine.read_log(KEY, "stderr", -5, 10) == (b"", 0)


async def test_a_reader_waits_for_what_is_written_next(yard: Yard) -> None:
    (yard.folder / "gate").touch()
    attempt = await yard.launch(
        f"echo one; while [ -e {yard.folder / 'gate'} ]; do sleep 0.01; done; echo two; sleep 1000"
    )
    await yard.wait_written("one")
    quiet = yard.engine.watch_log(KEY)
    was_set = quiet.is_set()

    (yard.folder / "gate").unlink()
    await quiet.wait()

    assert not was_set
    assert await yard.read() == b"one\ntwo\n"
    attempt.stop("kill")
    await yard.end(attempt)


async def test_a_log_whose_connection_breaks_is_read_on_without_a_gap(yard: Yard) -> None:
    (yard.folder / "gate").touch()
    await yard.launch(f"echo one; while [ -e {yard.folder / 'gate'} ]; do sleep 0.01; done; echo two; sleep 1000")
    await yard.wait_written("one")

    yard.cluster.break_watches()
    (yard.folder / "gate").unlink()

    assert await yard.wait_written("two") == "one\ntwo\n"


async def test_a_reader_hears_of_the_next_attempt(yard: Yard) -> None:
    await yard.run("echo one")
    news = yard.engine.watch_log(KEY)

    await yard.launch("echo two; sleep 1000", epoch=2)

    await news.wait()
    assert await yard.wait_written("two") == "one\ntwo\n"


async def test_a_reader_hears_of_an_attempt_that_replaces_one_that_runs(yard: Yard) -> None:
    for epoch in range(1, 5):
        await yard.launch(f"echo attempt {epoch}; sleep 1000", epoch=epoch)

        assert (await yard.wait_written(f"attempt {epoch}")).count("attempt") == epoch


async def test_too_many_readers_look_again_after_a_while(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FOLLOWS_MAX", 0)
    monkeypatch.setattr(logs, "_LOOK_AGAIN_S", 0.01)

    await yard.launch("echo one; sleep 1000")

    assert await yard.wait_written("one") == "one\n"


async def test_a_flood_is_capped_and_the_oldest_goes_first(tmp_path: Path) -> None:
    async with open_yard(tmp_path, log_max_bytes=1 << 16) as yard:
        ended = await yard.run("head -c 8M /dev/zero; echo; echo the end")

        kept, (_, start) = await yard.read(), await yard.engine.read_log(KEY, "stdout", 0, 1)

        assert ended.exit_code == 0
        assert len(kept) == 1 << 16
        assert kept.endswith(b"\nthe end\n")
        assert start + len(kept) == 8 * (1 << 20) + len("\nthe end\n")


async def test_only_so_many_logs_are_kept(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "COPIES_MAX", 1)
    keys = [InstanceKey("acme", name) for name in "ab"]

    for key in keys:
        await yard.run("echo words", key=key)

    assert [await yard.read(key=key) for key in keys] == [b"", b"words\n"]
