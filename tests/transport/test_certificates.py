import hashlib
import shutil
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from runtara.clock import ManualClock, SystemClock
from runtara.errors import ConfigError
from runtara.transport.certificates import (
    LIFETIME_DAYS,
    Claim,
    ClientAuthorities,
    Identity,
    ensure_certificate,
    identity_of_certificate,
    read_identity,
)
from tests.house.source import ROOT
from tests.transport.passports import authority_file, der_of, make_passport

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return ensure_certificate(tmp_path_factory.mktemp("data") / "tls", ["server.example", "10.1.2.3"])


@pytest.fixture
def folder(made: Identity, tmp_path: Path) -> Path:
    """A copy of what was made, to be damaged."""
    return shutil.copytree(made.cert_file.parent, tmp_path / "tls")


def leaf(identity: Identity) -> x509.Certificate:
    return x509.load_pem_x509_certificate(identity.cert_file.read_bytes())


def test_only_the_owner_may_look_into_the_folder_and_the_files(made: Identity) -> None:
    folder = made.cert_file.parent

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "ca.pem": 0o600,
        "cert.pem": 0o600,
        "key.pem": 0o600,
    }
    assert list(folder.parent.iterdir()) == [folder]


def test_the_certificate_is_for_this_machine_and_for_the_names_that_were_asked_for(made: Identity) -> None:
    assert {"localhost", "127.0.0.1", "::1", "server.example", "10.1.2.3"} <= set(made.names)


def test_the_fingerprint_is_that_of_the_certificate_in_its_binary_form(made: Identity) -> None:
    binary = ssl.PEM_cert_to_DER_cert(made.cert_file.read_text())

    assert made.fingerprint == hashlib.sha256(binary).hexdigest()


def test_the_key_is_an_elliptic_one_and_the_certificate_is_good_for_years(made: Identity) -> None:
    key = leaf(made).public_key()
    left_ms = made.expires_at - SystemClock().now_ms()

    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert (LIFETIME_DAYS - 1) * DAY_MS < left_ms <= LIFETIME_DAYS * DAY_MS


def test_the_time_of_the_certificate_is_that_of_our_clock(tmp_path: Path) -> None:
    clock = ManualClock()

    identity = ensure_certificate(tmp_path / "tls", clock=clock)

    assert identity.expires_at == clock.now_ms() + LIFETIME_DAYS * DAY_MS


