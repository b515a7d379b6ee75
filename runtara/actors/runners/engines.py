"""Which engine a host launches programs with: the table of what there is, and how each is made from the settings."""

from collections.abc import Callable, Mapping
from typing import Final

from runtara.actors.runners._contract import Engine
from runtara.settings import Settings, inherited_environment

__all__ = ["ENGINES", "open_engine"]


def open_engine(settings: Settings, node: str) -> Engine:
    """Return the engine that the settings name; `node` is the name of this host, by which an engine knows its own.

    Raises `ConfigError` for a library that is not installed.
    """
    return ENGINES[settings.runner](settings, node)


def _native(settings: Settings, _node: str) -> Engine:
    from runtara.actors.runners.native import NativeEngine

    return NativeEngine(settings, inherited_environment())


def _ray(settings: Settings, node: str) -> Engine:
    from runtara.actors.runners._command import limits_of
    from runtara.actors.runners.ray import RayEngine, RayOptions

    return RayEngine(
        RayOptions(
            address=settings.ray_address,
            node=node,
            programs=settings.programs,
            output_max_bytes=settings.state_max_bytes,
            log_bytes=settings.program_log_bytes,
            kill_grace_ms=settings.kill_grace_ms,
            cpus=settings.ray_cpus,
            limits=limits_of(settings),
            namespace=settings.ray_namespace,
            placement_timeout=settings.ray_placement_timeout_ms / 1000,
        )
    )


def _kubernetes(settings: Settings, node: str) -> Engine:
    from runtara.actors.runners.kubernetes import KubernetesEngine, KubernetesOptions

    options = KubernetesOptions(
        node=node,
        namespace=settings.kubernetes_namespace,
        images=tuple(prefix for prefix in settings.kubernetes_images.split(",") if prefix),
        service_account=settings.kubernetes_service_account,
        image_pull_secrets=tuple(name for name in settings.kubernetes_pull_secrets.split(",") if name),
        kubeconfig=settings.kubernetes_config_file,
        context=settings.kubernetes_context,
        resources={"cpu": settings.kubernetes_cpus, "memory": settings.kubernetes_memory_bytes},
        kill_grace_ms=settings.kill_grace_ms,
        place_timeout_ms=settings.kubernetes_place_timeout_ms,
    )
    return KubernetesEngine(options)


def _fake(settings: Settings, _node: str) -> Engine:
    from runtara.actors.runners.fake import FakeEngine

    return FakeEngine(
        kill_grace=settings.kill_grace_ms / 1000,
        log_bytes=settings.program_log_bytes,
        output_max_bytes=settings.state_max_bytes,
    )


ENGINES: Final[Mapping[str, Callable[[Settings, str], Engine]]] = {
    "native": _native,
    "ray": _ray,
    "kubernetes": _kubernetes,
    "fake": _fake,
}
"""The value of RUNTARA_RUNNER, and what it stands for. Each library is imported only when it is asked for."""
