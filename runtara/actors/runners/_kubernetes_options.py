"""What there is to set of the engine that launches programs as Kubernetes Jobs."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from runtara.errors import ConfigError

__all__ = ["OUTPUT_MAX_BYTES", "KubernetesOptions"]

OUTPUT_MAX_BYTES: Final = 4_095
"""Largest output that a container's termination message holds for certain: the cluster cuts it at 4,096 bytes."""

_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")


class KubernetesOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how Jobs are made. Raises `ConfigError` for a name that Kubernetes would not take."""

    node: str
    """Who launches: a node adopts the Jobs that it has launched itself, and no others."""
    namespace: str = "default"
    """Where Jobs, their Pods and their Secrets live."""
    images: tuple[str, ...] = ()
    """What the images that may be launched begin with, up to a ``/``, ``:`` or ``@``; empty for all."""
    service_account: str | None = None
    """Under which the programs run, without its token; by default that of the namespace."""
    image_pull_secrets: tuple[str, ...] = ()
    """Names of the Secrets with which images are fetched."""
    kubeconfig: str | None = None
    """File that says where the cluster is; without it and `context`, the Pod that the engine itself runs in knows."""
    context: str | None = None
    """Which context of that file."""
    resources: Mapping[str, float] = {}
    """What every attempt needs, unless its plan says otherwise; see `Plan.resources`."""
    kill_grace_ms: int = 5_000
    """How long a program that is asked to end may take before it is killed."""
    output_max_bytes: int = OUTPUT_MAX_BYTES
    """Largest output that a program may leave in its file; with the SDK it reports larger ones itself."""
    log_max_bytes: int = 1 << 20
    """How much of what an instance's programs write is kept in memory; the oldest goes first."""
    place_timeout_ms: int = 600_000
    """How long an attempt may wait for a place before the launch is given up."""
    image_timeout_ms: int = 300_000
    """How long the cluster may fail to fetch the image, or to make the container, before the launch is given up."""
    gone_timeout_ms: int = 60_000
    """How long older attempts of an instance may take to be gone before a launch is given up."""
    force_after_ms: int = 30_000
    """How long the machine of a destroyed program may take to confirm its end, before it is given up for lost."""
    request_timeout_ms: int = 10_000
    """How long the cluster may take to answer one request."""

    def __post_init__(self) -> None:
        for name, value in (("node", self.node), ("namespace", self.namespace)):
            if not _LABEL.match(value):
                raise ConfigError(
                    f"{name} {value!a} cannot be a label in Kubernetes: use at most 63 letters, digits and . _ -"
                )
