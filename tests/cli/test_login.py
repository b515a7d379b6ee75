"""`runtara login` and `logout`."""

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import Result

from runtara.errors import Code
from runtara.transport.connection_file import ConnectionFile, read_connection_file, write_connection_file
from runtara.transport.contexts import Context, Contexts
from tests.cli.terminal import SECONDS, Server, type_command
from tests.house.source import ROOT
from tests.transport.passports import make_passport
from tests.transport.quic.serving import Serving


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that asks for a key."""
    with Serving(tmp_path_factory.mktemp("guarded"), require_credentials=True) as server:
        yield server


@pytest.fixture(scope="module")
def key(guarded: Serving) -> str:
    return guarded.keys.add("shop")


class Person:
    """Types commands, and has a folder for their own settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contexts = Contexts(folder / "runtara")

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Result:
        ours = {"XDG_CONFIG_HOME": str(self.folder), "RUNTARA_DATA_DIR": str(self.folder / "data")}
        return type_command(*arguments, obj=None, stdin=stdin.encode(), **ours | environment)


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


def test_a_server_that_accepts_the_key_is_kept_and_in_use(person: Person, guarded: Serving, key: str) -> None:
    pin = guarded.identity.fingerprint
    done = person(
        "login", guarded.address, "--name", "prod", "--tenant", "shop", "--fingerprint", pin, stdin=f"{key}\n"
    )

    assert (done.exit_code, done.stdout) == (0, f"prod: {guarded.address}, tenant shop\n"), done.stderr
    kept = Context(name="prod", server=guarded.address, tenant="shop", fingerprint=pin, key=key)
    assert person.contexts.current() == kept
    listed = person("ps", "--json", RUNTARA_DATA_DIR="")
    assert json.loads(listed.stdout)["instances"] == [], listed.stderr


def test_a_key_comes_from_a_file_but_never_as_an_argument(person: Person, guarded: Serving, key: str) -> None:
    (person.folder / "key").write_text(f"{key}\n")
    where = (guarded.address, "--tenant", "shop", "--fingerprint", guarded.identity.fingerprint)

    refused = person("login", *where, "--key", key)
    done = person("login", *where, "--key", f"@{person.folder / 'key'}")

    assert (refused.exit_code, "can be seen by everybody" in refused.stderr, key in refused.output) == (2, True, False)
    assert (done.exit_code, key in done.output) == (0, False)
    (found,) = person.contexts.list()
    assert (found.name, found.key) == (guarded.address, key)


@pytest.mark.parametrize(
    ("tenant", "shown"),
    [("other", "the same"), ("shop", "rtk_000000000000_" + "0" * 64), ("shop", "\xff"), ("shop", "")],
)
def test_nothing_is_kept_of_a_key_that_is_not_accepted(
    tenant: str, shown: str, person: Person, guarded: Serving, key: str
) -> None:
    pin = guarded.identity.fingerprint
    stdin = key if shown == "the same" else shown
    done = person("login", guarded.address, "--tenant", tenant, "--fingerprint", pin, stdin=stdin)

    assert done.exit_code == Code.UNAUTHENTICATED.exit_code
    assert key not in done.output
    assert person.contexts.list() == ()


def test_a_certificate_that_nobody_compares_is_shown_and_not_trusted(
    person: Person, guarded: Serving, key: str
) -> None:
    done = person("login", guarded.address, stdin=key)

    assert done.exit_code == Code.UNTRUSTED_SERVER.exit_code
    assert guarded.identity.fingerprint in done.stderr
    assert "say --fingerprint" in done.stderr
    assert person.contexts.list() == ()


def test_another_certificate_than_the_expected_one_is_refused(person: Person, guarded: Serving, key: str) -> None:
    done = person("login", guarded.address, "--fingerprint", "ab" * 32, stdin=key)

    assert done.exit_code == Code.UNTRUSTED_SERVER.exit_code
    assert person.contexts.list() == ()


def test_the_server_on_this_machine_needs_no_address(person: Person, guarded: Serving, key: str) -> None:
    missing = person("login", stdin=key)
    identity = guarded.identity
    (person.folder / "data").mkdir()
    content = ConnectionFile(
        address=guarded.address,
        ca_file=str(identity.ca_file),
        fingerprint=identity.fingerprint,
        pid=os.getpid(),
        version="1",
    )
    write_connection_file(person.folder / "data", content)
    done = person("login", "--name", "here", "--tenant", "shop", stdin=key)

    assert (missing.exit_code, "say where one is" in missing.stderr) == (2, True)
    assert done.exit_code == 0, done.stderr
    found = person.contexts.get("here")
    assert (found.server, found.ca_file, found.fingerprint) == (guarded.address, str(identity.ca_file), None)


