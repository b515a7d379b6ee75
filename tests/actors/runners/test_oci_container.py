"""Containers as they really run: what is inside sees, what limits do, and that nothing outlives its end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from runtara.actors.runners import HostFailed, Plan, Prepared
from runtara.actors.runners._oci_cgroups import Cgroups, find_cgroups
from runtara.actors.runners._oci_container import held_of, make_mount_points, place_beside
from runtara.actors.runners._run_folder import RunFolder
from runtara.actors.runners.native import NativeAttempt, NativeEngine
from runtara.errors import Forbidden, NotFound
from runtara.host import open_host
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import StartInstance
from runtara.records import ImageOptions
from runtara.settings import Settings
from tests.actors.runners.boxes import BoxHall, add_packages, add_python, make_rootfs
from tests.actors.runners.hall import (
    KEY,
    PATIENCE_S,
    children,
    descriptors,
    is_alive,
    processes_of,
    serving,
    wait_gone,
)
from tests.requirements import require
from tests.test_host import ended

GUEST = Path(__file__).with_name("guest.py")
FORK_BOMB = 'bomb() { bomb | bomb & }; bomb & exec 3<>"$RUNTARA_WORK_DIR/gate"; until read x <&3; do :; done'
HOG = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"


@pytest.fixture(scope="session")
def python_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with this Python and the SDK."""
    folder = tmp_path_factory.mktemp("python") / "rootfs"
    make_rootfs(folder)
    add_python(folder)
    return folder


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[BoxHall]:
    async with serving(BoxHall(tmp_path)) as hall:
        yield hall


def limited(controller: str) -> None:
    """Skip where this machine cannot hold a container to a limit."""
    require(
        f"cgroup-{controller}",
        "the machine holds no container to it",
        found=controller in find_cgroups().controllers,
    )


def namespace(kind: str) -> str:
    """Which namespace this process is in."""
    return str(Path(f"/proc/self/ns/{kind}").readlink())


def as_root() -> None:
    require("root", "what is done as root", found=os.geteuid() == 0)


# What it sees ---------------------------------------------------------------------------------------------------------


