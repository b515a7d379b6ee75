"""What a container sees of the network: which program connects it, and how its program finds the server.

Unless it shares the host's, a container has a network of its own: a loopback device, and what a helper connects. On the
loopback it finds its server, whatever else it may reach: the shim passes the datagrams on (see `_shim_relay`). Helpers
are told not to lead to the host's own loopback, where other services may think that they are alone.
"""

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from runtara.errors import Forbidden
from runtara.records import Network

__all__ = ["HELPERS", "Helper", "Link", "link_of"]

_ADDRESS: Final = "RUNTARA_SERVER_ADDR"
_HTTP: Final = "RUNTARA_HTTP_URL"
_RESOLV_CONF: Final = Path("/etc/resolv.conf")


class Helper(msgspec.Struct, frozen=True, kw_only=True):
    """A program that connects a network namespace to the outside, without privileges."""

    arguments: tuple[str, ...]
    """The descriptors of both namespaces, and of a pipe to write into when it is ready, stand in braces."""
    as_root: tuple[str, ...]
    as_user: tuple[str, ...]
    name_server: str
    """The address at which it answers for the host's name servers."""


HELPERS: Final[Mapping[str, Helper]] = {
    "pasta": Helper(
        arguments=(
            *"--config-net --foreground --quiet --no-map-gw --dns-forward 169.254.1.1".split(),
            *"-t none -u none -T none -U none --pid /proc/self/fd/{ready} --netns /proc/self/fd/{netns}".split(),
        ),
        as_root=("--netns-only", "--runas", "0:0"),  # it gives up all that root may do by itself
        as_user=("--userns", "/proc/self/fd/{userns}"),
        name_server="169.254.1.1",
    ),
    "slirp4netns": Helper(
        arguments=(
            *"--configure --mtu=65520 --disable-host-loopback --enable-sandbox --enable-seccomp".split(),
            *"--ready-fd={ready} --netns-type=path /proc/self/fd/{netns} tap0".split(),
        ),
        as_root=(),
        as_user=("--userns-path=/proc/self/fd/{userns}",),
        name_server="10.0.2.3",
    ),
}


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """How a container is connected."""

    apart: bool
    """Whether its network is not the host's."""
    helper: list[str] | None = None
    """The command that connects it to the outside."""
    name_servers: str | None = None
    """What is to be its /etc/resolv.conf; None where it can ask nobody."""
    env: Mapping[str, str] = {}
    """The variables that tell where it finds its servers."""
    doors: list[tuple[str, int]] = []
    """Those places, on its loopback."""
    servers: list[tuple[str, int]] = []
    """The address that is behind each."""


def link_of(network: Network, ours: Mapping[str, str]) -> Link:
    """Return how a container is connected whose program is told of the servers in `ours`.

    Raises `Forbidden` where a program that it takes is missing: a container never gets another network than it was
    given. Raises `OSError` for the name of a server that cannot be resolved.
    """
    if network == "host":
        found = _RESOLV_CONF.read_text() if _RESOLV_CONF.is_file() else None
        return Link(apart=False, name_servers=found)
    servers = [_resolve(address) for address in ours.get(_ADDRESS, "").split(",") if address]
    doors = [(f"127.0.0.{number}", port) for number, (_, port) in enumerate(servers, start=1)]
    helper = HELPERS.get(network)
    return Link(
        apart=True,
        helper=None if helper is None else _command(network, helper),
        name_servers=None if helper is None else f"nameserver {helper.name_server}\n",
        env=_doors_as_told(doors) | ({_HTTP: ""} if _HTTP in ours else {}),  # only datagrams are passed on
        doors=doors,
        servers=servers,
    )


def _doors_as_told(doors: list[tuple[str, int]]) -> dict[str, str]:
    return {_ADDRESS: ",".join(f"{host}:{port}" for host, port in doors)} if doors else {}


def _command(name: str, helper: Helper) -> list[str]:
    path = shutil.which(name)
    if path is None:
        raise Forbidden(
            f"the container is to be connected by {name}, which is not on this host: install it, or give the image "
            "another network (none, pasta, slirp4netns, host), or RUNTARA_CONTAINER_NETWORK"
        )
    return [path, *(helper.as_root if os.geteuid() == 0 else helper.as_user), *helper.arguments]


def _resolve(address: str) -> tuple[str, int]:
    host, _, port = address.strip().rpartition(":")
    found: Any = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)  # Any: not typed any closer
    # "localhost" often means ::1 first, and a server listens at 127.0.0.1 unless it is told otherwise.
    _, _, _, _, where = min(found, key=lambda one: bool(one[0] != socket.AF_INET))
    return where[0], int(port)
