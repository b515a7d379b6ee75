"""`runtara completion`, and what a shell is offered."""

import subprocess
import time
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from runtara.cli import main
from runtara.cli._completion import MOST, SHELLS
from runtara.sdk.management import Management, new_start
from runtara.transport.contexts import Context, Contexts
from tests.cli.terminal import Terminal, type_command
from tests.house.source import environment, run_python
from tests.requirements import require


def offered(terminal: Terminal, *words: str) -> list[str]:
    """What a shell is offered for the last of the words."""
    obj = lambda where: terminal.system.open_door("cli", where.tenant)  # noqa: E731 - it is what `Terminal` does
    shell = ShellComplete(main, {"obj": obj}, "runtara", "_RUNTARA_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_is_given_its_script(shell: str) -> None:
    done = type_command("completion", shell)

    assert done.exit_code == 0
    assert f"_RUNTARA_COMPLETE={shell}_complete" in done.stdout


def test_the_script_works_in_a_real_bash(tmp_path: Path) -> None:
    bash = require("bash", "to have it complete a command")
    script = type_command("completion", "bash").stdout
    done = run_python(
        "-c",
        "from runtara.cli import main; main(prog_name='runtara')",
        cwd=tmp_path,
        _RUNTARA_COMPLETE="bash_complete",
        COMP_WORDS="runtara che",
        COMP_CWORD="1",
    )
    parsed = subprocess.run(
        [bash, "--norc", "-c", f"{script}\ncomplete -p runtara"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == ["plain,checkpoints", "plain,checkpoint"]
    assert "_runtara_completion" in parsed.stdout, parsed.stderr


def test_commands_and_options_are_offered(terminal: Terminal) -> None:
    assert offered(terminal, "ch") == ["checkpoints", "checkpoint"]
    assert offered(terminal, "image", "pu") == ["pull", "push"]
    assert "--wait" in offered(terminal, "start", "--w")


def test_ids_are_offered_the_newest_first(terminal: Terminal) -> None:
    for name in ("order-1", "order-2", "invoice-1"):
        terminal("start", "/programs/wait.py", "--id", name)

    assert set(offered(terminal, "status", "")) == {"order-1", "order-2", "invoice-1"}
    assert sorted(offered(terminal, "events", "order-")) == ["order-1", "order-2"]
    assert offered(terminal, "fork", "inv") == ["invoice-1"]
    assert offered(terminal, "status", "nothing") == []
    assert offered(terminal, "status", "--tenant", "other", "order-") == []


def test_no_more_ids_are_offered_than_fit_on_a_screen(terminal: Terminal) -> None:
    Management(terminal.system.open_door("cli", "default")).start_many(
        {f"x-{number}": new_start("/programs/wait.py") for number in range(MOST + 10)}
    )

    assert len(offered(terminal, "status", "x-")) == MOST


def test_a_server_that_is_away_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTARA_CONNECT_TIMEOUT_MS", "100000")
    shell = ShellComplete(main, {}, "runtara", "_RUNTARA_COMPLETE")
    began = time.monotonic()

    found = shell.get_completions(["status", "--server", "127.0.0.1:9", "--data-dir", str(tmp_path)], "a")

    assert found == []
    assert time.monotonic() - began < 50, "half a second, and what a busy machine adds"


def test_contexts_are_offered(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    contexts = Contexts(tmp_path / "runtara")
    contexts.put(Context(name="prod", server="a:1"))
    contexts.put(Context(name="test", server="b:1"))

    assert offered(terminal, "ps", "--context", "p") == ["prod"]
    (tmp_path / "runtara" / "contexts.json").write_text("{")
    assert offered(terminal, "ps", "--context", "p") == []
