"""`runtara db`: for whoever looks after the database, with a server beside it or without."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from runtara.cli._reach import data_dir_option, load_given
from runtara.cli._spans import typed_span
from runtara.cli._tables import json_option, print_json
from runtara.cli._words import plain, size
from runtara.clock import SystemClock
from runtara.errors import InvalidInput
from runtara.lifecycle import FINAL, Status
from runtara.settings import Settings
from runtara.store import Finished, Transferred, Upkeep, Watch, back_up, copy_store, open_upkeep, restore

__all__ = ["db"]

UNSOUND: Final = 1
"""Exit code where a check has found something."""
_ENDS: Final = [status.value for status in Status if status in FINAL]


@click.group()
def db() -> None:
    """Look after the database: bring it up to date, check it, back it up, move it, and prune it.

    It is the one that the settings name (RUNTARA_DATABASE_URL, or the file in the data folder). A file belongs to the
    server that runs, so whatever changes one needs the server stopped. A PostgreSQL database is looked after while
    servers work.
    """


def _store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the store is; the command is given its `Upkeep` instead of them."""

    @wraps(command)
    def with_upkeep(*arguments: Any, database_url: str | None, data_dir: str | None, **options: Any) -> Any:
        settings = load_given(database_url=database_url, data_dir=data_dir)
        return command(_upkeep_of(settings.store_url, settings), *arguments, **options)

    url_option = click.option(
        "--database-url",
        metavar="URL",
        envvar="RUNTARA_DATABASE_URL",
        show_envvar=True,
        help="Which database: sqlite:///path or postgresql://user@host/database; by default the data folder's file.",
    )
    return url_option(data_dir_option(with_upkeep))


def _upkeep_of(url: str, settings: Settings) -> Upkeep:
    return open_upkeep(url, may_lose_work=settings.database_may_lose_work)


@db.command()
@click.option("--dry-run", is_flag=True, help="Only say which migrations are needed.")
@json_option
@_store_options
def migrate(upkeep: Upkeep, dry_run: bool, as_json: bool) -> None:
    """Bring the schema up to date; print the migrations that it lacked.

    A server does so by itself when it starts. Harmless when repeated; killed anywhere, it has changed nothing or is
    done. A schema of a later version is refused.
    """
    names = upkeep.migrate(dry_run=dry_run)
    if as_json:
        print_json(names)
    else:
        click.echo("\n".join(names) or "up to date")


@db.command()
@json_option
@_store_options
def verify(upkeep: Upkeep, as_json: bool) -> None:
    """Check the database from end to end, also while servers work.

    Prints what is wrong, a line each, with exit code 1; `sound` and 0 where there is nothing.
    """
    problems = upkeep.verify()
    if as_json:
        print_json(problems)
    else:
        click.echo("\n".join(map(plain, problems)) or "sound")
    _end(problems)


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@_store_options
def backup(upkeep: Upkeep, file: Path, as_json: bool) -> None:
    """Write all that is in the database into FILE, as it is at this moment, while servers work.

    FILE must not exist; it appears once it is complete, for its owner only: it holds whatever programs have saved, and
    the secrets of a PostgreSQL database. Any kind of database can be restored from it.
    """
    with _picture("backup") as watch:
        moved = back_up(upkeep, file, watch)
    _tell(moved, as_json, f" in {size(file.stat().st_size)}")


@db.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Delete what is in the database first; say --yes as well.")
@click.option("--yes", is_flag=True, help="Yes, delete it.")
@json_option
@_store_options
def restore_file(upkeep: Upkeep, file: Path, replace: bool, yes: bool, as_json: bool) -> None:
    """Fill an empty database with the backup in FILE: all of it, or nothing.

    No server may run. The file is read to its end before anything is touched, what was stored is compared with it, and
    the database is verified. Instances that ran when the backup was made go on from their last checkpoints as soon as
    a server starts: see that the server from which it came does not run them, too.
    """
    if replace and not yes:
        raise InvalidInput(f"--replace deletes all that is in {upkeep.url}: say --yes as well if that is meant")
    with _picture("restore") as watch:
        moved = restore(file, upkeep, watch, replace=replace)
    _tell(moved, as_json)


