"""`runtara keys`."""

import json
import stat
from pathlib import Path

from click.testing import Result

from runtara.errors import Code
from runtara.transport.credentials import KEY_PREFIX, KeyRing
from tests.cli.terminal import type_command


def keys(folder: Path, *arguments: str) -> Result:
    return type_command("keys", *arguments, "--data-dir", str(folder / "data"))


def test_a_key_is_shown_once_and_is_good_until_it_is_revoked(tmp_path: Path) -> None:
    key = keys(tmp_path, "add", "acme").stdout.strip()
    ring = KeyRing(tmp_path / "data" / "keys.json")

    known = ring.check(key)
    listed = keys(tmp_path, "list")
    revoked = keys(tmp_path, "revoke", known.key_id)

    assert key.startswith(KEY_PREFIX)
    assert known.tenant_id == "acme"
    assert listed.stdout.splitlines()[1].split()[:2] == [known.key_id, "acme"]
    assert key not in listed.stdout
    assert (revoked.exit_code, ring.list()) == (0, ())


def test_keys_are_listed_as_json(tmp_path: Path) -> None:
    keys(tmp_path, "add", "acme")

    rows = json.loads(keys(tmp_path, "list", "--json").stdout)

    assert [sorted(row) for row in rows] == [["created_at", "key_id", "tenant_id"]]


def test_folder_and_file_are_made_for_their_owner_only(tmp_path: Path) -> None:
    keys(tmp_path, "add", "acme")

    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("data", "data/keys.json")]
    assert modes == [0o700, 0o600]


def test_what_there_is_not_cannot_be_revoked(tmp_path: Path) -> None:
    done = keys(tmp_path, "revoke", "0123456789ab")

    assert done.exit_code == Code.NOT_FOUND.exit_code
    assert done.stderr.endswith("[not-found]\n")


def test_a_tenant_must_have_a_plain_name(tmp_path: Path) -> None:
    assert keys(tmp_path, "add", "../x").exit_code == Code.INVALID_INPUT.exit_code


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    keys(tmp_path, "add", "acme")
    (tmp_path / "data" / "keys.json").write_text("{")

    assert keys(tmp_path, "list").exit_code == Code.CONFIG_ERROR.exit_code


def test_a_key_that_is_made_or_revoked_at_one_node_of_a_database_counts_at_the_other(
    tmp_path: Path, database: str
) -> None:
    def at(node: str, *arguments: str) -> Result:
        folder = str(tmp_path / node)
        return type_command("keys", *arguments, "--data-dir", folder, RUNTARA_DATABASE_URL=database)

    key = at("a", "add", "acme").stdout.strip()
    listed = json.loads(at("b", "list", "--json").stdout)
    found = KeyRing(tmp_path / "b" / "keys.json").check(key)
    revoked = at("b", "revoke", found.key_id)
    left = json.loads(at("a", "list", "--json").stdout)

    assert [row["tenant_id"] for row in listed] == ["acme"]
    assert found.tenant_id == "acme"
    assert (revoked.exit_code, left) == (0, [])


def test_a_database_that_is_away_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    url = "postgresql://postgres@127.0.0.1:1/nowhere"

    done = type_command("keys", "add", "acme", "--data-dir", str(tmp_path), RUNTARA_DATABASE_URL=url)

    assert done.exit_code == Code.STORE_UNAVAILABLE.exit_code
    assert not (tmp_path / "keys.json").exists()
