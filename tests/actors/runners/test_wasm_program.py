"""WASI modules as they really run."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtara.actors.runners import _wasm_program
from runtara.errors import Forbidden
from tests.actors.runners.hall import serving
from tests.actors.runners.modules import ModuleHall, module_of

FOREVER = '(module (func (export "_start") (loop $again (br $again))))'
HOG = """
(module (memory (export "memory") 1)
  (func (export "_start") (if (i32.eq (memory.grow (i32.const 200)) (i32.const -1)) (then unreachable))))
"""


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[ModuleHall]:
    async with serving(ModuleHall(tmp_path)) as hall:
        yield hall


async def test_a_module_that_uses_up_its_fuel_is_ended_and_told_why(hall: ModuleHall) -> None:
    ended = await hall.end(await hall.launch_module(FOREVER, options={"fuel": 100_000}))

    assert ended.exit_code == 134
    assert "used up its fuel, 100000 instructions" in ended.error


async def test_a_module_has_no_more_memory_than_it_may(hall: ModuleHall) -> None:
    refused = await hall.end(await hall.launch_module(HOG, options={"memory_bytes": 1 << 20}))
    had = await hall.end(await hall.launch_module(HOG, epoch=2))

    assert refused.exit_code == 134
    assert "trapped" in refused.error
    assert "unreachable" in refused.error
    assert had.exit_code == 0, had.error


async def test_what_is_no_module_ends_at_once_and_says_so(hall: ModuleHall) -> None:
    no_start = await hall.end(await hall.launch_module("(module)"))
    missing = await hall.end(
        await hall.launch_module('(module (import "env" "secrets" (func)) (func (export "_start")))', epoch=2)
    )

    assert no_start.exit_code == missing.exit_code == 126
    assert "cannot be run" in no_start.error
    assert "secrets" in missing.error


async def test_a_module_is_refused_where_wasmtime_is_missing(hall: ModuleHall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(Forbidden, match=r"pip install 'runtara\[wasm\]'"):
        await hall.act("exit 0")


def test_a_module_is_told_its_environment_and_arguments_and_sees_no_other_folder(tmp_path: Path) -> None:
    import wasmtime

    for name in ("data", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "module.wasm").write_bytes(wasmtime.wat2wasm(module_of("output done; exit 5")))
    folders = [str(tmp_path / name) for name in ("data", "work", "module.wasm")]

    done = subprocess.run(
        [sys.executable, "-I", _wasm_program.__file__, "0", "0", *folders, "one", "two"],
        env={"GREETING": "hello"},
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (5, b"")
    assert (tmp_path / "data" / "output").read_bytes() == b"done"
