"""A program for a person to watch: it does as its input says, step by step, each once however often it is launched.

The input is ``{"steps": [[verb, argument], …]}``. The verbs are the functions below.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from runtara.sdk import PermanentError, RuntaraSdk, durable


def main() -> None:
    """Do what the input says, and end with what the last step has given."""
    with RuntaraSdk.from_env() as sdk:
        wanted = json.loads(sdk.load_input() or b'{"steps": []}')
        result: Any = None
        for number, (verb, argument) in enumerate(wanted["steps"]):
            result = VERBS[verb](sdk, number, argument)
        sdk.completed(result.encode() if isinstance(result, str) else json.dumps(result).encode())


def say(_sdk: RuntaraSdk, _number: int, text: str) -> str:
    """Write to both streams; with every attempt."""
    print(text, flush=True)
    print(f"(to stderr) {text}", file=sys.stderr, flush=True)
    return text


def save(sdk: RuntaraSdk, number: int, argument: Any) -> Any:
    """Save checkpoints: as many as the argument says, or one of that content."""
    if not isinstance(argument, int):
        sdk.checkpoint(f"{number} {argument}"[:200], json.dumps(argument).encode())
        return argument
    for i in range(argument):
        sdk.checkpoint(f"{number} part {i + 1}", json.dumps({"part": i + 1, "of": argument}).encode())
    return argument


def rest(sdk: RuntaraSdk, number: int, seconds: float) -> float:
    """Sleep."""
    sdk.sleep(timedelta(seconds=seconds), f"{number} rest")
    return seconds


def wait(sdk: RuntaraSdk, _number: int, name: str) -> Any:
    """Wait for a signal, and give what it has brought."""
    found = sdk.wait_for_signal(name, timeout=timedelta(days=1))
    return None if found is None else json.loads(found.payload or b"null")


def note(sdk: RuntaraSdk, _number: int, argument: list[str]) -> str:
    """Write an event."""
    sdk.custom_event(argument[0], argument[1].encode())
    return argument[0]


def stumble(_sdk: RuntaraSdk, number: int, times: int) -> int:
    """Fail as often as the argument says, and be tried again."""
    left = [times]

    @durable(max_retries=times + 1, delay=0.15, jitter=0)
    def stumbling(_number: int) -> int:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError("the printer is out of paper")
        return times

    return int(stumbling(number))


def give_up(_sdk: RuntaraSdk, _number: int, argument: list[str]) -> None:
    """Fail for good, as long as the named file is not there."""
    if not Path(argument[1]).exists():
        raise PermanentError(argument[0])


def crash_once(_sdk: RuntaraSdk, _number: int, path: str) -> str:
    """Kill itself the first time, as the memory's guardian would."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def tell_pid(_sdk: RuntaraSdk, _number: int, path: str) -> str:
    """Write down which process it is, with every attempt."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return path


VERBS: dict[str, Callable[[RuntaraSdk, int, Any], Any]] = {
    function.__name__: function for function in (say, save, rest, wait, note, stumble, give_up, crash_once, tell_pid)
}

if __name__ == "__main__":
    main()
