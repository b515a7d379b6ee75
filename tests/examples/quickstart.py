"""The program of the quick start, for every face: ``python -m tests.examples.quickstart FACE KILL TENANT PLACE``.

Its lines are those of the example; for the faces that await, `await` is put before each call of the SDK. PLACE is the
folder of an embedded system, or the address of a server and the file of its authority. KILL says at which of its
checkpoints the process kills itself: "after 1" as soon as one is saved, "before 2" when another is about to be.
"""

import ast
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final

import trio

from runtara.sdk import AsyncRuntaraSdk, RuntaraSdk, SdkConfig, embedded
from tests.sdk.faces import Awaited

__all__ = ["EXAMPLE", "INSTANCE", "Watched", "config_of", "work_of"]

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "06_quickstart.py"

INSTANCE: Final = "my-instance"

Hook = Callable[[str, str], None]


class _Await(ast.NodeTransformer):
    """Has every call of the SDK awaited, and nothing else changed."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if node.name != "work":
            return node
        self.generic_visit(node)
        fields: dict[str, Any] = {name: getattr(node, name, []) for name in ast.AsyncFunctionDef._fields}
        return ast.AsyncFunctionDef(**fields)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        function = node.func
        is_ours = isinstance(function, ast.Attribute) and getattr(function.value, "id", None) == "sdk"
        return ast.Await(node) if is_ours else node


def work_of(source: str) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Return what the example does, as an async function of an SDK of any face; see `Awaited` for the blocking one."""
    tree = ast.fix_missing_locations(_Await().visit(ast.parse(source)))
    names: dict[str, Any] = {"__name__": "quickstart"}
    exec(compile(tree, str(EXAMPLE), "exec"), names)
    work: Callable[[Any], Coroutine[Any, Any, None]] = names["work"]
    return work


class Watched:
    """An SDK of which somebody is told before and after each call that stores something."""

    def __init__(self, inner: Any, hook: Hook) -> None:
        self._inner = inner
        self._hook = hook

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in ("register", "checkpoint", "completed"):
            return found

        async def call(*args: Any) -> Any:
            self._hook("before", name)
            reply = await found(*args)
            self._hook("after", name)
            return reply

        return call


def main(face: str, kill: str, tenant: str, *place: str) -> None:
    """Run the program to its end, unless it is to be killed."""
    calls: list[str] = []

    def hook(when: str, name: str) -> None:
        calls.append(f"{when} {name}")
        if f"{when} {calls.count(f'{when} checkpoint')}" == kill and name == "checkpoint":
            os.kill(os.getpid(), signal.SIGKILL)

    work = work_of(EXAMPLE.read_text(encoding="utf-8"))
    if face == "sync":
        _run_blocking(work, hook, tenant, place)
    else:
        (trio.run if face == "trio" else _run_asyncio)(_run, work, hook, tenant, place)


def _run_blocking(work: Any, hook: Hook, tenant: str, place: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        if len(place) > 1:
            sdk = stack.enter_context(closing(RuntaraSdk.new(config_of(tenant, *place))))
        else:
            sdk = stack.enter_context(embedded.open(*place)).sdk(INSTANCE, tenant)
        with suppress(StopIteration):
            work(Watched(Awaited(sdk), hook)).send(None)


async def _run(work: Any, hook: Hook, tenant: str, place: tuple[str, ...]) -> None:
    if len(place) > 1:
        with closing(AsyncRuntaraSdk.new(config_of(tenant, *place))) as sdk:
            await work(Watched(sdk, hook))
        return
    async with embedded.open(*place) as system:
        await work(Watched(system.sdk(INSTANCE, tenant), hook))


def _run_asyncio(run: Any, *args: Any) -> None:
    asyncio.run(run(*args))


def config_of(tenant: str, address: str, ca_file: str) -> SdkConfig:
    """Return the way to the instance on a server."""
    return SdkConfig(INSTANCE, tenant).with_server_addr(address).with_ca_file(ca_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
