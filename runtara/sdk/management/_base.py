"""What all faces of the management client share: whose instances are meant, and the way to their server."""

from typing import TYPE_CHECKING, Any, Final, Self

from runtara.errors import NotFound
from runtara.ids import check_id
from runtara.messages import InstanceFilter
from runtara.sdk._base import TENANT
from runtara.sdk._flows import Flow
from runtara.sdk.config import SdkConfig
from runtara.sdk.management._flows import instance_filter
from runtara.sdk.management._values import Span, instant_of, ms_of
from runtara.settings import configuration_folder, is_given, load_program_settings
from runtara.transport import Door
from runtara.transport.contexts import Contexts

if TYPE_CHECKING:
    from runtara.sdk.embedded import AsyncEmbedded, Embedded

__all__ = ["MANAGER", "ManagementBase"]

MANAGER: Final = "management"
"""The instance that a connection names where it is about none."""

_INSTANTS: Final = frozenset({"created_from", "created_before", "finished_from", "finished_before"})


class ManagementBase:
    """A way to manage the instances of one tenant. Use `Management`, `TrioManagement` or `AsyncioManagement`."""

    def __init__(self, door: Door) -> None:
        self._door: Final = door

    @classmethod
    def connect(
        cls,
        address: str,
        *,
        tenant: str = TENANT,
        key: str | None = None,
        ca_file: str | None = None,
        fingerprint: str | None = None,
        client_cert_file: str | None = None,
        client_key_file: str | None = None,
        connect_timeout: Span = 10,
        request_timeout: Span = 30,
    ) -> Self:
        """Return the client of a server; it connects with its first call.

        `address` is where the server is, as host:port; several with commas between them, where any of these will do.
        `key` is a key of the tenant, which servers ask for that are open beyond their own machine. The server must have
        a certificate with this `fingerprint` (SHA-256), or one that an authority of `ca_file` has signed; without
        either, one that the server on this machine has made, or that an authority known to everybody has signed. To a
        server that asks for it, a certificate is shown that is in `client_cert_file`, with its private key in the same
        file or in `client_key_file`.

        Raises `InvalidInput` for malformed ids or a malformed address.
        """
        config = SdkConfig(
            MANAGER,
            tenant,
            address,
            credential=key,
            ca_file=ca_file,
            server_fingerprint=fingerprint,
            client_cert_file=client_cert_file,
            client_key_file=client_key_file,
            connect_timeout_ms=ms_of(connect_timeout, "connect_timeout") or 0,
            request_timeout_ms=ms_of(request_timeout, "request_timeout") or 0,
        )
        return cls(config.open_door())

    @classmethod
    def from_env(cls) -> Self:
        """Return the client of the server that the ``RUNTARA_…`` variables name: address, tenant, key and the others.

        Where they name a context (RUNTARA_CONTEXT) and no address, it is the server of that. See `SdkConfig` for all of
        them. Raises `ConfigError` for a value that does not fit, and `NotFound` for a context that is not known.
        """
        config = load_program_settings(SdkConfig, None, instance_id=MANAGER, epoch=None)
        if config.context is None or is_given("server_addr"):
            return cls(config.open_door())
        return cls.from_context(config.context)

    @classmethod
    def from_context(cls, name: str | None = None) -> Self:
        """Return the client of a server that `runtara login` has kept: the one called so, or the one in use.

        Raises `NotFound` where there is none, and `ConfigError` for a file of contexts that cannot be used.
        """
        contexts = Contexts(configuration_folder())
        context = contexts.current() if name is None else contexts.get(name)
        if context is None:
            raise NotFound("no context is in use: say which one, or log in with `runtara login`")
        config = SdkConfig(
            MANAGER,
            context.tenant,
            context.server,
            credential=context.key,
            ca_file=context.ca_file,
            server_fingerprint=context.fingerprint,
            client_cert_file=context.cert_file,
            client_key_file=context.key_file,
        )
        return cls(config.open_door())

    @classmethod
    def local(cls, tenant: str = TENANT, *, data_dir: str = ".data", key: str | None = None) -> Self:
        """Return the client of the server on this machine that works in `data_dir`, wherever it listens."""
        return cls(SdkConfig.localhost(MANAGER, tenant, data_dir=data_dir).with_credential(key).open_door())

    @classmethod
    def embedded(cls, system: "Embedded | AsyncEmbedded", tenant: str = TENANT) -> Self:
        """Return a client for the instances of a system in this process."""
        return cls(system.open_door(MANAGER, tenant))

    @property
    def tenant_id(self) -> str:
        """Whose instances are managed."""
        return self._door.session.key.tenant_id

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to the server right now; calls make one where there is none."""
        return self._door.is_connected

    def close(self) -> None:
        """Let go of the server, until the next call. Harmless when repeated."""
        self._door.close()

    def _filter(self, *, image: str | None, **wanted: Any) -> Flow[InstanceFilter]:
        """Return the filter that an image, which is looked up, and other fields of it make."""
        instants = {name: instant_of(value) for name, value in wanted.items() if name in _INSTANTS}
        return instance_filter(self._door, image, **wanted | instants)

    def _beside(self, instance_id: str) -> Door:
        return self._door.beside(check_id(instance_id, "instance id"))

    def _watching(self, instance_id: str) -> Door:
        """Return a door whose session hears what happens to an instance; whoever asked for it closes it."""
        return self._door.beside(check_id(instance_id, "instance id"), watch=True)
