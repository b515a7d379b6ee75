"""What launched programs are told, so that they find their way back."""

from pathlib import Path

from runtara.host._launcher import environment_of
from runtara.settings import Settings
from runtara.transport.addresses import Address
from runtara.transport.certificates import ensure_certificate


def test_a_program_on_this_machine_is_told_the_authority_and_one_elsewhere_the_fingerprint(tmp_path: Path) -> None:
    identity = ensure_certificate(tmp_path / "tls")
    address = Address("::1", 8001)

    here = environment_of(Settings(), identity, address, http="http://[::1]:8002")
    there = environment_of(Settings(), identity, address, http=None)

    assert here["RUNTARA_SERVER_ADDR"] == there["RUNTARA_SERVER_ADDR"] == "[::1]:8001"
    assert Path(here["RUNTARA_CA_FILE"]).is_absolute()
    assert (there["RUNTARA_SERVER_FINGERPRINT"], "RUNTARA_CA_FILE" in there) == (identity.fingerprint, False)
    assert (here["RUNTARA_HTTP_URL"], "RUNTARA_HTTP_URL" in there) == ("http://[::1]:8002", False)
    assert here["RUNTARA_HEARTBEAT_INTERVAL_MS"] == str(Settings().heartbeat_interval_ms)
