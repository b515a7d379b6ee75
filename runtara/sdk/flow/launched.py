"""A workflow as a program: a file that a host launches, or a function that a system runs, whose instance is the run."""

from contextlib import nullcontext
from typing import Any

from runtara.sdk._drive import drive_blocking
from runtara.sdk._flows import Parked
from runtara.sdk.flow._faces import Blocking, Resting
from runtara.sdk.flow._failures import TOLD
from runtara.sdk.flow._libraries import Loops
from runtara.sdk.flow._runs import Run
from runtara.sdk.flow._walk import walk
from runtara.sdk.flow.workflow import Workflow
from runtara.sdk.sync import RuntaraSdk
from runtara.threads import Library

__all__ = ["run_program"]


def run_program(workflow: Workflow[Any, Any], sdk: RuntaraSdk | None = None, *, library: Library | None = None) -> Any:
    """Run a workflow as the instance that this program was launched as; return its output.

    The input is that of the instance, as JSON (or, where it is none, as the workflow's codec writes it). Results are
    kept like those of `CheckpointingRunner`, so a program that was launched again goes on where it was. A delay or a
    wait for a signal that takes longer than a moment ends the program, which is launched again when it is time. Without
    an `sdk`, it is the one that the ``RUNTARA_…`` variables describe. `library` is the event loop of async tasks; by
    default, each of them says by its own code which it needs, or runs under trio.

    Reports how the workflow ends, and raises the `WorkflowError` that it fails with, `DefinitionMismatch` where the
    instance was begun by another definition, and `Parked`, with which the program ends quietly.
    """
    owner = RuntaraSdk.from_env() if sdk is None else sdk
    with owner if sdk is None else nullcontext():
        run = Run(workflow, owner, waits=True)
        try:
            value = drive_blocking(run.begin_launched(), owner.perform)
            output = Blocking(run.means, Loops(library)).take(walk(workflow, value))
        except Exception as raised:
            drive_blocking(run.conclude(raised), owner.perform)
            if isinstance(raised, Resting):
                raise Parked from None
            if isinstance(raised, TOLD):
                return None
            raise
        status = drive_blocking(run.complete(output), owner.perform)
        return None if status is None else status.output
