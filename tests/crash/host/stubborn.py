"""A program that knows nothing of the SDK and does not go when it is asked to."""

import os
import signal

from tests.crash.host.processes import Born
from tests.crash.host.site import FOLDER, Site

__all__ = ["main"]


def main() -> None:
    """Say that it has begun, and stay."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    journal = Site.load(os.environ[FOLDER]).open_journal()
    journal.write("begun", "process", os.environ["RUNTARA_INSTANCE_ID"], value=str(Born.here()))
    while True:
        signal.pause()
