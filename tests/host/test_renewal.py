"""A host whose certificate changes while it runs: newcomers see the new one, and nobody who is there is disturbed."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runtara.errors import ConfigError, UntrustedServer
from runtara.host import Host
from runtara.messages import GetHealth
from runtara.sdk.config import SdkConfig
from runtara.transport.certificates import Identity, ensure_certificate
from runtara.transport.door import Door
from tests.test_host import ended, opened, script, start

SCHEMES = ("quic", "wss", "https")


@pytest.fixture
def identities(tmp_path: Path) -> tuple[Identity, Identity]:
    """The certificate of today, and that of tomorrow."""
    return ensure_certificate(tmp_path / "one"), ensure_certificate(tmp_path / "two")


def put(identity: Identity, folder: Path) -> None:
    """Put certificate and key where the host looks for them."""
    (folder / "shown").mkdir(exist_ok=True, mode=0o700)
    for file in (identity.cert_file, identity.key_file):
        shutil.copy2(file, folder / "shown" / file.name)


@asynccontextmanager
async def showing(identity: Identity, folder: Path) -> AsyncIterator[Host]:
    put(identity, folder)
    files: Any = {
        "tls_cert_file": str(folder / "shown" / "cert.pem"),
        "tls_key_file": str(folder / "shown" / "key.pem"),
    }
    async with opened(folder, http_tls=True, **files) as host:
        yield host


def way(host: Host, scheme: str, fingerprint: str) -> Door:
    address = host.address if scheme == "quic" else host.http_address.replace("https", scheme)
    given: dict[str, Any] = {"server_addr": address, "server_fingerprint": fingerprint}
    return SdkConfig("one", **given).open_door()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_newcomers_see_the_new_certificate_and_whoever_is_connected_stays_so(
    tmp_path: Path, identities: tuple[Identity, Identity], scheme: str
) -> None:
    old, new = identities

    async with showing(old, tmp_path) as host:
        connected = way(host, scheme, old.fingerprint)
        await connected.connect()
        put(new, tmp_path)
        await host.renew()
        late, early = way(host, scheme, old.fingerprint), way(host, scheme, new.fingerprint)
        with pytest.raises(UntrustedServer):
            await late.call(GetHealth())
        await early.call(GetHealth())
        await connected.call(GetHealth())
        assert host.identity.fingerprint == new.fingerprint
        for door in (connected, late, early):
            door.close()


async def test_what_cannot_be_used_is_said_and_changes_nothing(
    tmp_path: Path, identities: tuple[Identity, Identity]
) -> None:
    old, new = identities

    async with showing(old, tmp_path) as host:
        shutil.copy2(new.cert_file, tmp_path / "shown" / "cert.pem")  # the key of it is still to come
        with pytest.raises(ConfigError, match="is not the key of"):
            await host.renew()
        for scheme in SCHEMES:
            door = way(host, scheme, old.fingerprint)
            await door.call(GetHealth())
            door.close()
        assert host.identity.fingerprint == old.fingerprint


async def test_a_program_that_is_launched_afterwards_is_told_of_the_new_certificate(
    tmp_path: Path, identities: tuple[Identity, Identity]
) -> None:
    old, new = identities

    async with showing(old, tmp_path) as host:
        put(new, tmp_path)
        await host.renew()
        await start(host, script(tmp_path, 'echo "$RUNTARA_SERVER_FINGERPRINT" > "$RUNTARA_OUTPUT_FILE"'))
        info = await ended(host)

    assert info.output == f"{new.fingerprint}\n".encode()
