"""The awaited client is the blocking one with awaits, and nothing else."""

import ast
import inspect
from types import ModuleType

import pytest
import trio

from runtara.errors import DeadlineExceeded
from runtara.lifecycle import Status
from runtara.sdk import embedded
from runtara.sdk.management import AsyncioManagement, TrioManagement, _async_host, _async_instances, _host, _instances
from tests.sdk.management.clients import PROGRAMS, when_it_waits
from tests.sdk.management.test_instances import SECONDS
from tests.sdk.test_doors import connected

_CALLED = {"AsyncRows": "Rows", "AsyncStream": "Stream", "AsyncInstances": "Instances", "AsyncHost": "Host"}
_CALLED |= {"drive": "drive_blocking", "perform": "perform_blocking"}


class Blocking(ast.NodeTransformer):
    """Turns what awaits into what blocks."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        fields = dict(ast.iter_fields(self.generic_visit(node)))
        return ast.copy_location(ast.FunctionDef(**fields), node)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        found: ast.AST = self.visit(node.value)
        return found

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = _CALLED.get(node.id, node.id)
        return node


def methods(module: ModuleType) -> list[str]:
    """What the class of a module can do, as text."""
    tree = Blocking().visit(ast.parse(inspect.getsource(module)))
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [ast.unparse(node) for node in found.body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize(("awaiting", "blocking"), [(_async_instances, _instances), (_async_host, _host)])
def test_every_method_says_the_same_as_its_twin(awaiting: ModuleType, blocking: ModuleType) -> None:
    there, here = methods(blocking), methods(awaiting)

    assert len(there) > 10
    assert here == there


@pytest.mark.parametrize("kind", [TrioManagement, AsyncioManagement])
def test_a_client_is_closed_behind_its_block(kind: type[TrioManagement]) -> None:
    async def main() -> None:
        async with embedded.open(url="memory://") as system:
            async with kind.embedded(system) as client:
                await client.health()
                assert client._door._attached  # type: ignore[attr-defined]  # it is an embedded one
            assert not client._door._attached  # type: ignore[attr-defined]  # likewise

    from runtara.threads import run_async

    run_async("trio" if kind is TrioManagement else "asyncio", main)


async def test_a_wait_that_is_cancelled_hears_of_nothing_any_more() -> None:
    async with embedded.open(url="memory://", programs=PROGRAMS) as system, TrioManagement.embedded(system) as client:
        token, scope = trio.lowlevel.current_trio_token(), trio.CancelScope()
        await client.start("rest", instance_id="r")
        async for info in client.watch("r"):
            if info.status is Status.SUSPENDED:
                break
        when_it_waits(client, lambda _: token.run_sync_soon(scope.cancel))
        with scope:
            await client.wait_for_completion("r")
        with pytest.raises(DeadlineExceeded):
            await client.wait_for_completion("r", 0)

        assert scope.cancelled_caught
        with trio.fail_after(SECONDS):
            while connected(system._doors):  # noqa: ASYNC110 - nobody says when the program itself has left
                await trio.sleep(0.01)
