"""The settings of a program that uses the SDK: what it knows of itself and of its server."""

import msgspec

from runtara.settings._values import PREFIX, Milliseconds, Span

__all__ = ["ProgramSettings"]


class ProgramSettings(
    msgspec.Struct,
    frozen=True,
    rename=lambda name: PREFIX + ("TOKEN" if name == "credential" else name.upper()),
):
    """What a program knows of itself and of its server: the settings of the SDK. Named like those of a system.

    A host tells the programs that it launches; others are told by whoever starts them.
    """

    instance_id: str
    """The instance that the program is."""
    tenant_id: str = "default"
    """Whose instance it is."""
    server_addr: str = "127.0.0.1:8001"
    """Where the server is, as host:port; an IPv6 address as [::1]:8001. Where UDP is blocked, the address of its HTTP
    door, as wss://host:8002 or https://host:8002 (ws:// and http:// without TLS). Several with commas between them,
    where any of these will do: while one is away, another one is asked."""
    server_name: str = "localhost"
    """Name that the server's certificate must be made out to, whichever host the address names."""
    skip_cert_verification: bool = False
    """Whether to trust any server at the address; for trying things out only."""
    ca_file: str | None = None
    """PEM file of the authority that has signed the server's certificate."""
    server_fingerprint: str | None = None
    """SHA-256 of the server's certificate (DER), hexadecimal; then its name and authority do not matter."""
    client_cert_file: str | None = None
    """PEM file with a certificate to show to a server that asks for one; after it, those that lead to its authority."""
    client_key_file: str | None = None
    """PEM file with the private key of that certificate, without a password; by default it is in the same file."""
    credential: str | None = None
    """A key of the tenant, or the token of a launched attempt; RUNTARA_TOKEN is taken out once it is read."""
    connect_timeout_ms: Milliseconds = 10_000
    """How long the first connection may take."""
    request_timeout_ms: Milliseconds = 30_000
    """How long an answer may take, lost connections included."""
    signal_poll_interval_ms: Milliseconds = 1_000
    """Accepted for programs that set it, and without effect: signals are pushed, nothing polls."""
    heartbeat_interval_ms: Milliseconds = 30_000
    """How often the SDK says that the program is alive while it says nothing else."""
    park_after_ms: Span | None = None
    """A launched program that sleeps or waits for longer ends, and is launched again when it is time."""
    epoch: Span | None = None
    """The attempt that a launched program is."""
    otel: bool = False
    """Whether calls are traced by OpenTelemetry."""
    trace: str | None = None
    """The ``traceparent`` of the launch of a launched program: what its calls are a part of."""
    data_dir: str = ".data"
    """Data folder of a server on the same machine, where its address and its authority are found."""

    context: str | None = None
    """For those who manage: a server and tenant that `runtara login` has kept, by name. A server that is named itself
    comes first."""

    def __repr__(self) -> str:  # shows no secret
        shown = ((field.name, getattr(self, field.name)) for field in msgspec.structs.fields(self))
        parts = [f"{name}={value!r}" for name, value in shown if name != "credential"]
        return f"{type(self).__name__}({', '.join(parts)})"
