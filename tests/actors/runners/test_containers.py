"""What a machine can do for containers is found out by making one."""

from pathlib import Path

import pytest
import trio

from runtara.actors.runners.containers import examine_runtime, try_container
from runtara.errors import NotFound
from runtara.settings import Settings
from tests.requirements import require


async def test_a_container_that_can_be_made_is_no_complaint(tmp_path: Path) -> None:
    require("runc", "containers are run by it")

    assert await try_container(Settings(data_dir=str(tmp_path / "untouched"))) is None
    assert not await trio.Path(tmp_path / "untouched").exists()


async def test_what_keeps_a_container_from_being_made_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "runc"
    broken.write_text("#!/bin/sh\necho 'no namespaces here' >&2\nexit 1\n")
    broken.chmod(0o755)

    failure = await try_container(Settings(container_runtime=str(broken)))

    assert "no namespaces here" in (failure or "")


def test_a_runtime_is_known_by_its_path_and_version(tmp_path: Path) -> None:
    old = tmp_path / "runc"
    old.write_text("#!/bin/sh\necho 'runc version 1.1.5+ds1'\n")
    old.chmod(0o755)

    found = examine_runtime(Settings(container_runtime=str(old)))

    assert (found.path, found.version, found.repaired) == (str(old), "1.1.5", False)


def test_a_machine_without_a_runtime_has_none() -> None:
    with pytest.raises(NotFound, match="no-such"):
        examine_runtime(Settings(container_runtime="no-such"))