@db.command()
@click.argument("from_url")
@click.argument("to_url")
@click.option("--live", is_flag=True, help="Copy it as it is at this moment, although servers work there.")
@json_option
def copy(from_url: str, to_url: str, live: bool, as_json: bool) -> None:
    """Fill the empty database at TO_URL with all that is in the one at FROM_URL, of whichever kinds they are.

    No server may run at either; with --live, it may at FROM_URL, and whatever happens there later is not copied. Every
    table is compared on both sides by a digest before anything is kept, and the copy is verified.
    """
    source, target = (_upkeep_of(url, load_given()) for url in (from_url, to_url))
    with _picture("copy") as watch:
        moved = copy_store(source, target, watch, live=live)
    _tell(moved, as_json)


@db.command()
@json_option
@_store_options
def vacuum(upkeep: Upkeep, as_json: bool) -> None:
    """Give the room of what was deleted back: a file to its disk, a table of PostgreSQL to the rows to come."""
    with _picture("vacuum"):
        done = upkeep.vacuum()
    if as_json:
        print_json(done)
    else:
        click.echo(f"{size(done.after)}, before {size(done.before)}")


@db.command()
@click.option(
    "--older-than",
    "span",
    type=typed_span,
    required=True,
    metavar="SPAN",
    help="How long ago they have finished, as in 30d.",
)
@click.option("--status", "statuses", type=click.Choice(_ENDS), multiple=True, help="How they ended; may be repeated.")
@click.option(
    "--tenant", metavar="ID", envvar="RUNTARA_TENANT_ID", show_envvar=True, help="Whose; by default everybody's."
)
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@json_option
@_store_options
def prune(
    upkeep: Upkeep, *, span: int, statuses: tuple[str, ...], tenant: str | None, dry_run: bool, as_json: bool
) -> None:
    """Delete finished instances with all that belongs to them; what goes on is never touched.

    They go in batches, each at once, so it may be interrupted and begun again. Room on the disk is given back by
    `runtara db vacuum`.
    """
    before_ms = max(0, SystemClock().now_ms() - span)
    ends = tuple(map(Status, statuses or _ENDS))
    finished = Finished(before_ms=before_ms, statuses=ends, tenant_id=tenant)
    with _picture("prune") as watch:
        number = upkeep.count(finished) if dry_run else upkeep.prune(finished, lambda _: watch("instances", 0))
    if as_json:
        print_json({"instances": number, "dry_run": dry_run})
    else:
        click.echo(f"{_counted(number, 'instance')} {'would be deleted' if dry_run else 'deleted'}")


# What is said --------------------------------------------------------------------------------------------------------


def _tell(moved: Transferred, as_json: bool, more: str = "") -> None:
    """Say what was moved, what was not, and what is wrong with it."""
    if as_json:
        print_json(moved)
    else:
        instances = moved.tables["instances"].rows if "instances" in moved.tables else 0
        rows = sum(table.rows for table in moved.tables.values())
        click.echo(f"{_counted(instances, 'instance')}, {_counted(rows, 'row')}{more}")
        for problem in moved.problems:
            click.echo(plain(problem))
    for name, rows in moved.left_out.items():
        click.echo(f"runtara: {_counted(rows, 'row')} of {name} left out: such a database has none", err=True)
    _end(moved.problems)


def _end(problems: object) -> None:
    if problems:
        sys.exit(UNSOUND)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@contextmanager
def _picture(verb: str) -> Iterator[Watch]:
    """Show on a terminal how far it has come, for the length of the block; nothing where stderr is none."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda table, count: None
        return
    moved = 0
    with console.status(verb) as status:

        def watch(table: str, count: int) -> None:
            nonlocal moved
            moved += count
            status.update(f"{verb}: {table}, {size(moved)}")

        yield watch
