"""A program that does a step whenever it is told to, and otherwise waits: launched, or started by a test.

Where a host has launched it, a signal called ``go`` tells it; a process that registers by itself reads lines from its
standard input. What it is told becomes the state of a checkpoint; ``end`` ends it.
"""

import os
import sys
from collections.abc import Iterator

from runtara.errors import Fenced, InstanceShutdown
from runtara.sdk import RuntaraSdk
from tests.crash.host.processes import Born
from tests.crash.host.site import FOLDER, Site
from tests.crash.journal import Journal

__all__ = ["main"]


def main() -> None:
    """Be the instance that the environment names."""
    journal = Site.load(os.environ[FOLDER]).open_journal()
    sdk = RuntaraSdk.from_env()
    try:
        _work(journal, sdk)
    except Fenced:
        journal.write("fenced", "process", sdk.instance_id, value=str(os.getpid()), epoch=sdk.epoch or 0)
    except InstanceShutdown:
        sdk.suspended()
    finally:
        sdk.close()


def _work(journal: Journal, sdk: RuntaraSdk) -> None:
    who = sdk.instance_id
    epoch = sdk.register().epoch
    journal.write("begun", "process", who, value=str(Born.here()), epoch=epoch)
    for number, word in enumerate(_words(sdk)):
        found = sdk.checkpoint(f"step-{number}", word.encode()).found
        journal.write("ack", "checkpoint", who, f"step-{number}", value=f"{word} {found}", epoch=epoch)
        if word == "end":
            sdk.completed(f"{number + 1} steps".encode())
            journal.write("ack", "complete", who, epoch=epoch)
            return


def _words(sdk: RuntaraSdk) -> Iterator[str]:
    if "RUNTARA_LAUNCH_ID" not in os.environ:
        yield from (line.strip() for line in sys.stdin)
        return
    while True:
        signal = sdk.wait_for_signal("go")
        assert signal is not None, "there is no timeout"
        yield signal.payload.decode()


if __name__ == "__main__":
    main()
