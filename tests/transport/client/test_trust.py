"""Whom a client trusts over TCP. What comes of it with real servers is tested in test_door.py."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from runtara.errors import ConfigError
from runtara.transport.certificates import ensure_certificate
from runtara.transport.client.door import ServerSpec
from runtara.transport.client.trust import client_context, distrust_in, has_fingerprint, read_fingerprint


def test_a_fingerprint_is_read_with_and_without_colons() -> None:
    assert read_fingerprint("00" * 32) == read_fingerprint(":".join(["00"] * 32)) == bytes(32)


@pytest.mark.parametrize("wrong", ["", "00", "zz" * 32, "00" * 33])
def test_what_is_no_fingerprint_is_said(wrong: str) -> None:
    with pytest.raises(ConfigError, match="SHA-256"):
        client_context(ServerSpec(address="h:1", fingerprint=wrong))


def test_only_the_certificate_itself_has_its_fingerprint(tmp_path: Path) -> None:
    identity = ensure_certificate(tmp_path / "tls")
    shown = ssl.PEM_cert_to_DER_cert(identity.cert_file.read_text())

    assert has_fingerprint(shown, read_fingerprint(identity.fingerprint))
    assert not has_fingerprint(shown + b"x", read_fingerprint(identity.fingerprint))
    assert not has_fingerprint(None, read_fingerprint(identity.fingerprint))


def test_by_default_names_and_authorities_are_checked() -> None:
    context = client_context(ServerSpec(address="h:1"))

    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.get_ca_certs()


def test_a_file_that_holds_no_authorities_is_said(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")

    with pytest.raises(ConfigError, match="cannot be used"):
        client_context(ServerSpec(address="h:1", ca_file=str(tmp_path / "ca.pem")))


def test_a_certificate_of_ones_own_that_cannot_be_shown_is_said(tmp_path: Path) -> None:
    identity = ensure_certificate(tmp_path / "tls")
    without_key = ServerSpec(address="h:1", client_cert_file=str(identity.cert_file))
    nowhere = ServerSpec(address="h:1", client_cert_file=str(tmp_path / "me.pem"))

    for spec in (without_key, nowhere):
        with pytest.raises(ConfigError, match="cannot be used"):
            client_context(spec)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    identity = ensure_certificate(tmp_path / "tls")
    key = load_pem_private_key(identity.key_file.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "locked.pem").write_bytes(locked)
    cert_file, key_file = str(identity.cert_file), str(tmp_path / "locked.pem")

    with pytest.raises(ConfigError, match="cannot be used"):
        client_context(ServerSpec(address="h:1", client_cert_file=cert_file, client_key_file=key_file))


def test_distrust_is_found_below_whatever_was_raised_for_it() -> None:
    refused = ssl.SSLCertVerificationError("no")
    refused.verify_message = "expired"
    outer = OSError("broken")
    outer.__cause__ = refused

    assert distrust_in(outer) == "expired"
    assert distrust_in(OSError("broken")) is None
