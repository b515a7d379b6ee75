"""`runtara doctor`."""

import json
from pathlib import Path
from typing import Any

from runtara.cli._findings_of_machine import MACHINE
from runtara.cli._findings_of_server import SERVER
from tests.cli.terminal import type_command


def test_a_machine_that_is_fit_has_no_failures(tmp_path: Path) -> None:
    done = type_command(
        "doctor", "--data-dir", str(tmp_path / "data"), RUNTARA_QUIC_PORT="0", RUNTARA_ENV_HTTP_PORT="0"
    )

    head, *lines = done.stdout.splitlines()
    assert done.exit_code == 0, done.output
    assert head.split() == ["IS", "WHAT", "FOUND", "TRY"]
    assert len(lines) == 1 + len(MACHINE) + len(SERVER)
    assert {line.split()[0] for line in lines} <= {"ok", "warn"}
    assert not (tmp_path / "data").exists()


def test_settings_that_are_not_as_by_default_are_named_without_their_values(tmp_path: Path) -> None:
    environment: dict[str, Any] = {
        "RUNTARA_READERS": "3",
        "RUNTARA_QUIC_PORT": "0",
        "RUNTARA_ENV_HTTP_PORT": "0",
        "RUNTARA_DATABASE_URL": "sqlite:///secret",
    }

    done = type_command("doctor", "--data-dir", str(tmp_path), "--json", **environment)

    settings = json.loads(done.stdout)[0]
    assert settings["text"] == (
        "from the environment or options: RUNTARA_DATA_DIR, RUNTARA_DATABASE_URL, RUNTARA_READERS, "
        "RUNTARA_QUIC_PORT, RUNTARA_ENV_HTTP_PORT"
    )
    assert "secret" not in done.stdout


def test_what_fails_is_told_with_what_to_do_and_exit_code_1(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    done = type_command(
        "doctor", "--data-dir", str(tmp_path), "--json", RUNTARA_QUIC_PORT="0", RUNTARA_ENV_HTTP_PORT="0"
    )

    failed = [row for row in json.loads(done.stdout) if row["state"] == "fail"]
    assert done.exit_code == 1
    assert [row["subject"] for row in failed] == ["data folder"]
    assert failed[0]["advice"] == f"chmod -R go= {tmp_path}"