def handshake(server_file: Identity, trusted: Path, name: str) -> None:
    """Have a TLS client and server of the standard library meet in memory."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(server_file.cert_file, server_file.key_file)
    client_context = ssl.create_default_context(cafile=trusted)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = {client.do_handshake, server.do_handshake}
    while waiting:
        for step in tuple(waiting):
            try:
                step()
            except ssl.SSLWantReadError:
                continue
            waiting.discard(step)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "server.example", "10.1.2.3"])
def test_a_client_that_trusts_the_authority_accepts_the_server_under_its_names(made: Identity, name: str) -> None:
    assert made.ca_file is not None
    handshake(made, made.ca_file, name)


def test_a_client_refuses_the_server_under_another_name_or_of_another_authority(made: Identity, tmp_path: Path) -> None:
    other = ensure_certificate(tmp_path / "tls")
    assert made.ca_file is not None
    assert other.ca_file is not None

    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(made, made.ca_file, "elsewhere.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made, other.ca_file, "localhost")


def test_a_certificate_is_made_once_and_kept(made: Identity) -> None:
    assert ensure_certificate(made.cert_file.parent, ["other.example"]) == made


def test_names_that_cannot_be_in_a_certificate_are_left_out(tmp_path: Path) -> None:
    identity = ensure_certificate(tmp_path / "tls", ["größer.example", "", "x" * 254, "good.example"])

    assert "good.example" in identity.names
    assert not [name for name in identity.names if "example" in name and name != "good.example"]


MAKES = """
import sys
from pathlib import Path
from runtara.transport.certificates import ensure_certificate
print("ready", flush=True)
sys.stdin.readline()
print(ensure_certificate(Path(sys.argv[1])).fingerprint)
"""


def test_processes_that_start_at_once_agree_on_one_certificate(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKES, str(tmp_path / "data" / "tls")]
    starting = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in starting:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    for process in starting:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    found = [process.communicate(timeout=60)[0] for process in starting]

    assert len(set(found)) == 1
    assert len(found[0].strip()) == 64
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["tls"]


# What is wrong is refused, and never made anew ------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace(path: Path) -> None:
    """Put in its place the same file of another server."""
    other = ensure_certificate(path.parents[1] / "other")
    shutil.copy(other.cert_file.parent / path.name, path)


@pytest.mark.parametrize("damage", [truncate, empty, replace, Path.unlink])
@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
def test_damaged_and_missing_files_are_refused_with_what_to_do(
    folder: Path, name: str, damage: Callable[[Path], object]
) -> None:
    damage(folder / name)
    before = {path: path.read_bytes() for path in folder.iterdir()}

    with pytest.raises(ConfigError, match=r"restore it, or move|cannot be read"):
        ensure_certificate(folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(folder: Path, mode: int) -> None:
    (folder / "key.pem").chmod(mode)

    with pytest.raises(ConfigError, match="chmod 600"):
        ensure_certificate(folder)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="no certificate can be made"):
        ensure_certificate(tmp_path / "file" / "tls")


def test_no_error_shows_the_private_key(folder: Path) -> None:
    secret = (folder / "key.pem").read_text().splitlines()[1]
    (folder / "key.pem").write_text((folder / "key.pem").read_text() + "-----BEGIN")
    replace(folder / "cert.pem")

    with pytest.raises(ConfigError) as caught:
        ensure_certificate(folder)
    assert secret not in f"{caught.value!r} {caught.value.__cause__!r}"


# Files of others ------------------------------------------------------------------------------------------------------


def test_files_that_somebody_else_has_made_are_used_as_they_are(made: Identity) -> None:
    assert made.ca_file is not None
    theirs = read_identity(made.cert_file, made.key_file)

    assert theirs.ca_file is None
    assert theirs.fingerprint == made.fingerprint


def test_a_chain_begins_with_the_servers_own_certificate(made: Identity, folder: Path) -> None:
    chain = folder / "chain.pem"
    chain.write_bytes((folder / "cert.pem").read_bytes() + (folder / "ca.pem").read_bytes())

    assert read_identity(chain, folder / "key.pem").fingerprint == made.fingerprint


# Clients --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["good", "of another authority", "expired", "not yet good", "through another one"])
def test_clients_are_those_whom_an_authority_has_signed(tmp_path: Path, how: str) -> None:
    authority = trustme.CA()
    signer = {"of another authority": trustme.CA(), "through another one": authority.create_child_ca()}.get(
        how, authority
    )
    passport = der_of(make_passport(signer, tmp_path, "runtara://tenant/acme"))
    clock = ManualClock(SystemClock().now_ms())
    clock.jump_ms({"expired": 2, "not yet good": -3}.get(how, 0) * 86_400_000)
    authorities = ClientAuthorities(authority_file(authority, tmp_path), clock)
    between = x509.load_pem_x509_certificate(signer.cert_pem.bytes()).public_bytes(Encoding.DER)

    trusted = authorities.trusts([passport, between] if how == "through another one" else [passport])

    assert trusted is (how in ("good", "through another one"))


@pytest.mark.parametrize("chain", [[], [b""], [b"nonsense"]])
def test_what_is_no_certificate_is_of_no_authority(tmp_path: Path, chain: list[bytes]) -> None:
    assert not ClientAuthorities(authority_file(trustme.CA(), tmp_path)).trusts(chain)


def test_a_server_is_no_client(tmp_path: Path) -> None:
    identity = ensure_certificate(tmp_path / "tls")
    assert identity.ca_file is not None
    der = x509.load_pem_x509_certificate(identity.cert_file.read_bytes()).public_bytes(Encoding.DER)

    assert not ClientAuthorities(identity.ca_file).trusts([der])
    assert identity_of_certificate(der) is None


def test_a_client_is_known_until_its_certificate_ends(tmp_path: Path) -> None:
    passport = make_passport(trustme.CA(), tmp_path, "https://else.where", "runtara://tenant/acme.x/read-only")
    ends = x509.load_pem_x509_certificate(passport.read_bytes()).not_valid_after_utc

    claim = identity_of_certificate(der_of(passport))

    assert claim == Claim("acme.x", "read-only", int(ends.timestamp() * 1000))
