"""`runtara keys`."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import Result

from runtara.errors import Code, Unauthenticated
from runtara.store._memory import MemoryStore
from runtara.transport.bootstrap import ensure_bootstrap_key
from runtara.transport.credentials import KEY_PREFIX, KeyRing
from runtara.transport.shared_keys import SharedKeys
from tests.cli.terminal import Server, type_command


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

    assert [sorted(row) for row in rows] == [["created_at", "expires_at", "key_id", "role", "tenant_id"]]


def test_a_key_has_the_role_and_the_end_that_are_typed(tmp_path: Path) -> None:
    keys(tmp_path, "add", "acme", "--role", "read-only", "--expires", "2100-01-31T06:30:00Z")
    keys(tmp_path, "add", "acme")

    listed = keys(tmp_path, "list").stdout.splitlines()[1:]

    assert [line.split()[2] for line in listed] == ["read-only", "admin"]
    assert "2100-01-31 06:30:00" in listed[0]
    assert listed[1].endswith("-")


@pytest.mark.parametrize("options", [("--role", "king"), ("--expires", "soon"), ("--expires", "2001-01-01T00:00:00Z")])
def test_a_role_or_an_end_that_makes_no_sense_is_refused(tmp_path: Path, options: tuple[str, str]) -> None:
    assert keys(tmp_path, "add", "acme", *options).exit_code == 2
    assert KeyRing(tmp_path / "data" / "keys.json").list() == ()


def test_a_rotated_key_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    old = keys(tmp_path, "add", "acme", "--role", "operator").stdout.strip()
    ring = KeyRing(tmp_path / "data" / "keys.json")
    key_id = ring.check(old).key_id

    within = keys(tmp_path, "rotate", key_id, "--grace", "1h").stdout.strip()
    both = [ring.check(key).role for key in (old, within)]
    last = keys(tmp_path, "rotate", ring.check(within).key_id).stdout.strip()

    assert both == ["operator", "operator"]
    assert ring.check(last).tenant_id == "acme"
    with pytest.raises(Unauthenticated):
        ring.check(within)


def test_the_file_of_the_first_key_goes_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    path = ensure_bootstrap_key(folder, SharedKeys(folder, MemoryStore()))
    assert path is not None
    key_id = KeyRing(folder / "keys.json").list()[0].key_id
    keys(tmp_path, "add", "acme")

    keys(tmp_path, "rotate", key_id, "--grace", "1h")
    kept = path.exists()
    keys(tmp_path, "revoke", key_id)

    assert (kept, path.exists()) == (True, False)


@pytest.mark.slow
def test_an_admin_keeps_the_keys_of_its_tenant_from_afar(tmp_path: Path) -> None:
    server = Server(tmp_path, RUNTARA_REQUIRE_CREDENTIALS="true")
    try:
        admin = (tmp_path / ".data" / "bootstrap-key").read_text().strip()
        address = json.loads((tmp_path / ".data" / "server.json").read_text())["address"]

        def far(*arguments: str, token: str = admin) -> Result:
            ca_file = str(tmp_path / ".data" / "tls" / "ca.pem")
            return type_command(
                "keys", *arguments, "--remote", "--server", address, "--ca-file", ca_file, RUNTARA_TOKEN=token
            )

        operator = far("add", "--role", "operator").stdout.strip()
        listed = json.loads(far("list", "--json").stdout)
        forbidden = far("list", token=operator)
        rotated = far("rotate", listed[1]["key_id"]).stdout.strip()
        locked_out = far("revoke", listed[0]["key_id"])
        unknown = far("revoke", listed[1]["key_id"])
        other_tenant = far("add", "rival")
        revoked = far("revoke", rotated.split("_")[1])
        late = far("list", token=rotated)
    finally:
        _, log = server.stop()

    assert [(row["tenant_id"], row["role"]) for row in listed] == [("default", "admin"), ("default", "operator")]
    assert forbidden.exit_code == Code.FORBIDDEN.exit_code
    assert "operator" in forbidden.stderr
    assert "administer" in forbidden.stderr
    assert locked_out.exit_code == Code.INVALID_STATE.exit_code
    assert unknown.exit_code == Code.NOT_FOUND.exit_code
    assert other_tenant.exit_code == 2
    assert (revoked.exit_code, late.exit_code) == (0, Code.UNAUTHENTICATED.exit_code)
    assert not any(key in "".join(log) for key in (admin, operator, rotated))


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
