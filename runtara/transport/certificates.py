"""By what a server is known: its certificate, made once and kept. The one door to cryptography.

The first start makes an authority of its own and a certificate signed by it, and forgets the authority's private key.
Clients trust the authority's file, or the fingerprint of the certificate. Nothing here is ever made anew by itself:
what is damaged, half there or readable by others is refused with a word on what to do.
"""

import hashlib
import ipaddress
import re
import shutil
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from runtara.clock import Clock, SystemClock
from runtara.disk import sync_folder
from runtara.endpoints import ROLES, Role
from runtara.errors import ConfigError, InvalidInput
from runtara.ids import check_id, new_id
from runtara.transport._private_file import open_folder, read_private, write_private

__all__ = [
    "LIFETIME_DAYS",
    "Claim",
    "ClientAuthorities",
    "Identity",
    "ensure_certificate",
    "identity_of_certificate",
    "read_identity",
]

LIFETIME_DAYS: Final = 3_650
"""How long the certificate that is made is good."""

_LEEWAY: Final = timedelta(days=1)
"""A client's clock may be behind by so much."""

_CA, _CERTIFICATE, _KEY = "ca.pem", "cert.pem", "key.pem"


class Identity(msgspec.Struct, frozen=True):
    """The certificate of a server, and how clients recognise it."""

    cert_file: Path
    key_file: Path
    ca_file: Path | None
    """What clients trust; None where an authority that they know anyway has signed."""
    fingerprint: str
    """SHA-256 of the certificate as DER, in hexadecimal digits."""
    names: tuple[str, ...]
    """Host names and addresses that the certificate is for."""
    expires_at: int
    """Milliseconds since 1970 UTC."""


class Claim(NamedTuple):
    """Who a certificate says that its holder is."""

    tenant_id: str
    role: Role
    expires_at: int
    """Milliseconds since 1970 UTC."""


def ensure_certificate(folder: Path, extra_names: Sequence[str] = (), *, clock: Clock | None = None) -> Identity:
    """Return the identity in a folder, made if the folder does not exist. Several processes may do so at once.

    A new certificate is for this machine's name, ``localhost``, both loopback addresses and `extra_names`. Raises
    `ConfigError` for a folder whose files are damaged, missing, readable by others or do not belong together.
    """
    if not folder.exists():
        now = datetime.fromtimestamp((clock or SystemClock()).now_ms() / 1000, UTC)
        try:
            _make(folder, _names(extra_names), now)
        except OSError as error:
            raise ConfigError(f"no certificate can be made in {folder}: {error.strerror}") from error
    return read_identity(folder / _CERTIFICATE, folder / _KEY, folder / _CA)


def read_identity(cert_file: Path, key_file: Path, ca_file: Path | None = None) -> Identity:
    """Return the identity in files that somebody made. The first certificate of `cert_file` is the server's.

    Raises `ConfigError` for files that are damaged, missing or do not belong together, and for a private key that
    others may read.
    """
    certificate = _read_certificate(cert_file)
    try:
        key = load_pem_private_key(read_private(key_file), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key_file} is not a private key without a password, as PEM: {_advice(key_file)}") from error
    if _public(key.public_key()) != _public(certificate.public_key()):
        raise ConfigError(f"{key_file} is not the key of {cert_file}: {_advice(key_file)}")
    if ca_file is not None:
        try:
            certificate.verify_directly_issued_by(_read_certificate(ca_file))
        except (ValueError, TypeError, InvalidSignature) as error:
            raise ConfigError(f"{ca_file} has not signed {cert_file}: {_advice(ca_file)}") from error
    return Identity(
        cert_file=cert_file,
        key_file=key_file,
        ca_file=ca_file,
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        names=_names_of(certificate),
        expires_at=int(certificate.not_valid_after_utc.timestamp() * 1000),
    )


def _advice(file: Path) -> str:
    return f"restore it, or move {file.parent} away to have a new certificate, which clients must then be told to trust"


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]  # all kinds of keys have it


def _read_certificate(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())[0]
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}; {_advice(file)}") from error
    except ValueError as error:
        raise ConfigError(f"{file} holds no certificate as PEM: {_advice(file)}") from error


def _names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses = (str(address) for address in found.get_values_for_type(x509.IPAddress))
    return (*found.get_values_for_type(x509.DNSName), *addresses)


