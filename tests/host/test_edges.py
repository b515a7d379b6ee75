"""The doors of a host: where they listen, and that they are found there again."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from runtara.errors import Unreachable
from runtara.host._edges import open_sockets
from runtara.settings import Settings
from runtara.transport.connection_file import ConnectionFile, write_connection_file


def settings_of(folder: Path, **more: object) -> Settings:
    return Settings(data_dir=str(folder), quic_port=0, env_http_port=0, **more)  # type: ignore[arg-type]  # its fields


async def test_where_any_port_will_do_the_last_ones_are_taken_again(tmp_path: Path) -> None:
    with ExitStack() as held:
        first = await open_sockets(settings_of(tmp_path), held)
        write_connection_file(
            tmp_path,
            ConnectionFile(
                address=str(first.address),
                ca_file=None,
                fingerprint="",
                pid=1,
                version="1",
                http_address=first.http_address,
            ),
        )
        while_taken = (await open_sockets(settings_of(tmp_path), held)).http_address
        before = (first.address, first.http_address)
    with ExitStack() as held:
        again = await open_sockets(settings_of(tmp_path), held)

        assert (again.address, again.http_address) == before
        assert while_taken != before[1]


async def test_a_port_that_is_taken_is_said_with_the_setting_that_changes_it(tmp_path: Path) -> None:
    with ExitStack() as held:
        taken = await open_sockets(settings_of(tmp_path), held)
        port = int(taken.http_address.rpartition(":")[2])

        with pytest.raises(Unreachable, match="RUNTARA_ENV_HTTP_PORT"):
            await open_sockets(Settings(data_dir=str(tmp_path), quic_port=0, env_http_port=port), held)


async def test_tls_is_spoken_where_others_can_listen_or_where_it_is_asked_for(tmp_path: Path) -> None:
    with ExitStack() as held:
        local = await open_sockets(settings_of(tmp_path), held)
        asked = await open_sockets(settings_of(tmp_path, http_tls=True), held)
        everywhere = await open_sockets(settings_of(tmp_path, host="0.0.0.0"), held)
        plain = await open_sockets(settings_of(tmp_path, host="0.0.0.0", http_tls=False), held)

        assert (local.http_address[:17], local.exposed) == ("http://127.0.0.1:", False)
        assert asked.http_address.startswith("https://127.0.0.1:")
        assert (everywhere.http_address[:18], everywhere.exposed) == ("https://127.0.0.1:", True)
        assert plain.http_address.startswith("http://127.0.0.1:")
