"""Programs on a real Ray cluster: what every engine promises, and what becomes of them when nodes die."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest
import trio

from runtara.actors.runners import Ended, Engine, HostFailed, ray
from runtara.errors import ConfigError, Forbidden, NotFound
from runtara.host import Host, open_host
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.messages import GetStatus, InstanceInfo, ListEvents, StartInstance
from runtara.settings import Settings
from tests.actors.runners.hall import KEY, PATIENCE_S, is_alive, wait_gone
from tests.actors.runners.ray_hall import RayHall, Town, open_ray_hall, open_town
from tests.house.source import ROOT
from tests.watch import Watch

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Ray leaves files and sockets open, and uses what is deprecated
    pytest.mark.timeout(900),  # a cluster takes its time to begin
]


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with open_town() as town:
        town.add_nodes({"east": 1, "licence": 1}, {"west": 1}, {"doomed": 1})
        yield town


@pytest.fixture
async def hall(tmp_path: Path, town: Town) -> AsyncIterator[RayHall]:
    async with open_ray_hall(tmp_path, town) as hall:
        yield hall


async def pid_of(hall: RayHall, name: str) -> int:
    """The number that a program has written behind a name."""
    text = await hall.wait_written(f"{name}=")
    return int(next(line for line in text.splitlines() if line.startswith(f"{name}=")).partition("=")[2])


async def both(hall: RayHall, *texts: str) -> list[Ended]:
    """Run programs at the same time, because Ray takes its time to begin; return how they ended, in order."""
    ends: dict[int, Ended] = {}

    async def run(number: int, text: str) -> None:
        ends[number] = await hall.run(text, key=InstanceKey("acme", str(number)))

    async with trio.open_nursery() as nursery:
        for number, text in enumerate(texts):
            nursery.start_soon(run, number, text)
    return [ends[number] for number in range(len(texts))]


# How a program ends ---------------------------------------------------------------------------------------------------


def test_the_ray_engine_has_the_shape_of_one(tmp_path: Path, town: Town) -> None:
    engine: Engine = RayHall(tmp_path, town).engine

    assert callable(engine.launch)


async def test_exit_code_output_and_the_end_of_stderr_are_what_an_attempt_leaves(hall: RayHall) -> None:
    good, bad, empty, none = await both(
        hall,
        'printf result >"$RUNTARA_OUTPUT_FILE"; echo note >&2',
        'printf result >"$RUNTARA_OUTPUT_FILE"; head -c 9000 /dev/zero | tr "\\0" x >&2; echo oops >&2; exit 3',
        ': >"$RUNTARA_OUTPUT_FILE"',
        "true",
    )

    assert good == Ended(exit_code=0, output=b"result", error="note")
    assert (bad.exit_code, bad.output, len(bad.error), bad.error[-5:]) == (3, None, 4095, "xoops")
    assert (empty.output, none.output) == (b"", None)


async def test_what_is_too_large_or_cannot_be_executed_fails_with_words(hall: RayHall) -> None:
    (hall.programs / "odd").write_text("#!/no/such/interpreter\n")
    (hall.programs / "odd").chmod(0o755)

    large, killed = await both(hall, 'head -c 2000000 /dev/zero >"$RUNTARA_OUTPUT_FILE"', "kill -9 $$")
    odd = await hall.end(await hall.engine.launch(hall.plan("odd")))

    assert (large.exit_code, "more than 1048576 bytes" in large.error) == (1, True)
    assert (killed.exit_code, killed.counts) == (-signal.SIGKILL, True)
    assert (odd.exit_code, "No such file" in odd.error) == (127, True)


async def test_a_python_program_finds_its_input_its_environment_and_its_own_folder(hall: RayHall) -> None:
    text = (
        "import json, os, pathlib, sys\n"
        "assert sys.stdin.read() == '' and os.getcwd() == os.environ['RUNTARA_WORK_DIR']\n"
        "assert os.getsid(0) == os.getpid()\n"
        "output = pathlib.Path(os.environ['RUNTARA_OUTPUT_FILE'])\n"
        "output.write_bytes(pathlib.Path(os.environ['RUNTARA_INPUT_FILE']).read_bytes())\n"
        "print(json.dumps([dict(os.environ), sys.executable]))\n"
    )
    env = {"MINE": "yes", "RUNTARA_TOKEN": "forged", "LANG": "de"}

    ended = await hall.run(text, "show.py", env=env, ours={"RUNTARA_TOKEN": "ours"}, input=b"\0\xff", epoch=3)
    found, python = json.loads(await hall.read())

    assert (ended.exit_code, ended.output) == (0, b"\0\xff")
    assert (found["MINE"], found["LANG"], found["RUNTARA_TOKEN"], found["RUNTARA_EPOCH"]) == ("yes", "de", "ours", "3")
    assert (found["RUNTARA_TENANT_ID"], found["RUNTARA_INSTANCE_ID"]) == KEY
    assert not [name for name in found if name.startswith("RAY_")]
    assert python == sys.executable


@pytest.mark.parametrize(("program", "error"), [("missing", NotFound), ("../outside", NotFound), ("plain", Forbidden)])
async def test_a_program_that_may_not_be_launched_is_refused(
    hall: RayHall, program: str, error: type[Exception]
) -> None:
    hall.write("true", "plain", mode=0o644)

    with pytest.raises(error):
        hall.engine.check(program)
    with pytest.raises(error):
        await hall.engine.launch(hall.plan(program))


def test_a_program_that_is_too_large_to_be_sent_is_refused(
    tmp_path: Path, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall = RayHall(tmp_path, town)
    monkeypatch.setattr(ray, "PROGRAM_MAX_BYTES", 5)

    with pytest.raises(Forbidden, match="at most 5 are sent"):
        hall.engine.check(hall.write("true"))


# How it is stopped ----------------------------------------------------------------------------------------------------


async def test_asked_to_end_a_program_has_its_grace(hall: RayHall) -> None:
    attempt = await hall.launch("trap 'echo bye; exit 7' TERM; echo ready; sleep 1000 & wait")
    await hall.wait_written("ready")

    attempt.stop("ask")
    ended = await hall.end(attempt)

    assert ended.exit_code == 7
    assert await hall.read() == b"ready\nbye\n"


async def test_a_program_that_does_not_end_is_killed_when_its_grace_is_over(tmp_path: Path, town: Town) -> None:
    async with open_ray_hall(tmp_path, town, kill_grace_ms=50) as hall:
        attempt = await hall.launch("trap '' TERM; echo ready; while :; do sleep 1000; done")
        await hall.wait_written("ready")

        attempt.stop("ask")

        assert (await hall.end(attempt)).exit_code == -signal.SIGKILL


@pytest.mark.parametrize("how", ["kill", "destroy"])
async def test_a_killed_program_is_gone_with_all_its_descendants(
    hall: RayHall, how: Literal["kill", "destroy"]
) -> None:
    attempt = await hall.launch(
        "sleep 1000 & echo child=$!\n"
        "setsid sh -c 'sleep 1000 & echo orphan=$!; exec sleep 1000' & echo session=$!\n"
        "trap '' TERM; wait"
    )
    family = [await pid_of(hall, name) for name in ("child", "orphan", "session")]

    attempt.stop(how)
    ended = await hall.end(attempt)
    attempt.stop(how)

    assert ended.exit_code == (-signal.SIGKILL if how == "kill" else None)
    assert not [pid for pid in family if is_alive(pid)]


# What outlives the host -----------------------------------------------------------------------------------------------


async def test_an_attempt_is_found_running_and_ended_until_it_is_forgotten(hall: RayHall) -> None:
    await hall.launch("trap 'printf out >$RUNTARA_OUTPUT_FILE; exit 0' TERM; echo ready; sleep 1000 & wait", epoch=4)
    await hall.wait_written("ready")
    foreign = hall.other(node="elsewhere")

    (running,) = await hall.other().engine.adopt()
    running.stop("ask")
    first = await running.wait_ended()
    (ended,) = await hall.other().engine.adopt()
    second = await ended.wait_ended()
    of_others = await foreign.engine.adopt()
    await ended.forget()

    assert (running.key, running.epoch, ended.epoch) == (KEY, 4, 4)
    assert first == second == Ended(exit_code=0, output=b"out")
    assert of_others == []
    assert await hall.other().engine.adopt() == []


HOST = """
import sys, msgspec, trio
from runtara.actors.runners import Plan
from runtara.actors.runners.ray import RayEngine, RayOptions
options, plan = msgspec.json.decode(sys.argv[1], type=RayOptions), msgspec.json.decode(sys.argv[2], type=Plan)
trio.run(RayEngine(options).launch, plan)
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_what_a_killed_host_has_launched_runs_on_and_is_adopted_by_the_next(hall: RayHall) -> None:
    plan = hall.plan(hall.write("echo pid=$$; trap 'exit 7' TERM; sleep 1000 & wait"))
    command = [sys.executable, "-c", HOST, *(msgspec.json.encode(what).decode() for what in (hall.options, plan))]
    done = await trio.run_process(command, capture_stderr=True, check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()

    (adopted,) = await hall.engine.adopt()
    pid = await pid_of(hall, "pid")
    was_alive = is_alive(pid)
    adopted.stop("ask")
    ended = await hall.end(adopted)

    assert was_alive
    assert (adopted.key, ended.exit_code) == (KEY, 7)


async def test_a_launch_removes_what_another_host_has_launched(tmp_path: Path, hall: RayHall) -> None:
    old = await hall.launch("echo pid=$$; exec sleep 1000")
    pid = await pid_of(hall, "pid")

    new = await hall.other(node="elsewhere").launch("exec sleep 1000", "taken", epoch=2)
    ended = await old.wait_ended()
    new.stop("kill")
    await hall.end(new)

    assert not is_alive(pid)
    assert ended.exit_code in (None, -signal.SIGKILL)
    assert await hall.engine.adopt() == []


# What is written ------------------------------------------------------------------------------------------------------


async def test_what_all_attempts_write_is_one_stream_read_from_any_byte(hall: RayHall) -> None:
    for epoch in range(1, 3):
        await hall.run(f"echo attempt {epoch}; echo aside {epoch} >&2", epoch=epoch)
    read = hall.engine.read_log
    running = await hall.launch("echo attempt 3; exec sleep 1000", epoch=3)
    await hall.wait_written("attempt 3")

    kept = [await read(KEY, "stdout", offset, limit) for offset, limit in ((0, 4), (4, 100), (-4, 100), (-100, 2))]
    end = await read(KEY, "stdout", 30, 5)
    running.stop("kill")
    ended = await hall.end(running)

    assert ended.error == ""
    assert kept == [(b"atte", 0), (b"mpt 1\nattempt 2\nattempt 3\n", 4), (b"t 3\n", 26), (b"at", 0)]
    assert end == (b"", 30)
    assert await read(KEY, "stdout", -4, 100) == (b"t 3\n", 26)
    assert await hall.read("stderr") == b"aside 1\naside 2\n"
    assert await read(InstanceKey("acme", "nobody"), "stdout", -5, 10) == (b"", 0)


async def test_a_reader_waits_for_what_is_written_next(hall: RayHall) -> None:
    os.mkfifo(hall.folder / "gate")
    attempt = await hall.launch(f"echo one; read x <{hall.folder / 'gate'}; echo two")
    await hall.wait_written("one")
    await hall.read()
    quiet = hall.engine.watch_log(KEY)
    was_set = quiet.is_set()

    await trio.Path(hall.folder / "gate").write_text("\n")
    await hall.wait_written("two")
    with trio.fail_after(PATIENCE_S):
        await quiet.wait()
    await hall.end(attempt)

    assert not was_set


async def test_a_flood_is_capped_and_does_not_make_the_program_wait(hall: RayHall) -> None:
    attempt = await hall.launch("head -c 32M /dev/zero; echo; echo the end")

    await attempt.wait_ended()
    kept, (_, start) = await hall.read(), await hall.engine.read_log(KEY, "stdout", 0, 1)
    await hall.end(attempt)

    assert 1 << 19 <= len(kept) <= 1 << 20
    assert kept.endswith(b"\nthe end\n")
    assert start + len(kept) == (32 << 20) + len("\nthe end\n")


# Where it runs --------------------------------------------------------------------------------------------------------


async def test_a_program_runs_where_its_needs_are_met(hall: RayHall) -> None:
    nodes = hall.town.nodes()
    places = {}
    for place in ("west", "east"):
        resources = {place: 0.5, "cpu": 0.5, "memory": 1e6}
        attempt = await hall.launch("exec sleep 1000", resources=resources)
        (places[place],) = hall.town.attempts().values()
        attempt.stop("kill")
        await hall.end(attempt)

    assert [nodes[places[place]] for place in ("west", "east")] == ["west", "east"]


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"cpu": 64}, "has CPU 64: ask for less"),
        ({"unicorn": 1}, "has CPU 0.25, unicorn 1: ask for less"),
        ({"licence": 1}, "had CPU 0.25, licence 1 free within 0.5 s"),
    ],
)
async def test_what_finds_no_place_is_refused_and_leaves_nothing(
    hall: RayHall, resources: dict[str, float], words: str
) -> None:
    holder = await hall.launch("exec sleep 1000", key=InstanceKey("acme", "holder"), resources={"licence": 0.5})
    hasty = hall.other(placement_timeout=0.5)

    with pytest.raises(HostFailed, match=words):
        await hasty.launch("true", "hasty", resources=resources)
    left = [attempt.key.instance_id for attempt in await hall.engine.adopt()]
    holder.stop("kill")
    await hall.end(holder)

    assert left == ["holder"]


