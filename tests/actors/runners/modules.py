"""A hall whose programs are WASI modules, put together from what they are to do."""

from pathlib import Path
from typing import Any

from runtara.actors.runners import Attempt, Plan, PlannedImage, Prepared
from runtara.actors.runners.native import NativeEngine
from runtara.records import ImageOptions
from tests.actors.runners.hall import KEY, Hall
from tests.requirements import require

__all__ = ["ModuleHall", "module_of"]

_MODULE = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  {data}
  (func (export "_start") {body}))
"""
_AT = 1024
"""Where texts begin."""
_FILE, _VECTOR, _COUNT, _BUFFER = 0, 8, 16, 32_768
_OPENED = f"(i32.load (i32.const {_FILE}))"


class ModuleHall(Hall):
    """An engine that launches modules."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        require("wasmtime", "modules are run by it", found=_wasmtime())
        self._modules = 0
        self.prepared = Prepared(kind="wasm", path=folder)
        super().__init__(folder, **settings)

    def make_engine(self) -> NativeEngine:
        """An engine of this folder, whose image is the module that was made last."""
        return NativeEngine(self.settings, {}, lambda _: self.prepared)

    async def act(self, acts: str, **plan: Any) -> Attempt:
        """Launch a module that does simple things."""
        return await self.launch_module(module_of(acts), **plan)

    async def launch_module(self, text: str, **more: Any) -> Attempt:
        """Launch a module; `options` are those of its image."""
        import wasmtime

        self._modules += 1
        path = self.folder / f"module-{self._modules}.wasm"
        path.write_bytes(wasmtime.wat2wasm(text))
        self.prepared = Prepared(kind="wasm", path=path)
        image = PlannedImage(digest="0" * 64, kind="wasm", options=ImageOptions(**more.pop("options", {})))
        return await self.engine.launch(Plan(**{"key": KEY, "epoch": 1, "program": "a module", "image": image} | more))


def _wasmtime() -> bool:
    try:
        import wasmtime
    except ImportError:
        return False
    return bool(wasmtime)


def module_of(acts: str) -> str:
    """A module that does what a line of the fake engine would."""
    data: list[str] = []
    body: list[str] = []
    at = _AT
    for act in acts.split(";"):
        verb, _, rest = act.strip().partition(" ")
        text = {"say": f"{rest}\n", "warn": f"{rest}\n", "output": rest}.get(verb, "")
        data.append(_data(at, text))
        body.append(_step(verb, rest, at, len(text)))
        at += len(text)
    names = at + 100
    data.append(_data(names, "outputinput"))
    steps = "\n    ".join(body).replace("@output", str(names)).replace("@input", str(names + 6))
    return _MODULE.format(data="\n  ".join(data), body=steps)


def _data(at: int, text: str) -> str:
    escaped = "".join(f"\\{byte:02x}" for byte in text.encode())
    return f'(data (i32.const {at}) "{escaped}")'


def _step(verb: str, rest: str, at: int, size: int) -> str:
    if verb == "say":
        return _write("(i32.const 1)", at, size)
    if verb == "warn":
        return _write("(i32.const 2)", at, size)
    if verb == "output":
        return _open("@output", 6, create=True) + _write(_OPENED, at, size)
    if verb == "echo":
        read = _pass("$read", _OPENED, f"(i32.const {_BUFFER})", "(i32.const 1000)")
        write = _pass("$write", _OPENED, f"(i32.const {_BUFFER})", f"(i32.load (i32.const {_COUNT}))")
        return _open("@input", 5, create=False) + read + _open("@output", 6, create=True) + write
    if verb == "exit":
        return f"(call $exit (i32.const {rest}))"
    assert verb == "hang", verb
    return "(loop $forever (br $forever))"


def _open(name: str, size: int, *, create: bool) -> str:
    """Open a file of /data, the third descriptor, for all that it may be used for."""
    rights = 1 << 6 if create else 1 << 1
    return (
        f"(drop (call $open (i32.const 3) (i32.const 0) (i32.const {name}) (i32.const {size})"
        f" (i32.const {9 if create else 0}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const {_FILE})))"
    )


def _write(descriptor: str, at: int, size: int) -> str:
    return _pass("$write", descriptor, f"(i32.const {at})", f"(i32.const {size})")


def _pass(call: str, descriptor: str, at: str, size: str) -> str:
    """Read or write one piece; how much it was is at the count."""
    return (
        f"(i32.store (i32.const {_VECTOR}) {at}) (i32.store (i32.const {_VECTOR + 4}) {size})"
        f"(drop (call {call} {descriptor} (i32.const {_VECTOR}) (i32.const 1) (i32.const {_COUNT})))"
    )