async def test_a_container_is_a_jail_on_every_side(tmp_path: Path, python_rootfs: Path) -> None:
    as_root()
    host = {kind: namespace(kind) for kind in "cgroup ipc mnt net pid user uts".split()}
    async with serving(BoxHall(tmp_path, rootfs=python_rootfs)) as hall:
        hidden = [str(tmp_path), str(hall.home), str(GUEST), "/etc/passwd", "/etc/hosts", "/home", "/var", "/sys/fs"]
        command = ("python3", "/data/work/guest.py", str(os.getpid()), *hidden)
        folder = RunFolder(hall.home, KEY)
        folder.make()
        (folder.work / "guest.py").write_text(GUEST.read_text())
        ended = await hall.run("", options={"command": command}, ours={"RUNTARA_TOKEN": "mine"}, env={"MINE": "yes"})
        assert ended.exit_code == 0, ended.error
        found = json.loads(await hall.read())

    mounts, calls, environment = found.pop("mounts"), found.pop("calls"), found.pop("environment")
    namespaces = found.pop("namespaces")
    for masked in ("kcore", "keys", "timers"):  # not every kernel has them
        assert found.pop(masked) in (0, "ENOENT")
    assert found.pop("write to /proc/sysrq-trigger") in ("EROFS", "ENOENT")
    assert [kind for kind, name in namespaces.items() if name == host[kind]] == []
    assert found == {
        "status": {"NoNewPrivs": "1", "Seccomp": "2"}
        | {f"Cap{kind}": "0" * 16 for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")},
        "ids": [[1000] * 3, [1000] * 3, []],
        "pid": 1,
        "processes": [1],
        "host name": "order-7",
        "host paths": [],
        "devices": [f"/dev/{name}" for name in ("full", "null", "random", "tty", "urandom", "zero")],
        "interfaces": ["lo"],
        "sys": [],
        "become root": "EPERM",
        "write to /": "EROFS",
        "write to /bin": "EROFS",
        "write to /dev": "EACCES",
        "write to /proc/sys": "EROFS",
        "make a device": "EPERM",
        "execute in /tmp": "EACCES",
        "execute in /data": "EACCES",
        "execute in /data/work": "EACCES",
        "fill /tmp": "ENOSPC",
        "memory of the machine": "ENOENT",
        "signal the host": "ESRCH",
        "reach metadata": "ENETUNREACH",
        "reach the host": "ENETUNREACH",
        "sockets": {"vsock": "EPERM", "alg": "EPERM", "packet": "EPERM"},
        "out of memory score": "500",
        "requests": {"TIOCSTI": "EPERM", "TIOCSTI with a bit on top": "EPERM"},
    }
    assert calls.pop("clone3") == "ENOSYS"
    assert {name: said for name, said in calls.items() if said != "EPERM"} == {}
    assert "ro" in mounts["/"]
    for place in ("/tmp", "/dev/shm", "/data", "/data/work", "/proc"):
        assert {"nosuid", "nodev", "noexec"} <= set(mounts[place]), place
    assert not [place for place in mounts if place.startswith("/sys")]
    assert set(environment) - {"LC_CTYPE"} == {
        *("PATH", "HOME", "PYTHONUNBUFFERED", "MINE", "RUNTARA_TOKEN", "RUNTARA_TENANT_ID", "RUNTARA_INSTANCE_ID"),
        *("RUNTARA_EPOCH", "RUNTARA_LAUNCH_ID", "RUNTARA_OUTPUT_FILE", "RUNTARA_WORK_DIR"),
    }


async def test_data_is_where_the_variables_say_and_the_authority_lies_beside_it(hall: BoxHall) -> None:
    (hall.folder / "ca.pem").write_text("authority")
    hall.prepared = Prepared(
        kind="rootfs",
        path=hall.rootfs,
        env={"PATH": "/bin", "OF_IMAGE": "1", "BOTH": "image", "RUNTARA_TOKEN": "x", "RUNTARA_ODD": "x"},
        working_dir="/tmp",
    )
    ended = await hall.run(
        'cat "$RUNTARA_INPUT_FILE" "$RUNTARA_CA_FILE" >"$RUNTARA_OUTPUT_FILE"; pwd; env | grep -E "OF_|BO|RUN" | sort',
        input=b"input and ",
        ours={"RUNTARA_TOKEN": "ours", "RUNTARA_CA_FILE": str(hall.folder / "ca.pem")},
        env={"BOTH": "instance"},
        options={"env": {"OF_OPTIONS": "2", "BOTH": "options", "RUNTARA_ODDER": "x"}},
    )
    folder, *shown = (await hall.read()).decode().splitlines()

    assert (ended.exit_code, ended.output) == (0, b"input and authority")
    assert folder == "/tmp"
    assert [line for line in shown if not line.startswith("RUNTARA_LAUNCH_ID")] == [
        "BOTH=instance",
        "OF_IMAGE=1",
        "OF_OPTIONS=2",
        "RUNTARA_CA_FILE=/data/ca.pem",
        "RUNTARA_EPOCH=1",
        "RUNTARA_INPUT_FILE=/data/input",
        "RUNTARA_INSTANCE_ID=order-7",
        "RUNTARA_OUTPUT_FILE=/data/output",
        "RUNTARA_TENANT_ID=acme",
        "RUNTARA_TOKEN=ours",
        "RUNTARA_WORK_DIR=/data/work",
    ]


async def test_secrets_of_a_container_never_reach_the_disk(hall: BoxHall) -> None:
    attempt = await hall.launch("echo ready; exec sleep 1000", ours={"RUNTARA_TOKEN": "canary"})
    await hall.wait_written("ready")
    shim = Path(f"/proc/{hall.shim().pid}")

    shown = (shim / "environ").read_bytes() + (shim / "cmdline").read_bytes()
    written = [path for path in hall.home.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]
    attempt.stop("kill")
    await hall.end(attempt)

    assert b"canary" not in shown
    assert written == []


@pytest.mark.parametrize(
    ("command", "code"),
    [(("/bin/missing",), 127), (("missing",), 127), (("/bin",), 126), (("/bin/sh", "-c", "exit 9"), 9)],
)
async def test_a_program_that_the_image_lacks_ends_at_once_and_says_why(
    hall: BoxHall, command: tuple[str, ...], code: int
) -> None:
    ended = await hall.run("", options={"command": command})

    assert ended.exit_code == code
    assert code == 9 or f"{command[0]} could not be launched" in ended.error
    assert hall.groups() == []


ONE_TREE = """#!/bin/sh
exec unshare -m sh -c 'mount -t cgroup2 none /sys/fs/cgroup && exec {crun} --cgroup-manager=disabled "$@"' crun "$@"
"""
"""Versions of crun refuse to work where control groups lie in both kinds of trees; this one sees a single tree."""


async def test_crun_runs_containers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root()
    crun = require("crun", "containers can be run by it, too")
    (tmp_path / "crun").write_text(ONE_TREE.format(crun=crun))
    (tmp_path / "crun").chmod(0o755)
    monkeypatch.setattr("runtara.actors.runners._oci_container.find_cgroups", lambda: Cgroups(version=0))
    async with serving(BoxHall(tmp_path, container_runtime=str(tmp_path / "crun"))) as hall:
        jail = await hall.run("grep -E '^NoNew|^Seccomp:|^CapEff' /proc/self/status | cut -f 2; exit 7")
        missing = await hall.run("", epoch=2, options={"command": ("/bin/missing",)})
        attempt = await hall.launch("echo ready; exec sleep 1000", epoch=3)
        await hall.wait_written("ready")
        os.kill(hall.shim().pid, signal.SIGKILL)
        killed = await hall.end(attempt)

        assert (jail.exit_code, killed.exit_code) == (7, None)
        assert missing.exit_code in (126, 127)
        assert (await hall.read()).split() == [b"0" * 16, b"1", b"2", b"ready"]
        assert of_a_launch(tmp_path) == []


async def test_an_image_without_a_command_is_refused(hall: BoxHall) -> None:
    with pytest.raises(Forbidden, match="names no program"):
        await hall.launch("", options={"command": ()})


async def test_a_runtime_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    async with serving(BoxHall(tmp_path, container_runtime="no-such-runtime")) as hall:
        with pytest.raises(NotFound, match="no-such-runtime"):
            await hall.launch("true")


async def test_a_runtime_that_fails_is_a_failure_of_the_host_in_its_words(hall: BoxHall) -> None:
    hall.prepared = Prepared(kind="rootfs", path=hall.rootfs, env={"PATH": "/bin"}, working_dir="relative")

    with pytest.raises(HostFailed, match="absolute path"):
        await hall.launch("true")

    assert await hall.engine.adopt() == []
    assert hall.groups() == []


# Limits ---------------------------------------------------------------------------------------------------------------


async def test_a_fork_bomb_meets_its_limit_and_nothing_of_it_is_left(hall: BoxHall) -> None:
    limited("pids")
    hall.gate("gate")
    attempt = await hall.launch(f"echo ready; {FORK_BOMB}", options={"pids": 30})
    await hall.wait_written("ready")
    await hall.wait_written("fork", "stderr")
    family = hall.inside()

    attempt.stop("kill")
    ended = await hall.end(attempt)

    assert len(family) <= 30
    assert "refused more processes: 30" in ended.error
    assert not [pid for pid in family.values() if is_alive(pid)]


async def test_a_program_that_takes_too_much_memory_is_killed_and_told_why(hall: BoxHall) -> None:
    limited("memory")

    ended = await hall.run(HOG, options={"memory_bytes": 32 << 20})

    assert ended.exit_code == -signal.SIGKILL
    assert f"for want of memory: {32 << 20} bytes" in ended.error
    assert 16 << 20 < (ended.memory_peak or 0) <= 32 << 20


async def test_an_instance_may_ask_for_more_than_its_image(hall: BoxHall) -> None:
    limited("memory")

    ended = await hall.run(
        "x=$(head -c 12000000 /dev/zero | tr '\\0' x); echo ${#x}",
        resources={"memory": 96 << 20},
        options={"memory_bytes": 8 << 20},
    )

    assert ended.exit_code == 0, ended.error


async def test_processor_time_is_limited_and_told(hall: BoxHall) -> None:
    limited("cpu")
    attempt = await hall.launch("cat /proc/self/cgroup; exec sleep 1000", options={"cpus": 0.5})
    (quota,) = [path for path in hall.groups() if (path / "cpu.cfs_quota_us").exists() or (path / "cpu.max").exists()]
    names = ("cpu.cfs_quota_us", "cpu.max")
    text = next((quota / name).read_text() for name in names if (quota / name).exists())
    attempt.stop("kill")
    ended = await hall.end(attempt)

    assert text.split()[0] == "50000"
    assert 0 < (ended.cpu_seconds or 0) < 5


async def test_limits_of_files_hold_in_a_container(tmp_path: Path) -> None:
    async with serving(BoxHall(tmp_path, program_files=20, program_file_bytes=1 << 16)) as hall:
        ended = await hall.run("ulimit -n; ulimit -f; ulimit -c; head -c 100000 /dev/zero >/data/work/large")

        assert (await hall.read()).split() == [b"20", b"128", b"0"]
        assert ended.exit_code != 0
        assert (RunFolder(hall.home, KEY).work / "large").stat().st_size == 1 << 16


NOTHING = Cgroups(version=0)
ALL = Cgroups(version=2, controllers=frozenset({"memory", "cpu", "pids"}))


@pytest.mark.parametrize(
    ("options", "resources"),
    [({"memory_bytes": 1 << 20}, {}), ({"cpus": 1.0}, {}), ({}, {"memory": 1 << 20}), ({}, {"cpu": 0.5})],
)
def test_what_was_asked_for_and_cannot_be_held_is_refused(options: dict[str, Any], resources: dict[str, float]) -> None:
    with pytest.raises(Forbidden, match="no control group"):
        held_of(Settings(), ImageOptions(**options), resources, NOTHING)


def test_what_nobody_asked_for_may_be_missing_and_processes_are_counted_by_user_then() -> None:
    held = held_of(Settings(container_cpus=1.0), ImageOptions(), {}, NOTHING)

    assert (held.memory_bytes, held.cpus, held.pids, held.processes) == (None, None, None, 256)


def test_the_instance_wins_over_the_image_and_the_image_over_the_settings() -> None:
    settings = Settings(container_cpus=1.0, container_memory_bytes=100, container_pids=10)

    assert (held := held_of(settings, ImageOptions(), {}, ALL)).memory_bytes == 100
    assert (held.cpus, held.pids, held.processes) == (1.0, 10, None)
    assert held_of(settings, ImageOptions(memory_bytes=200, cpus=2), {}, ALL).memory_bytes == 200
    assert held_of(settings, ImageOptions(memory_bytes=200, cpus=2), {"memory": 300.0, "cpu": 3}, ALL).cpus == 3
    assert held_of(Settings(container_memory_bytes=0), ImageOptions(), {}, ALL).memory_bytes is None


# Networks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["pasta", "slirp4netns"])
async def test_a_container_is_connected_by_the_program_that_was_named(hall: BoxHall, network: str) -> None:
    require(network, "it connects containers")
    as_root()
    attempt = await hall.launch(
        "cat /etc/resolv.conf; grep -c : /proc/net/dev; echo $RUNTARA_SERVER_ADDR; echo ready; exec sleep 1000",
        options={"network": network},
        ours={"RUNTARA_SERVER_ADDR": "127.0.0.1:7001"},
    )
    shown = (await hall.wait_written("ready")).splitlines()
    helpers = [pid for pid in children_of(hall.shim().pid) if network[:5] in command_line(pid)]

    os.kill(hall.shim().pid, signal.SIGKILL)
    await hall.end(attempt)
    for pid in helpers:
        with trio.fail_after(PATIENCE_S):
            await wait_gone(pid)

    assert shown[0].startswith("nameserver ")
    assert shown[1:] == ["2", "127.0.0.1:7001", "ready"]
    assert helpers


async def test_the_network_of_the_host_is_had_for_the_asking_only(hall: BoxHall) -> None:
    await hall.run("readlink /proc/self/ns/net")
    await hall.run("readlink /proc/self/ns/net", epoch=2, options={"network": "host"})

    apart, shared = (await hall.read()).decode().split()
    assert apart != shared == namespace("net")


async def test_a_network_whose_program_is_missing_is_refused_and_never_another_one(
    hall: BoxHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    runc = require("runc", "containers are run by it")
    monkeypatch.setattr("shutil.which", lambda name: runc if name == "runc" else None)

    with pytest.raises(Forbidden, match="pasta, which is not on this host"):
        await hall.launch("true", options={"network": "pasta"})

    assert hall.groups() == []


ASKER = """
import os, socket
host, port = os.environ["RUNTARA_SERVER_ADDR"].split(":")
askers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
for number, asker in enumerate(askers):
    asker.sendto(f"{number}".encode(), (host, int(port)))
for asker in askers:
    print(asker.recv(100).decode())
"""


async def test_a_program_without_a_network_reaches_its_server_and_each_answer_finds_its_asker(
    tmp_path: Path, python_rootfs: Path
) -> None:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as server:
        await server.bind(("127.0.0.1", 0))
        address = f"localhost:{server.getsockname()[1]}"
        async with serving(BoxHall(tmp_path, rootfs=python_rootfs)) as hall:
            attempt = await hall.launch(ASKER, "ask.py", ours={"RUNTARA_SERVER_ADDR": address})
            with trio.fail_after(PATIENCE_S):
                asked = [await server.recvfrom(1000) for _ in range(3)]
                for data, asker in reversed(asked):
                    await server.sendto(b"answer to " + data, asker)
            ended = await hall.end(attempt)

            assert ended.exit_code == 0, ended.error
            assert await hall.read() == b"answer to 0\nanswer to 1\nanswer to 2\n"


PROGRAM = """
import sys
from runtara.sdk import RuntaraSdk

with RuntaraSdk.from_env() as sdk:
    sdk.register()
    saved = sdk.checkpoint("step", b"first").existing_state
    if saved is None:
        sys.exit(3)
    sdk.completed(saved + b" attempt's state")
"""


async def test_a_durable_program_runs_in_a_container_that_has_no_network_but_its_server(
    tmp_path: Path, python_rootfs: Path
) -> None:
    hall = BoxHall(tmp_path, rootfs=python_rootfs)

    class Boxed(NativeEngine):
        """An engine for which every program is the same image."""

        def check(self, program: str) -> None:
            assert program == "boxed"

        async def launch(self, plan: Plan) -> NativeAttempt:
            return await super().launch(replace(plan, image=hall.plan(PROGRAM, name="boxed.py").image))

    settings = Settings(data_dir=str(tmp_path / "data"), quic_port=0, env_http_port=0, relaunch_after_ms=1)
    engine = Boxed(settings, {}, lambda _: hall.prepared)
    with trio.fail_after(PATIENCE_S):
        async with open_host(settings, engine=engine) as host:
            await host.runtime.dispatch.call(KEY, StartInstance(program="boxed"))
            info = await ended(host, KEY)
            await host.drain()

    assert (info.status, info.output) == (Status.COMPLETED, b"first attempt's state")


# Deaths ---------------------------------------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    """The children of a process."""
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def of_a_launch(folder: Path) -> list[str]:
    """What processes there are that have to do with a folder."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                text = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in text:
                found.append(f"{path.name} {command_line(int(path.name))}")
    return found


async def test_a_container_outlives_a_server_that_was_killed_and_is_adopted(tmp_path: Path) -> None:
    program = (
        "import os, sys, trio; from pathlib import Path\n"
        "from tests.actors.runners.boxes import BoxHall\n"
        "async def main():\n"
        "    await BoxHall(Path(sys.argv[1])).launch(\"trap 'exit 7' TERM; echo ready; sleep 1000 & wait\", epoch=4)\n"
        "    os.write(1, b'launched\\n'); await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    BoxHall(tmp_path)
    server = await trio.lowlevel.open_process([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    async with server.stdout:
        assert await server.stdout.receive_some() == b"launched\n"
    server.kill()
    await server.wait()

    async with serving(BoxHall(tmp_path)) as hall:
        await hall.wait_written("ready")
        (adopted,) = await hall.engine.adopt()
        adopted.stop("ask")
        ended = await hall.end(adopted)

    assert (adopted.epoch, ended.exit_code) == (4, 7)
    assert hall.groups() == []


@pytest.mark.parametrize("also", ["", "guard", "guard and program"])
async def test_nothing_is_left_of_a_container_whose_shim_was_killed(hall: BoxHall, also: str) -> None:
    attempt = await hall.launch("setsid sleep 1000 & echo child=$!; exec sleep 1001")
    child, shim = await hall.pid_of("child"), hall.shim()
    (guard,) = [pid for pid in children_of(shim.pid) if "_shim" in command_line(pid)]
    group = hall.groups()

    victims = {"": [], "guard": [guard], "guard and program": [guard, shim.program or 0]}[also]
    for pid in (*victims, shim.pid):
        os.kill(pid, signal.SIGKILL)
    ended = await hall.end(attempt)

    assert ended.exit_code is None
    for pid in (child, guard, shim.program or 0):
        with trio.fail_after(PATIENCE_S):
            await wait_gone(pid)
    assert group or not find_cgroups().version
    assert hall.groups() == []
    assert not (RunFolder(hall.home, KEY).container).exists()


async def test_the_guard_removes_a_container_while_no_server_is_there_to_see_it(hall: BoxHall) -> None:
    attempt = await hall.launch("exec sleep 1000")
    attempt.close()
    program = hall.shim().program or 0

    os.kill(hall.shim().pid, signal.SIGKILL)
    with trio.fail_after(PATIENCE_S):
        await wait_gone(program)
        await trio.to_thread.run_sync(RunFolder(hall.home, KEY).wait_unlocked)

    assert hall.groups() == []
    (adopted,) = await hall.another().engine.adopt()
    assert (await hall.end(adopted)).exit_code is None


@pytest.mark.parametrize("verb", ["create", "start"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_shim_that_is_killed_while_it_launches_leaves_nothing(tmp_path: Path, verb: str, when: str) -> None:
    runc = require("runc", "containers are run by it")
    deadly = tmp_path / "runc"
    kill = f'case " $* " in *" {verb} "*) kill -9 $PPID;; esac\n'
    deadly.write_text(f'#!/bin/sh\n{kill if when == "before" else ""}{runc} "$@" || exit $?\n{kill}exit 0\n')
    deadly.chmod(0o755)
    async with serving(BoxHall(tmp_path, container_runtime=str(deadly))) as hall:
        with pytest.raises(HostFailed):
            await hall.launch("exec sleep 1000")
        with trio.fail_after(PATIENCE_S):
            await trio.to_thread.run_sync(RunFolder(hall.home, KEY).wait_unlocked)

        assert hall.groups() == []
        assert of_a_launch(tmp_path) == []


async def test_a_container_that_closes_its_folders_or_fills_them_with_links_is_cleared_away(hall: BoxHall) -> None:
    ended = await hall.run("mkdir -p /data/shut/deep; chmod 0 /data/shut/deep; ln -s /etc/passwd /data/output; exit 0")
    again = await hall.run("ls /data", epoch=2)

    assert (ended.exit_code, ended.output) == (1, None)
    assert again.exit_code == 0
    assert await hall.read() == b"work\n"


def test_what_is_mounted_on_is_made_and_nothing_in_its_way_is_followed(tmp_path: Path) -> None:
    (tmp_path / "image" / "etc").mkdir(parents=True)
    (tmp_path / "image" / "etc" / "resolv.conf").symlink_to("/etc/hostname")
    make_mount_points(tmp_path / "image", resolv=True)

    made = sorted(path.name for path in (tmp_path / "image").iterdir())
    (tmp_path / "image" / "data").rmdir()
    (tmp_path / "image" / "data").symlink_to("/etc")
    with pytest.raises(HostFailed, match="data"):
        make_mount_points(tmp_path / "image", resolv=False)

    assert made == ["data", "dev", "etc", "proc", "tmp"]
    assert not (tmp_path / "image" / "etc" / "resolv.conf").is_symlink()


def test_the_place_where_parts_are_put_together_hides_none_of_them() -> None:
    assert place_beside((Path("/srv") / "data",)) in ("/mnt", "/media", "/opt", "/tmp")
    assert place_beside((Path("/mnt") / "data", Path("/media/x"))) not in ("/mnt", "/media")
    with pytest.raises(HostFailed, match="no folder"):
        place_beside(tuple(Path(place) / "x" for place in ("/mnt", "/media", "/srv", "/opt", "/tmp")))


# Many -----------------------------------------------------------------------------------------------------------------


def mounts() -> int:
    return len(Path("/proc/self/mountinfo").read_text().splitlines())


async def run_many(hall: BoxHall, count: int, at_once: int) -> None:
    limiter = trio.CapacityLimiter(at_once)

    async def one(number: int) -> None:
        async with limiter:
            key = InstanceKey("acme", f"i{number}")
            attempt = await hall.launch(f"(setsid sleep 1000 &); exit {number % 50}", key=key)
            with trio.fail_after(PATIENCE_S * 4):
                ended = await attempt.wait_ended()
            attempt.close()
            await attempt.forget()
            assert ended.exit_code == number % 50, ended.error

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)


@pytest.mark.parametrize(
    ("count", "at_once"),
    [(50, 50), pytest.param(2_000, 8, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])],
)
async def test_many_launches_leave_nothing_behind(tmp_path: Path, count: int, at_once: int) -> None:
    # A namespace lasts as long as a process, a descriptor or a mount does; these are what is counted.
    async with serving(BoxHall(tmp_path)) as hall:
        await hall.run("true", key=InstanceKey("acme", "first"))
        before = (descriptors(), children(), mounts())

        await run_many(hall, count, at_once)

        assert (descriptors(), children(), mounts()) == before
        assert hall.groups() == []
        assert of_a_launch(tmp_path) == []
        assert list((hall.home / "attempts").iterdir()) == []
        left = {path.name for folder in hall.home.iterdir() if folder.name != "attempts" for path in folder.iterdir()}
        assert left <= {"instance.json", "lock", "work", "shim.log"}


# Without root ---------------------------------------------------------------------------------------------------------

AS_NOBODY = """
import json, sys, trio
from pathlib import Path
from runtara.actors.runners import Plan, PlannedImage, Prepared
from runtara.actors.runners.native import NativeEngine
from runtara.errors import Forbidden
from runtara.ids import InstanceKey
from runtara.records import ImageOptions
from runtara.settings import Settings

async def main(folder, rootfs):
    settings = Settings(data_dir=f"{folder}/data", kill_grace_ms=5000)
    engine = NativeEngine(settings, {}, lambda _: Prepared(kind="rootfs", path=Path(rootfs), env={"PATH": "/bin"}))

    async def run(text, **options):
        options = ImageOptions(command=("/bin/sh", "-c", text), **options)
        image = PlannedImage(digest="x", kind="rootfs", options=options)
        plan = Plan(key=InstanceKey("acme", "i"), epoch=1, program="x", image=image, input=b"in",
                    ours={"RUNTARA_SERVER_ADDR": "127.0.0.1:7001"})
        attempt = await engine.launch(plan)
        with trio.fail_after(60):
            ended = await attempt.wait_ended()
        attempt.close()
        await attempt.forget()
        return ended

    jail = await run("id -u; grep -E 'NoNew|^Seccomp:|Cap' /proc/self/status | cut -f 2; cat /proc/self/uid_map; "
                     "grep -c : /proc/net/dev; cat /data/input >/data/output; touch /x 2>/dev/null || echo refused")
    log, _ = await engine.read_log(InstanceKey("acme", "i"), "stdout", 0, 10000)
    bomb = await run("bomb() { bomb | bomb & }; bomb; sleep 1; exit 3", pids=20)
    try:
        await run("true", memory_bytes=1 << 20)
        refused = ""
    except Forbidden as error:
        refused = str(error)
    print(json.dumps({"code": jail.exit_code, "output": (jail.output or b"").decode(), "log": log.decode().split("\\n"),
                      "error": jail.error, "bomb": bomb.exit_code, "bombs": bomb.error, "refused": refused}))

trio.run(main, *sys.argv[1:])
"""


async def test_containers_run_under_a_server_that_is_not_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    as_root()  # to become somebody else
    setpriv, runc = require("setpriv", "it drops root"), require("runc", "containers are run by it")
    python = "/usr/bin/python3"
    said = await trio.run_process(
        [python, "-c", "import sys; print(sys.version_info[:2])"], capture_stdout=True, check=False
    )
    same = said.stdout.decode().strip() == str(sys.version_info[:2])
    require("a python of the system", "its version must be ours for others than root to run it", found=same)
    become = ("--reuid=65534", "--regid=65534", "--clear-groups")
    folder = Path("/tmp") / f"runtara-nobody-{os.getpid()}"  # where others may look
    folder.mkdir()
    try:
        make_rootfs(folder / "rootfs")
        add_packages(folder / "packages")
        for path in (folder, folder / "rootfs"):
            os.chown(path, 65534, 65534)
        done = await trio.run_process(
            [setpriv, *become, python, "-c", AS_NOBODY, str(folder), str(folder / "rootfs")],
            env={"PYTHONPATH": str(folder / "packages"), "PATH": f"{Path(runc).parent}:{os.defpath}", "HOME": "/"},
            capture_stdout=True,
            cwd=folder,
        )
    finally:
        await trio.run_process(["rm", "-rf", str(folder)])
    found = json.loads(done.stdout)

    assert (found["code"], found["output"]) == (0, "in"), found["error"]
    assert found["log"][0] == "0"
    assert found["log"][1:8] == ["0" * 16] * 5 + ["1", "2"]
    assert found["log"][8].split() == ["0", "0", "1"]
    assert found["log"][9:11] == ["1", "refused"]
    assert found["bomb"] in (2, 3, -9)  # 2: the shell wanted a process for its sleep, and it was refused, too
    assert "fork" in found["bombs"]
    assert "no control group" in found["refused"]


def test_the_processes_of_a_namespace_are_found_by_their_number_in_it() -> None:
    name = Path("/proc/self/ns/pid").readlink().name

    assert processes_of(name)[os.getpid()] == os.getpid()
