"""`runtara image`: programs that are kept by the server."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, get_args

import click

from runtara.cli._instances import all_option, fetch, limit_option
from runtara.cli._payloads import read_payload
from runtara.cli._program_options import variables
from runtara.cli._reach import Reach, client_options
from runtara.cli._tables import Column, Table, json_option, print_fields, print_json, print_page
from runtara.cli._words import instant, size, span
from runtara.clock import span_ms
from runtara.errors import InvalidInput
from runtara.messages import DeleteImage, GetImage, ImageInfo, ListImages, ListImageVersions, UseImageVersion
from runtara.records import ImageKind, ImageOptions, Network
from runtara.sdk.images import pull_image, push_image

__all__ = ["IMAGES", "image"]

IMAGES: Final = Table(
    ImageInfo,
    (
        Column("name", "image"),
        Column("version", "version"),
        Column("current", "current", lambda current: "yes" if current else "no"),
        Column("kind", "kind"),
        Column("size", "size", size),
        Column("pushed_at", "pushed", instant),
        Column("digest", "sha256", lambda digest: digest[:12]),
        Column("description", "description"),
    ),
)

_IMAGE: Final = Table(
    ImageInfo,
    (
        Column("name", "image"),
        Column("image_id", "id"),
        Column("version", "version"),
        Column("current", "current", lambda current: "yes" if current else "no"),
        Column("kind", "kind"),
        Column("size", "size", size),
        Column("digest", "sha256"),
        Column("pushed_at", "pushed", instant),
        Column("description", "description"),
        Column("metadata", "metadata", bytes.decode),
        Column("defaults", "input defaults", bytes.decode),
    ),
)

_OPTIONS: Final = Table(
    ImageOptions,
    (
        Column("command", "command", lambda words: " ".join(words) or "its own"),
        Column("env", "environment", lambda env: " ".join(f"{name}={value}" for name, value in env.items()) or "none"),
        Column("cpus", "cpus", "{:g}".format),
        Column("memory_bytes", "memory", size),
        Column("pids", "processes"),
        Column("fuel", "fuel"),
        Column("network", "network"),
        Column("timeout_ms", "may run for", span),
        Column("max_concurrent", "at a time"),
    ),
)


@click.group()
def image() -> None:
    """Push, list, roll back and delete images: programs that are kept by the server.

    IMAGE is the name of an image, or its id; report@3 is the third version of the image called report.
    """


_PUSH: Final = (
    click.option("--kind", type=click.Choice(get_args(ImageKind)), help="What PATH is; by default it is found out."),
    click.option("--description", default="", help="What it is for."),
    click.option("--metadata", metavar="JSON|@FILE", help="A JSON object to keep with it."),
    click.option("--defaults", metavar="JSON|@FILE", help="A JSON object: fields for inputs that lack them."),
    click.option("--command", "words", metavar="WORD", multiple=True, help="A word of its command; may be repeated."),
    click.option("--env", metavar="NAME=VALUE", multiple=True, help="A variable for it; may be repeated."),
    click.option("--cpus", type=float, metavar="CORES", help="Cores for a container."),
    click.option("--memory", type=int, metavar="BYTES", help="Memory for a container or WASI module."),
    click.option("--pids", type=int, metavar="N", help="Most processes and threads of a container."),
    click.option("--fuel", type=int, metavar="N", help="Most instructions of a WASI module, roughly."),
    click.option("--network", type=click.Choice(get_args(Network)), help="What a container sees of the network."),
    click.option(
        "--timeout", type=float, metavar="SECONDS", help="How long an instance may run, all attempts together."
    ),
    click.option("--at-a-time", type=int, metavar="N", help="Most instances of it that run at a time on one host."),
)


def _push_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_PUSH):
        command = option(command)
    return command


@image.command()
@click.argument("name")
@click.argument("path", type=click.Path(exists=True))
@_push_options
@json_option
@client_options
def push(
    reach: Reach,
    *,
    name: str,
    path: str,
    kind: ImageKind | None,
    description: str,
    metadata: str | None,
    defaults: str | None,
    as_json: bool,
    **options: Any,  # those of `_options`
) -> None:
    """Push the file or folder at PATH as the newest version of the image NAME, and make it the current one.

    It may be an executable, a .py or .pyz, a folder with a Python project, a tar of a root file system, an archive of a
    container image (as docker save, podman save and skopeo copy write it), or a WASI module. A push that is interrupted
    goes on where it was when it is repeated.
    """
    given: dict[str, Any] = {"metadata": _object(metadata, "metadata"), "defaults": _object(defaults, "defaults")}
    with reach.door() as door, _bar(path) as progress:
        info = push_image(
            door,
            name,
            path,
            kind=kind,
            description=description,
            options=_options(**options),
            progress=progress,
            **given,
        )
    _name(info, as_json)


def _options(
    *,
    words: Sequence[str],
    env: Sequence[str],
    cpus: float | None,
    memory: int | None,
    pids: int | None,
    fuel: int | None,
    network: Network | None,
    timeout: float | None,
    at_a_time: int | None,
) -> ImageOptions:
    return ImageOptions(
        command=tuple(words),
        env=variables(env),
        cpus=cpus,
        memory_bytes=memory,
        pids=pids,
        fuel=fuel,
        network=network,
        timeout_ms=None if timeout is None else span_ms(timeout, "timeout"),
        max_concurrent=at_a_time,
    )


def _object(text: str | None, what: str) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(read_payload(text, what))
    except ValueError as error:
        raise InvalidInput(f"{what} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{what} must be a JSON object, as in " + """'{"colour": "red"}'""")
    return found


@contextmanager
def _bar(path: str) -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how far a push has come; nothing where stderr is none."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(path)
        yield lambda sent, whole: bar.update(task, completed=sent, total=whole)


@image.command("list")
@limit_option
@all_option
@json_option
@client_options
def list_images(reach: Reach, limit: int, every: bool, as_json: bool) -> None:
    """List the images of a tenant, each in its current version."""
    with reach.door() as door:
        page = fetch(door, ListImages(limit=limit), "images", every)
    print_page(IMAGES, page, "images", as_json)


@image.command()
@click.argument("named", metavar="IMAGE")
@limit_option
@all_option
@json_option
@client_options
def versions(reach: Reach, named: str, limit: int, every: bool, as_json: bool) -> None:
    """List the versions of an image, the newest first."""
    with reach.door() as door:
        page = fetch(door, ListImageVersions(image=named, limit=limit), "images", every)
    print_page(IMAGES, page, "images", as_json)


@image.command()
@click.argument("named", metavar="IMAGE")
@json_option
@client_options
def show(reach: Reach, named: str, as_json: bool) -> None:
    """Tell all that is known of an image, in its current version or another one."""
    with reach.door() as door:
        info = door.call_from_thread(GetImage(image=named))
    if as_json:
        print_json(info)
        return
    print_fields(_IMAGE, info)
    print_fields(_OPTIONS, info.options)


@image.command()
@click.argument("named", metavar="IMAGE@VERSION")
@json_option
@client_options
def use(reach: Reach, named: str, as_json: bool) -> None:
    """Make another version of an image the current one. Instances keep the version that they were started with."""
    with reach.door() as door:
        _name(door.call_from_thread(UseImageVersion(image=named)), as_json)


@image.command()
@click.argument("named", metavar="IMAGE")
@click.argument("path", type=click.Path())
@json_option
@client_options
def pull(reach: Reach, named: str, path: str, as_json: bool) -> None:
    """Write what was pushed as IMAGE into a new file at PATH."""
    with reach.door() as door:
        _name(pull_image(door, named, path), as_json)


@image.command()
@click.argument("named", metavar="IMAGE")
@json_option
@client_options
def delete(reach: Reach, named: str, as_json: bool) -> None:
    """Delete an image with all its versions. Refused while an instance that is not finished uses it."""
    with reach.door() as door:
        deleted = door.call_from_thread(DeleteImage(image=named))
    if as_json:
        print_json(deleted)


def _name(info: ImageInfo, as_json: bool) -> None:
    if as_json:
        print_json(info)
    else:
        click.echo(f"{info.name}@{info.version}")
