"""`runtara start`."""

import json

from runtara.errors import Code
from tests.cli.terminal import Terminal

GREET, FAIL, WAIT = "/programs/greet.py", "/programs/fail.py", "/programs/wait.py"


def test_the_id_alone_is_printed(terminal: Terminal) -> None:
    lines = terminal.lines("start", GREET)

    assert len(lines) == 1
    assert terminal.system.wait(lines[0], 30).output == b"hello nobody"


def test_the_same_start_again_starts_nothing_new(terminal: Terminal) -> None:
    first, second = (json.loads(terminal("start", GREET, "--id", "mine", "--json").stdout) for _ in range(2))

    assert (first["instance_id"], first["created"], second["created"]) == ("mine", True, False)


def test_an_id_with_another_input_is_taken(terminal: Terminal) -> None:
    terminal("start", GREET, "--id", "mine", "--input", "1")

    done = terminal("start", GREET, "--id", "mine", "--input", "2")

    assert done.exit_code == Code.ALREADY_EXISTS.exit_code
    assert done.stderr.endswith("[already-exists]\n")


def test_with_replace_a_new_one_begins_in_the_place_of_what_has_the_id(terminal: Terminal) -> None:
    terminal("start", GREET, "--id", "mine", "--input", '"me"', "--wait")

    done = terminal("start", GREET, "--id", "mine", "--input", '"you"', "--replace", "--wait")

    assert (done.exit_code, done.stdout) == (0, 'hello "you"\n')
    told = terminal.lines("events", "mine")
    assert "the instance was created in the place of the one that had its id" in told[0]
    assert not any("was created" in line for line in told[1:])


def test_with_replace_one_that_waits_is_stopped(terminal: Terminal) -> None:
    terminal("start", WAIT, "--id", "mine")

    done = terminal("start", GREET, "--id", "mine", "--replace", "--wait")

    assert (done.exit_code, done.stdout) == (0, "hello nobody\n")


def test_with_replace_an_id_that_nobody_has_is_started(terminal: Terminal) -> None:
    assert terminal("start", GREET, "--id", "new", "--replace", "--wait").stdout == "hello nobody\n"


def test_input_comes_from_standard_input(terminal: Terminal) -> None:
    done = terminal("start", GREET, "--input", "-", "--wait", stdin=b"\xff\x00")

    assert done.stdout_bytes == b"hello \xff\x00\n"


def test_with_wait_the_output_is_printed_and_the_id_beside_it(terminal: Terminal) -> None:
    done = terminal("start", GREET, "--id", "mine", "--input", '"you"', "--wait")

    assert (done.exit_code, done.stdout, done.stderr) == (0, 'hello "you"\n', "mine\n")


def test_with_wait_and_json_the_whole_status_is_printed(terminal: Terminal) -> None:
    done = terminal("start", GREET, "--wait", "--json")

    assert (done.exit_code, json.loads(done.stdout)["status"]) == (0, "completed")


def test_with_wait_a_failure_is_exit_code_1_and_its_reason_is_told(terminal: Terminal) -> None:
    done = terminal("start", FAIL, "--id", "bad", "--wait")

    assert (done.exit_code, done.stdout) == (1, "")
    assert "instance bad is failed (application-error)" in done.stderr
    assert "there is no more paper" in done.stderr


def test_with_wait_a_cancelled_one_is_exit_code_5(terminal: Terminal) -> None:
    terminal("start", WAIT, "--id", "i")
    terminal("stop", "i", "--wait")

    done = terminal("start", WAIT, "--id", "i", "--wait")

    assert done.exit_code == 5
    assert "instance i is cancelled" in done.stderr


def test_what_is_malformed_is_refused_before_it_is_sent(terminal: Terminal) -> None:
    done = terminal("start", GREET, "--input", "{a}")

    assert done.exit_code == Code.INVALID_INPUT.exit_code
    assert done.stderr.startswith("runtara: input is not JSON")
    assert terminal.lines("ps") == terminal.lines("ps", "--status", "failed")


def test_a_reserved_variable_is_refused_by_the_server(terminal: Terminal) -> None:
    done = terminal("start", GREET, "--env", "LD_PRELOAD=x")

    assert done.exit_code == Code.INVALID_INPUT.exit_code
    assert "LD_PRELOAD" in done.stderr


def test_a_start_may_be_put_off(terminal: Terminal) -> None:
    terminal("start", WAIT, "--id", "later", "--at", "2999-01-01T00:00:00Z")
    found = json.loads(terminal("status", "later", "--json").stdout)

    assert (found["status"], found["wake_at"]) == ("pending", 32_472_144_000_000)
    assert terminal("start", WAIT, "--at", "tomorrow").exit_code == 2
