"""Which engine a host launches programs with: the table of what there is, and how each is made from the settings."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from runtara.actors.runners._contract import Engine, HostFailed, PlannedImage, Prepared
from runtara.errors import ConfigError, Forbidden, InvalidInput, StoreFull, StoreUnavailable, TooLarge
from runtara.images import Blobs, Library
from runtara.settings import Settings, building_environment, inherited_environment

__all__ = ["ENGINES", "home_of", "library_of", "open_engine", "prepare_image"]


def open_engine(settings: Settings, node: str) -> Engine:
    """Return the engine that the settings name; `node` is the name of this host, by which an engine knows its own.

    Raises `ConfigError` for a library that is not installed.
    """
    return ENGINES[settings.runner](settings, node)


def home_of(settings: Settings) -> Path:
    """Return the folder of all runs on this machine."""
    return (Path(settings.data_dir) / "runs").resolve()


def library_of(settings: Settings) -> Library:
    """Return what was pushed to this machine, or to the folder that it shares with others."""
    folder = Path(settings.images_dir or Path(settings.data_dir) / "images").resolve()
    return Library(Blobs(folder, settings.image_max_bytes), environment=building_environment())


def prepare_image(library: Library, image: PlannedImage) -> Prepared:
    """Make an image ready to be launched, as engines want it: see `Prepare`."""
    try:
        return library.prepare(image.digest, image.kind, image.options)
    except (InvalidInput, TooLarge, ConfigError) as refusal:
        raise Forbidden(str(refusal)) from refusal
    except (StoreFull, StoreUnavailable) as failure:
        raise HostFailed(str(failure)) from failure


def _native(settings: Settings, _node: str) -> Engine:
    from runtara.actors.runners.native import NativeEngine

    return NativeEngine(settings, inherited_environment(), partial(prepare_image, library_of(settings)))


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
