"""Looking at instances: `ps`, `status`, `checkpoints`."""

import base64
import json

from runtara.errors import Code
from runtara.lifecycle import Status
from runtara.messages import CheckpointPage, InstanceInfo, InstancePage
from tests.cli.terminal import Terminal


def started(terminal: Terminal, program: str, instance_id: str) -> None:
    """Have an instance run to its end."""
    terminal.system.start(f"/programs/{program}.py", instance_id)
    terminal.system.wait(instance_id, 30)


def test_ps_lists_the_instances_of_one_tenant(terminal: Terminal) -> None:
    started(terminal, "greet", "good")
    started(terminal, "fail", "bad")
    terminal.system.start("/programs/greet.py", "elsewhere", tenant_id="other")

    head, *lines = terminal.lines("ps")

    assert head.split() == ["INSTANCE", "STATUS", "WHY", "ATTEMPT", "CREATED", "DUE", "FINISHED", "PROGRAM"]
    assert [line.split()[:4] for line in lines] == [
        ["bad", "failed", "application-error", "1"],
        ["good", "completed", "completed", "1"],
    ]
    assert [line.split()[0] for line in terminal.lines("ps", "--tenant", "other")[1:]] == ["elsewhere"]
    assert [line.split()[0] for line in terminal.lines("ps", RUNTARA_TENANT_ID="other")[1:]] == ["elsewhere"]


def test_ps_picks_by_status(terminal: Terminal) -> None:
    started(terminal, "greet", "good")
    started(terminal, "fail", "bad")

    assert [line.split()[0] for line in terminal.lines("ps", "--status", "failed")[1:]] == ["bad"]


def test_ps_prints_a_page_and_says_that_there_is_more(terminal: Terminal) -> None:
    for number in range(5):
        terminal.system.start("/programs/wait.py", f"i{number}")

    page, everything = terminal("ps", "--limit", "2"), terminal("ps", "--limit", "2", "--all")

    assert page.stdout.count("i") - everything.stdout.count("i") < 0
    assert len(page.stdout.splitlines()) == 3
    assert page.stderr == "runtara: there are more: use --all\n"
    assert (len(everything.stdout.splitlines()), everything.stderr) == (6, "")


def test_json_is_the_reply_as_one_document(terminal: Terminal) -> None:
    for number in range(3):
        terminal.system.start("/programs/wait.py", f"i{number}")

    page = json.loads(terminal("ps", "--limit", "2", "--json").stdout)
    everything = json.loads(terminal("ps", "--limit", "2", "--all", "--json").stdout)

    assert page["type"] == InstancePage.__name__
    assert [len(page["instances"]), len(everything["instances"])] == [2, 3]
    assert page["cursor"] is not None
    assert everything["cursor"] is None


def test_status_tells_how_an_instance_stands(terminal: Terminal) -> None:
    started(terminal, "greet", "good")

    lines = terminal.lines("status", "good")

    said = dict(line.split(maxsplit=1) for line in lines)
    assert (said["instance"], said["status"], said["checkpoints"]) == ("good", "completed", "2")
    assert lines[-1].split(maxsplit=1) == ["output", "hello nobody"]
    assert "error" not in said


def test_status_tells_how_far_the_program_has_come(terminal: Terminal) -> None:
    with terminal.system.sdk("sorting") as sdk, terminal.system.sdk("silent"):
        sdk.progress(1, 3, "a parcel")
        sdk.progress(3, 3, "\x1b[31mall parcels")

        said, silent = terminal.lines("status", "sorting"), terminal.lines("status", "silent")

    assert said[-1].split(maxsplit=1) == ["progress", "3 of 3 · \\x1b[31mall parcels"]
    assert "progress" not in "".join(silent)


def test_an_event_that_only_looks_like_progress_is_left_out(terminal: Terminal) -> None:
    with terminal.system.sdk("i") as sdk:
        sdk.custom_event("progress", b"half way")

        assert "progress" not in "".join(terminal.lines("status", "i"))


def test_status_as_json_holds_the_output_in_base64(terminal: Terminal) -> None:
    started(terminal, "greet", "good")

    info = json.loads(terminal("status", "good", "--json").stdout)

    assert (info["type"], info["status"], info["checkpoint_count"]) == (InstanceInfo.__name__, "completed", 2)
    assert base64.b64decode(info["output"]) == b"hello nobody"


def test_the_output_alone_is_printed_byte_for_byte(terminal: Terminal) -> None:
    started(terminal, "greet", "good")
    terminal.system.start("/programs/wait.py", "open")

    assert terminal("status", "good", "--output").stdout_bytes == b"hello nobody"
    assert terminal("status", "open", "--output").stdout_bytes == b""


def test_a_failed_instance_says_why(terminal: Terminal) -> None:
    started(terminal, "fail", "bad")

    assert any("there is no more paper" in line for line in terminal.lines("status", "bad") if "error" in line)


def test_checkpoints_are_listed_in_the_order_in_which_they_were_saved(terminal: Terminal) -> None:
    started(terminal, "greet", "good")

    _, *lines = terminal.lines("checkpoints", "good")
    page = json.loads(terminal("checkpoints", "good", "--json").stdout)

    assert [line.split()[0] for line in lines] == ["begun", "greeted"]
    assert [" 0 B " in lines[0], "2.0 KiB" in lines[1]] == [True, True]
    assert page["type"] == CheckpointPage.__name__
    assert [row["size"] for row in page["checkpoints"]] == [0, 2000]


def test_an_instance_that_nobody_knows_is_one_line_and_an_exit_code(terminal: Terminal) -> None:
    for command in ("status", "events", "checkpoints"):
        done = terminal(command, "nobody")

        assert done.exit_code == Code.INSTANCE_NOT_FOUND.exit_code, command
        assert done.stdout == ""
        assert done.stderr.startswith("runtara: ")
        assert done.stderr.endswith("[instance-not-found]\n")


def test_an_id_that_none_can_be_is_refused(terminal: Terminal) -> None:
    done = terminal("status", "../../x")

    assert done.exit_code == Code.INVALID_INPUT.exit_code
    assert done.stderr.endswith("[invalid-input]\n")


def test_what_a_program_says_cannot_write_to_the_terminal(terminal: Terminal) -> None:
    terminal.system.start("/programs/greet.py", "rude", b"\x1b[31mred\x1b[0m")
    terminal.system.wait("rude", 30)

    done = terminal("status", "rude")

    assert "\x1b" not in done.stdout
    assert r"\x1b[31mred\x1b[0m" in done.stdout


def test_it_is_counted_how_many_stand_where(terminal: Terminal) -> None:
    terminal("start", "/programs/greet.py", "--id", "g", "--wait")

    counts = dict(line.split() for line in terminal.lines("ps", "--count"))

    assert counts == dict.fromkeys(Status, "0") | {"completed": "1"}
    assert json.loads(terminal("ps", "--count", "--json").stdout)["counts"] == {"completed": 1}


def test_a_list_is_ordered_as_asked(terminal: Terminal) -> None:
    for name in ("b", "a"):
        terminal("start", "/programs/greet.py", "--id", name, "--wait")

    rows = json.loads(terminal("ps", "--order", "created", "--json").stdout)["instances"]

    assert [row["instance_id"] for row in rows] == ["b", "a"]
