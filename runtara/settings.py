"""Everything that can be set, in one struct, read from the environment in one place."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from runtara.errors import ConfigError

__all__ = ["Settings", "load_settings"]

PREFIX = "RUNTARA_"

Milliseconds = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: PREFIX + name.upper()):
    """The settings of a system. The environment variable of each is ``RUNTARA_`` and the name in capitals."""

    data_dir: str = ".data"
    """Folder for everything that is kept; made if missing, readable by its owner only."""
    database_url: str | None = None
    """Where instances are kept: ``sqlite:///path`` or ``memory://``; by default runtara.db in the data folder."""
    heartbeat_timeout_ms: Milliseconds = 120_000
    """An attempt that was not heard of for this long has gone silent."""
    heartbeat_interval_ms: Milliseconds = 30_000
    """How often a program says that it is alive while nothing else is said."""
    state_max_bytes: Count = 64 * 1024 * 1024
    """Largest checkpoint state, input, output or payload."""
    commit_max_saves: Count = 8_192
    """Most changes that one transaction may hold."""
    commit_max_bytes: Count = 32 * 1024 * 1024
    """Payload bytes after which a transaction takes no further change."""
    resident_cells: Count = 10_000
    """Most instances kept in memory while nothing happens to them."""
    cell_idle_ms: Milliseconds = 60_000
    """An instance that nobody spoke to for this long leaves memory."""
    cell_mailbox: Count = 256
    """Most unanswered messages to one instance."""
    pending_signals_max: Count = 1_000
    """Most unacknowledged signals of one instance."""
    readers: Count = 2
    """Connections that read beside the writer."""
    wake_window: Count = 20_000
    """Most future wake-ups held in memory; later ones are read again from the store in time."""
    wakes_in_flight: Count = 256
    """Most wake-ups being stored at the same time."""
    clock_check_ms: Milliseconds = 5_000
    """Longest wait before the wall clock is looked at again, because it may have been set."""
    park_after_ms: Milliseconds = 60_000
    """A program that this host launched and that sleeps or waits for longer leaves memory and is launched again."""
    request_timeout_ms: Milliseconds = 30_000
    """How long an answer may take before the asker is told that it is late."""
    stop_grace_ms: Milliseconds = 10_000
    """How long each part of the system may take to stop."""

    @property
    def store_url(self) -> str:
        """The database URL, or the default one inside the data folder."""
        return self.database_url or f"sqlite:///{Path(self.data_dir) / 'runtara.db'}"


_OF_PROGRAMS = frozenset(
    PREFIX + name
    for name in (
        "INSTANCE_ID TENANT_ID SERVER_ADDR SERVER_NAME SKIP_CERT_VERIFICATION CONNECT_TIMEOUT_MS "
        "SIGNAL_POLL_INTERVAL_MS TOKEN TEST_DATABASE_URL TEST_REQUIRE"
    ).split()
)
"""Variables that the SDK and the test suite read; a system leaves them alone."""


def load_settings(environment: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Return the settings found in `environment` (the process's own by default), with `overrides` by field name.

    Raises `ConfigError` for a value that does not fit, and for a ``RUNTARA_`` name that is not known, with the
    nearest one that is.
    """
    given = os.environ if environment is None else environment
    found = {name: value for name, value in given.items() if name.startswith(PREFIX)}
    names = {field.encode_name: field.name for field in msgspec.structs.fields(Settings)}
    for name in found.keys() - names.keys() - _OF_PROGRAMS:
        raise ConfigError(f"unknown setting {name}{_nearest(name, names)}")
    values: dict[str, object] = {name: value for name, value in found.items() if name in names}
    for field, value in overrides.items():
        name = PREFIX + field.upper()
        if name not in names:
            raise ConfigError(f"unknown setting {field!r}{_nearest(name, names)}")
        values[name] = value
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a setting has an unusable value: {error}") from None


def _nearest(name: str, names: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in names], n=1)
    return f": did you mean {PREFIX}{close[0]}?" if close else ""