async def test_a_launch_that_is_cancelled_while_it_waits_for_a_place_leaves_nothing(hall: RayHall) -> None:
    with trio.move_on_after(0.3) as scope:
        await hall.launch("exec sleep 1000", resources={"unicorn": 1})

    assert scope.cancelled_caught
    assert await hall.engine.adopt() == []


def test_a_cluster_that_is_not_there_is_named() -> None:
    text = """
import sys, trio
from runtara.actors.runners import HostFailed
from runtara.actors.runners.ray import RayEngine, RayOptions
engine = RayEngine(RayOptions(address="127.0.0.1:1", node="a", programs=".", output_max_bytes=1, log_bytes=1,
                              kill_grace_ms=1))
assert "ray" not in sys.modules
try:
    trio.run(engine.adopt)
except HostFailed as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.startswith("no Ray cluster can be reached at '127.0.0.1:1': ")


async def test_a_missing_library_is_named_with_its_remedy(hall: RayHall, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patches:
        patches.setitem(sys.modules, "ray", None)
        with pytest.raises(ConfigError, match=r"pip install 'runtara\[ray\]'"):
            await hall.engine.adopt()


def test_what_is_sent_to_a_node_needs_nothing_but_the_standard_library(town: Town, tmp_path: Path) -> None:
    import ray as library

    sent = tmp_path / "keeper"
    from runtara.actors.runners import _ray_cluster, _ray_keeper

    for module in _ray_cluster._SHIPPED:
        library.cloudpickle.register_pickle_by_value(module)
    sent.write_bytes(library.cloudpickle.dumps(_ray_keeper.Keeper))
    text = (
        "import pickle, sys\n"
        "sys.modules.update(dict.fromkeys(('runtara', 'msgspec', 'trio')))\n"
        "kind = pickle.load(open(sys.argv[1], 'rb'))\n"
        "order = dict(launch_id='a', shim=b'', name='a', program=b'', by_python=False, input=None, env={}, logs={},\n"
        "             limits={}, log_bytes=1, grace_ms=1, output_max_bytes=1)\n"
        "keeper = kind({'epoch': 1}, order)\n"
        "print(keeper.about())\n"
        "keeper.leave(1)\n"
    )
    path = str(Path(library.__file__).parents[1])
    env = {"PYTHONPATH": path, "PATH": os.defpath}
    done = subprocess.run([sys.executable, "-c", text, sent], capture_output=True, text=True, check=False, env=env)

    assert done.stdout == "{'epoch': 1, 'failed': 'the shim has died'}\n", done.stderr


# When nodes die -------------------------------------------------------------------------------------------------------


async def test_a_program_does_not_outlive_the_process_that_looks_after_it(hall: RayHall) -> None:
    attempt = await hall.launch("(setsid sh -c 'echo orphan=$$; exec sleep 1000' &)\necho pid=$$; exec sleep 1000")
    pids = [await pid_of(hall, name) for name in ("pid", "orphan")]
    (name,) = hall.town.attempts()

    hall.town.kill_process(name)
    ended = await hall.end(attempt)
    for pid in pids:
        await wait_gone(pid)

    assert (ended.exit_code, ended.counts) == (None, False)
    assert "worker process has died" in ended.error


async def test_the_end_of_a_node_is_nobodys_fault_and_the_next_attempt_runs_elsewhere(hall: RayHall) -> None:
    attempt = await hall.launch("sleep 1000 & echo child=$!; echo pid=$$; wait", resources={"doomed": 1})
    pids = [await pid_of(hall, name) for name in ("pid", "child")]
    (node_id,) = hall.town.attempts().values()
    before = len(await hall.read())

    hall.town.kill_node(node_id)
    ended = await hall.end(attempt)
    for pid in pids:
        await wait_gone(pid)
    again = await hall.run("echo again; exit 9", epoch=2)

    assert (ended.exit_code, ended.counts) == (None, False)
    assert "node has died" in ended.error
    assert again.exit_code == 9
    assert await hall.engine.read_log(KEY, "stdout", before, 100) == (b"again\n", before)


PIPELINE = """
import os
from pathlib import Path
from runtara.sdk import RuntaraSdk, durable

