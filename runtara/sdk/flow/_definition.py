"""What a workflow is told from another one by: its definition as a text, and the hash of that.

The text, and so the hash, is the one of sayiir 1.0 (a walk over the nodes, each before what follows it), bit by bit. It
holds what decides how an instance goes on: ids, order, timeouts, retries, versions; not names, tags, or functions.
"""

import difflib
import hashlib
import re
import struct
from collections.abc import Callable
from typing import Any, Final

from runtara.sdk.flow._nodes import Child, Delay, Fork, Loop, Route, Steps, Task, WaitForSignal
from runtara.sdk.flow._policies import RetryPolicy

__all__ = ["definition_hash", "definition_text", "difference"]


def definition_hash(steps: Steps) -> str:
    """Return the SHA-256 of a definition, 64 hexadecimal digits."""
    return hashlib.sha256(definition_text(steps).encode()).hexdigest()


def definition_text(steps: Steps) -> str:
    """Return a definition as one line of text."""
    parts = []
    for i, node in enumerate(steps):
        parts.append(_TEXT[type(node)](node))
        if isinstance(node, Fork) and i + 1 < len(steps):
            parts.append("J:")
    return "".join(parts)


def _task(node: Task) -> str:
    metadata = node.spec.metadata
    timeout = "" if metadata.timeout_secs is None else f":t:{_ms(metadata.timeout_secs)}"
    version = "" if metadata.version is None else f":v:{metadata.version}"
    return f"T:{node.id}{timeout}{_retries(metadata.retries)}{version};"


def _retries(policy: RetryPolicy | None) -> str:
    if policy is None:
        return ""
    return f":r:{policy.max_retries}:{_ms(policy.initial_delay_secs)}:{_single(policy.backoff_multiplier)}"


def _delay(node: Delay) -> str:
    return f"D:{node.id}:{_ms(node.duration.total_seconds())};"


def _signal(node: WaitForSignal) -> str:
    timeout = "" if node.timeout is None else f":t:{_ms(node.timeout.total_seconds())}"
    return f"S:{node.id}:{node.signal_name}{timeout};"


def _fork(node: Fork) -> str:
    branches = "".join(f"{definition_text(steps)}," for _, steps in node.branches)
    return f"F:{node.id}[{branches}]"


def _route(node: Route) -> str:
    branches = "".join(f"{key}=>{definition_text(steps)}," for key, steps in sorted(node.branches))
    default = "" if node.default is None else f"_=>{definition_text(node.default)}"
    return f"B:{node.id}{{{branches}}}{default};"


def _loop(node: Loop) -> str:
    return f"L:{node.id}:{node.max_iterations}:{node.on_max.value}{{{_task(node.body)}}};"


def _child(node: Child) -> str:
    return f"CW:{node.id}{{{definition_text(node.steps)}}};"


_TEXT: Final[dict[type, Callable[[Any], str]]] = {
    Task: _task,
    Delay: _delay,
    WaitForSignal: _signal,
    Fork: _fork,
    Route: _route,
    Loop: _loop,
    Child: _child,
}


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _single(number: float) -> str:
    """Return a number as the shortest text that is the same in single precision, as in which sayiir keeps it."""
    wanted = struct.pack("f", number)
    for digits in range(1, 10):
        text = f"{number:.{digits}g}"
        if struct.pack("f", float(text)) == wanted:
            return text if "e" not in text else f"{float(text):f}".rstrip("0").rstrip(".")
    raise AssertionError("nine digits tell any two numbers in single precision apart")


_PIECE: Final = re.compile(r"[^;,\[\]{}]*[;,\[\]{}]?")


def difference(found: str, expected: str) -> list[str]:
    """Return what tells two definitions apart, one line for each piece that is only in one of them."""
    before, after = (_PIECE.findall(text)[:-1] for text in (found, expected))
    lines = difflib.ndiff(before, after)
    return [f"{_SIDE[line[0]]} {line[2:]}" for line in lines if line[0] in _SIDE]


_SIDE: Final = {"-": "gone:", "+": "new:"}