def test_files_of_a_context_are_found_from_every_folder(
    person: Person, guarded: Serving, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passport = make_passport(trustme.CA(), person.folder, "runtara://tenant/shop", name="me")
    monkeypatch.chdir(person.folder)
    files = ("--cert-file", passport.name, "--ca-file", os.path.relpath(str(guarded.identity.ca_file)))

    done = person("login", guarded.address, "--name", "prod", "--tenant", "shop", *files, stdin=key)

    assert done.exit_code == 0, done.stderr
    found = person.contexts.get("prod")
    assert (found.cert_file, found.key_file) == (str(passport), None)
    assert found.ca_file is not None
    assert Path(found.ca_file).is_absolute()


def test_where_nobody_answers_nothing_is_kept(person: Person) -> None:
    done = person("login", "127.0.0.1:9", "--fingerprint", "ab" * 32, stdin="rtk_x")

    assert done.exit_code == Code.UNREACHABLE.exit_code
    assert person.contexts.list() == ()


def test_it_is_the_key_that_was_given_that_must_be_accepted(person: Person, guarded: Serving, key: str) -> None:
    where = (guarded.address, "--tenant", "shop", "--fingerprint", guarded.identity.fingerprint)

    done = person("login", *where, stdin="rtk_wrong", RUNTARA_TOKEN=key)

    assert done.exit_code == Code.UNAUTHENTICATED.exit_code
    assert person.contexts.list() == ()


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_no_key_is_sent_to_another_machine_in_the_clear(scheme: str, person: Person) -> None:
    done = person("login", f"{scheme}://192.0.2.1:8002", stdin="rtk_x")

    assert done.exit_code == Code.UNTRUSTED_SERVER.exit_code
    assert "is not encrypted" in done.stderr
    assert person.contexts.list() == ()


def test_every_door_of_a_server_shows_the_same_certificate(person: Person, tmp_path: Path) -> None:
    server = Server(tmp_path, RUNTARA_HTTP_TLS="true", RUNTARA_REQUIRE_CREDENTIALS="true")
    try:
        found = read_connection_file(tmp_path / ".data")
        assert found is not None
        key = (tmp_path / ".data" / "bootstrap-key").read_text()
        web = str(found.http_address)
        for address in (found.address, web, web.replace("https", "wss")):
            refused = person("login", address, stdin=key)
            done = person("login", address, "--fingerprint", found.fingerprint, stdin=key)
            listed = person("ps", "--json", RUNTARA_DATA_DIR="", RUNTARA_CONTEXT=address.rpartition("/")[2])

            assert refused.exit_code == Code.UNTRUSTED_SERVER.exit_code
            assert found.fingerprint in refused.stderr
            assert (done.exit_code, listed.exit_code) == (0, 0), (done.stderr, listed.stderr)
    finally:
        server.stop()


def test_logging_out_forgets_the_key(person: Person) -> None:
    person.contexts.put(Context(name="prod", server="prod:8001", key="rtk_x"))

    done, again = person("logout"), person("logout", "prod")
    nobody = person("logout", "other")
    person.contexts.use(None)
    nowhere = person("logout")

    assert (done.stdout, again.stdout) == ("prod: its key is forgotten\n", "prod: there was no key\n")
    assert person.contexts.get("prod").key is None
    assert [nobody.exit_code, nowhere.exit_code] == [Code.NOT_FOUND.exit_code] * 2


_AT_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from runtara.cli import main
main()
"""


class Screen:
    """A terminal of its own, at which a command runs."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._terminal, end = os.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AT_TERMINAL, *arguments],
            env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | environment,
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
        )
        os.close(end)
        self.seen = ""

    def answer(self, question: str, answer: str) -> None:
        """Wait for a question, and answer it."""
        while not re.search(question, self.seen):
            assert self._read(), f"no {question!r} in {self.seen!r}"
        os.write(self._terminal, f"{answer}\n".encode())

    def end(self) -> int:
        """Wait for the end of the command; return its exit code."""
        while self._read():
            pass
        os.close(self._terminal)
        return self._process.wait(SECONDS)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], SECONDS)
        assert ready, f"nothing more came after {self.seen!r}"
        try:
            piece = os.read(self._terminal, 4096)
        except OSError:  # how Linux says that nobody writes any more
            return False
        self.seen += piece.decode()
        return bool(piece)


@pytest.mark.parametrize("answer", ["y", "n"])
def test_whoever_sits_there_is_asked(answer: str, person: Person, guarded: Serving, key: str) -> None:
    screen = Screen("login", guarded.address, "--name", "prod", "--tenant", "shop", XDG_CONFIG_HOME=str(person.folder))

    screen.answer("operator has told you", answer)
    if answer == "y":
        screen.answer("Key", key)
    code = screen.end()

    assert guarded.identity.fingerprint in screen.seen
    assert key not in screen.seen, "what is typed as a key is not shown"
    if answer == "y":
        assert code == 0, screen.seen
        assert person.contexts.get("prod").fingerprint == guarded.identity.fingerprint
    else:
        assert code == Code.UNTRUSTED_SERVER.exit_code
        assert person.contexts.list() == ()
