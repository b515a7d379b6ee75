"""The engine that launches programs as Kubernetes Jobs: a container image for a program, a Job for an attempt.

The cluster keeps what must outlive the server: a Job is found again by its labels, and its name says which attempt it
is, so launching one twice makes one. Where programs run, and on which machine, is for the cluster to decide. What it
cannot do as the contract has it: stdout and stderr are one stream, an empty output is a missing one, and what a program
wrote is kept in the server's memory once its Pod is gone (`_kubernetes_logs`).

It does not know how instances stand; the actor `Runner` does.
"""

import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal, TypeAlias

import trio

from runtara.actors.runners._contract import Ended, HostFailed, Plan
from runtara.actors.runners._kubernetes_api import ApiFailed, Cluster, patiently
from runtara.actors.runners._kubernetes_board import Board
from runtara.actors.runners._kubernetes_end import Over, Stuck, ended_of, judge
from runtara.actors.runners._kubernetes_logs import Logs
from runtara.actors.runners._kubernetes_manifest import job_manifest, secret_manifest
from runtara.actors.runners._kubernetes_names import (
    ATTEMPT,
    NODE,
    check_image,
    identify,
    name_of,
    selector_of_instance,
    selector_of_node,
)
from runtara.actors.runners._kubernetes_objects import Job, Pod
from runtara.actors.runners._kubernetes_options import KubernetesOptions
from runtara.errors import Forbidden, Unreachable
from runtara.ids import InstanceKey

__all__ = ["KubernetesAttempt", "KubernetesEngine", "KubernetesOptions"]

_log: Final = logging.getLogger("runtara.runner")
_How: TypeAlias = Literal["ask", "kill", "destroy"]

_TAIL_BYTES: Final = 4_096
"""How much of the end of what it wrote is part of what an attempt has left."""
_CONFLICT: Final = 409
_REFUSED: Final = (400, 422)
"""Statuses: the plan itself is at fault; another try would be refused, too."""
_NOT_BEGUN: Final = "the host has ended before it could launch the program"
_MAKING_S: Final = 30.0
"""How long a launch may take, once nothing is in its way."""
_KILL_S: Final = 1
"""The shortest grace with which the cluster still waits until the machine of a Pod has confirmed its end."""
_FOLLOWED_S: Final = 30.0
"""How long a host that has just begun has to follow its Pods, before it stops them all the same."""
_FORCE_S: Final = 0
"""The grace with which it does not: the machine may be lost."""


class KubernetesAttempt:
    """A Job in a cluster."""

    def __init__(self, engine: "KubernetesEngine", key: InstanceKey, epoch: int, job: Job) -> None:
        self.key: Final = key
        self.epoch: Final = epoch
        self.job: Final = job
        self.name: Final = job.metadata.name
        self.gave_up = _NOT_BEGUN if job.spec.suspend else ""
        """Why it will never begin."""
        self.over = False
        self._stopped = False
        self._engine: Final = engine
        self._stuck_since: dict[str, float] = {}

    def stop(self, how: _How) -> None:
        """Have the engine delete the Pod; see `KubernetesEngine.serve`."""
        if not self.over:
            self._stopped = True
            self._engine.stop_soon(self, how)

    async def wait_ended(self) -> Ended:
        """Wait until its Pod has ended or is gone; give it up if it has not begun when its time is over."""
        if self.gave_up:
            self._engine.stop_soon(self, "destroy")
        while True:
            change = self._engine.board.change_of(self.name)
            verdict = judge(self._engine.board.jobs.find(self.name), self._engine.board.pods.find(self.name))
            if isinstance(verdict, Over):
                if verdict.pod is not None or not await self._engine.find_pods(self.name):
                    return await self._end(verdict)
                continue  # it has a Pod that nobody has seen yet
            with trio.move_on_at(self._deadline(verdict)) as waiting:
                await change.wait()
            if waiting.cancelled_caught and isinstance(verdict, Stuck):
                self.gave_up = verdict.words
                self._engine.stop_soon(self, "destroy")

    async def forget(self) -> None:
        """Delete the Job, and with it its Pod and its Secret."""
        await self._engine.forget(self)

    def close(self) -> None:
        """Nothing is held that `forget` does not let go of."""

    def _deadline(self, verdict: Stuck | None) -> float:
        """Return until when it may stay as it is; a trouble that comes back in other words is the same trouble."""
        if verdict is None or self.gave_up:
            self._stuck_since.clear()
            return math.inf
        now = trio.current_time()
        self._stuck_since = {verdict.bound: self._stuck_since.get(verdict.bound, now)}
        return self._stuck_since[verdict.bound] + self._engine.patience(verdict.bound)

    async def _end(self, over: Over) -> Ended:
        tail = await self._engine.logs.finish(self.key, over.pod, _TAIL_BYTES)
        self.over = True
        if self.gave_up:
            return Ended(exit_code=None, error=self.gave_up, counts=False)
        jobs = self._engine.board.jobs.find(self.name)
        job = jobs[-1].object if jobs else None
        return ended_of(over, job, tail, self._engine.options.output_max_bytes, stopped=self._stopped)