folder = Path(os.environ["FOLDER"])

@durable
def work(step: str) -> str:
    with (folder / "steps").open("a") as steps:
        steps.write(f"{step}\\n")
    return step.upper()

with RuntaraSdk.from_env() as sdk:
    found = [work("one"), work("two")]
    if sdk.epoch == 1:
        print("waits", flush=True)
        (folder / "gate").read_text()
    found.append(work("three"))
    sdk.completed(" ".join(found).encode())
"""


async def ended(host: Host, key: InstanceKey) -> InstanceInfo:
    """Wait until an instance is finished."""
    while True:
        watch = Watch(key)
        host.gate.attach(watch)
        info: InstanceInfo = await host.runtime.dispatch.call(key, GetStatus())
        if info.status in FINAL:
            return info
        await watch.heard.wait()


async def test_an_instance_whose_node_dies_goes_on_elsewhere_from_its_checkpoints(tmp_path: Path, town: Town) -> None:
    os.mkfifo(tmp_path / "gate")
    key = InstanceKey("default", "one")
    hall = RayHall(tmp_path, town)
    program = hall.write(PIPELINE, "pipeline.py")
    settings = Settings(
        data_dir=str(tmp_path / "data"), programs=str(hall.programs), quic_port=0, env_http_port=0, relaunch_after_ms=1
    )

    with trio.fail_after(PATIENCE_S):
        async with open_host(settings, engine=hall.engine) as host:
            ask = host.runtime.dispatch.call
            await ask(key, StartInstance(program=program, env={"FOLDER": str(tmp_path)}))
            await hall.wait_written("waits", key=key)
            (node_id,) = town.attempts().values()
            town.kill_node(node_id)
            info = await ended(host, key)
            crashes = await ask(key, ListEvents(event_type="crashed"))

    assert (info.status, info.output) == (Status.COMPLETED, b"ONE TWO THREE")
    assert (tmp_path / "steps").read_text().split() == ["one", "two", "three"]
    assert b"node has died" in (crashes.events[0].payload or b"")
