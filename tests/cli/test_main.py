"""The command itself: what it lists, and what becomes of refusals."""

import json
from pathlib import Path
from typing import Any

import click
import pytest

from runtara import __version__, messages
from runtara.cli import main
from runtara.cli._main import _ELSEWHERE, COMMANDS
from runtara.endpoints import ENDPOINTS
from runtara.errors import ERRORS, Busy, Code
from tests.cli.terminal import type_command
from tests.house.source import ROOT, run_python
from tests.sdk.management.clients import Listening


def commands() -> list[tuple[str, ...]]:
    """Every command and subcommand, as it is typed."""
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        found += [(name, sub) for sub in command.commands] if isinstance(command, click.Group) else [(name,)]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_explains_itself_and_each_of_its_options(command: tuple[str, ...]) -> None:
    done = type_command(*command, "--help")

    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: ")
    found: Any = main  # a group, as long as there is a name left
    for name in command:
        found = found.get_command(click.Context(found), name)
    assert [p.name for p in found.params if isinstance(p, click.Option) and not p.help] == []
    assert found.help


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_option_that_has_a_variable_names_it(command: tuple[str, ...]) -> None:
    help_text = type_command(*command, "--help").stdout

    for option, variable in (
        ("--server", "RUNTARA_SERVER_ADDR"),
        ("--data-dir", "RUNTARA_DATA_DIR"),
        ("--tenant", "RUNTARA_TENANT_ID"),
        ("--port", "RUNTARA_QUIC_PORT"),
        ("--http-port", "RUNTARA_ENV_HTTP_PORT"),
    ):
        assert (f"{option} " in help_text) <= (variable in help_text)


ASKING: dict[type, str] = {
    messages.StartInstance: "start a.py",
    messages.ForkInstance: "fork a b",
    messages.StartMany: "start-many -",
    messages.GetCheckpoint: "checkpoint a begun",
    messages.GetStatus: "status a",
    messages.GetInput: "input a",
    messages.SendSignal: "signal a word",
    messages.SignalMany: "signal-many pause --all",
    messages.ListRetries: "retries a step",
    messages.ListCheckpoints: "checkpoints a",
    messages.ListEvents: "events a",
    messages.ListSteps: "steps a",
    messages.ListInstances: "ps",
    messages.CountInstances: "ps --count",
    messages.GetTenantMetrics: "metrics",
    messages.ReadLog: "logs a",
    messages.PushImage: f"image push a {__file__}",
    messages.WriteImage: f"image push a {__file__}",
    messages.ReadImage: f"image pull a {__file__}.never-written",
    messages.GetImage: "image show a",
    messages.ListImages: "image list",
    messages.ListImageVersions: "image versions a",
    messages.UseImageVersion: "image use a@1",
    messages.DeleteImage: "image delete a",
    messages.PutSchedule: "schedule put a a.py --every 1h",
    messages.GetSchedule: "schedule show a",
    messages.ListSchedules: "schedule list",
    messages.DeleteSchedule: "schedule delete a",
    messages.PauseSchedule: "schedule pause a",
    messages.RunChore: "upkeep runs",
    messages.ListKeys: "keys list --remote",
    messages.AddKey: "keys add --remote",
    messages.RotateKey: "keys rotate k --remote",
    messages.RevokeKey: "keys revoke k --remote",
    messages.ListNodes: "nodes",
    messages.GetTree: "tree",
    messages.GetHealth: "health",
}
"""What asks a command."""


@pytest.mark.parametrize(
    "command",
    [row.command for row in ENDPOINTS.values() if row.caller in ("manager", "both")],
    ids=lambda kind: kind.__name__,
)
def test_whatever_a_manager_may_ask_can_be_typed(command: type) -> None:
    assert command in ASKING, f"no command of runtara asks {command.__name__}"

    door = Listening(command)
    done = type_command(*ASKING[command].split(), obj=lambda _: door, stdin=b'{"id": "a", "program": "p"}\n')  # type: ignore[arg-type,return-value]  # all that is used of a door

    assert (done.exit_code, done.stderr) == (Code.FORBIDDEN.exit_code, "runtara: it was heard [forbidden]\n")
    assert door.heard


