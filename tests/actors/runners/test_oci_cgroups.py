import os
import subprocess
from pathlib import Path

import pytest

from runtara.actors.runners._oci_cgroups import Cgroups, clear_cgroup, find_cgroups
from tests.requirements import require


def tree(root: Path, *files: str, text: str = "") -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_in_one_tree_root_has_the_controllers_that_it_names(tmp_path: Path) -> None:
    tree(tmp_path, "cgroup.controllers", text="cpuset cpu io memory pids\n")
    tree(tmp_path, "cgroup.procs", "system.slice/memory.swap.max")

    found = find_cgroups(root=tmp_path, privileged=True)

    assert (found.version, found.controllers, found.swap) == (2, frozenset({"cpu", "memory", "pids"}), True)
    assert found.path_of("x") == "/runtara/x"
    assert found.told("x")["memory_peak"] == f"{tmp_path}/runtara/x/memory.peak"
    assert found.told("x")["limits"]["pids"][0] == f"{tmp_path}/runtara/x/pids.events"


def test_another_user_has_what_was_delegated_to_the_group_above_its_own(tmp_path: Path) -> None:
    tree(tmp_path, "cgroup.controllers", "cgroup.procs", text="cpu memory pids")
    tree(tmp_path, "system.slice/runtara.service/cgroup.procs")
    tree(tmp_path, "system.slice/runtara.service/cgroup.subtree_control", text="memory pids")
    own = tree(tmp_path, "own", text="0::/system.slice/runtara.service/server\n") / "own"

    found = find_cgroups(root=tmp_path, own=own, privileged=False)

    assert (found.version, found.controllers) == (2, frozenset({"memory", "pids"}))
    assert found.path_of("x") == "/system.slice/runtara.service/x"


def test_another_user_to_whom_nothing_was_delegated_has_nothing(tmp_path: Path) -> None:
    tree(tmp_path, "cgroup.controllers", "cgroup.procs", text="cpu memory pids")
    own = tree(tmp_path, "own", text="0::/user.slice/gone/session\n") / "own"

    assert find_cgroups(root=tmp_path, own=own, privileged=False) == Cgroups(version=0, root=tmp_path)


def test_in_a_tree_for_each_resource_root_has_those_that_are_mounted(tmp_path: Path) -> None:
    tree(tmp_path, "memory/cgroup.procs", "pids/cgroup.procs", "unified/cgroup.procs")

    found = find_cgroups(root=tmp_path, privileged=True)

    assert (found.version, found.controllers, found.swap) == (1, frozenset({"memory", "pids"}), False)
    assert found.told("x")["memory_peak"] == f"{tmp_path}/memory/runtara/x/memory.max_usage_in_bytes"
    assert find_cgroups(root=tmp_path, privileged=False).version == 0
    assert find_cgroups(root=tmp_path / "nothing", privileged=True).path_of("x") is None


def test_what_is_left_in_a_group_is_killed_and_the_group_removed() -> None:
    root = Path("/sys/fs/cgroup")
    if not (root / "cgroup.controllers").exists():  # a tree for each resource
        root /= "pids"
    require("cgroup-pids", "a group of its own to be killed", found=os.access(root, os.W_OK))
    name = f"/runtara-test-{os.getpid()}"
    (root / name[1:]).mkdir()
    with subprocess.Popen(["sleep", "1000"]) as member, subprocess.Popen(["sleep", "1000"]) as stranger:
        (root / name[1:] / "cgroup.procs").write_text(str(member.pid))

        clear_cgroup(name)
        code, alive = member.wait(timeout=60), stranger.poll() is None
        stranger.kill()
    clear_cgroup(name)

    assert (code, alive) == (-9, True)
    assert not (root / name[1:]).exists()


def test_a_group_that_is_not_there_is_clear(tmp_path: Path) -> None:
    clear_cgroup("/runtara/none", tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [1, 2])
def test_only_limits_that_can_be_held_are_looked_at_afterwards(version: int) -> None:
    told = Cgroups(version=1 if version == 1 else 2, controllers=frozenset({"pids"})).told("x")

    assert told["memory_peak"] is None
    assert list(told["limits"]) == ["pids"]
