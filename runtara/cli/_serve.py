"""`runtara serve`: a host that supervises programs until it is told to stop."""

import gc
import os
import signal
import sys
from pathlib import Path
from typing import Final

import click
import trio

from runtara import __version__
from runtara.actors import SystemFailed
from runtara.cli._hosting import STOPPING, Signals, announce, drain_at_leisure, open_announced_host
from runtara.cli._reach import data_dir_option, load_given
from runtara.errors import Code, RuntaraError
from runtara.host import Host
from runtara.logs import LOG, writing_log
from runtara.settings import Settings
from runtara.transport.bootstrap import BOOTSTRAP_TENANT
from runtara.transport.credentials import KeyRing
from runtara.transport.exposure import asks_for_credentials

__all__ = ["serve"]

BY_SIGNAL: Final = 128
"""Added to the number of the signal that cut a drain short, to make the exit code that a shell would give."""


@click.command()
@click.option(
    "--host",
    metavar="ADDRESS",
    envvar="RUNTARA_HOST",
    show_envvar=True,
    help="Address or name to listen at; by default 127.0.0.1.",
)
@click.option(
    "--port",
    "quic_port",
    metavar="PORT",
    envvar="RUNTARA_QUIC_PORT",
    show_envvar=True,
    help="UDP port to listen at, 0 for any free one; by default 8001.",
)
@click.option(
    "--http-port",
    "env_http_port",
    metavar="PORT",
    envvar="RUNTARA_ENV_HTTP_PORT",
    show_envvar=True,
    help="TCP port to listen at for HTTP and browsers, 0 for any free one; by default 8002.",
)
@click.option(
    "--programs",
    metavar="DIRS",
    envvar="RUNTARA_PROGRAMS",
    show_envvar=True,
    help="Folders, separated by colons, below which programs may be launched; by default the current one.",
)
@data_dir_option
@click.option("-q", "--quiet", is_flag=True, help="Log only warnings.")
def serve(quiet: bool, **given: str | None) -> None:
    """Run a host: a server that launches programs, and launches them again until they have ended.

    At SIGTERM or Ctrl-C it drains: programs are asked to shut down, and go on when it is started again. The second one
    kills what still runs; those programs go on, too, from their last checkpoint. The exit code is 0 after a drain.

    At SIGHUP it reads its certificate again, and shows it to whoever connects from then on.

    Everything else is set by environment variables: see docs/reference/settings.md.
    """
    settings = load_given(**given)
    with writing_log(settings.log_format, "warning" if quiet else settings.log_level or "info"):
        sys.exit(_serve(settings))


def _serve(settings: Settings) -> int:
    try:
        return trio.run(_run, settings)
    except SystemFailed as failed:
        LOG.error("failed", extra={"error": failed.__cause__ or failed})
        return Code.INTERNAL.exit_code


async def _run(settings: Settings) -> int:
    with trio.open_signal_receiver(*STOPPING) as signals:
        async with open_announced_host(settings) as host, trio.open_nursery() as nursery:
            await nursery.start(_renew_when_told, host)
            _collect_less()
            _say_ready(host)
            exit_code = await _until_told(host, signals)
            nursery.cancel_scope.cancel()
    return exit_code


async def _renew_when_told(host: Host, task_status: trio.TaskStatus[None]) -> None:
    """Show another certificate whenever SIGHUP comes; what cannot be used is said, and changes nothing."""
    if not hasattr(signal, "SIGHUP") or sys.stdin.isatty():  # on a terminal it says that this has gone
        task_status.started()
        return
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        task_status.started()
        async for _ in hangups:
            try:
                await host.renew()
            except RuntaraError as error:
                LOG.warning("certificate-not-renewed", extra={"error": error})
                continue
            announce(host)
            LOG.info("certificate-renewed", extra={"fingerprint": host.identity.fingerprint})


async def _until_told(host: Host, signals: Signals) -> int:
    """Serve until a signal comes, then drain; return the exit code."""
    exit_code = 0

    def hasten(number: int) -> None:
        nonlocal exit_code
        exit_code = BY_SIGNAL + number
        LOG.warning("killing", extra={"signal": number})

    LOG.info("draining", extra={"signal": await anext(signals)})
    await drain_at_leisure(host, signals, hasten)
    LOG.info("drained")
    return exit_code


def _collect_less() -> None:
    """Leave what is there from the start out of garbage collection, and collect less often.

    By itself Python looks through all of it again and again, and everybody who asks meanwhile waits for that. Messages
    and records cannot be garbage of that kind (`gc=False`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 50)


def _say_ready(host: Host) -> None:
    settings = host.runtime.settings
    facts = {"address": host.address, "http": host.http_address, "data": settings.data_dir, "pid": os.getpid()}
    LOG.info("ready", extra={**facts, "version": __version__})
    if os.geteuid() == 0:
        LOG.warning("programs-run-as-root", extra={"try": "run the server as a user of its own"})
    if asks_for_credentials(settings) and not KeyRing(Path(settings.data_dir) / "keys.json").list():
        LOG.warning("nobody-can-connect", extra={"try": "runtara keys add TENANT"})
    click.echo(f"runtara {__version__} listens at {host.address}")
    click.echo(f"open {host.http_address} in a browser")
    if host.first_key is not None:
        click.echo(f"the first key, of an admin of tenant {BOOTSTRAP_TENANT}, lies in {host.first_key.resolve()}")
    sys.stdout.flush()
