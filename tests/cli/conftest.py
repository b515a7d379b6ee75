"""What the tests of the command line share: a terminal in front of a system."""

from collections.abc import Callable, Iterator

import pytest

from runtara.sdk import embedded
from runtara.sdk.sync import RuntaraSdk
from tests.cli.terminal import Server, Terminal


def greet(sdk: RuntaraSdk) -> bytes:
    """Two checkpoints and an output."""
    sdk.checkpoint("begun", b"")
    sdk.checkpoint("greeted", b"x" * 2000)
    sdk.custom_event("note", b"half-way")
    return b"hello " + (sdk.load_input() or b"nobody")


def fail(_: RuntaraSdk) -> bytes:
    raise ValueError("there is no more paper")


def wait(sdk: RuntaraSdk) -> bytes:
    """Wait for the word."""
    found = sdk.wait_for_signal("word")
    return b"" if found is None else found.payload


PROGRAMS: dict[str, Callable[..., bytes]] = {
    "/programs/greet.py": greet,
    "/programs/fail.py": fail,
    "/programs/wait.py": wait,
}


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal in front of a system that knows three programs."""
    with embedded.open(url="memory://", programs=PROGRAMS) as system:
        yield Terminal(system)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server process that all tests of a module share."""
    started = Server(tmp_path_factory.mktemp("server"))
    yield started
    code, log = started.stop()
    assert code == 0, log
