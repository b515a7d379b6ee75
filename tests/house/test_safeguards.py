"""The safeguards that all other tests rely on do their work."""

from pathlib import Path

import pytest

from tests.house.source import ROOT, run_python
from tests.requirements import require
from tests.shared import LONG

LEAKS = """
import subprocess, sys, threading

may_end = threading.Event()

def test_leaves_a_thread():
    threading.Thread(target=may_end.wait, name="lingers").start()

def test_leaves_a_process():
    test_leaves_a_process.child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

def test_leaves_a_zombie():
    test_leaves_a_zombie.child = subprocess.Popen([sys.executable, "-c", ""])

def test_leaves_nothing():
    may_end.set()
    thread = threading.Thread(target=int)
    thread.start()
    subprocess.run([sys.executable, "-c", ""], check=True)
"""


def test_what_is_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTARA_TEST_REQUIRE", "1")

    assert require("sh", "to see that it is found").endswith("/sh")
    assert require("a database", "to see that it is found", found="sqlite://") == "sqlite://"


def test_the_files_that_begin_first_are_there() -> None:
    assert [name for name in LONG if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("promise", ["", "strace", "strace,postgres"])
def test_what_is_missing_skips_with_its_reason(promise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTARA_TEST_REQUIRE", promise)

    with pytest.raises(pytest.skip.Exception, match=r"no-such-program.*: to test this"):
        require("no-such-program", "to test this")


@pytest.mark.parametrize("promise", ["1", "no-such-program", "strace, no-such-program"])
def test_what_is_promised_but_missing_fails(promise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTARA_TEST_REQUIRE", promise)

    with pytest.raises(pytest.fail.Exception, match="promises"):
        require("no-such-program", "to test this")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists a process's children")
def test_a_test_that_leaves_something_running_fails(tmp_path: Path) -> None:
    safeguards = (ROOT / "tests" / "conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(safeguards.replace("GRACE_S = 60.0", "GRACE_S = 0.5"))
    (tmp_path / "test_leaks.py").write_text(LEAKS)

    without = ("--disable-plugin-autoload", "-p", "no:cacheprovider", "-p", "no:unraisableexception")
    done = run_python("-m", "pytest", "-q", *without, "-p", "pytest_timeout", cwd=tmp_path)

    assert "thread 'lingers'" in done.stdout
    assert "input()" in done.stdout
    assert "a zombie" in done.stdout
    assert "4 passed, 3 errors" in done.stdout, done.stdout
