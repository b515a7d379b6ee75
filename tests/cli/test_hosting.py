"""A host inside a command."""

from pathlib import Path

import pytest

from runtara.cli._hosting import open_announced_host
from runtara.errors import StoreInUse
from runtara.settings import Settings
from runtara.transport.connection_file import read_connection_file


def settings_of(folder: Path) -> Settings:
    return Settings(data_dir=str(folder), quic_port=0, env_http_port=0)


async def test_clients_find_it_for_as_long_as_it_is_open(tmp_path: Path) -> None:
    async with open_announced_host(settings_of(tmp_path)) as host:
        found = read_connection_file(tmp_path)

    assert found is not None
    assert (found.address, found.fingerprint) == (host.address, host.identity.fingerprint)
    assert found.ca_file is not None
    assert Path(found.ca_file).is_absolute()
    assert read_connection_file(tmp_path) is None


@pytest.mark.slow  # a store that is in use is waited for, in case that its owner is about to end
async def test_one_that_could_not_open_leaves_the_file_of_the_other_alone(tmp_path: Path) -> None:
    async with open_announced_host(settings_of(tmp_path)):
        found = read_connection_file(tmp_path)

        with pytest.raises(StoreInUse):
            async with open_announced_host(settings_of(tmp_path)):
                pytest.fail("it must not open")

        assert read_connection_file(tmp_path) == found