# Clients --------------------------------------------------------------------------------------------------------------


_CLAIM: Final = re.compile(r"runtara://tenant/([^/]+)(?:/([a-z-]+))?", re.ASCII)
"""How the name of a client looks in its certificate: its tenant, and its role."""

_ROLE: Final[Role] = "operator"
"""That of a client whose certificate names none: one that is an admin must say so."""


def identity_of_certificate(der: bytes) -> Claim | None:
    """Return who a client is by its certificate; None where that does not say so, in exactly one name of ours.

    Whether an authority that we trust has signed it, and when, must have been found out before.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [_CLAIM.fullmatch(uri) for uri in found.get_values_for_type(x509.UniformResourceIdentifier)]
    except (x509.ExtensionNotFound, ValueError):
        return None
    ours = [name for name in names if name is not None]
    if len(ours) != 1:
        return None
    tenant_id, role = ours[0][1], ours[0][2] or _ROLE
    try:
        check_id(tenant_id, "tenant id")
    except InvalidInput:
        return None
    expires_at = int(certificate.not_valid_after_utc.timestamp() * 1000)
    return Claim(tenant_id, role, expires_at) if role in ROLES else None


class ClientAuthorities:
    """Those whose clients may show a certificate, for doors whose TLS does not look at who has signed one."""

    def __init__(self, file: Path, clock: Clock | None = None) -> None:
        """Read the certificates of the authorities, PEM. Raises `ConfigError`."""
        try:
            self._store = Store(x509.load_pem_x509_certificates(file.read_bytes()))
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}; look at RUNTARA_CLIENT_CA_FILE") from error
        except ValueError as error:
            raise ConfigError(f"{file} holds no certificates as PEM: look at RUNTARA_CLIENT_CA_FILE") from error
        self._clock = clock or SystemClock()

    def trusts(self, chain: Sequence[bytes]) -> bool:
        """Return whether one of them has signed a client's certificate, the first of a chain of DER, and it is good."""
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        try:
            leaf, *others = map(x509.load_der_x509_certificate, chain)
            PolicyBuilder().store(self._store).time(now).build_client_verifier().verify(leaf, others)
        except (VerificationError, ValueError):
            return False
        return True


# Make -----------------------------------------------------------------------------------------------------------------


def _names(extra: Sequence[str]) -> list[x509.GeneralName]:
    wanted = ["localhost", "127.0.0.1", "::1", socket.gethostname(), *extra]
    return [name for text in dict.fromkeys(wanted) if (name := _name(text)) is not None]


def _name(text: str) -> x509.GeneralName | None:
    """Return a name for a certificate; None for a machine's name that is no host name, as with an underscore or é."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text) if text and text.isascii() and len(text) <= 253 else None


def _make(folder: Path, names: list[x509.GeneralName], now: datetime) -> None:
    """Make the folder with all its files at once: beside its place, and then moved there."""
    open_folder(folder.parent)
    beside = open_folder(folder.with_name(f".{folder.name}.{new_id()}"))
    try:
        for name, content in _contents(names, now).items():
            write_private(beside / name, content)
        try:
            beside.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            # Another process was first: its certificate is the one.
        else:
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _contents(names: list[x509.GeneralName], now: datetime) -> dict[str, bytes]:
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _subject(f"Runtara authority {hashlib.sha256(_public(authority_key.public_key())).hexdigest()[:16]}")
    authority = _sign(_authority(issuer, authority_key, now), authority_key)
    certificate = _sign(_server(issuer, authority_key, key, names, now), authority_key)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        _CA: authority.public_bytes(Encoding.PEM),
        _CERTIFICATE: certificate.public_bytes(Encoding.PEM),
        _KEY: private,
    }


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _sign(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return builder.serial_number(x509.random_serial_number()).sign(key, SHA256())


def _authority(name: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .not_valid_before(now - _LEEWAY)
        .not_valid_after(now + timedelta(days=LIFETIME_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _server(
    issuer: x509.Name,
    authority: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    names: list[x509.GeneralName],
    now: datetime,
) -> x509.CertificateBuilder:
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_subject("Runtara server"))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .not_valid_before(now - _LEEWAY)
        .not_valid_after(now + timedelta(days=LIFETIME_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(signer, critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Return what a key may be used for: to sign certificates, or to prove in a handshake who one is."""
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
