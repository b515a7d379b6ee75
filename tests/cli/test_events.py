"""`runtara events`."""

import json
import threading

from tests.cli.terminal import Terminal

GREET, WAIT = "/programs/greet.py", "/programs/wait.py"


def test_the_whole_story_is_told_in_order(terminal: Terminal) -> None:
    terminal("start", GREET, "--id", "i", "--wait")

    lines = terminal.lines("events", "i")

    types = [line.split()[3] for line in lines]
    assert types == ["created", "woken", "registered", "custom", "completed"]
    assert lines[2].endswith("attempt 1 has begun")
    assert lines[3].endswith("the program says note: half-way")
    assert all(line[23] == "Z" for line in lines)


def test_one_type_may_be_picked(terminal: Terminal) -> None:
    terminal("start", GREET, "--id", "i", "--wait")

    assert [line.split()[3] for line in terminal.lines("events", "i", "--type", "custom")] == ["custom"]


def test_all_pages_are_one_document(terminal: Terminal) -> None:
    with terminal.system.sdk("i") as sdk:
        for number in range(1100):
            sdk.custom_event(f"e{number}")

    page = json.loads(terminal("events", "i", "--json").stdout)

    assert page["cursor"] is None
    assert [event["subtype"] for event in page["events"] if event["type"] == "custom"] == [f"e{n}" for n in range(1100)]


def test_a_follower_sees_everything_up_to_the_end(terminal: Terminal) -> None:
    terminal("start", WAIT, "--id", "i")
    said: list[str] = []

    def follow() -> None:
        said.extend(terminal.lines("events", "i", "-f"))

    follower = threading.Thread(target=follow)
    follower.start()
    terminal.system.custom_signal("i", "word")
    follower.join(100)

    types = [line.split()[3] for line in said]
    assert types[0] == "created"
    assert types[-1] == "completed"
    assert types.count("signal-sent") == 1


def test_followed_as_json_each_event_is_a_line(terminal: Terminal) -> None:
    terminal("start", GREET, "--id", "i", "--wait")

    lines = [json.loads(line) for line in terminal.lines("events", "i", "--follow", "--json")]

    assert [line["type"] for line in lines] == ["created", "woken", "registered", "custom", "completed"]
