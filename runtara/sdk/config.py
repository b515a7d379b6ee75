"""How a program reaches its server: read from the environment, or put together in code."""

import warnings
from collections.abc import Mapping
from functools import cache
from math import inf
from pathlib import Path
from typing import Final, Self

from msgspec.structs import replace

from runtara.errors import ConfigError, InvalidInput
from runtara.ids import InstanceKey
from runtara.settings import ProgramSettings, load_program_settings
from runtara.traces import Traces, open_traces
from runtara.transport.addresses import parse_address, parse_addresses
from runtara.transport.client.door import ServerSpec
from runtara.transport.connection_file import ConnectionFile, read_connection_file
from runtara.transport.door import Door
from runtara.transport.remote import open_remote_door
from runtara.transport.traced import TracedDoor

__all__ = ["SdkConfig", "UnverifiedServerWarning"]


class UnverifiedServerWarning(RuntimeWarning):
    """The server's certificate is not checked, or it shows none: whoever answers at its address is believed."""


class SdkConfig(ProgramSettings, frozen=True):
    """What a program knows of itself and of its server. Frozen: each `with_…` returns another one.

    Of `server_fingerprint`, `ca_file` and `skip_cert_verification`, the first that is given decides which server is
    trusted. Where none is, it is the authority of a server on this machine whose data folder is `data_dir`, if that
    server is at the address; else those that Mozilla trusts.
    """

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return what the ``RUNTARA_…`` variables say. Raises `ConfigError` for a value that does not fit."""
        return load_program_settings(cls, environment)

    @classmethod
    def localhost(cls, instance_id: str, tenant_id: str = "default", *, data_dir: str = ".data") -> Self:
        """Return the way to the server on this machine that works in `data_dir`; by default to the usual port."""
        found = read_connection_file(Path(data_dir))
        config = cls(instance_id, tenant_id, data_dir=data_dir)
        return config if found is None else config.with_server_addr(found.address)

    def with_tenant_id(self, tenant_id: str) -> Self:
        """Say whose instance it is."""
        return replace(self, tenant_id=tenant_id)

    def with_server_addr(self, server_addr: str) -> Self:
        """Say where the server is, as host:port, or as wss://host:port or https://host:port where UDP is blocked."""
        return replace(self, server_addr=server_addr)

    def with_server_name(self, server_name: str) -> Self:
        """Say which name the server's certificate must be made out to."""
        return replace(self, server_name=server_name)

    def with_ca_file(self, ca_file: str | None) -> Self:
        """Trust servers whose certificate is signed by an authority of this PEM file."""
        return replace(self, ca_file=ca_file)

    def with_server_fingerprint(self, server_fingerprint: str | None) -> Self:
        """Trust the one server whose certificate has this SHA-256."""
        return replace(self, server_fingerprint=server_fingerprint)

    def with_client_certificate(self, cert_file: str | None, key_file: str | None = None) -> Self:
        """Show a certificate, PEM, to a server that asks for one; its private key is in the same file, or another."""
        return replace(self, client_cert_file=cert_file, client_key_file=key_file)

    def with_skip_cert_verification(self, skip: bool = True) -> Self:
        """Trust whoever answers at the address; for trying things out only."""
        return replace(self, skip_cert_verification=skip)

    def with_credential(self, credential: str | None) -> Self:
        """Show a key of the tenant, or the token of an attempt."""
        return replace(self, credential=credential)

    def with_connect_timeout_ms(self, timeout_ms: int) -> Self:
        """Say how long the first connection may take."""
        return replace(self, connect_timeout_ms=timeout_ms)

    def with_request_timeout_ms(self, timeout_ms: int) -> Self:
        """Say how long an answer may take, lost connections included."""
        return replace(self, request_timeout_ms=timeout_ms)

    def with_signal_poll_interval_ms(self, interval_ms: int) -> Self:
        """Accepted for programs that set it, and without effect: signals are pushed, nothing polls."""
        return replace(self, signal_poll_interval_ms=interval_ms)

    def with_heartbeat_interval_ms(self, interval_ms: int) -> Self:
        """Say how often the SDK tells that the program is alive while it says nothing else."""
        return replace(self, heartbeat_interval_ms=interval_ms)

    @property
    def park_after(self) -> float:
        """Seconds from which on a program ends to sleep or wait; without end where nobody would launch it again."""
        return inf if self.epoch is None or self.park_after_ms is None else self.park_after_ms / 1000

    def open_door(self) -> Door:
        """Return the way to the server, which connects when it is used.

        Raises `InvalidInput` for malformed ids or a malformed address, `ConfigError` for a time-out of nothing.
        """
        for name in ("connect_timeout_ms", "request_timeout_ms", "heartbeat_interval_ms"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} of {getattr(self, name)} is not allowed: use 1 or more milliseconds")
        key = InstanceKey(self.tenant_id, self.instance_id)
        door = open_remote_door(self.server_spec(), key, credential=self.credential, epoch=self.epoch)
        return TracedDoor(door, _traces(), self.trace) if self.otel else door

    def server_spec(self) -> ServerSpec:
        """Return where the server is, how it is known to be the right one, and how patient its client is."""
        ca_file, skip = self.ca_file, self.skip_cert_verification
        if self.server_fingerprint is not None or ca_file is not None:
            skip = False
        elif skip:
            _warn_once(self.server_addr, "the certificate of {} is not verified", _TRUST_ONE)
        else:
            ca_file = self._local_ca_file()
        for address in parse_addresses(self.server_addr):
            if not address.is_secure and not address.is_loopback:
                _warn_once(str(address), "what is sent to {} is not encrypted", "use wss:// or https:// instead")
        return ServerSpec(
            address=self.server_addr,
            server_name=self.server_name,
            ca_file=ca_file,
            fingerprint=self.server_fingerprint,
            skip_verification=skip,
            client_cert_file=self.client_cert_file,
            client_key_file=self.client_key_file,
            connect_timeout=self.connect_timeout_ms / 1000,
            request_timeout=self.request_timeout_ms / 1000,
            heartbeat_every=self.heartbeat_interval_ms / 1000,
        )

    def _local_ca_file(self) -> str | None:
        found: ConnectionFile | None = read_connection_file(Path(self.data_dir))
        if found is None:
            return None
        try:
            ours = {parse_address(text).authority for text in (found.address, found.http_address) if text is not None}
            is_ours = any(address.authority in ours for address in parse_addresses(self.server_addr))
        except InvalidInput:
            return None
        return found.ca_file if is_ours else None


@cache
def _traces() -> Traces:
    """Return where this process's calls are traced; the library sends what is left when the process ends."""
    return open_traces()


_warned: list[str] = []


_TRUST_ONE: Final = "give its CA file (RUNTARA_CA_FILE) or fingerprint (RUNTARA_SERVER_FINGERPRINT) instead"


def _warn_once(server: str, fact: str, advice: str) -> None:
    if not _warned:
        _warned.append(server)
        warnings.warn(
            f"{fact.format(server)}: anybody there or on the way can read and change what is sent; {advice}",
            UnverifiedServerWarning,
            stacklevel=4,
        )
