"""A process to be killed: ``python -m tests.crash.replacing URL FOLDER ID`` replaces one instance again and again.

Each of its lives leaves something of every kind that bears its number. What is acknowledged is said on standard output.
"""

import sys
from itertools import count

from runtara.messages import SendSignal
from runtara.sdk import RuntaraSdk, embedded

STEPS = 3
"""Checkpoints of a life."""


def say(*words: object) -> None:
    """Say something at once."""
    print(*words, flush=True)  # noqa: T201 - a program, not a library


def live(system: embedded.Embedded, instance_id: str, life: int) -> None:
    """Begin in the place of the life before, and leave something behind."""
    door = system.open_door(instance_id, "default")
    with RuntaraSdk(door, system.runtime.clock, replace=True) as sdk:
        say("begun", life, sdk.epoch)
        signal = SendSignal(kind="custom", name=f"{life}", signal_id=f"{life}", payload=b"")
        door.beside(instance_id).call_from_thread(signal)
        for step in range(STEPS):
            sdk.custom_event(f"{life}", b"")
            sdk.checkpoint(f"{life}.{step}", b"state")
            say("saved", life, step)
        if life % 2:  # what has ended gives way as well as what runs
            sdk.completed(b"%d" % life)
            say("ended", life)


if __name__ == "__main__":
    url, folder, name = sys.argv[1:]
    with embedded.open(folder, url=url) as system:
        for number in count(1):
            live(system, name, number)
