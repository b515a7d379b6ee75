"""`runtara logs`, of programs that a real server has launched."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.cli._logs import TAIL_BYTES, _start_of_tail
from runtara.errors import Code
from tests.cli.terminal import SECONDS, Server, popen

SPEAK = """
import sys
print("one\\ntwo\\nthree", flush=True)
print("oops", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def spoken(server: Server) -> Server:
    """A server on which the instance `said` has spoken and ended."""
    done = server("start", server.write_program("speak.py", SPEAK), "--id", "said", "--wait")
    assert done.exit_code == 0, done.output
    return server


def test_each_stream_goes_where_it_came_from(spoken: Server) -> None:
    done = spoken("logs", "said")

    assert (done.exit_code, done.stdout, done.stderr) == (0, "one\ntwo\nthree\n", "oops\n")


def test_one_stream_may_be_picked(spoken: Server) -> None:
    out, err = (spoken("logs", "said", "--stream", stream) for stream in ("stdout", "stderr"))

    assert (out.stdout, out.stderr) == ("one\ntwo\nthree\n", "")
    assert (err.stdout, err.stderr) == ("", "oops\n")


@pytest.mark.parametrize(
    ("lines", "said"),
    [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (3, "one\ntwo\nthree\n"), (9, "one\ntwo\nthree\n")],
)
def test_the_last_lines_may_be_picked(spoken: Server, lines: int, said: str) -> None:
    assert spoken("logs", "said", "--stream", "stdout", "--tail", str(lines)).stdout == said


def test_the_last_lines_are_looked_for_far_back(server: Server) -> None:
    long = "x" * (TAIL_BYTES // 2)
    program = server.write_program("long.py", f"for i in range(9): print(i, '{long}')\n")
    server("start", program, "--id", "long", "--wait")

    lines = server("logs", "long", "--tail", "5").stdout.splitlines()

    assert lines == [f"{number} {long}" for number in range(4, 9)]


def test_bytes_that_are_no_text_go_through(server: Server) -> None:
    program = server.write_program("raw.py", "import sys\nsys.stdout.buffer.write(bytes(range(256)))\n")
    server("start", program, "--id", "raw", "--wait")

    assert server("logs", "raw").stdout_bytes == bytes(range(256))


def test_a_follower_sees_what_comes_and_ends_with_the_program(server: Server) -> None:
    door = server.folder / "door"
    os.mkfifo(door)
    program = server.write_program("slow.py", f"print('knock', flush=True)\nprint(open({str(door)!r}).read())\n")
    server("start", program, "--id", "slow")

    follower = popen("logs", "slow", "-f", cwd=server.folder)
    assert follower.stdout is not None
    first = follower.stdout.readline()
    Path(door).write_text("come in")
    rest, errors = follower.communicate(timeout=SECONDS)

    assert (first, rest, errors, follower.returncode) == (b"knock\n", b"come in\n", b"", 0)


def test_an_instance_that_nobody_knows_is_refused(server: Server) -> None:
    done = server("logs", "nobody")

    assert (done.exit_code, done.stdout) == (Code.INSTANCE_NOT_FOUND.exit_code, "")


@given(st.lists(st.sampled_from([b"\n", b"a", b"bc\n", b"\r"])).map(b"".join), st.integers(0, 6))
def test_the_start_of_the_last_lines_is_where_they_begin(data: bytes, lines: int) -> None:
    whole = data.split(b"\n")
    last = [line + b"\n" for line in whole[:-1]] + ([whole[-1]] if whole[-1] else [])

    assert data[_start_of_tail(data, lines) :] == b"".join(last[len(last) - lines :] if lines < len(last) else last)
