"""How an attempt stands, read from its Job and its Pods: pure functions, which decide whose fault an end was.

What a program did is its own: its exit code, a signal, more memory than it may use. What became of its Pod (evicted,
deleted, its machine lost, never placed) is the host's.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from runtara.actors.runners._contract import Ended
from runtara.actors.runners._kubernetes_board import Seen
from runtara.actors.runners._kubernetes_objects import Job, Pod, Terminated

__all__ = ["Over", "Stuck", "ended_of", "judge"]

_UNPLACED: Final = "place"
_UNMADE: Final = "image"
_MAKING: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons to wait for a container that are no trouble."""
_UNKNOWN: Final = frozenset({"ContainerStatusUnknown", "Unknown"})
"""Reasons of an end that nobody saw."""
_UNSTARTED: Final = frozenset({"StartError", "ContainerCannotRun"})
_ENDED: Final = frozenset({"Completed", "Error", "OOMKilled", ""})
_SIGNALS: Final = range(129, 129 + 64)
"""Exit codes of programs that a signal has killed, as container runtimes have them."""


class Over(NamedTuple):
    """Nothing of the attempt is left, as far as the board knows."""

    pod: Pod | None


class Stuck(NamedTuple):
    """It has not begun, and may never."""

    bound: str
    """Which time it may take: for a ``place``, or for an ``image``."""
    words: str


def judge(jobs: Sequence[Seen[Job]], pods: Sequence[Seen[Pod]]) -> Over | Stuck | None:
    """Return how an attempt stands; None while all is well."""
    for seen in pods:
        if not seen.gone and not seen.object.is_over:
            return _trouble_of(seen.object)
    if pods:
        return Over(pods[-1].object)
    if not jobs:
        return None
    if jobs[-1].gone or _failure_of(jobs[-1].object):
        return Over(None)
    return Stuck(_UNPLACED, "the cluster has not made a pod for the program")


def _trouble_of(pod: Pod) -> Stuck | None:
    waiting = pod.state.waiting
    if waiting is not None and waiting.reason not in _MAKING:
        return Stuck(_UNMADE, f"the cluster cannot start the program: {waiting.reason}: {waiting.message}")
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            return Stuck(_UNPLACED, f"the cluster has no place for the program: {condition.message}")
    return None


def ended_of(over: Over, job: Job | None, tail: str, output_max_bytes: int, *, stopped: bool) -> Ended:
    """Return how an attempt has ended; from the end of what it wrote, and whether it was `stopped` here."""
    if over.pod is None:
        return _lost(_failure_of(job) if job is not None else "")
    terminated = over.pod.state.terminated
    why = _fault_of_host(over.pod, stopped)
    if terminated is not None and terminated.exit_code == 0:
        return _completed(terminated, tail, output_max_bytes)
    if why or terminated is None or terminated.reason in _UNKNOWN:
        return _lost(why or "its pod is gone")
    code = terminated.exit_code
    error = "\n".join(part for part in (_words_of(terminated), tail) if part)
    return Ended(exit_code=128 - code if code in _SIGNALS else code, error=error)


def _completed(terminated: Terminated, tail: str, output_max_bytes: int) -> Ended:
    output = None if terminated.message is None else terminated.message.encode()
    if output is not None and len(output) > output_max_bytes:
        return Ended(
            exit_code=1,
            error=f"the output has more than {output_max_bytes} bytes, and the cluster may have cut it: "
            "report it with the SDK",
        )
    return Ended(exit_code=0, output=output, error=tail)


def _words_of(terminated: Terminated) -> str:
    """Return what the cluster adds to an exit code, where that is not the program's own output."""
    if terminated.reason == "OOMKilled":
        return "the program has used more memory than it may"
    if terminated.reason in _UNSTARTED:
        return f"the program could not be started: {terminated.message or terminated.reason}"
    return "" if terminated.reason in _ENDED else terminated.reason


def _fault_of_host(pod: Pod, stopped: bool) -> str:
    """Return what became of a pod that the program has no part in."""
    for condition in pod.status.conditions:
        if condition.type == "DisruptionTarget" and condition.holds:
            return f"its pod was taken away: {condition.reason}: {condition.message}"
    if pod.status.reason:
        return f"its pod was taken away: {pod.status.reason}: {pod.status.message}"
    if pod.metadata.deletion_timestamp is not None and not stopped:
        return "somebody has deleted its pod"
    return ""


def _failure_of(job: Job) -> str:
    for condition in job.status.conditions:
        if condition.type == "Failed" and condition.holds:
            return f"its job has failed: {condition.reason}: {condition.message}"
    return ""


def _lost(why: str) -> Ended:
    return Ended(
        exit_code=None, error=f"nobody saw how the program ended: {why or 'its job was deleted'}", counts=False
    )
