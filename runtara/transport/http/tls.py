"""TLS for the HTTP door: the certificate that the QUIC door has, and HTTP/1.1 only.

Why no HTTP/2, docs/explanation/design.md says.
"""

import ssl
from pathlib import Path

from runtara.errors import ConfigError

__all__ = ["configure_tls"]


def configure_tls(cert_file: Path, key_file: Path, client_ca_file: Path | None = None) -> ssl.SSLContext:
    """Return how the door speaks TLS; with `client_ca_file`, a client may show a certificate signed by that authority.

    Raises `ConfigError` for files that are missing or damaged.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
        context.load_cert_chain(cert_file, key_file)
        if client_ca_file is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(client_ca_file)
    except OSError as error:  # of files, and what TLS has against their content
        raise ConfigError(f"TLS cannot be spoken with {cert_file}, {key_file} or {client_ca_file}: {error}") from None
    return context
