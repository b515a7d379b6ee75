"""What all tests share: a clean environment, hypothesis profiles, and the check that nothing is left running."""

import contextlib
import gc
import importlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from runtara import settings
from tests.postgres import cluster, database
from tests.shared import LONG, PROCESSES, THREADS
from tests.timeouts import (
    pytest_configure,
    pytest_exception_interact,
    pytest_sessionfinish,
    pytest_timeout_set_timer,
)

__all__ = [
    "cluster",
    "database",
    "pytest_configure",
    "pytest_exception_interact",
    "pytest_sessionfinish",
    "pytest_timeout_set_timer",
]

GRACE_S = 60.0
"""How long a thread or child that is on its way out may still take after its test."""

for _name in [name for name in os.environ if name.startswith("RUNTARA_") and not name.startswith("RUNTARA_TEST_")]:
    del os.environ[_name]  # the settings of whoever runs the tests are not the tests' settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for any command that a shell has put into the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

_any_speed = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("dev", _any_speed)
hypothesis.settings.register_profile("ci", _any_speed, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "dev")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Half as many workers again as there are cores: while one waits for a process or a disk, another goes on."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else _cores() * 3 // 2


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Have each worker of a whole run import at first what no other one does.

    Whoever imports a file that is new, as all are in a fresh clone, compiles it for those who come later.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and session.config.args == session.config.getini("testpaths"):
        files = sorted(Path(__file__).parent.rglob("test_*.py"))
        begin = len(files) * int(worker.removeprefix("gw")) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        for file in files[begin:] + files[:begin]:
            module = ".".join(file.relative_to(session.config.rootpath).with_suffix("").parts)
            with contextlib.suppress(Exception, pytest.skip.Exception, pytest.fail.Exception):
                importlib.import_module(module)  # what is wrong with it is said when it is collected


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have long files begin first; the others stay as they are."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONG)))


def pytest_collection_finish() -> None:
    """Have whoever collects garbage look no more at modules and tests: half a million objects that stay anyway."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """Fail a test that leaves a thread which would keep the process alive, or a child process, behind.

    What fixtures of a wider scope have started before the test may stay.
    """
    threads, children = _threads(), _children()
    yield
    left = [f"thread {thread.name!r}" for thread in _threads() - threads - THREADS if not _ends(thread)]
    left += [f"process {pid} ({_command(pid)})" for pid in _children() - children - PROCESSES if not _exits(pid)]
    assert not left, f"the test left something running: {', '.join(sorted(left))}"


@pytest.fixture(autouse=True)
def _no_credential_left() -> Iterator[None]:
    """Forget the credential that a test has had taken out of the environment, as a process of its own would."""
    yield
    settings._taken.clear()


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.daemon}


def _ends(thread: threading.Thread) -> bool:
    thread.join(GRACE_S)
    return not thread.is_alive()


def _children() -> set[int]:
    """Direct children of this process; none where the system cannot tell (other than Linux).

    Twice a test, over all threads that there are: so without paths, and at once where there is no child at all.
    """
    tasks = "/proc/self/task"
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return {int(pid) for thread in os.listdir(tasks) for pid in _content(f"{tasks}/{thread}/children").split()}  # noqa: PTH208
    except (ChildProcessError, FileNotFoundError, AttributeError):
        return set()


def _content(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # the thread has ended in the meantime
        return b""
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _exits(pid: int) -> bool:
    """Wait for a child to exit. One that has exited but was never waited for (a zombie) counts as left behind."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        exited, _, _ = select.select([descriptor], [], [], GRACE_S)
    finally:
        os.close(descriptor)
    return bool(exited) and pid not in _children()


def _command(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip() or "a zombie: wait for it"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it ended in the meantime
        return ""
