"""Which server a client believes: one whose certificate has a certain fingerprint, or is signed by an authority."""

import hashlib
import hmac
import ssl
from pathlib import Path

import certifi

from runtara.errors import ConfigError
from runtara.transport.client.door import ServerSpec

__all__ = ["check_ca_file", "client_context", "distrust_in", "has_fingerprint", "read_fingerprint"]


def read_fingerprint(fingerprint: str) -> bytes:
    """Return the bytes of a fingerprint. Raises `ConfigError` if it is none."""
    try:
        pin = bytes.fromhex(fingerprint.replace(":", ""))
    except ValueError:
        pin = b""
    if len(pin) != hashlib.sha256().digest_size:
        raise ConfigError(f"server fingerprint {fingerprint!a} is not a SHA-256 in 64 hexadecimal digits")
    return pin


def has_fingerprint(certificate: bytes | None, pin: bytes) -> bool:
    """Return whether a certificate (DER) was shown that has this fingerprint."""
    return certificate is not None and hmac.compare_digest(hashlib.sha256(certificate).digest(), pin)


def check_ca_file(ca_file: str) -> str:
    """Return the path of a file of authorities. Raises `ConfigError` where there is no such file."""
    if not Path(ca_file).is_file():
        raise ConfigError(f"there is no CA file {ca_file}: take the one that the server has made")
    return ca_file


def client_context(server: ServerSpec) -> ssl.SSLContext:
    """Return whom a client trusts over TCP, and what it shows of itself; a handshake with anybody else fails.

    Raises `ConfigError` for files that are not there or cannot be used, and for what is no fingerprint.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if server.client_cert_file is not None:
        _show(context, server.client_cert_file, server.client_key_file or server.client_cert_file)
    if server.fingerprint is not None or server.skip_verification:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if server.fingerprint is not None:
            context.sslobject_class = _pinned(read_fingerprint(server.fingerprint))
        return context
    file = certifi.where() if server.ca_file is None else check_ca_file(server.ca_file)
    try:
        context.load_verify_locations(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"CA file {file} cannot be used: {error}") from None
    return context


def _show(context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    """Have a certificate shown to servers that ask for one. A key with a password is refused: nobody is asked."""
    try:
        context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(f"certificate {cert_file} and key {key_file} cannot be used: {error}") from None


def _pinned(pin: bytes) -> type[ssl.SSLObject]:
    """Return the kind of connection whose handshake fails where another certificate is shown."""

    class Pinned(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            shown = self.getpeercert(binary_form=True)
            if not has_fingerprint(shown, pin):
                refused = ssl.SSLCertVerificationError("another server than the expected one has answered")
                refused.verify_message = f"its fingerprint is {hashlib.sha256(shown or b'').hexdigest()}"
                raise refused

    return Pinned


def distrust_in(error: BaseException | None) -> str | None:
    """Return why a handshake with a server has failed, if it is because it is not trusted."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None