WITHOUT_JSON = {
    ("serve",): "it prints one line, that it is ready",
    ("logs",): "it prints what a program has written, byte for byte",
    ("login",): "it asks a person",
    ("logout",): "it prints one line",
    ("contexts", "use"): "it prints nothing",
    ("contexts", "remove"): "it prints nothing",
    ("completion",): "it prints a script",
    ("watch",): "it is a picture for people; `runtara events --follow --json` is for programs",
    ("keys", "add"): "it prints the key, this once",
    ("keys", "rotate"): "it prints the key, this once",
    ("keys", "revoke"): "it prints nothing",
}
"""Commands that print no JSON, each with the reason."""


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_prints_json_for_programs(command: tuple[str, ...]) -> None:
    has_json = "--json" in type_command(*command, "--help").stdout

    assert has_json is (command not in WITHOUT_JSON)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_is_on_the_page(command: tuple[str, ...]) -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")

    assert f"\n## runtara {' '.join(command)}\n" in page


def test_help_lists_every_command_and_version_the_version() -> None:
    listed = type_command("--help").stdout

    assert all(f"  {name} " in listed for name in COMMANDS)
    assert type_command("--version").stdout == f"runtara, version {__version__}\n"


def test_a_wrong_command_or_option_is_explained() -> None:
    for arguments in (("levitate",), ("ps", "--nonsense"), ("start",)):
        done = type_command(*arguments)

        assert done.exit_code == 2
        assert done.stderr.startswith("Usage: ")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("statsu", "'statsu'. Did you mean 'status'"),
        ("instances", "'instances'. Did you mean 'ps'?"),
        ("levitate", "'levitate'.\n"),
    ],
)
def test_whoever_mistypes_a_command_or_calls_it_as_other_tools_do_is_told_the_right_one(name: str, hint: str) -> None:
    done = type_command(name)

    assert done.exit_code == 2
    assert f"Error: No such command {hint}" in done.stderr


def test_what_other_tools_call_a_command_leads_to_one_that_is_there() -> None:
    assert not set(_ELSEWHERE) & set(COMMANDS)
    assert {name.split()[0] for names in _ELSEWHERE.values() for name in names} <= set(COMMANDS)


@pytest.mark.parametrize("code", Code)
def test_every_refusal_is_one_line_and_the_exit_code_of_its_row(code: Code) -> None:
    def refuse(_: object) -> object:
        raise ERRORS[code]("it is not possible")

    done = type_command("ps", obj=refuse)  # type: ignore[arg-type]  # it opens no door

    assert (done.exit_code, done.stdout) == (code.exit_code, "")
    first, *hint = done.stderr.removesuffix(f" [{code.wire}]\n").split("; ")
    assert first == "runtara: it is not possible"
    assert bool(hint) is (code is Code.UNREACHABLE), "only there a command line knows more"


def test_an_interrupt_from_the_keyboard_is_exit_code_130() -> None:
    def interrupt(_: object) -> object:
        raise KeyboardInterrupt

    done = type_command("ps", obj=interrupt)  # type: ignore[arg-type]  # it opens no door

    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        ([Busy("full")], Code.BUSY.exit_code),
        ([Busy("full"), KeyboardInterrupt()], 130),
        ([BaseExceptionGroup("", [KeyboardInterrupt()])], 130),
    ],
)
def test_what_goes_wrong_in_a_task_is_told_like_anything_else(raised: list[BaseException], code: int) -> None:
    def fail(_: object) -> object:
        raise BaseExceptionGroup("several tasks", raised)

    done = type_command("ps", obj=fail)  # type: ignore[arg-type]  # it opens no door

    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr == ("" if code == 130 else "runtara: full [busy]\n")


def test_a_bug_is_not_hidden_behind_a_refusal() -> None:
    def fail(_: object) -> object:
        raise ExceptionGroup("several tasks", [Busy("full"), ZeroDivisionError()])

    with pytest.raises(ExceptionGroup):
        type_command("ps", obj=fail)  # type: ignore[arg-type]  # it opens no door


def test_it_is_a_module_and_a_program(tmp_path: Path) -> None:
    as_module = run_python("-m", "runtara", "--version", cwd=tmp_path)
    as_program = run_python(
        "-c", "import sys; from runtara.cli import main; sys.argv = ['runtara', '--version']; main()", cwd=tmp_path
    )

    for done in (as_module, as_program):
        assert (done.returncode, done.stdout) == (0, f"runtara, version {__version__}\n")


def test_a_client_command_does_not_load_a_server(tmp_path: Path) -> None:
    code = (
        "import sys, json\nfrom runtara.cli import main\n"
        "try: main(['ps', '--server', '127.0.0.1:9', '--connect-timeout', '1'])\nexcept SystemExit: pass\n"
        "heavy = {'runtara.host', 'runtara.system', 'runtara.store', 'runtara.actors'}\n"
        "print(json.dumps(sorted(heavy & sys.modules.keys())))"
    )

    done = run_python("-c", code, cwd=tmp_path)

    assert json.loads(done.stdout) == []