class KubernetesEngine:
    """Launches programs as Jobs of one namespace. Ends are seen, and stops carried out, while `serve` runs."""

    def __init__(self, options: KubernetesOptions) -> None:
        """Take what there is to set. Raises `ConfigError` where the library or the way to the cluster is missing."""
        self.options: Final = options
        self.cluster: Final = Cluster(options)
        self.board: Final = Board(self.cluster, selector_of_node(options.node))
        self.logs: Final = Logs(self.cluster, self.board, self._name_of_current, options.log_max_bytes)
        self._attempts: Final[dict[InstanceKey, KubernetesAttempt]] = {}
        # Not bounded by itself: an attempt is stopped in three ways at most, and those are bounded that there may be.
        self._say_stop, self._hear_stop = trio.open_memory_channel[tuple[KubernetesAttempt, _How]](math.inf)

    def check(self, program: str) -> None:
        """Raise `NotFound` for what is no image reference, `Forbidden` for an image that may not be launched."""
        check_image(program, self.options.images)

    async def launch(self, plan: Plan) -> KubernetesAttempt:
        """Make a Job and have it begin; see `Engine.launch`.

        First every older attempt is deleted, whoever launched it, and waited for. The Job is made suspended, then the
        Secret that it owns, then the Job is let go: a host that dies in between leaves a Job that has not begun, and
        doing it again does what was not done. Raises `Forbidden`, too, for what the cluster finds wrong in the plan.
        """
        self.check(plan.program)
        try:
            await self._clear(plan)
            job = await self._make(plan)
        except ApiFailed as failed:
            if failed.status in _REFUSED:
                raise Forbidden(f"the cluster refuses to launch {plan.program!r}: {failed}") from failed
            raise HostFailed(f"the host could not launch {plan.program!r}: {failed}") from failed
        return self._keep(KubernetesAttempt(self, plan.key, plan.epoch, job))

    async def adopt(self) -> Sequence[KubernetesAttempt]:
        """Return the attempts whose Jobs this node has launched. Raises `Unreachable` if the cluster does not tell."""
        try:
            await self.board.list_jobs()
        except ApiFailed as failed:
            raise Unreachable(f"the cluster does not say which jobs there are: {failed}") from failed
        jobs = [seen.object for seen in self.board.jobs.all() if not seen.gone]
        return [self._keep(attempt) for job in jobs if (attempt := self._attempt_of(job)) is not None]

    async def read_log(self, key: InstanceKey, stream: str, offset: int, limit: int) -> tuple[bytes, int]:
        """Read from the log of the instance's Pods; all of it is stdout, since the cluster does not tell them apart."""
        if stream != "stdout":
            return b"", max(0, offset)
        return await self.logs.read(key, offset, limit)

    def watch_log(self, key: InstanceKey) -> trio.Event:
        """Follow the log of the instance's Pod for a while; see `Engine.watch_log`."""
        return self.logs.watch(key)

    async def serve(self) -> None:
        """Keep up with the cluster, follow logs and carry out stops, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.board.serve)
            nursery.start_soon(self.logs.serve)
            while True:
                attempt, how = await self._hear_stop.receive()
                nursery.start_soon(self._stop, attempt, how)

    # What attempts ask for --------------------------------------------------------------------------------------------

    def stop_soon(self, attempt: KubernetesAttempt, how: _How) -> None:
        """Have an attempt stopped as soon as `serve` can."""
        self._say_stop.send_nowait((attempt, how))

    async def find_pods(self, attempt: str) -> Sequence[Pod]:
        """Ask the cluster itself which Pods an attempt has, and note them on the board."""
        try:
            found = await patiently(self.cluster.list_pods, f"{ATTEMPT}={attempt}", tries=None)
        except ApiFailed as refused:
            _log.warning("pods-not-listed", extra={"job": attempt, "error": str(refused)})
            return ()
        for pod in found.items:
            self.board.pods.put(pod)
        return found.items

    def patience(self, bound: str) -> float:
        """Return how many seconds an attempt may be stuck."""
        of_bound = {"place": self.options.place_timeout_ms, "image": self.options.image_timeout_ms}
        return of_bound[bound] / 1000

    async def forget(self, attempt: KubernetesAttempt) -> None:
        """Delete an attempt's Job, and let go of the attempt; what it wrote stays for a while."""
        attempt.over = True
        await self._delete_job(attempt)
        if self._attempts.get(attempt.key) is attempt:
            del self._attempts[attempt.key]
        self.board.forget(attempt.name)

    async def _stop(self, attempt: KubernetesAttempt, how: _How) -> None:
        if how != "destroy":
            with trio.move_on_after(_FOLLOWED_S):  # or nobody would see how it ends
                await self.board.follows_pods.wait()
        pods = await self.find_pods(attempt.name)
        if how == "destroy" or not pods:
            await self._delete_job(attempt)
        else:
            await self.logs.keep(attempt.key)  # its log goes with its Pod
        await self._delete_pods(pods, None if how == "ask" else _KILL_S)
        if how == "destroy" and pods:
            with trio.move_on_after(self.options.force_after_ms / 1000):
                await self._wait_over(attempt)
            await self._delete_pods(await self.find_pods(attempt.name), _FORCE_S)

    async def _wait_over(self, attempt: KubernetesAttempt) -> None:
        while not attempt.over:
            change = self.board.change_of(attempt.name)
            if isinstance(judge(self.board.jobs.find(attempt.name), self.board.pods.find(attempt.name)), Over):
                return
            await change.wait()

    async def _delete_job(self, attempt: KubernetesAttempt) -> None:
        try:
            await patiently(self.cluster.delete_job, attempt.name, attempt.job.metadata.uid, tries=None)
        except ApiFailed as refused:
            _log.warning("job-not-deleted", extra={"job": attempt.name, "error": str(refused)})

    async def _delete_pods(self, pods: Sequence[Pod], grace_s: int | None) -> None:
        for name, uid in [(pod.metadata.name, pod.metadata.uid) for pod in pods if not pod.is_over]:
            try:
                await patiently(self.cluster.delete_pod, name, uid, grace_s, tries=None)
            except ApiFailed as refused:
                _log.warning("pod-not-deleted", extra={"pod": name, "error": str(refused)})

    # Which attempts there are -----------------------------------------------------------------------------------------

    def _name_of_current(self, key: InstanceKey) -> str | None:
        attempt = self._attempts.get(key)
        return attempt.name if attempt is not None else None

    def _keep(self, attempt: KubernetesAttempt) -> KubernetesAttempt:
        self.board.keep(attempt.name)
        self.board.jobs.put(attempt.job)
        current = self._attempts.get(attempt.key)
        if current is None or current.epoch <= attempt.epoch:
            self._attempts[attempt.key] = attempt
            self.logs.stir(attempt.key)
            if current is not None:
                self.board.stir(current.name)  # whoever follows its log goes on with the newer one
        return attempt

    def _attempt_of(self, job: Job) -> KubernetesAttempt | None:
        """Return the attempt that a Job is; None if its notes and its name do not agree."""
        named = identify(job)
        if named is None:
            _log.warning("foreign-job", extra={"job": job.metadata.name})
            return None
        return KubernetesAttempt(self, *named, job)

    # Launching --------------------------------------------------------------------------------------------------------

    async def _clear(self, plan: Plan) -> None:
        """Delete the older attempts of an instance, and wait until nothing of them is left. Refuse to be older."""
        selector, name = selector_of_instance(plan.key), name_of(plan.key, plan.epoch)
        for job in (await patiently(self.cluster.list_jobs, selector)).items:
            named = identify(job)
            if named is not None and named[1] > plan.epoch:
                raise HostFailed(
                    f"a newer attempt of {plan.key.instance_id!r} is there already: {job.metadata.name}; "
                    "if nobody else is to launch it, delete that job"
                )
            if job.metadata.name != name:
                await patiently(self.cluster.delete_job, job.metadata.name, job.metadata.uid)
        others = Board(self.cluster, f"{selector},{ATTEMPT}!={name}")
        await others.list_pods()
        with trio.move_on_after(self.options.gone_timeout_ms / 1000) as waiting:
            await self._wait_gone(others)
        if waiting.cancelled_caught:
            raise HostFailed(
                f"an older attempt of {plan.key.instance_id!r} is not gone after {self.options.gone_timeout_ms} ms: "
                "if its machine is lost, delete the machine's Node object"
            )

    async def _wait_gone(self, others: Board) -> None:
        left = _left(others)
        if not left:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(others.serve_pods)
            await self._delete_pods(left, _KILL_S)
            while _left(others):
                await others.change_of().wait()
            nursery.cancel_scope.cancel()

    async def _make(self, plan: Plan) -> Job:
        """Make what an attempt consists of, as far as it is not there; undo it where that does not succeed.

        Not interrupted, for `_MAKING_S` at most.
        """
        job: Job | None = None
        with trio.CancelScope(shield=True):
            job = await self._make_or_undo(plan)
        assert job is not None, "nobody cancels a shield"
        return job

    async def _make_or_undo(self, plan: Plan) -> Job:
        made: list[Job] = []
        try:
            with trio.fail_after(_MAKING_S):
                return await self._make_all(plan, made)
        except (ApiFailed, HostFailed, trio.TooSlowError) as failure:
            await self._undo(made)
            if isinstance(failure, trio.TooSlowError):
                raise HostFailed(
                    f"the cluster took longer than {_MAKING_S:.0f} s over a launch: see how busy its API server is"
                ) from failure
            raise

    async def _make_all(self, plan: Plan, made: list[Job]) -> Job:
        job, is_new = await self._make_job(plan)
        if not job.spec.suspend:
            return job  # launched before, and told again
        made.append(job)
        await self._make_secret(plan, job, is_new)
        return await patiently(self.cluster.release_job, job.metadata.name)

    async def _undo(self, made: list[Job]) -> None:
        """Delete a Job whose launch has failed; where that fails, too, the next launch or the next start finds it."""
        for job in made:
            with suppress(ApiFailed), trio.move_on_after(self.options.request_timeout_ms / 1000):
                await patiently(self.cluster.delete_job, job.metadata.name, job.metadata.uid, tries=1)

    async def _make_job(self, plan: Plan) -> tuple[Job, bool]:
        """Return the attempt's Job, and whether it is new."""
        manifest = job_manifest(plan, self.options)
        try:
            return await patiently(self.cluster.create_job, manifest), True
        except ApiFailed as failed:
            if failed.status != _CONFLICT:
                raise
        job = await patiently(self.cluster.read_job, manifest["metadata"]["name"])
        if identify(job) != (plan.key, plan.epoch) or job.metadata.labels.get(NODE) != self.options.node:
            raise HostFailed(
                f"there is a job {job.metadata.name!r} already, and it was not made here: "
                "delete it, or use another namespace"
            )
        if job.metadata.deletion_timestamp is not None:
            raise HostFailed(f"job {job.metadata.name!r} is being deleted: try again when it is gone")
        return job, False

    async def _make_secret(self, plan: Plan, job: Job, is_new: bool) -> None:
        try:
            await patiently(self.cluster.create_secret, secret_manifest(plan, self.options, job.metadata.uid))
        except ApiFailed as failed:
            if failed.status != _CONFLICT:
                raise
            if is_new:
                raise HostFailed(f"the secret of an earlier job {job.metadata.name!r} is not gone yet") from failed


def _left(board: Board) -> list[Pod]:
    """Return the Pods of which something may still run."""
    return [seen.object for seen in board.pods.all() if not seen.gone and not seen.object.is_over]
