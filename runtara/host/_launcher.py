"""What a host launches, and what it keeps: the runner of programs, the registry of images, the chores, the keys."""

from collections.abc import Mapping

from runtara.actors import Child, MailboxSpec, Policy, child
from runtara.actors.chores import ImageChore, InstanceChore, RunFolderChore
from runtara.actors.images import ImageRegistry
from runtara.actors.keys import KeyKeeper
from runtara.actors.neighbours import Shared
from runtara.actors.runner import Graces, Runner
from runtara.actors.runners import Engine
from runtara.actors.runners.engines import home_of, library_of
from runtara.actors.runners.runs import Runs
from runtara.actors.upkeep import ChoreWork, Upkeep
from runtara.clock import Clock
from runtara.host._home import Home
from runtara.ids import InstanceKey
from runtara.settings import Settings
from runtara.system import IMAGES, INSTANCES, READER, SCHEDULER, WRITER, Launcher
from runtara.transport.addresses import Address
from runtara.transport.certificates import Identity
from runtara.transport.key_desk import KeyDesk

__all__ = ["environment_of", "launcher_of"]


def environment_of(settings: Settings, identity: Identity, address: Address, *, http: str | None) -> dict[str, str]:
    """Return what every launched program is told, so that it finds its way back.

    `http` is where the HTTP door is on this machine; None for programs elsewhere, which see none of its files either.
    """
    found = {
        "RUNTARA_SERVER_ADDR": str(address),
        "RUNTARA_SERVER_NAME": "localhost",
        "RUNTARA_HEARTBEAT_INTERVAL_MS": str(settings.heartbeat_interval_ms),
        "RUNTARA_PARK_AFTER_MS": str(settings.park_after_ms),
        **({} if http is None else {"RUNTARA_HTTP_URL": http}),
    }
    if identity.ca_file is not None and http is not None:
        return {**found, "RUNTARA_CA_FILE": str(identity.ca_file.resolve())}
    return {**found, "RUNTARA_SERVER_FINGERPRINT": identity.fingerprint}


def launcher_of(
    settings: Settings,
    clock: Clock,
    home: Home,
    environment: Mapping[str, str],
    engine: Engine,
    *,
    others: Shared | None,
    elsewhere: bool,
) -> Launcher:
    def connection_of(key: InstanceKey, epoch: int) -> dict[str, str]:
        return {**environment, "RUNTARA_TOKEN": home.mint.mint(key, epoch)}

    runner = child(
        "programs",
        Runner,
        kwargs={
            "instances": INSTANCES,
            "reader": READER,
            "scheduler": SCHEDULER,
            "engine": engine,
            "connection": connection_of,
            "graces": Graces(leave=settings.cancel_grace_ms / 1000, kill=settings.kill_grace_ms / 1000),
            "clock": clock,
            "clock_check": settings.clock_check_ms / 1000,
            "shared": others,
            "images": None if others is None or elsewhere else IMAGES,
        },
        mailbox=MailboxSpec(bound=65_536, policy=Policy.REJECT),
    )
    return Launcher(
        runner=runner,
        places=settings.max_concurrent_instances,
        keeps_logs=True,
        check_program=engine.check,
        images=None if elsewhere else _images(settings, clock, others),
        upkeep=_upkeep(settings, clock, elsewhere=elsewhere),
        keys=child("keys", KeyKeeper, KeyDesk(home.keys, home.mint)),
    )


# What is kept ---------------------------------------------------------------------------------------------------------


def _images(settings: Settings, clock: Clock, others: Shared | None) -> Child:
    """Return the registry of the images that are launched here."""
    return child(
        "images",
        ImageRegistry,
        kwargs={
            "instances": INSTANCES,
            "reader": READER,
            "writer": WRITER,
            "library": library_of(settings),
            "clock": clock,
            "image_max_bytes": settings.image_max_bytes,
            "shared": others,
        },
        mailbox=MailboxSpec(bound=8_192, policy=Policy.REJECT),
    )


def _upkeep(settings: Settings, clock: Clock, *, elsewhere: bool) -> Child:
    """Return who removes what is not kept; what lies elsewhere is the business of those who run that place."""
    chores: dict[str, ChoreWork] = {"instances": InstanceChore(clock, settings.keep_instances_ms)}
    if not elsewhere:
        runs, library = Runs(home_of(settings)), library_of(settings)
        chores["runs"] = RunFolderChore(clock, runs, settings.keep_runs_ms)
        chores["images"] = ImageChore(clock, library, settings.keep_images_ms, settings.keep_image_versions)
    kwargs = {
        "reader": READER,
        "writer": WRITER,
        "instances": INSTANCES,
        "chores": chores,
        "every": settings.upkeep_every_ms / 1000,
    }
    return child("chores", Upkeep, kwargs=kwargs)
