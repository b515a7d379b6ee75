"""The data folder of a host: what is made there at the first start, and found at the next one."""

import stat
from pathlib import Path

import pytest

from runtara.clock import ManualClock
from runtara.errors import ConfigError
from runtara.host._home import open_home
from runtara.settings import Settings
from runtara.transport.certificates import ensure_certificate


async def test_the_second_start_finds_what_the_first_one_has_made(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    settings = Settings(data_dir=str(folder), database_url="memory://")

    first, second = [await open_home(settings, folder, ManualClock()) for _ in range(2)]

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert second.identity == first.identity
    assert second.first_key == first.first_key == folder / "bootstrap-key"
    assert second.mint.check_node(first.mint.mint_for_node("north")) == "north"
    assert second.keys.list() == first.keys.list()


async def test_a_certificate_that_is_given_is_the_one_that_is_shown(tmp_path: Path) -> None:
    given = ensure_certificate(tmp_path / "given")
    files = {"tls_cert_file": str(given.cert_file), "tls_key_file": str(given.key_file)}
    settings = Settings(data_dir=str(tmp_path / "data"), database_url="memory://", **files)  # type: ignore[arg-type]

    home = await open_home(settings, tmp_path / "data", ManualClock())

    assert home.identity.fingerprint == given.fingerprint
    with pytest.raises(ConfigError, match="set both, or neither"):
        await open_home(Settings(tls_cert_file=files["tls_cert_file"]), tmp_path / "data", ManualClock())


async def test_a_server_that_must_not_start_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "data"), host="0.0.0.0", require_credentials=False)

    with pytest.raises(ConfigError, match="RUNTARA_REQUIRE_CREDENTIALS"):
        await open_home(settings, tmp_path / "data", ManualClock())

    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - one look
