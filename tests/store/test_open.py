"""From a URL to a store."""

import sqlite3
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from runtara.errors import ConfigError
from runtara.settings import Settings
from runtara.store import check_sqlite_version, open_store, sqlite_version
from runtara.store._memory import MemoryStore
from runtara.store._postgres import PostgresStore
from runtara.store._sqlite import SqliteStore


def test_memory_is_a_store_of_its_own() -> None:
    assert isinstance(open_store("memory://"), MemoryStore)
    assert open_store("memory://").url == "memory://"


@pytest.mark.parametrize("path", ["relative.db", "/absolute/path.db", "C:/windows.db", ".data/runtara.db"])
def test_a_file_is_named_by_its_path(path: str) -> None:
    store = open_store(f"sqlite:///{path}")

    assert isinstance(store, SqliteStore)
    assert (store.url, store.inline) == (f"sqlite:///{path}", False)
    assert store._path == Path(path).resolve()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgres://me@host:5432/db", "postgres://me@host:5432/db"),
        ("postgresql://me:s3cret@host/db?application_name=me&password=s3cret", "postgresql://me@host/db"),
    ],
)
def test_a_postgresql_database_is_named_without_what_is_secret(url: str, shown: str) -> None:
    store = open_store(url)

    assert isinstance(store, PostgresStore)
    assert (store.url, store.inline) == (shown, False)


@pytest.mark.parametrize(
    "url",
    [
        *[
            "postgresql+psycopg://me:s3cret@host/db",
            "mysql://me:s3cret@host/db",
            "me:s3cret@host/db",
            "Postgresql://s3cret@",
        ],
        *["host=host password=s3cret", "postgresql://me:s3cret@more@host/db", "postgresql://me:s3cret#@host/db"],
        *["postgresql://me:s3cret", "postgresql://me:p/s3cret@host/db", "postgresql://me:[s3cret@host/db"],
    ],
)
def test_what_may_be_a_password_is_not_repeated_when_an_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="use ") as caught:
        open_store(url)

    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_the_default_setting_is_a_store() -> None:
    assert isinstance(open_store(Settings().store_url), SqliteStore)


@pytest.mark.parametrize(
    "url",
    [
        *["", "memory", "memory:", "sqlite", "sqlite://", "sqlite:///", "sqlite://host/path", "sqlite:///folder/"],
        *["sqlite:///a\0b", "sqlite:///:memory:", "memory://name", "mysql://host/db", "/a/path.db", "SQLITE:///a"],
    ],
)
def test_anything_else_is_refused_with_what_is_possible(url: str) -> None:
    with pytest.raises(ConfigError, match=r"memory://|sqlite:///path"):
        open_store(url)


def test_nothing_is_touched_before_a_writer_is_opened(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path / 'data' / 'runtara.db'}")

    assert list(tmp_path.iterdir()) == []


def test_only_what_is_needed_is_imported() -> None:
    script = (
        "import sys; from runtara.store import open_store; open_store('memory://');"
        "print([name for name in ('sqlite3', 'sqlite_utils', 'psycopg') if name in sys.modules])"
    )

    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert answer.stdout == "[]\n"


def test_a_file_that_is_up_to_date_needs_no_migration_library(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runtara.db'}"
    open_store(url).open_writer().close()
    script = (
        "import sys; from runtara.store import open_store; open_store(sys.argv[1]).open_writer().close();"
        "print('sqlite_utils' in sys.modules)"
    )

    answer = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, timeout=60, check=True)

    assert answer.stdout == "False\n"


def test_the_sqlite_of_this_python_is_known_and_new_enough() -> None:
    version = sqlite_version()

    check_sqlite_version(version)
    assert version == sqlite3.sqlite_version_info
    with pytest.raises(ConfigError, match=r"SQLite 3\.31\.0"):
        check_sqlite_version((3, 31, 0))
