"""Write docs/reference from the tables in the code; with ``--check``, only say what is out of date.

Owns the pages it writes and nothing else. The tables are the truth: to change a page, change the table.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
import msgspec
from http_page import http_page
from metrics_page import metrics_page
from parts import code_span, default, docs_below, head, inline, records, sentence, struct_section, table, unit
from schema_page import schema_page
from sdk_page import sdk_page

from runtara import endpoints, errors, lifecycle, settings
from runtara.actors import Child, Supervisor
from runtara.cli import main as runtara
from runtara.clock import SystemClock
from runtara.store import open_store
from runtara.system import in_process, tree

__all__ = ["PAGES", "main"]

REFERENCE = Path(__file__).parent / "reference"


def main(arguments: list[str]) -> int:
    """Write or check every page; return how many were out of date when checking, else 0."""
    stale = [name for name in PAGES if _read(REFERENCE / name) != _page(name)]
    if "--check" in arguments:
        for name in stale:
            print(f"docs/reference/{name} is out of date: run `make docs`")
        return len(stale)
    REFERENCE.mkdir(exist_ok=True)
    for name in stale:
        (REFERENCE / name).write_text(_page(name), encoding="utf-8")
    print(f"{len(stale)} of {len(PAGES)} pages written")
    return 0


def _page(name: str) -> str:
    return "\n".join(PAGES[name]()) + "\n"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


# The pages -----------------------------------------------------------------------------------------------------------


def errors_page() -> Iterator[str]:
    """The error table."""
    yield from head("Errors", "`Code` in runtara/errors.py")
    yield "Every error that leaves the runtime is one of these. Each has a class of its own in `runtara.errors`; an SDK"
    yield "raises the class that the actor raised, whatever lies between them.\n"
    for retry in errors.Retry:
        yield f"- Retry **{retry.value}**: {inline(docs_below(errors.Retry)[retry.name])}"
    yield ""
    yield from table(
        "Code | Class | HTTP | Exit | Retry | Meaning",
        (
            f"`{code.wire}` | `{errors.ERRORS[code].__name__}` | {code.http_status} | {code.exit_code} "
            f"| {code.retry.value} | {sentence(code.meaning)}"
            for code in errors.Code
        ),
    )


def lifecycle_page() -> Iterator[str]:
    """Statuses, triggers and what becomes of what."""
    statuses, triggers = lifecycle.Status, lifecycle.Trigger
    meanings = docs_below(statuses)
    yield from head("Life of an instance", "`TRANSITIONS` in runtara/lifecycle.py")
    yield "```mermaid\nstateDiagram-v2"
    yield f"    [*] --> {statuses.PENDING.value}"
    for status, row in lifecycle.TRANSITIONS.items():
        for target in dict.fromkeys(row.values()):
            labels = ", ".join(trigger.value for trigger, to in row.items() if to is target)
            yield f"    {status.value} --> {target.value}: {labels}"
    for status in statuses:
        if status in lifecycle.FINAL:
            yield f"    {status.value} --> [*]"
    yield "```\n"
    yield "What is not in this table is refused with `invalid-state`.\n"
    yield from table(
        "Trigger | " + " | ".join(f"from {status.value}" for status in statuses if _leaves(status)),
        (
            f"{trigger.value} | " + " | ".join(_target(status, trigger) for status in statuses if _leaves(status))
            for trigger in triggers
        ),
    )
    yield "\n## Statuses\n"
    for status in statuses:
        end = "" if _leaves(status) else "Final: nothing leaves it."
        yield f"- **{status.value}** {inline(meanings.get(status.name, ''))}{end}"
    yield "\n## Why an instance is suspended or ended\n"
    yield from (f"- {reason.value}" for reason in lifecycle.TerminationReason)


def _leaves(status: lifecycle.Status) -> bool:
    return status not in lifecycle.FINAL


def _target(status: lifecycle.Status, trigger: lifecycle.Trigger) -> str:
    target = lifecycle.next_status(status, trigger)
    return target.value if target else ""


def settings_page() -> Iterator[str]:
    """Every setting with its variable, default, unit and meaning."""
    yield from head("Settings", "`Settings` in runtara/settings")
    yield "Set them in the environment, or by their name in code. A name that is not known is refused, with the nearest"
    yield "one that is.\n"
    meanings = docs_below(settings.Settings)
    yield from table(
        "Variable | Default | Unit | Meaning",
        (
            f"`{field.encode_name}` | {default(field)} | {unit(field)} | {inline(meanings.get(field.name, ''))}"
            for field in msgspec.structs.fields(settings.Settings)
        ),
    )


def operations_page() -> Iterator[str]:
    """Every command with its fields and its reply."""
    rows = list(endpoints.ENDPOINTS.values())
    yield from head("Operations", "`ENDPOINTS` in runtara/endpoints.py and runtara/messages")
    yield "All are idempotent: sent again with the same ids and `request` numbers, they change nothing more.\n"
    yield from table(
        "Command | Reply | Asked by | Right | Answered by",
        (
            f"[{row.command.__name__}](#{row.command.__name__.lower()}) "
            f"| [{row.reply.__name__}](#{row.reply.__name__.lower()}) "
            f"| {'program, manager' if row.caller == 'both' else row.caller} | {row.right} | {row.owner}"
            for row in rows
        ),
    )
    yield "\nA right is what a key must be good for; which role has which, and [more](../how-to/credentials.md):\n"
    roles = endpoints.ROLES.items()
    yield from table("Role | Rights", (f"{role} | {', '.join(sorted(rights))}" for role, rights in roles))
    yield "\n## Commands"
    for row in rows:
        yield from struct_section(
            row.command, f"Replied to with [{row.reply.__name__}](#{row.reply.__name__.lower()})."
        )
    yield "\n## Replies"
    replies = list(dict.fromkeys(row.reply for row in rows))
    for reply in replies:
        yield from struct_section(reply)
    yield "\n## Records inside replies"
    for record in records(replies):
        yield from struct_section(record)


def tree_page() -> Iterator[str]:
    """The supervision tree."""
    yield from head("Supervision tree", "`tree` in runtara/system.py")
    yield "What runs under the root supervisor, in start order; it stops in reverse. `runtara tree` shows it alive.\n"
    store = open_store("sqlite:///runtara.db")  # a description of where the store is; nothing is opened yet
    yield from table(
        "Actor | Restart | Strategy or mailbox",
        _branches(tree(settings.Settings(), store, SystemClock(), in_process({})), ""),
    )


def _branches(spec: Child | Supervisor, above: str) -> Iterator[str]:
    """Yield a row for a supervisor or an actor, and for all below it."""
    path = f"{above}{spec.name}"
    if isinstance(spec, Child):
        yield f"`{path}` | {spec.restart.value} | {spec.mailbox.bound:,} messages, {spec.mailbox.policy.value}"
        return
    budget = f"more than {spec.intensity.restarts} failures in {spec.intensity.within:g} s escalate"
    yield f"`{path}` | {spec.restart.value} | {spec.strategy.value}; {budget}"
    for child in spec.children:
        yield from _branches(child, f"{path}/")


def cli_page() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield from head("Command line", "the commands in runtara/cli")
    yield inline(runtara.help or "") + " `runtara COMMAND --help` says the same as this page.\n"
    commands = list(_commands(runtara, "runtara"))
    yield from table(
        "Command | What it does",
        (f"[`{name}`](#{name.replace(' ', '-')}) | {command.get_short_help_str(200)}" for name, command in commands),
    )
    yield "\nExit codes: 0 done, 1 the instance has failed (or `doctor` or `db` has found something), 5 it was"
    yield "cancelled, 130 interrupted from the keyboard; a refusal has the one of its row in"
    yield "[the error table](errors.md). With `--json`, replies are printed as in [operations](operations.md): bytes in"
    yield "base64, instants in milliseconds since 1970 UTC."
    for name, command in commands:
        yield from _command(name, command)


def _commands(group: click.Group, above: str) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands of a group, and those of groups inside it, as they are typed."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, f"{above} {name}")
        elif command is not None:
            yield f"{above} {name}", command


def _command(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command)
    yield f"\n## {name}\n"
    yield f"```sh\n{name} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    yield from table(
        "Option | Variable | Default | Meaning",
        (_option(option, context) for option in command.params if isinstance(option, click.Option)),
    )


def _option(option: click.Option, context: click.Context) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(context)}"
    names = code_span(", ".join(option.opts) + value)
    default = code_span(str(option.default)) if option.show_default else ""
    variable = code_span(str(option.envvar)) if option.envvar else ""
    return f"{names} | {variable} | {default} | {inline(option.help or '')}"


PAGES: dict[str, Callable[[], Iterable[str]]] = {
    "cli.md": cli_page,
    "errors.md": errors_page,
    "http.md": http_page,
    "lifecycle.md": lifecycle_page,
    "metrics.md": metrics_page,
    "operations.md": operations_page,
    "schema.md": schema_page,
    "sdk.md": sdk_page,
    "settings.md": settings_page,
    "tree.md": tree_page,
}
"""File name to what writes it."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
