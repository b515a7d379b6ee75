"""`runtara contexts`, and which server a command goes to."""

import json
from pathlib import Path

import pytest

from runtara.cli._reach import Where
from runtara.errors import Code
from runtara.sdk.management import Management
from runtara.transport.contexts import Context, Contexts
from tests.cli.terminal import Terminal, type_command
from tests.cli.test_login import Person

PROD = Context(name="prod", server="prod:8001", tenant="shop", fingerprint="ab" * 32, key="rtk_prod")
TEST = Context(name="test", server="test:8001", ca_file="/ca.pem", cert_file="/me.pem", key_file="/key.pem")


@pytest.fixture
def person(tmp_path: Path) -> Person:
    found = Person(tmp_path)
    found.contexts.put(TEST)
    found.contexts.put(PROD)
    return found


def test_contexts_are_listed_without_their_keys(person: Person) -> None:
    lines = person("contexts", "list").stdout.splitlines()
    rows = json.loads(person("contexts", "list", "--json").stdout)

    assert [line.split()[:5] for line in lines[1:]] == [
        ["prod", "yes", "prod:8001", "shop", "yes"],
        ["test", "no", "test:8001", "default", "no"],
    ]
    assert [(row["name"], row["current"], row["has_key"]) for row in rows] == [
        ("prod", True, True),
        ("test", False, False),
    ]
    assert "rtk_" not in json.dumps(rows) + "".join(lines)


def test_another_one_is_chosen_and_one_is_forgotten(person: Person) -> None:
    assert person("contexts", "use", "test").exit_code == 0
    assert person.contexts.current() == TEST
    assert person("contexts", "use", "--none").exit_code == 0
    assert person.contexts.current() is None
    assert person("contexts", "remove", "prod").exit_code == 0
    assert person.contexts.list() == (TEST,)
    assert person("contexts", "remove", "prod").exit_code == Code.NOT_FOUND.exit_code
    assert [person("contexts", "use").exit_code, person("contexts", "use", "x", "--none").exit_code] == [2, 2]


IN_PROD = Where(server="prod:8001", tenant="shop", fingerprint="ab" * 32, key="rtk_prod")
IN_TEST = Where(server="test:8001", ca_file="/ca.pem", cert_file="/me.pem", key_file="/key.pem")


@pytest.mark.parametrize(
    ("options", "environment", "where"),
    [
        ([], {}, IN_PROD),
        (["--context", "test"], {}, IN_TEST),
        ([], {"RUNTARA_CONTEXT": "test"}, IN_TEST),
        (["--context", "prod"], {"RUNTARA_CONTEXT": "test"}, IN_PROD),
        (["--context", "test"], {"RUNTARA_SERVER_ADDR": "a:1", "RUNTARA_DATA_DIR": "d"}, IN_TEST),
        (["--server", "a:1"], {"RUNTARA_CONTEXT": "test"}, Where(server="a:1")),
        (["--data-dir", "d"], {}, Where(data_dir="d")),
        ([], {"RUNTARA_SERVER_ADDR": "a:1"}, Where(server="a:1")),
        ([], {"RUNTARA_SERVER_ADDR": "a:1", "RUNTARA_CONTEXT": "test"}, Where(server="a:1")),
        ([], {"RUNTARA_DATA_DIR": "d"}, Where(data_dir="d")),
        ([], {"RUNTARA_DATA_DIR": "d", "RUNTARA_CONTEXT": "test"}, IN_TEST),
        (["--tenant", "other"], {}, Where(server="prod:8001", tenant="other", fingerprint="ab" * 32, key="rtk_prod")),
        ([], {"RUNTARA_TENANT_ID": "t"}, Where(server="prod:8001", tenant="t", fingerprint="ab" * 32, key="rtk_prod")),
        (["--ca-file", "x"], {}, Where(server="prod:8001", tenant="shop", ca_file="x", key="rtk_prod")),
        (
            ["--context", "test", "--cert-file", "x"],
            {},
            Where(server="test:8001", ca_file="/ca.pem", cert_file="x"),
        ),
    ],
)
def test_what_is_said_closer_counts_more(
    options: list[str], environment: dict[str, str], where: Where, person: Person, terminal: Terminal
) -> None:
    seen: list[Where] = []

    def open_door(asked: Where) -> object:
        seen.append(asked)
        return terminal.system.open_door("cli", asked.tenant)

    done = type_command("ps", *options, obj=open_door, XDG_CONFIG_HOME=str(person.folder), **environment)  # type: ignore[arg-type]  # a door is a door

    assert done.exit_code == 0, done.stderr
    (found,) = seen
    for name in ("server", "tenant", "ca_file", "fingerprint", "cert_file", "key_file", "key"):
        assert getattr(found, name) == getattr(where, name)
    assert "rtk_" not in repr(found)


def test_two_servers_at_once_are_refused(person: Person) -> None:
    done = person("ps", "--server", "a:1", "--context", "prod")

    assert (done.exit_code, "both say where the server is" in done.stderr) == (2, True)


def test_a_context_that_is_unknown_is_refused(person: Person) -> None:
    assert person("ps", "--context", "nowhere").exit_code == Code.NOT_FOUND.exit_code
    assert person("ps", RUNTARA_CONTEXT="nowhere", RUNTARA_DATA_DIR="").exit_code == Code.NOT_FOUND.exit_code


def test_a_client_in_python_finds_the_server_of_a_context(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(person.folder))

    for client in (Management.from_context(), Management.from_context("prod")):
        server = client._door._trunk.server  # type: ignore[attr-defined]  # it is one over QUIC
        assert (client.tenant_id, server.address, server.fingerprint) == ("shop", "prod:8001", "ab" * 32)
    monkeypatch.setenv("RUNTARA_CONTEXT", "test")
    named = Management.from_env()
    monkeypatch.setenv("RUNTARA_SERVER_ADDR", "a:1")
    closer = Management.from_env()

    assert (named.tenant_id, named._door._trunk.server.address) == ("default", "test:8001")  # type: ignore[attr-defined]  # likewise
    assert named._door._trunk.server.client_cert_file == "/me.pem"  # type: ignore[attr-defined]  # likewise
    assert closer._door._trunk.server.address == "a:1"  # type: ignore[attr-defined]  # likewise
    Contexts(person.folder / "runtara").use(None)
    with pytest.raises(Exception, match="no context is in use"):
        Management.from_context()
