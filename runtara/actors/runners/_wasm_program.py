"""Runs one WASI module (preview 1) to its end; a program of its own, under a shim like every other.

    python -I _wasm_program.py MEMORY_BYTES FUEL DATA_FOLDER WORK_FOLDER MODULE [ARGUMENT …]

The module sees its environment, its arguments, ``/data`` and ``/data/work``, and writes to this process's own stdout
and stderr; it has no input, no network and no other file. Memory and fuel of 0 are without limit. A trap ends it with
exit code 134, as an abort would, and says on stderr what it was.
"""

import sys
from pathlib import Path

__all__ = ["main"]

_TRAPPED = 134
_UNUSABLE = 126


def main(arguments: list[str]) -> int:
    """Run a module, and return its exit code."""
    import wasmtime

    memory, fuel, data, work, module, *rest = arguments
    config = wasmtime.Config()
    config.consume_fuel = int(fuel) > 0
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    if int(memory):
        store.set_limits(memory_size=int(memory))
    if int(fuel):
        store.set_fuel(int(fuel))
    store.set_wasi(_wasi(wasmtime.WasiConfig(), data, work, [Path(module).name, *rest]))
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    try:
        instance = linker.instantiate(store, wasmtime.Module.from_file(engine, module))
        start = instance.exports(store)["_start"]
    except (wasmtime.WasmtimeError, KeyError) as error:
        return _say(_UNUSABLE, f"the module cannot be run: {error}")
    try:
        start(store)
    except wasmtime.ExitTrap as end:
        return int(end.code)
    except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
        return _say(_TRAPPED, _reason(str(error), int(fuel)))
    return 0


def _wasi(wasi, data: str, work: str, argv: list[str]):  # type: ignore[no-untyped-def]  # an extra, not imported here
    wasi.argv = argv
    wasi.inherit_env()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    wasi.preopen_dir(data, "/data")
    wasi.preopen_dir(work, "/data/work")
    return wasi


def _reason(text: str, fuel: int) -> str:
    if "all fuel consumed" in text:
        return f"the module has used up its fuel, {fuel} instructions: give its image more (fuel)\n{text}"
    return f"the module has trapped: {text}"


def _say(code: int, text: str) -> int:
    print(text, file=sys.stderr)  # noqa: T201  # it is a program
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
