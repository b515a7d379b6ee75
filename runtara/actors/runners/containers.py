"""What this machine can do for containers, for whoever asks before there is one to launch."""

import tempfile
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec.structs import replace

from runtara.actors.runners._contract import HostFailed, Plan, PlannedImage, Prepared
from runtara.actors.runners._oci_cgroups import find_cgroups
from runtara.actors.runners._oci_runtime import find_runtime, is_repaired, version_of
from runtara.actors.runners.native import NativeEngine
from runtara.errors import RuntaraError
from runtara.ids import InstanceKey
from runtara.records import ImageOptions
from runtara.settings import Settings

__all__ = ["Runtime", "examine_runtime", "try_container"]

_PATIENCE_S: Final = 30.0
_MISSING: Final = "/nothing-to-run"
_NOT_FOUND: Final = 127


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """The program that runs containers here."""

    path: str
    version: str
    repaired: bool
    """Whether the known ways out of a container are closed in it, going by the number of its version."""
    unlimited: frozenset[str]
    """Of memory, cpu and pids, what no container can be held to here."""


def examine_runtime(settings: Settings) -> Runtime:
    """Return what there is. Raises `NotFound` for nothing, and `Forbidden` for what is not to be trusted."""
    runtime = find_runtime(settings.container_runtime)
    version = version_of(runtime)
    return Runtime(
        path=runtime.path,
        version="unknown" if version is None else ".".join(map(str, version)),
        repaired=runtime.kind != "runc" or (version is not None and is_repaired(version)),
        unlimited=frozenset({"memory", "cpu", "pids"}) - find_cgroups().controllers,
    )


async def try_container(settings: Settings) -> str | None:
    """Make a container of an image that holds nothing; return why that cannot be done, or None if it can.

    All of it is made, as for every other, only then there is no program in it; that is the one complaint to expect.
    """
    with tempfile.TemporaryDirectory() as name:
        rootfs = Path(name) / "rootfs"
        rootfs.mkdir(mode=0o755)
        prepared = Prepared(kind="rootfs", path=rootfs)
        engine = NativeEngine(replace(settings, data_dir=name), {}, lambda _: prepared)
        image = PlannedImage(digest="", kind="rootfs", options=ImageOptions(command=(_MISSING,)))
        plan = Plan(key=InstanceKey("doctor", "container"), epoch=1, program=_MISSING, image=image)
        try:
            attempt = await engine.launch(plan)
        except (RuntaraError, HostFailed) as error:
            return str(error)
        with trio.move_on_after(_PATIENCE_S) as patience:
            ended = await attempt.wait_ended()
            attempt.close()
            return None if ended.exit_code == _NOT_FOUND else ended.error
        assert patience.cancelled_caught, "else its end was seen"
        attempt.stop("destroy")
        attempt.close()
        return f"it was not made within {_PATIENCE_S:.0f} s"
