"""The program that a host launches in a campaign: it finds everything in its environment, as any program does.

It follows its plan (`tests.crash.workload`) to the end, unless it parks, is told to go, or is killed.
"""

import os
import traceback
from collections.abc import Generator
from typing import Any

from runtara.errors import Fenced, InstanceCancelled, InstancePaused, InstanceShutdown, Unreachable
from runtara.lifecycle import Status
from runtara.sdk import RuntaraSdk, SignalType
from tests.crash import workload
from tests.crash.host.processes import Born
from tests.crash.host.site import FOLDER, Site
from tests.crash.journal import Journal, digest

__all__ = ["main"]


def main() -> None:
    """Be the instance that the environment names."""
    site = Site.load(os.environ[FOLDER])
    journal = site.open_journal()
    sdk = RuntaraSdk.from_env()
    who = sdk.instance_id
    journal.write("born", "process", who, value=str(Born.here()))
    try:
        site.be_alone(who)
        workload.run_blocking(_attempt(journal, sdk), sdk)
    except Fenced:
        journal.write("fenced", "process", who, epoch=sdk.epoch or 0)
    except Unreachable:  # as promised, if no server is there for as long as a first connection may take
        journal.write("unreached", "process", who)
        raise
    except Exception as error:
        journal.write("error", "program", who, value="".join(traceback.format_exception(error)))
        raise
    finally:
        sdk.close()


def _attempt(journal: Journal, sdk: RuntaraSdk) -> Generator[workload.Wish, Any, None]:
    """Register and follow the plan; act upon a signal to the whole instance."""
    who = sdk.instance_id
    try:
        reply = yield lambda sdk: sdk.register()
        journal.write("ack", "register", who, epoch=reply.epoch)
        output = yield from workload.program(journal, who, reply.epoch, managed=False)
        journal.write("intent", "complete", who, value=digest(output))
        status = yield lambda sdk: sdk.completed(output)
        if status is Status.COMPLETED:
            journal.write("ack", "complete", who, value=digest(output))
    except InstanceCancelled:
        journal.write("told", "cancel", who, epoch=sdk.epoch or 0)
        if sdk.epoch is not None:
            yield lambda sdk: sdk.acknowledge(SignalType.CANCEL)
    except (InstancePaused, InstanceShutdown):
        journal.write("told", "rest", who, epoch=sdk.epoch or 0)
        if sdk.epoch is not None:  # otherwise the instance rests already
            yield lambda sdk: sdk.suspended()
