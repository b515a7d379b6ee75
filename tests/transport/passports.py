"""Certificates of clients, signed by an authority of trustme, with the names that are asked for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["authority_file", "der_of", "make_passport"]


def authority_file(authority: trustme.CA, folder: Path) -> Path:
    """The file that a server is told to trust."""
    authority.cert_pem.write_to_path(str(folder / "clients.pem"))
    return folder / "clients.pem"


def make_passport(
    authority: trustme.CA, folder: Path, *uris: str, ends: timedelta = timedelta(days=1), name: str = "client"
) -> Path:
    """Make a file with a certificate for these names and its private key, PEM."""
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    signer = load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names = names or [x509.DNSName("client.example.org")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / f"{name}.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    path.chmod(0o600)
    return path


def der_of(passport: Path) -> bytes:
    """What a door hands on of it."""
    return x509.load_pem_x509_certificates(passport.read_bytes())[0].public_bytes(Encoding.DER)
